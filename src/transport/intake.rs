//! The intake: what the broker delivers, as commands for the inbox. Takes cheaply, and never waits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rumqttc::{AsyncClient, Publish};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Body, Inbound, Line, Reply, Wired};
use crate::wire::{ResultKind, Topics};

/// Commands that wait to be handled: a broker's window of unacknowledged messages is far smaller.
const MAX_WAITING: usize = 4096;

/// Bytes of payloads that wait to be handled; more are rejected.
const MAX_WAITING_BYTES: usize = 4 << 20;

pub(crate) struct Intake {
    topics: Topics,
    max_payload: usize,
    line: Arc<Line>,
    inbound: mpsc::Sender<Inbound>,
    waiting: Arc<AtomicUsize>,
}

impl Intake {
    /// A line for `client`, and what comes in by it.
    pub(crate) fn new(client: AsyncClient, topics: Topics, max_payload: usize) -> (Self, Wired) {
        let (line, deliveries) = Line::new(client);
        let line = Arc::new(line);
        let (sender, inbound) = mpsc::channel(MAX_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let wired = Wired { line: Arc::clone(&line), inbound, deliveries, waiting: Arc::clone(&waiting) };
        (Self { topics, max_payload, line, inbound: sender, waiting }, wired)
    }

    /// Hands a message on; `false` if there is no room, and it is dropped.
    pub(crate) fn take(&self, epoch: u64, publish: Publish) -> bool {
        let Some(address) = self.topics.parse_command(&publish.topic) else {
            tracing::debug!(topic = publish.topic, "a message on a topic that is no command");
            self.line.acknowledge(epoch, &publish);
            return true;
        };
        let size = publish.payload.len();
        let body = if publish.retain {
            Body::Retained
        } else if size > self.max_payload {
            Body::TooLarge(size)
        } else if self.waiting.load(Ordering::Relaxed) + size > MAX_WAITING_BYTES {
            Body::Busy
        } else {
            self.waiting.fetch_add(size, Ordering::Relaxed);
            Body::Payload(publish.payload.to_vec())
        };
        let hash =
            Sha256::new().chain_update(&publish.topic).chain_update([0]).chain_update(&publish.payload).finalize();
        let topics = self.topics.clone();
        let (client, operation) = (address.client.clone(), address.operation.clone());
        let inbound = Inbound {
            client: address.client,
            operation: address.operation,
            body,
            delivery: (hash.into(), publish.dup),
            reply: Reply {
                line: Arc::clone(&self.line),
                epoch,
                // Its id is all that the acknowledgement needs.
                publish: Publish { payload: Default::default(), ..publish },
                topic: Box::new(move |kind: ResultKind| topics.result(&client, &operation, kind)),
            },
        };
        let Err(mpsc::error::TrySendError::Full(inbound)) = self.inbound.try_send(inbound) else { return true };
        if let Body::Payload(payload) = &inbound.body {
            self.waiting.fetch_sub(payload.len(), Ordering::Relaxed);
        }
        false
    }
}
