//! The ways in and out. Each gives who asked, the operation, the bytes, and a way to answer.

mod client;
mod intake;
mod line;
mod mqtt;
mod retry;
mod socket;
mod tls;

pub(crate) use client::{Brief, in_words, options, secure};
#[cfg(test)]
pub(crate) use intake::Intake;
pub(crate) use line::{Deliveries, Line, Link, Tag};
pub(crate) use mqtt::{Closer, Mqtt, MqttParts, explain};
pub(crate) use socket::{Answers, Asked, FILE as SOCKET, MAX_LINE, Socket};
pub(crate) use tls::client_config;

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

/// Answers and acknowledges one command, the way it came.
pub(crate) struct Reply(Way);

enum Way {
    /// Only on the connection that delivered it.
    Broker {
        line: Arc<Line>,
        epoch: u64,
        publish: rumqttc::Publish,
        topics: Arc<Topics>,
    },
    Socket {
        answers: Answers,
        asked: mpsc::Sender<Asked>,
    },
}

impl Reply {
    fn broker(line: Arc<Line>, epoch: u64, publish: rumqttc::Publish, topics: Arc<Topics>) -> Self {
        Self(Way::Broker { line, epoch, publish, topics })
    }

    fn local(answers: Answers, asked: mpsc::Sender<Asked>) -> Self {
        Self(Way::Socket { answers, asked })
    }

    /// Sends an answer that is not kept; waits for room if many are under way. If the connection is another by now the
    /// broker delivers the command again, and this is not sent.
    pub(crate) async fn answer(&self, kind: ResultKind, payload: Vec<u8>) {
        match &self.0 {
            Way::Broker { line, epoch, publish, topics } => {
                // Parsed again, and not kept: thousands of these may wait.
                if let Some(Address { client, operation }) = topics.parse_command(&publish.topic) {
                    let topic = topics.result(&client, &operation, kind);
                    line.reply(*epoch, client, &topic, payload).await;
                }
            }
            Way::Socket { answers, .. } => {
                answers.send(kind, &payload).await;
            }
        }
    }

    /// It became the request of that number: the outbox tells what comes of it on the broker, and who asked over the
    /// socket is told there.
    pub(crate) async fn accepted(&self, seq: u64) {
        if let Way::Socket { answers, asked } = &self.0 {
            // Fails at the stop.
            let _ = asked.send(Asked { seq, answers: answers.clone() }).await;
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
