//! The line to the broker: everything that is sent goes through one lock, which also holds the connection's number.
//! An acknowledgement of an old connection can so never go out on a new one, where its id may be another message's.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rumqttc::{AsyncClient, Publish, QoS};
use tokio::sync::{mpsc, watch};

use crate::model::ThingName;

/// Answers under way above which the next one waits: a flood of rejected commands must not fill the memory.
const MAX_REPLIES: usize = 500;

/// What a published message was, to be told when the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// From the outbox, by its number.
    Owed(u64),
    /// A device's retained message, as of a change.
    Device(ThingName, u64),
    /// The retained status.
    Status,
    /// The status of a clean stop.
    Offline,
    /// An answer that is not kept.
    Reply,
}

/// The connection's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Counts connections; an old one's number is never used again.
    pub(crate) epoch: u64,
    /// Connected.
    pub(crate) up: bool,
    /// The broker kept the session from before.
    pub(crate) session: bool,
}

struct State {
    link: Link,
    client: AsyncClient,
    /// Given to the client library, which has not put them on the wire.
    queued: VecDeque<Tag>,
    /// On the wire, by packet id.
    sent: HashMap<u16, Tag>,
}

/// See the module.
pub(crate) struct Line {
    state: Mutex<State>,
    link: watch::Sender<Link>,
    replies: watch::Sender<usize>,
    delivered: mpsc::Sender<Tag>,
    devices_delivered: mpsc::Sender<Tag>,
    offline: watch::Sender<bool>,
}

/// Where deliveries are told.
pub(crate) struct Deliveries {
    pub(crate) owed: mpsc::Receiver<Tag>,
    pub(crate) devices: mpsc::Receiver<Tag>,
}

impl Line {
    pub(crate) fn new(client: AsyncClient) -> (Self, Deliveries) {
        // As many as there are packet ids can be told between two looks.
        let (delivered, owed) = mpsc::channel(usize::from(u16::MAX));
        let (devices_delivered, devices) = mpsc::channel(usize::from(u16::MAX));
        let state = State { link: Link::default(), client, queued: VecDeque::new(), sent: HashMap::new() };
        let line = Self {
            state: Mutex::new(state),
            link: watch::channel(Link::default()).0,
            replies: watch::channel(0).0,
            delivered,
            devices_delivered,
            offline: watch::channel(false).0,
        };
        (line, Deliveries { owed, devices })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes at each change of the connection.
    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Connected: subscribes first, then lets others send.
    pub(crate) fn up(&self, session: bool, filter: &str) {
        let mut state = self.state();
        state.link = Link { epoch: state.link.epoch + 1, up: true, session };
        // Fails only if the queue is full, and it was emptied when the last connection ended.
        if state.client.try_subscribe(filter, QoS::AtLeastOnce).is_err() {
            tracing::error!("no room to subscribe; the next connection tries again");
        }
        self.link.send_replace(state.link);
    }

    /// Subscribes again on the same connection.
    pub(crate) fn subscribe(&self, epoch: u64, filter: &str) {
        let state = self.state();
        if state.link.up && state.link.epoch == epoch {
            let _ = state.client.try_subscribe(filter, QoS::AtLeastOnce);
        }
    }

    /// Disconnected. `clean` empties the client library's own queues under the lock, so that nothing of the old
    /// connection follows.
    pub(crate) fn down(&self, clean: impl FnOnce()) {
        let mut state = self.state();
        clean();
        state.link = Link { epoch: state.link.epoch + 1, up: false, session: false };
        state.queued.clear();
        state.sent.clear();
        self.replies.send_replace(0);
        self.link.send_replace(state.link);
    }

    /// Hands a message to the client library; `false` if that is not possible now. `epoch` names the connection that
    /// it is for, if it is for one only.
    pub(crate) fn publish(&self, epoch: Option<u64>, topic: &str, payload: Vec<u8>, retain: bool, tag: Tag) -> bool {
        let mut state = self.state();
        if !state.link.up || epoch.is_some_and(|epoch| epoch != state.link.epoch) {
            return false;
        }
        if state.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_err() {
            return false;
        }
        if tag == Tag::Reply {
            self.replies.send_modify(|replies| *replies += 1);
        }
        state.queued.push_back(tag);
        true
    }

    /// Publishes an answer on the connection `epoch`, when there is room.
    pub(super) async fn reply(&self, epoch: u64, topic: &str, payload: Vec<u8>) {
        let mut replies = self.replies.subscribe();
        // The sender lives as long as this line.
        let _ = replies.wait_for(|replies| *replies < MAX_REPLIES).await;
        self.publish(Some(epoch), topic, payload, false, Tag::Reply);
    }

    /// Acknowledges a message on the connection that delivered it.
    pub(super) fn acknowledge(&self, epoch: u64, publish: &Publish) -> bool {
        let state = self.state();
        state.link.up && state.link.epoch == epoch && state.client.try_ack(publish).is_ok()
    }

    /// The client library put the oldest queued message on the wire.
    pub(super) fn on_wire(&self, packet: u16) {
        let mut state = self.state();
        if let Some(tag) = state.queued.pop_front() {
            state.sent.insert(packet, tag);
        }
    }

    /// The broker has it.
    pub(super) fn on_delivered(&self, packet: u16) {
        let tag = self.state().sent.remove(&packet);
        let told = match tag {
            Some(tag @ Tag::Owed(_)) => self.delivered.try_send(tag).is_ok(),
            Some(tag @ Tag::Device(..)) => self.devices_delivered.try_send(tag).is_ok(),
            Some(Tag::Reply) => {
                self.replies.send_modify(|replies| *replies = replies.saturating_sub(1));
                true
            }
            Some(Tag::Offline) => {
                self.offline.send_replace(true);
                true
            }
            Some(Tag::Status) | None => true,
        };
        if !told {
            tracing::debug!(packet, "nobody to tell of a delivery; it will be made again");
        }
    }

    /// Says goodbye: publishes `payload` as the last status, waits for the broker to have it, disconnects.
    pub(super) async fn close(&self, topic: &str, payload: Vec<u8>) {
        if self.publish(None, topic, payload, true, Tag::Offline) {
            let mut offline = self.offline.subscribe();
            let _ = offline.wait_for(|done| *done).await;
            let _ = self.state().client.try_disconnect();
        }
    }
}
