//! The line to the broker: everything that is sent goes through one lock, which also holds the
//! connection's number. An acknowledgement of an old connection can so never go out on a new one,
//! where its id may be another message's.

use std::{
    collections::{HashMap, VecDeque},
    mem::{self, Discriminant},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rumqttc::{AsyncClient, Publish, QoS};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::domain::{ClientId, ThingName};

/// Answers under way above which the next one waits: they must leave slots of the library's table
/// of 100 to others.
const MAX_REPLIES: usize = 50;

/// Answers to one client under way above which its next one waits: a client whose results the
/// broker denies must leave room for others.
const MAX_REPLIES_EACH: usize = 16;

/// How long that one waits, with all that comes after it, until it is dropped: answers are not
/// promised. The broker denies them if it acknowledged others meanwhile; if there were no others it
/// may be slow.
const DENIED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// How long a message that the broker never acknowledged counts against its client.
const FORGIVEN: Duration = Duration::from_secs(300);

/// Messages under way above which no other is handed over, answers and all: the library takes
/// nothing more, neither an acknowledgement nor a disconnection, once its table of 100 is full.
const MAX_UNDER_WAY: (usize, usize) = (80, 95);

/// Statuses under way above which no other is published.
const MAX_STATUSES: usize = 3;

/// Without an acknowledgement for so long, a broker that denies a message will never give one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Such messages above which the connection is made anew: each keeps a slot of the table, and
/// without a free slot not even our acknowledgements leave.
const MAX_STUCK: usize = 50;

/// Time between two such reconnections.
const RECONNECT: Duration = Duration::from_secs(60);

/// A broker that ends the connection over a message does so at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Payloads are not shortened below this, in bytes: less than any broker's limit, and enough for
/// each kind of message.
const SHORTEST: usize = 4 << 10;

/// How long the agent keeps to a limit that it found: the broker's configuration may have been
/// changed since.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How long messages of a kind are held back that can be neither shortened nor put on hold one by
/// one; the status, which people look at, for a shorter time.
const KIND_HELD: Duration = Duration::from_secs(3600);
const STATUS_HELD: Duration = Duration::from_secs(600);

/// What a published message was, to be told when the broker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// From the outbox, by its number.
    Owed(u64),
    /// A device's retained message, as of a change.
    Device(ThingName, u64),
    /// The retained status.
    Status,
    /// A command to the broker's dynamic-security plugin, which is not kept.
    Plugin,
    /// Metrics: one message under way at a time, and the next ones left out meanwhile.
    Metrics,
    /// The status of a clean stop.
    Offline,
    /// An answer that is not kept.
    Reply(ClientId),
    /// One that nobody waits for any more.
    GivenUp(ClientId),
}

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    /// Commands to the agent.
    Commands,
    /// The responses of the broker's dynamic-security plugin.
    Plugin,
}

/// The connection's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionState {
    /// Counts connections; an old one's number is never used again.
    pub(crate) epoch: u64,
    /// Connected.
    pub(crate) up: bool,
    /// The broker kept the session from before.
    pub(crate) session: bool,
}

/// A published message: what it was, and what is known of it if the broker ends the connection over
/// it.
struct Message {
    tag: Tag,
    topic: String,
    size: usize,
}

/// A message that was on the wire, without an acknowledgement, when the broker ended the
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What it was.
    pub(crate) tag: Tag,
    /// Where it was published.
    pub(crate) topic: String,
    /// Bytes of its payload.
    pub(crate) size: usize,
}

/// What follows from messages over which the broker ended the connection.
#[derive(Default)]
struct Refusals {
    /// The last one, and how many connections in a row ended at it.
    last: Option<(Refused, u32)>,
    /// Longest payload that is published, and since when, where the broker takes less than the
    /// configuration says.
    limit: Option<(usize, Instant)>,
    /// A message that cannot be shortened, and since when it is not published.
    dropped: Option<(Refused, Instant)>,
    /// Since when no status, no device's message and no metrics are published: a policy that
    /// refuses one refuses all of its kind.
    kinds: HashMap<Discriminant<Tag>, Instant>,
}

impl Refused {
    /// Whether the messages of its kind are alike to a broker.
    pub(crate) fn is_of_a_kind(&self) -> bool {
        matches!(self.tag, Tag::Device(..) | Tag::Metrics | Tag::Plugin | Tag::Status)
    }

    fn is_like(&self, other: &Self) -> bool {
        self == other || self.is_of_a_kind() && mem::discriminant(&self.tag) == mem::discriminant(&other.tag)
    }
}

struct State {
    link: ConnectionState,
    client: AsyncClient,
    /// Given to the client library, which has not put them on the wire.
    queued: VecDeque<Message>,
    /// On the wire, by packet id, and since when.
    sent: HashMap<u16, (Message, Instant)>,
    refusals: Refusals,
    /// Subscriptions that are not on the wire yet, and those that are, by packet id.
    subscribing: VecDeque<Subscription>,
    subscriptions: HashMap<u16, Subscription>,
    replies: usize,
    statuses: usize,
    reconnected: Option<Instant>,
    acknowledged: Option<Instant>,
    closing: bool,
}

impl State {
    fn has_room(&self, tag: &Tag) -> bool {
        let under_way = self.queued.len() + self.sent.len();
        match tag {
            Tag::Offline => true,
            Tag::Reply(client) => {
                let is_reply = |message: &&Message| matches!(&message.tag, Tag::Reply(to) if to == client);
                let waiting = self.queued.iter().filter(is_reply).count();
                waiting + self.unanswered(client).count() < MAX_REPLIES_EACH
                    && self.replies < MAX_REPLIES
                    && under_way < MAX_UNDER_WAY.0
            }
            Tag::Status => self.statuses < MAX_STATUSES && under_way < MAX_UNDER_WAY.1,
            Tag::Metrics => {
                let mut all = self.queued.iter().chain(self.sent.values().map(|(message, _)| message));
                !all.any(|message| message.tag == Tag::Metrics) && under_way < MAX_UNDER_WAY.1
            }
            Tag::Owed(_) | Tag::Device(..) | Tag::Plugin | Tag::GivenUp(_) => under_way < MAX_UNDER_WAY.1,
        }
    }

    /// Since when answers to `client` are on the wire.
    fn unanswered(&self, client: &ClientId) -> impl Iterator<Item = Instant> {
        let own = self.sent.values().filter(move |(message, since)| match &message.tag {
            Tag::Reply(to) | Tag::GivenUp(to) => to == client && since.elapsed() < FORGIVEN,
            _ => false,
        });
        own.map(|(_, since)| *since)
    }

    /// Whether the broker takes no more answers to `client`.
    fn denies(&self, client: &ClientId) -> bool {
        self.unanswered(client).count() >= MAX_REPLIES_EACH
            && self.unanswered(client).min().is_some_and(|since| {
                let others = self.acknowledged.is_some_and(|at| at > since);
                since.elapsed() >= if others { DENIED.0 } else { DENIED.1 }
            })
    }

    fn clear(&mut self) {
        self.queued.clear();
        self.sent.clear();
        self.subscribing.clear();
        self.subscriptions.clear();
        self.replies = 0;
        self.statuses = 0;
    }

    /// Hands a subscription to the client library; `false` if its queue is full.
    fn subscribe(&mut self, subscription: Subscription, filter: &str) -> bool {
        let is_taken = self.client.try_subscribe(filter, QoS::AtLeastOnce).is_ok();
        if is_taken {
            self.subscribing.push_back(subscription);
        }
        is_taken
    }

    /// Gives up on answers that nobody will acknowledge, and on a connection that is full of such
    /// messages.
    fn sweep(&mut self) {
        let mut stuck = 0;
        for (message, since) in self.sent.values_mut() {
            if since.elapsed() >= PATIENCE {
                stuck += 1;
                if let Tag::Reply(client) = &message.tag {
                    message.tag = Tag::GivenUp(client.clone());
                    self.replies = self.replies.saturating_sub(1);
                }
            }
        }
        if stuck >= MAX_STUCK && !self.closing && self.reconnected.is_none_or(|at| at.elapsed() >= RECONNECT) {
            tracing::warn!(stuck, "the broker does not acknowledge; connecting anew without these messages");
            self.reconnected = Some(Instant::now());
            let _ = self.client.try_disconnect();
        }
    }
}

/// See the module.
pub(crate) struct Publisher {
    state: Mutex<State>,
    link: watch::Sender<ConnectionState>,
    room: watch::Sender<()>,
    delivered: mpsc::Sender<Tag>,
    devices_delivered: mpsc::Sender<Tag>,
    offline: watch::Sender<bool>,
}

/// Where deliveries are told.
pub(crate) struct Deliveries {
    pub(crate) owed: mpsc::Receiver<Tag>,
    pub(crate) devices: mpsc::Receiver<Tag>,
}

impl Publisher {
    pub(crate) fn new(client: AsyncClient) -> (Self, Deliveries) {
        // As many as there are packet ids can be told between two looks.
        let (delivered, owed) = mpsc::channel(usize::from(u16::MAX));
        let (devices_delivered, devices) = mpsc::channel(usize::from(u16::MAX));
        let state = State {
            link: ConnectionState::default(),
            client,
            queued: VecDeque::new(),
            sent: HashMap::new(),
            refusals: Refusals::default(),
            subscribing: VecDeque::new(),
            subscriptions: HashMap::new(),
            replies: 0,
            statuses: 0,
            reconnected: None,
            acknowledged: None,
            closing: false,
        };
        let line = Self {
            state: Mutex::new(state),
            link: watch::channel(ConnectionState::default()).0,
            room: watch::channel(()).0,
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
    pub(crate) fn link(&self) -> watch::Receiver<ConnectionState> {
        self.link.subscribe()
    }

    /// Connected: subscribes first, then lets others send.
    pub(crate) fn up(&self, session: bool, filter: &str) {
        let mut state = self.state();
        state.link = ConnectionState { epoch: state.link.epoch + 1, up: true, session };
        // Fails only if the queue is full, and it was emptied when the last connection ended.
        if !state.subscribe(Subscription::Commands, filter) {
            tracing::error!("no room to subscribe; the next connection tries again");
        }
        self.link.send_replace(state.link);
    }

    /// Subscribes on the connection `epoch`.
    pub(crate) fn subscribe(&self, epoch: u64, subscription: Subscription, filter: &str) {
        let mut state = self.state();
        if state.link.up && state.link.epoch == epoch {
            let _ = state.subscribe(subscription, filter);
        }
    }

    /// The client library put the oldest waiting subscription on the wire.
    pub(crate) fn subscription_on_wire(&self, packet: u16) {
        let mut state = self.state();
        if let Some(subscription) = state.subscribing.pop_front() {
            state.subscriptions.insert(packet, subscription);
        }
    }

    /// The broker answered the subscription with that packet id: what it was for.
    pub(crate) fn subscription_answered(&self, packet: u16) -> Option<Subscription> {
        self.state().subscriptions.remove(&packet)
    }

    /// Disconnected. `clean` empties the client library's own queues under the lock, so that
    /// nothing of the old connection follows.
    pub(crate) fn down(&self, clean: impl FnOnce()) {
        let mut state = self.state();
        clean();
        state.link = ConnectionState { epoch: state.link.epoch + 1, up: false, session: false };
        state.clear();
        self.room.send_replace(());
        self.link.send_replace(state.link);
    }

    /// Hands a message to the client library; `false` if that is not possible now. `epoch` names
    /// the connection that it is for, if it is for one only. Metrics and device messages over whose
    /// kind the broker ends connections count as handed over: they are never acknowledged.
    pub(crate) fn publish(&self, epoch: Option<u64>, topic: &str, payload: Vec<u8>, retain: bool, tag: Tag) -> bool {
        let mut state = self.state();
        if !state.link.up || epoch.is_some_and(|epoch| epoch != state.link.epoch) {
            return false;
        }
        let time = if tag == Tag::Status { STATUS_HELD } else { KIND_HELD };
        if state.refusals.kinds.get(&mem::discriminant(&tag)).is_some_and(|since| since.elapsed() < time) {
            // The status is tried again, as it is then.
            return tag != Tag::Status;
        }
        state.sweep();
        if !state.has_room(&tag) {
            return false;
        }
        let size = payload.len();
        if state.client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_err() {
            return false;
        }
        state.replies += usize::from(matches!(tag, Tag::Reply(_)));
        state.statuses += usize::from(tag == Tag::Status);
        state.queued.push_back(Message { tag, topic: topic.to_owned(), size });
        true
    }

    /// Publishes an answer to `client` on the connection `epoch`, when there is room; not at all if
    /// the broker takes none to this client, or ends the connection over this answer.
    pub(crate) async fn reply(&self, epoch: u64, client: ClientId, topic: &str, payload: Vec<u8>) {
        let tag = Tag::Reply(client.clone());
        let mut room = self.room.subscribe();
        if self.drops(&tag, topic, payload.len()) {
            tracing::warn!(%client, topic, "an answer over which the broker ended the connection twice is dropped");
            return;
        }
        loop {
            {
                let mut state = self.state();
                state.sweep();
                if state.has_room(&tag) || state.link.epoch != epoch {
                    break;
                }
                if state.denies(&client) {
                    tracing::debug!(%client, "the broker does not acknowledge answers to this client; dropped");
                    return;
                }
            }
            // Looks again also without a wake-up, since what is given up wakes nobody.
            let _ = tokio::time::timeout(PATIENCE / 10, room.changed()).await;
        }
        self.publish(Some(epoch), topic, payload, false, tag);
    }

    /// Acknowledges a message on the connection that delivered it.
    pub(crate) fn acknowledge(&self, epoch: u64, publish: &Publish) -> bool {
        let state = self.state();
        state.link.up && state.link.epoch == epoch && state.client.try_ack(publish).is_ok()
    }

    /// The client library put the oldest queued message on the wire.
    pub(crate) fn on_wire(&self, packet: u16) {
        let mut state = self.state();
        if let Some(message) = state.queued.pop_front() {
            state.sent.insert(packet, (message, Instant::now()));
        }
    }

    /// The broker has it.
    pub(crate) fn on_delivered(&self, packet: u16) {
        let tag = {
            let mut state = self.state();
            state.acknowledged = Some(Instant::now());
            let tag = state.sent.remove(&packet).map(|(message, _)| message.tag);
            match tag {
                Some(Tag::Reply(_)) => state.replies = state.replies.saturating_sub(1),
                Some(Tag::Status) => state.statuses = state.statuses.saturating_sub(1),
                _ => {}
            }
            tag
        };
        let told = match tag {
            Some(tag @ Tag::Owed(_)) => self.delivered.try_send(tag).is_ok(),
            Some(tag @ Tag::Device(..)) => self.devices_delivered.try_send(tag).is_ok(),
            Some(Tag::Offline) => {
                self.offline.send_replace(true);
                true
            }
            Some(Tag::Reply(_) | Tag::Status | Tag::Metrics | Tag::Plugin | Tag::GivenUp(_)) | None => true,
        };
        self.room.send_replace(());
        if !told {
            tracing::debug!(packet, "nobody to tell of a delivery; it will be made again");
        }
    }

    /// Before [`Self::down`]: the broker ended the connection. Where it did so twice at the same
    /// message, and at once, that message is shortened at its next publishing, or else held back;
    /// the message is returned to be reported.
    ///
    /// The oldest message without an acknowledgement is the one: a broker handles what it receives
    /// in order. A network that comes and goes hardly ever does so twice within moments of the same
    /// message.
    pub(crate) fn ended_by_broker(&self, max_payload: usize) -> Option<Refused> {
        let mut state = self.state();
        let (message, since) = state.sent.values().min_by_key(|(_, since)| *since)?;
        if since.elapsed() > AT_ONCE {
            return None;
        }
        let Message { tag, topic, size } = message;
        let refused = Refused { tag: tag.clone(), topic: topic.clone(), size: *size };
        let times = match state.refusals.last.take() {
            Some((last, times)) if last.is_like(&refused) => times + 1,
            _ => 1,
        };
        if times < 2 {
            state.refusals.last = Some((refused, times));
            return None;
        }
        if refused.is_of_a_kind() {
            state.refusals.kinds.insert(mem::discriminant(&refused.tag), Instant::now());
        } else if refused.size > SHORTEST {
            state.refusals.limit = Some(((refused.size / 2).clamp(SHORTEST, max_payload), Instant::now()));
        } else {
            state.refusals.dropped = Some((refused.clone(), Instant::now()));
        }
        Some(refused)
    }

    /// Longest payload to publish, where `configured` is what the configuration says.
    pub(crate) fn max_payload(&self, configured: usize) -> usize {
        match self.state().refusals.limit {
            Some((limit, since)) if since.elapsed() < REMEMBERED => limit.min(configured),
            _ => configured,
        }
    }

    /// Whether the broker ended the connection over this message, which cannot be shortened.
    pub(crate) fn drops(&self, tag: &Tag, topic: &str, size: usize) -> bool {
        self.state().refusals.dropped.as_ref().is_some_and(|(dropped, since)| {
            since.elapsed() < REMEMBERED && dropped.tag == *tag && dropped.topic == topic && dropped.size == size
        })
    }

    /// When the broker last acknowledged anything.
    pub(crate) fn acknowledged_at(&self) -> Option<Instant> {
        self.state().acknowledged
    }

    /// Ends this connection, for another.
    pub(super) fn disconnect(&self) {
        let _ = self.state().client.try_disconnect();
    }

    /// Whether a disconnection is the end, and not the way to another connection.
    pub(super) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Says goodbye: publishes `payload` as the last status, waits for the broker to have it,
    /// disconnects.
    pub(super) async fn close(&self, topic: &str, payload: Vec<u8>) {
        self.state().closing = true;
        if self.publish(None, topic, payload, true, Tag::Offline) {
            let mut offline = self.offline.subscribe();
            let _ = offline.wait_for(|done| *done).await;
            let _ = self.state().client.try_disconnect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The broker's end comes right after `tag` was put on the wire.
    fn end_at(line: &Publisher, tag: &Tag, size: usize) -> Option<Refused> {
        line.up(true, "filter");
        assert!(line.publish(None, "topic", vec![b'x'; size], false, tag.clone()));
        line.on_wire(1);
        let refused = line.ended_by_broker(130_000);
        line.down(|| ());
        refused
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_over_which_the_broker_ends_the_connection_is_held_back_and_others_are_not() {
        let (sender, _requests) = flume::bounded(100);
        let (line, _deliveries) = Publisher::new(AsyncClient::from_senders(sender));
        assert_eq!(end_at(&line, &Tag::Status, 400), None, "once may be chance");
        assert!(end_at(&line, &Tag::Status, 410).is_some());
        line.up(true, "filter");
        assert!(!line.publish(None, "status", vec![], true, Tag::Status));
        assert!(line.publish(None, "results", vec![], false, Tag::Owed(1)));
        tokio::time::advance(STATUS_HELD).await;
        assert!(line.publish(None, "status", vec![], true, Tag::Status));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_on_the_wire_for_a_while_is_not_the_cause() {
        let (sender, _requests) = flume::bounded(100);
        let (line, _deliveries) = Publisher::new(AsyncClient::from_senders(sender));
        for _ in 0..5 {
            line.up(true, "filter");
            assert!(line.publish(None, "topic", vec![], false, Tag::Owed(1)));
            line.on_wire(1);
            tokio::time::advance(AT_ONCE * 2).await;
            assert_eq!(line.ended_by_broker(130_000), None);
            line.down(|| ());
        }
    }
}
