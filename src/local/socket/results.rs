//! Sends each client of the local socket the outcomes of its requests, as long as its connection
//! lasts. The agent owes nothing beyond that: a client that has gone asks with `get-request`.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::{
    domain::{EntryFailure, Request},
    ledger::{self, Ledger, Unavailable},
    local::socket::{Answers, Asked},
    protocol::{ResultKind, messages},
    runtime::stop::Stop,
};

/// Between two looks at what has ended.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct SocketResults {
    pub(crate) ledger: Ledger,
    pub(crate) max_bytes: usize,
    pub(crate) stop: Stop,
}

impl SocketResults {
    /// Tells it until the stop. How many wait is bounded by the socket: some on each of its few
    /// connections.
    pub(crate) async fn run(self, mut asked: mpsc::Receiver<Asked>) {
        let mut waiting: Vec<Asked> = Vec::new();
        let mut summary = self.ledger.summary();
        while !self.stop.is_requested() {
            tokio::select! {
                biased;
                () = self.stop.requested() => return,
                Some(first) = asked.recv() => {
                    let mut new = vec![first];
                    while let Ok(more) = asked.try_recv() {
                        new.push(more);
                    }
                    // One that ended before changes no total: who repeats a token is told at once.
                    waiting.extend(self.tell_completed(new).await);
                }
                Ok(()) = summary.changed(), if !waiting.is_empty() => {
                    tokio::time::sleep(PACE).await;
                    summary.mark_unchanged();
                    waiting.retain(|asked| !asked.answers.is_closed());
                    waiting = self.tell_completed(waiting).await;
                }
            }
        }
    }

    /// Returns those that still wait: all of them while the store cannot be read, whose opening
    /// changes the totals.
    async fn tell_completed(&self, waiting: Vec<Asked>) -> Vec<Asked> {
        let Ok(mut known) = self.look(waiting.iter().map(|asked| asked.seq).collect()).await else { return waiting };
        let mut left = Vec::with_capacity(waiting.len());
        for asked in waiting {
            let found = known.iter().position(|(request, _)| request.seq == asked.seq && request.token == asked.token);
            match found.map(|at| known.swap_remove(at)) {
                Some((request, failures)) if request.completed_at.is_some() => {
                    self.send(&asked.answers, &request, failures);
                }
                Some(_) => left.push(asked),
                // It went with a damaged store, and nothing will come: the end of the connection
                // says so.
                None => asked.answers.close(),
            }
        }
        left
    }

    fn send(&self, answers: &Answers, request: &Request, failures: Vec<EntryFailure>) {
        answers.send(ResultKind::Completed, &messages::completed(request, failures, self.max_bytes));
    }

    async fn look(&self, seqs: Vec<u64>) -> Result<Vec<(Request, Vec<EntryFailure>)>, Unavailable> {
        let rule = move |tx: &mut ledger::Tx<'_>| {
            let mut known = Vec::new();
            for seq in &seqs {
                if let Some(request) = ledger::request(tx, *seq)? {
                    let limit = if request.completed_at.is_some() { messages::MAX_ERROR_ENTRIES } else { 0 };
                    let failures =
                        ledger::failures(tx, *seq, None, limit)?.rows.into_iter().map(|(_, one)| one).collect();
                    known.push((request, failures));
                }
            }
            Ok(Some(known))
        };
        self.ledger.run_unsynced(rule).await
    }
}
