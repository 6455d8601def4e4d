//! The intake: converts the messages that the broker delivers to commands for the inbox. It does
//! little work for each message, and never waits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rumqttc::{AsyncClient, Publish, QoS};
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{
    publisher::{Deliveries, Publisher},
    tag::FromPlugin,
};
use crate::{
    domain::{ClientId, Reason, Rejection, Via},
    local::inbound::{Body, Inbound, Reply},
    protocol::{self, Address, Topics, dynsec},
};

/// The most commands that wait with their payload; further commands are rejected. A broker's window
/// of unacknowledged messages is far smaller, but Mosquitto 2.0 delivers thousands beyond its
/// window when its queue is long.
const MAX_WAITING: usize = 4096;

/// The most commands that wait in total. There are no more packet ids, and a message with a packet
/// id is never dropped: the broker would not deliver it again on this connection, and would keep
/// its place in the window.
const MAX_TAKEN: usize = MAX_WAITING + u16::MAX as usize;

/// The most bytes of payloads that wait; further commands are rejected.
const MAX_WAITING_BYTES: usize = 4 << 20;

/// Bytes of a topic above which a message gets no response: each that waits keeps its topic.
const MAX_TOPIC: usize = 1024;

/// The most messages of the broker's plugin that wait to be handled. Further messages are dropped,
/// as they may also be lost in transmission. The largest of them has 1 MiB.
const MAX_FROM_PLUGIN: usize = 8;

/// What the parts of the agent hold of a connection.
pub(crate) struct Wired {
    /// Publishes messages.
    pub(crate) publisher: Arc<Publisher>,
    /// Receives the commands.
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    /// Receives the deliveries that the broker acknowledged.
    pub(crate) deliveries: Deliveries,
    /// The bytes of the payloads that wait to be handled.
    pub(crate) waiting: Arc<AtomicUsize>,
    /// Receives the messages of the broker's dynamic-security plugin.
    pub(crate) plugin: mpsc::Receiver<FromPlugin>,
}

pub(crate) struct Intake {
    topics: Arc<Topics>,
    via: Via,
    max_payload: usize,
    publisher: Arc<Publisher>,
    inbound: mpsc::Sender<Inbound>,
    waiting: Arc<AtomicUsize>,
    plugin: mpsc::Sender<FromPlugin>,
}

impl Intake {
    /// Makes a publisher for `client`, and the intake for its messages over the transport `via`.
    pub(crate) fn new(client: AsyncClient, via: Via, topics: Topics, max_payload: usize) -> (Self, Wired) {
        let (publisher, deliveries) = Publisher::new(client);
        let publisher = Arc::new(publisher);
        let (sender, inbound) = mpsc::channel(MAX_TAKEN);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (plugin_in, plugin) = mpsc::channel(MAX_FROM_PLUGIN);
        let wired =
            Wired { publisher: Arc::clone(&publisher), inbound, deliveries, waiting: Arc::clone(&waiting), plugin };
        (
            Self { topics: Arc::new(topics), via, max_payload, publisher, inbound: sender, waiting, plugin: plugin_in },
            wired,
        )
    }

    /// Notes whether the broker granted the subscription to the responses of its plugin.
    pub(crate) fn plugin_subscribed(&self, is_granted: bool) {
        let _ = self.plugin.try_send(FromPlugin::Subscribed(is_granted));
    }

    /// Passes a response of the broker's plugin on. No part reads it if local access is off.
    fn take_response(&self, epoch: u64, publish: &Publish) {
        if !publish.retain {
            let _ = self.plugin.try_send(FromPlugin::Response(publish.payload.clone()));
        }
        if publish.qos != QoS::AtMostOnce {
            self.publisher.acknowledge(epoch, publish);
        }
    }

    /// Passes a message on; `false` if there is no room and the message is dropped. There is room
    /// for each message that the broker wants acknowledged, unless thousands from an earlier
    /// connection still wait.
    ///
    /// `too_large` is the size of a payload of which only the beginning was kept.
    pub(crate) fn take(&self, epoch: u64, publish: Publish, too_large: Option<usize>) -> bool {
        if publish.topic == dynsec::RESPONSES {
            self.take_response(epoch, &publish);
            return true;
        }
        let Some(address) = self.topics.parse_command(&publish.topic) else {
            tracing::debug!(topic = publish.topic, "a message on a topic that is no command");
            self.publisher.acknowledge(epoch, &publish);
            return true;
        };
        let Address { client, operation, is_broadcast } = address;
        let is_full = MAX_TAKEN - self.inbound.capacity() >= MAX_WAITING;
        if is_full && publish.qos == QoS::AtMostOnce {
            return false;
        }
        let size = too_large.unwrap_or(publish.payload.len());
        let token = || protocol::token_of(&publish.payload);
        let (client, no_sender) = match client {
            Ok(client) => (client.over(self.via), None),
            Err(why) => (ClientId::nobody().over(self.via), Some(why)),
        };
        let body = if let Some(why) = no_sender {
            Body::NoSender(why, token())
        } else if size > self.max_payload {
            Body::TooLarge(size, token())
        } else if publish.retain {
            Body::Retained(token())
        } else if self.via != Via::Mqtt && is_cut(&publish.payload) {
            Body::NotTaken(cut(size), token())
        } else if is_full || self.waiting.load(Ordering::Relaxed) + size > MAX_WAITING_BYTES {
            Body::Busy(token())
        } else {
            self.waiting.fetch_add(size, Ordering::Relaxed);
            Body::Payload(publish.payload.to_vec())
        };
        let hash =
            Sha256::new().chain_update(&publish.topic).chain_update([0]).chain_update(&publish.payload).finalize();
        // A command's topic is far shorter; a longer one gets no response.
        let topic = if publish.topic.len() > MAX_TOPIC { String::new() } else { publish.topic };
        let inbound = Inbound {
            client: client.clone(),
            operation,
            is_broadcast,
            body,
            delivery: (hash.into(), publish.dup),
            reply: Reply::broker(
                client,
                Arc::clone(&self.publisher),
                epoch,
                // The acknowledgement needs the packet id only, and the response the topic.
                Publish { payload: Default::default(), topic, ..publish },
                Arc::clone(&self.topics),
            ),
        };
        let Err(mpsc::error::TrySendError::Full(inbound)) = self.inbound.try_send(inbound) else { return true };
        if let Body::Payload(payload) = &inbound.body {
            self.waiting.fetch_sub(payload.len(), Ordering::Relaxed);
        }
        false
    }
}

/// Whether a payload ends before its JSON does, as the payload of a message that a transport cut
/// because it was too large.
fn is_cut(payload: &[u8]) -> bool {
    !payload.is_empty() && serde_json::from_slice::<IgnoredAny>(payload).is_err_and(|error| error.is_eof())
}

fn cut(size: usize) -> Rejection {
    let text = format!(
        "the payload ends after {size} bytes, before its JSON does: it was cut on its way; nucleus lite takes up to 4900 \
         bytes from AWS IoT Core, so split the command into several"
    );
    Rejection::invalid(Reason::CannotParse, text)
}

#[cfg(test)]
mod tests {
    use rumqttc::MqttOptions;

    use super::*;
    use crate::domain::ThingName;

    /// Mosquitto 2.0 delivers far more than its window.
    #[test]
    fn what_has_to_be_acknowledged_is_never_dropped() {
        let topics = Topics::new("offboard", &ThingName::new("MyCore").unwrap());
        let (client, _event_loop) = AsyncClient::new(MqttOptions::new("test", "localhost", 1), 10);
        let (intake, mut wired) = Intake::new(client, Via::Mqtt, topics, 1000);
        let take = |qos| intake.take(0, Publish::new("offboard/MyCore/commands/bench/sync", qos, "{}"), None);
        assert_eq!((0..10_000).filter(|_| take(QoS::AtMostOnce)).count(), MAX_WAITING);
        assert!((0..u16::MAX).all(|_| take(QoS::AtLeastOnce)));
        assert!(!take(QoS::AtLeastOnce) && !take(QoS::AtMostOnce));
        assert_eq!(wired.waiting.load(Ordering::Relaxed), 2 * MAX_WAITING);
        for n in 0..MAX_TAKEN {
            let body = wired.inbound.try_recv().unwrap().body;
            assert_eq!(matches!(body, Body::Busy(_)), n >= MAX_WAITING, "{body:?}, number {n}");
        }
    }
}
