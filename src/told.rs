//! Who asked over the socket is told what came of it, as long as the connection lasts. Nothing is owed: who has gone looks
//! with `get-request`.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::{
    ledger::{self, Ledger},
    model::{EntryFailure, Request},
    stop::Stop,
    transport::{Answers, Asked},
    wire::{ResultKind, messages},
};

/// Requests that are waited for: those of the people at one machine, and beyond it whoever asks has to look.
const MAX_WAITING: usize = 256;

/// Between two looks at what has ended.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct Told {
    pub(crate) ledger: Ledger,
    pub(crate) max_bytes: usize,
    pub(crate) stop: Stop,
}

impl Told {
    pub(crate) async fn run(self, mut asked: mpsc::Receiver<Asked>) {
        let mut waiting: Vec<Asked> = Vec::new();
        let mut summary = self.ledger.summary();
        while !self.stop.is_requested() {
            summary.mark_unchanged();
            waiting.retain(|asked| !asked.answers.is_closed());
            if !waiting.is_empty() {
                waiting = self.tell_completed(waiting).await;
            }
            tokio::select! {
                biased;
                () = self.stop.requested() => return,
                Some(new) = asked.recv() => {
                    let known = self.look(vec![new.seq]).await;
                    if let Some((_, request, _, unknown)) = known.into_iter().next()
                        && new.answers.send(ResultKind::Accepted, &messages::accepted(&request, unknown, self.max_bytes)).await
                        && waiting.len() < MAX_WAITING
                    {
                        waiting.push(new);
                    }
                }
                _ = summary.changed(), if !waiting.is_empty() => tokio::time::sleep(PACE).await,
            }
        }
    }

    /// Returns those that still wait.
    async fn tell_completed(&self, waiting: Vec<Asked>) -> Vec<Asked> {
        let mut known = self.look(waiting.iter().map(|asked| asked.seq).collect()).await;
        let mut left = Vec::with_capacity(waiting.len());
        for asked in waiting {
            let ended =
                known.iter().position(|(seq, request, _, _)| *seq == asked.seq && request.completed_at.is_some());
            match ended {
                Some(at) => {
                    let (_, request, failures, _) = known.swap_remove(at);
                    self.send(&asked.answers, &request, failures).await;
                }
                None => left.push(asked),
            }
        }
        left
    }

    async fn send(&self, answers: &Answers, request: &Request, failures: Vec<EntryFailure>) {
        let message = messages::completed(request, failures, self.max_bytes);
        answers.send(ResultKind::Completed, &message).await;
    }

    async fn look(&self, seqs: Vec<u64>) -> Vec<(u64, Request, Vec<EntryFailure>, Vec<String>)> {
        let rule = move |tx: &mut ledger::Tx<'_>| {
            let mut known = Vec::new();
            for seq in &seqs {
                if let Some(request) = ledger::request(tx, *seq)? {
                    let limit = if request.completed_at.is_some() { messages::MAX_ERROR_ENTRIES } else { 0 };
                    let failures =
                        ledger::failures(tx, *seq, None, limit)?.rows.into_iter().map(|(_, one)| one).collect();
                    let unknown = ledger::unknown_names(tx, &request)?;
                    known.push((*seq, request, failures, unknown));
                }
            }
            Ok(Some(known))
        };
        self.ledger.run_lazily(rule).await.unwrap_or_default()
    }
}
