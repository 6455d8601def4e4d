//! Inbound commands. Each command has its client, its operation, its bytes, and a way to respond.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    broker::Publisher,
    socket::{Asked, Hold, Responses},
};
use crate::{
    domain::{ClientId, ClientToken, Rejection, Request},
    protocol::{ResultKind, Topics, local_socket::MAX_LINE, messages},
};

/// The content of a message, or why it is rejected unread, with the token that can be read from it.
#[derive(Debug)]
pub(crate) enum Body {
    /// The payload.
    Payload(Vec<u8>),
    /// The payload is too large; it has this many bytes.
    TooLarge(usize, Option<ClientToken>),
    /// Too many commands wait.
    Busy(Option<ClientToken>),
    /// The broker retained the message: it is a command from the past.
    Retained(Option<ClientToken>),
    /// The topic does not name a sender; the text says why.
    NoSender(String, Option<ClientToken>),
    /// The transport could not take the command, for this reason; with its token.
    NotTaken(Rejection, Option<ClientToken>),
}

/// A command as it was received.
pub(crate) struct Inbound {
    /// The client that sent it.
    pub(crate) client: ClientId,
    /// The operation's name as it was sent.
    pub(crate) operation: String,
    /// Whether it was sent to all core devices.
    pub(crate) is_broadcast: bool,
    /// The content that was sent.
    pub(crate) body: Body,
    /// A hash of topic and content, and whether the transport says that it delivered this command
    /// before.
    pub(crate) delivery: ([u8; 32], bool),
    /// How to respond.
    pub(crate) reply: Reply,
}

/// Responds to one command and acknowledges it, on the transport that delivered it.
pub(crate) struct Reply(Way);

enum Way {
    /// Responds only on the connection that delivered the command.
    Broker {
        client: ClientId,
        publisher: Arc<Publisher>,
        epoch: u64,
        publish: rumqttc::Publish,
        topics: Arc<Topics>,
    },
    Socket {
        answers: Responses,
        asked: mpsc::Sender<Asked>,
        hold: Hold,
    },
}

impl Reply {
    pub(super) fn broker(
        client: ClientId,
        publisher: Arc<Publisher>,
        epoch: u64,
        publish: rumqttc::Publish,
        topics: Arc<Topics>,
    ) -> Self {
        Self(Way::Broker { client, publisher, epoch, publish, topics })
    }

    pub(super) fn local(answers: Responses, asked: mpsc::Sender<Asked>, hold: Hold) -> Self {
        Self(Way::Socket { answers, asked, hold })
    }

    /// Sends a response that is not stored. Waits for room on the broker's connection if many
    /// responses are in flight. If the connection has changed, the broker delivers the command
    /// again, and this response is not sent.
    pub(crate) async fn answer(&self, kind: ResultKind, payload: Vec<u8>) {
        match &self.0 {
            Way::Broker { client, publisher, epoch, publish, topics } => {
                // The topic is made from the command's topic, and not stored: thousands of these
                // may wait.
                if let Some(topic) = topics.result_of(&publish.topic, kind) {
                    publisher.reply(*epoch, client.clone(), &topic, payload).await;
                }
            }
            Way::Socket { answers, .. } => answers.send(kind, &payload),
        }
    }

    /// The longest payload of a response, where `configured` is what the configuration says.
    pub(crate) fn max_payload(&self, configured: usize) -> usize {
        match &self.0 {
            Way::Broker { publisher, .. } => publisher.max_payload(configured),
            Way::Socket { .. } => configured,
        }
    }

    /// Notes that the command became that request. The outbox publishes its outcome on the broker;
    /// a client of the local socket gets the outcome on its connection.
    pub(crate) async fn accepted(&mut self, request: &Request, unknown: Vec<String>) {
        if let Way::Socket { answers, asked, hold } = &mut self.0 {
            answers.send(ResultKind::Accepted, &messages::accepted(request, unknown, MAX_LINE));
            let (seq, token, answers) = (request.seq, request.token.clone(), answers.clone());
            // This fails only at the stop.
            let _ = asked.send(Asked { seq, token, answers, _watched: hold.watched.take() }).await;
        }
    }

    /// Acknowledges the command; `false` if its connection is gone and the command will be
    /// delivered again.
    pub(crate) fn acknowledge(self) -> bool {
        match self.0 {
            Way::Broker { publisher, epoch, publish, .. } => publisher.acknowledge(epoch, &publish),
            Way::Socket { .. } => true,
        }
    }
}
