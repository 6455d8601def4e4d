//! The ways in and out. Each gives who asked, the operation, the bytes, and a way to answer.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    broker::Publisher,
    socket::{Answers, Asked, Hold},
};
use crate::{
    domain::{ClientId, ClientToken, Rejection, Request},
    protocol::{ResultKind, Topics, local_socket::MAX_LINE, messages},
};

/// What a message held, or why it is rejected without a look at it, with the token that can be read
/// in it.
#[derive(Debug)]
pub(crate) enum Body {
    /// The payload.
    Payload(Vec<u8>),
    /// The payload has so many bytes.
    TooLarge(usize, Option<ClientToken>),
    /// Too much is waiting.
    Busy(Option<ClientToken>),
    /// The broker retained the message: it is a command from the past.
    Retained(Option<ClientToken>),
    /// The topic does not name a sender; the text says why.
    NoSender(String, Option<ClientToken>),
    /// The transport could not take it, and why; its token.
    NotTaken(Rejection, Option<ClientToken>),
}

/// A command as it came in.
pub(crate) struct Inbound {
    /// Who asks.
    pub(crate) client: ClientId,
    /// The operation's name as sent.
    pub(crate) operation: String,
    /// What was sent.
    pub(crate) body: Body,
    /// A hash of where and what, and whether the transport says that it delivered this before.
    pub(crate) delivery: ([u8; 32], bool),
    /// How to answer.
    pub(crate) reply: Reply,
}

/// Answers and acknowledges one command, the way it came.
pub(crate) struct Reply(Way);

enum Way {
    /// Only on the connection that delivered it.
    Broker {
        client: ClientId,
        line: Arc<Publisher>,
        epoch: u64,
        publish: rumqttc::Publish,
        topics: Arc<Topics>,
    },
    Socket {
        answers: Answers,
        asked: mpsc::Sender<Asked>,
        hold: Hold,
    },
}

impl Reply {
    pub(super) fn broker(
        client: ClientId,
        line: Arc<Publisher>,
        epoch: u64,
        publish: rumqttc::Publish,
        topics: Arc<Topics>,
    ) -> Self {
        Self(Way::Broker { client, line, epoch, publish, topics })
    }

    pub(super) fn local(answers: Answers, asked: mpsc::Sender<Asked>, hold: Hold) -> Self {
        Self(Way::Socket { answers, asked, hold })
    }

    /// Sends an answer that is not kept; waits for room on the broker's connection if many are
    /// under way. If the connection is another by now the broker delivers the command again, and
    /// this is not sent.
    pub(crate) async fn answer(&self, kind: ResultKind, payload: Vec<u8>) {
        match &self.0 {
            Way::Broker { client, line, epoch, publish, topics } => {
                // Made of the command's topic, and not kept: thousands of these may wait.
                if let Some(topic) = topics.result_of(&publish.topic, kind) {
                    line.reply(*epoch, client.clone(), &topic, payload).await;
                }
            }
            Way::Socket { answers, .. } => answers.send(kind, &payload),
        }
    }

    /// Longest payload of an answer, where `configured` is what the configuration says.
    pub(crate) fn max_payload(&self, configured: usize) -> usize {
        match &self.0 {
            Way::Broker { line, .. } => line.max_payload(configured),
            Way::Socket { .. } => configured,
        }
    }

    /// It became that request: the outbox tells what comes of it on the broker, and who asked over
    /// the socket is told there.
    pub(crate) async fn accepted(&mut self, request: &Request, unknown: Vec<String>) {
        if let Way::Socket { answers, asked, hold } = &mut self.0 {
            answers.send(ResultKind::Accepted, &messages::accepted(request, unknown, MAX_LINE));
            let (seq, token, answers) = (request.seq, request.token.clone(), answers.clone());
            // Fails at the stop.
            let _ = asked.send(Asked { seq, token, answers, _watched: hold.watched.take() }).await;
        }
    }

    /// Acknowledges the command; `false` if its connection is gone, and it will come again.
    pub(crate) fn acknowledge(self) -> bool {
        match self.0 {
            Way::Broker { line, epoch, publish, .. } => line.acknowledge(epoch, &publish),
            Way::Socket { .. } => true,
        }
    }
}
