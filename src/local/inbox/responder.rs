//! Sends the responses to commands, in the order of the commands, and acknowledges the commands.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::{
    domain::{ClientId, ClientToken, Rejection, Request},
    health::Health,
    ledger::{self, Ledger, Replies},
    local::{inbound::Reply, rejection_log::RejectionLog},
    protocol::{ResultKind, messages},
    runtime::{clock::Clock, failpoint},
};

/// The outcome of a command.
pub(super) enum Answer {
    /// A response to a query, which is published and not stored.
    Message(Vec<u8>),
    /// The command was rejected, for this reason. The response is not stored.
    Rejected(Option<ClientToken>, Rejection),
    /// The command became that request, and the outbox has its `accepted`. Includes the first names
    /// that the registry does not know.
    Accepted(Box<(Request, Vec<String>)>),
    /// There is no response to a broadcast, for this reason if it is not about other core devices.
    None(Option<Rejection>),
}

pub(super) type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A command that is in the ledger, and whether a repetition of it is recognised by its delivery
/// alone.
pub(super) struct UnderWay {
    pub(super) client: ClientId,
    pub(super) operation: String,
    pub(super) reply: Reply,
    pub(super) answer: Pending,
    pub(super) delivery: Option<[u8; 32]>,
    /// The bytes of its payload, which count until it has its response.
    pub(super) size: usize,
}

pub(super) struct Responder {
    pub(super) ledger: Ledger,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
    /// The bytes of the payloads that wait, if the transport counts them.
    pub(super) waiting: Option<Arc<AtomicUsize>>,
    pub(super) max_payload: usize,
    pub(super) log: RejectionLog,
}

impl Responder {
    /// Responds until the last command has its response and no more can come.
    pub(super) async fn run(mut self, mut answers: mpsc::Receiver<UnderWay>) {
        while let Some(under_way) = answers.recv().await {
            self.respond(under_way).await;
        }
    }

    async fn respond(&mut self, under_way: UnderWay) {
        let UnderWay { client, operation, mut reply, answer, delivery, size } = under_way;
        let mut seq = None;
        match answer.await {
            Answer::Message(payload) => {
                failpoint::pass("inbox-before-answer");
                reply.answer(ResultKind::Accepted, payload).await;
            }
            Answer::Rejected(token, rejection) => {
                self.count(&client, &operation, &rejection, "command rejected");
                failpoint::pass("inbox-before-answer");
                let (token, max_bytes) = (token.as_ref().map(ClientToken::as_str), reply.max_payload(self.max_payload));
                let payload = messages::rejected(token, &operation, &rejection, max_bytes);
                reply.answer(ResultKind::Rejected, payload).await;
            }
            Answer::Accepted(accepted) => {
                let (request, unknown) = *accepted;
                reply.accepted(&request, unknown).await;
                seq = Some(request.seq);
            }
            Answer::None(None) => {}
            Answer::None(Some(why)) => self.count(&client, &operation, &why, "broadcast ignored"),
        }
        if let Some(waiting) = &self.waiting {
            waiting.fetch_sub(size, Ordering::Relaxed);
        }
        failpoint::pass("inbox-before-acknowledging");
        // This comes after the commit, and only on the connection that delivered the command.
        if reply.acknowledge()
            && let (Some(seq), Some(hash)) = (seq, delivery)
        {
            let _ = self.ledger.submit(Replies::AtOnce, move |tx| ledger::acknowledged(tx, &hash, seq)).await;
        }
        failpoint::pass("inbox-acknowledged");
    }

    /// Counts a command that is not carried out, and logs it if a line is due.
    fn count(&mut self, client: &ClientId, operation: &str, why: &Rejection, what: &str) {
        let Rejection { code, message, .. } = why;
        self.health.counters().rejected(*code);
        if let Some(left_out) = self.log.is_due(client, *code, self.clock.now().mono) {
            let (via, code) = (client.via().as_str(), code.as_str());
            tracing::info!(%client, via, operation, code, message, left_out, "{what}");
        }
    }
}
