//! The ways in and out. Each gives who asked, the operation, the bytes, and a way to answer.

mod intake;
mod line;
mod mqtt;
mod retry;
mod tls;

#[cfg(test)]
pub(crate) use intake::Intake;
pub(crate) use line::{Deliveries, Line, Link, Tag};
pub(crate) use mqtt::{Closer, Mqtt, MqttParts};

use std::sync::{Arc, atomic::AtomicUsize};

use tokio::sync::mpsc;

use crate::{
    model::{ClientId, ClientToken},
    wire::{Address, ResultKind, Topics},
};

/// What the agent's parts hold of a connection.
pub(crate) struct Wired {
    /// Where they send.
    pub(crate) line: Arc<Line>,
    /// What came in.
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    /// What the broker has.
    pub(crate) deliveries: Deliveries,
    /// Bytes of the payloads that wait to be handled.
    pub(crate) waiting: Arc<AtomicUsize>,
}

/// What a message held, unless it was not to be held in memory.
#[derive(Debug)]
pub(crate) enum Body {
    /// The payload.
    Payload(Vec<u8>),
    /// It has so many bytes.
    TooLarge(usize),
    /// Too much is waiting; its token.
    Busy(Option<ClientToken>),
    /// It was retained by the broker: a command from the past.
    Retained,
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

/// Answers and acknowledges one command; only on the connection that delivered it.
pub(crate) struct Reply {
    line: Arc<Line>,
    epoch: u64,
    publish: rumqttc::Publish,
    topics: Arc<Topics>,
}

impl Reply {
    /// Publishes an answer that is not kept; waits for room if many are under way. If the connection is another by
    /// now the broker delivers the command again, and this is not sent.
    pub(crate) async fn answer(&self, kind: ResultKind, payload: Vec<u8>) {
        // Parsed again, and not kept: thousands of these may wait.
        if let Some(Address { client, operation }) = self.topics.parse_command(&self.publish.topic) {
            let topic = self.topics.result(&client, &operation, kind);
            self.line.reply(self.epoch, client, &topic, payload).await;
        }
    }

    /// Acknowledges the command; `false` if its connection is gone, and it will come again.
    pub(crate) fn acknowledge(self) -> bool {
        self.line.acknowledge(self.epoch, &self.publish)
    }
}
