//! Sends the outcomes of requests to the clients of the local socket, as long as their connections
//! last. The agent guarantees no more: a client that has disconnected can use `get-request`.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::{
    domain::{EntryFailure, Request},
    ledger::{self, Ledger, Unavailable},
    local::socket::{Asked, Responses},
    protocol::{ResultKind, messages},
    runtime::stop::Stop,
};

/// The time between two checks of which requests have ended.
const PACE: Duration = Duration::from_millis(100);

pub(crate) struct SocketResults {
    pub(crate) ledger: Ledger,
    pub(crate) max_bytes: usize,
    pub(crate) stop: Stop,
}

impl SocketResults {
    /// Sends the outcomes until the stop. The socket bounds how many requests wait: each of its few
    /// connections has a limit.
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
                    // A request that ended before changes no total, so a client that repeats a
                    // token gets its result at once.
                    waiting.extend(self.send_completed(new).await);
                }
                Ok(()) = summary.changed(), if !waiting.is_empty() => {
                    tokio::time::sleep(PACE).await;
                    summary.mark_unchanged();
                    waiting.retain(|asked| !asked.answers.is_closed());
                    waiting = self.send_completed(waiting).await;
                }
            }
        }
    }

    /// Sends the results of the requests that have ended. Returns the others; all of them while the
    /// store cannot be read. The opening of the store changes the totals, which wakes this loop.
    async fn send_completed(&self, waiting: Vec<Asked>) -> Vec<Asked> {
        let Ok(mut known) = self.look(waiting.iter().map(|asked| asked.seq).collect()).await else { return waiting };
        let mut left = Vec::with_capacity(waiting.len());
        for asked in waiting {
            let found = known.iter().position(|(request, _)| request.seq == asked.seq && request.token == asked.token);
            match found.map(|at| known.swap_remove(at)) {
                Some((request, failures)) if request.completed_at.is_some() => {
                    self.send(&asked.answers, &request, failures);
                }
                Some(_) => left.push(asked),
                // The request was lost with a damaged store, and no result will come. Closing the
                // connection shows that to the client.
                None => asked.answers.close(),
            }
        }
        left
    }

    fn send(&self, answers: &Responses, request: &Request, failures: Vec<EntryFailure>) {
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
            Ok(known)
        };
        self.ledger.run_unsynced(rule).await
    }
}
