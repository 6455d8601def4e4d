//! The publisher: everything that the agent sends to the broker passes through one lock, which also
//! holds the number of the connection. Therefore an acknowledgement of an old connection is never
//! sent on a new one, where its packet id may belong to another message.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rumqttc::{AsyncClient, Publish, QoS};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    refusals::{AT_ONCE, Refusals, Refused},
    tag::{ConnectionState, Subscription, Tag},
    under_way::{Message, PATIENCE, UnderWay},
};
use crate::domain::ClientId;

/// Sends messages to the broker; see the module.
pub(crate) struct Publisher {
    state: Mutex<UnderWay>,
    connection: watch::Sender<ConnectionState>,
    room: watch::Sender<()>,
    delivered: mpsc::Sender<Tag>,
    devices_delivered: mpsc::Sender<Tag>,
    offline: watch::Sender<bool>,
}

/// Where deliveries are reported.
pub(crate) struct Deliveries {
    pub(crate) owed: mpsc::Receiver<Tag>,
    pub(crate) devices: mpsc::Receiver<Tag>,
}

impl Publisher {
    pub(crate) fn new(client: AsyncClient) -> (Self, Deliveries) {
        // There can be as many deliveries as packet ids before the receiver reads them.
        let (delivered, owed) = mpsc::channel(usize::from(u16::MAX));
        let (devices_delivered, devices) = mpsc::channel(usize::from(u16::MAX));
        let state = UnderWay {
            connection: ConnectionState::default(),
            client,
            queued: VecDeque::new(),
            sent: HashMap::new(),
            refusals: Refusals::default(),
            subscribing: VecDeque::new(),
            subscriptions: HashMap::new(),
            replies: 0,
            reconnected: None,
            acknowledged: None,
            closing: false,
        };
        let publisher = Self {
            state: Mutex::new(state),
            connection: watch::channel(ConnectionState::default()).0,
            room: watch::channel(()).0,
            delivered,
            devices_delivered,
            offline: watch::channel(false).0,
        };
        (publisher, Deliveries { owed, devices })
    }

    fn state(&self) -> MutexGuard<'_, UnderWay> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes at each change of the connection.
    pub(crate) fn connection_state(&self) -> watch::Receiver<ConnectionState> {
        self.connection.subscribe()
    }

    /// Notes that the connection is established: subscribes first, then lets the other parts send.
    pub(crate) fn up(&self, session: bool, filter: &str) {
        let mut state = self.state();
        state.connection = ConnectionState { epoch: state.connection.epoch + 1, up: true, session };
        // This fails only if the queue is full, and it was emptied when the last connection ended.
        if !state.subscribe(Subscription::Commands, filter) {
            tracing::error!("no room to subscribe; the next connection tries again");
        }
        self.connection.send_replace(state.connection);
    }

    /// Subscribes on the connection `epoch`.
    pub(crate) fn subscribe(&self, epoch: u64, subscription: Subscription, filter: &str) {
        let mut state = self.state();
        if state.connection.up && state.connection.epoch == epoch {
            let _ = state.subscribe(subscription, filter);
        }
    }

    /// Notes that the client library put the oldest queued subscription on the wire.
    pub(super) fn subscription_on_wire(&self, packet: u16) {
        let mut state = self.state();
        if let Some(subscription) = state.subscribing.pop_front() {
            state.subscriptions.insert(packet, subscription);
        }
    }

    /// Notes the broker's response to the subscription with that packet id. Returns the purpose of
    /// the subscription.
    pub(super) fn subscription_answered(&self, packet: u16) -> Option<Subscription> {
        self.state().subscriptions.remove(&packet)
    }

    /// Notes that the connection ended. `clean` empties the client library's own queues under the
    /// lock, so that no message of the old connection is sent later.
    pub(crate) fn down(&self, clean: impl FnOnce()) {
        let mut state = self.state();
        clean();
        state.connection = ConnectionState { epoch: state.connection.epoch + 1, up: false, session: false };
        state.clear();
        self.room.send_replace(());
        self.connection.send_replace(state.connection);
    }

    /// Passes a message to the client library; `false` if that is not possible now. `epoch` is the
    /// connection for which the message is meant, if it is meant for one only. Metrics and device
    /// messages count as sent while the broker ends connections over messages of their kind, since
    /// they are never acknowledged.
    pub(crate) fn publish(&self, epoch: Option<u64>, topic: &str, payload: Vec<u8>, retain: bool, tag: Tag) -> bool {
        let mut state = self.state();
        if !state.connection.up || epoch.is_some_and(|epoch| epoch != state.connection.epoch) {
            return false;
        }
        if state.refusals.hold(&tag) {
            // The status is tried again with its content at that time.
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
        state.queued.push_back(Message { tag, topic: topic.to_owned(), size });
        true
    }

    /// Publishes a response to `client` on the connection `epoch`, when there is room. Drops the
    /// response if the broker accepts none for this client, or ends the connection over this
    /// response.
    pub(crate) async fn reply(&self, epoch: u64, client: ClientId, topic: &str, payload: Vec<u8>) {
        let tag = Tag::Reply(client.clone());
        let mut room = self.room.subscribe();
        if self.drops(&tag, topic, payload.len()) {
            tracing::warn!(%client, topic, "a response over which the broker ended the connection twice is dropped");
            return;
        }
        loop {
            {
                let mut state = self.state();
                state.sweep();
                if state.has_room(&tag) || state.connection.epoch != epoch {
                    break;
                }
                if state.denies(&client) {
                    tracing::debug!(%client, "the broker does not acknowledge responses to this client; the response is dropped");
                    return;
                }
            }
            // Checks again without a wake-up, too, since a message that is given up wakes no part.
            let _ = tokio::time::timeout(PATIENCE / 10, room.changed()).await;
        }
        self.publish(Some(epoch), topic, payload, false, tag);
    }

    /// Acknowledges a message on the connection that delivered it.
    pub(crate) fn acknowledge(&self, epoch: u64, publish: &Publish) -> bool {
        let state = self.state();
        state.connection.up && state.connection.epoch == epoch && state.client.try_ack(publish).is_ok()
    }

    /// Notes that the client library put the oldest queued message on the wire.
    pub(crate) fn on_wire(&self, packet: u16) {
        let mut state = self.state();
        if let Some(message) = state.queued.pop_front() {
            state.sent.insert(packet, (message, Instant::now()));
        }
    }

    /// Notes that the broker acknowledged a message.
    pub(crate) fn on_delivered(&self, packet: u16) {
        let tag = {
            let mut state = self.state();
            state.acknowledged = Some(Instant::now());
            let tag = state.sent.remove(&packet).map(|(message, _)| message.tag);
            if let Some(Tag::Reply(_)) = tag {
                state.replies = state.replies.saturating_sub(1);
            }
            tag
        };
        let is_reported = match tag {
            Some(tag @ Tag::Owed(_)) => self.delivered.try_send(tag).is_ok(),
            Some(tag @ Tag::Device(..)) => self.devices_delivered.try_send(tag).is_ok(),
            Some(Tag::Offline) => {
                self.offline.send_replace(true);
                true
            }
            Some(Tag::Reply(_) | Tag::Status | Tag::Metrics | Tag::Plugin | Tag::GivenUp(_)) | None => true,
        };
        self.room.send_replace(());
        if !is_reported {
            tracing::debug!(packet, "a delivery could not be reported; the message will be published again");
        }
    }

    /// Notes that the broker ended the connection; called before [`Self::down`]. Returns the
    /// message over which it did so, if there is one ([`Refusals::refused`]).
    ///
    /// It is the oldest message without an acknowledgement, since a broker handles the messages in
    /// the order in which it receives them.
    pub(crate) fn ended_by_broker(&self, max_payload: usize) -> Option<Refused> {
        let mut state = self.state();
        let (message, since) = state.sent.values().min_by_key(|(_, since)| *since)?;
        if since.elapsed() > AT_ONCE {
            return None;
        }
        let Message { tag, topic, size } = message;
        let refused = Refused { tag: tag.clone(), topic: topic.clone(), size: *size };
        state.refusals.refused(refused, max_payload)
    }

    /// The longest payload to publish, where `configured` is what the configuration says.
    pub(crate) fn max_payload(&self, configured: usize) -> usize {
        self.state().refusals.max_payload(configured)
    }

    /// Whether the broker ended the connection over this message, and the message cannot be
    /// shortened.
    pub(crate) fn drops(&self, tag: &Tag, topic: &str, size: usize) -> bool {
        self.state().refusals.drops(tag, topic, size)
    }

    /// When the broker last acknowledged a message.
    pub(crate) fn acknowledged_at(&self) -> Option<Instant> {
        self.state().acknowledged
    }

    /// Ends this connection, to make another one.
    pub(in crate::local) fn disconnect(&self) {
        let _ = self.state().client.try_disconnect();
    }

    /// Whether a disconnection ends the service, instead of leading to another connection.
    pub(in crate::local) fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Ends the service cleanly: publishes `payload` as the last status, waits for the broker to
    /// acknowledge it, and disconnects.
    pub(in crate::local) async fn close(&self, topic: &str, payload: Vec<u8>) {
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
    use super::{
        super::{refusals::STATUS_HELD, under_way::FORGIVEN},
        *,
    };

    /// What follows if the broker ends the connection right after `tag` was put on the wire.
    fn end_at(publisher: &Publisher, tag: &Tag, size: usize) -> Option<Refused> {
        publisher.up(true, "filter");
        assert!(publisher.publish(None, "topic", vec![b'x'; size], false, tag.clone()));
        publisher.on_wire(1);
        let refused = publisher.ended_by_broker(130_000);
        publisher.down(|| ());
        refused
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_over_which_the_broker_ends_the_connection_is_held_back_and_others_are_not() {
        let (sender, _requests) = flume::bounded(100);
        let (publisher, _deliveries) = Publisher::new(AsyncClient::from_senders(sender));
        assert_eq!(end_at(&publisher, &Tag::Status, 400), None, "once may be chance");
        assert!(end_at(&publisher, &Tag::Status, 410).is_some());
        publisher.up(true, "filter");
        assert!(!publisher.publish(None, "status", vec![], true, Tag::Status));
        assert!(publisher.publish(None, "results", vec![], false, Tag::Owed(1)));
        tokio::time::advance(STATUS_HELD).await;
        assert!(publisher.publish(None, "status", vec![], true, Tag::Status));
    }

    /// Such as a publish over Greengrass IPC that is denied: nothing acknowledges it.
    #[tokio::test(start_paused = true)]
    async fn statuses_and_metrics_that_are_never_acknowledged_make_room_for_others() {
        let (sender, _requests) = flume::bounded(100);
        let (publisher, _deliveries) = Publisher::new(AsyncClient::from_senders(sender));
        publisher.up(true, "filter");
        let mut packet = 0;
        let mut published = |tag: Tag| {
            let is_published = publisher.publish(None, "topic", vec![], true, tag);
            if is_published {
                packet += 1;
                publisher.on_wire(packet);
            }
            is_published
        };
        let mut round =
            || [Tag::Status, Tag::Status, Tag::Status, Tag::Status, Tag::Metrics, Tag::Metrics].map(&mut published);
        let expected = [true, true, true, false, true, false];
        assert_eq!(round(), expected);
        assert_eq!(round(), [false; 6]);
        tokio::time::advance(FORGIVEN).await;
        assert_eq!(round(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_on_the_wire_for_a_while_is_not_the_cause() {
        let (sender, _requests) = flume::bounded(100);
        let (publisher, _deliveries) = Publisher::new(AsyncClient::from_senders(sender));
        for _ in 0..5 {
            publisher.up(true, "filter");
            assert!(publisher.publish(None, "topic", vec![], false, Tag::Owed(1)));
            publisher.on_wire(1);
            tokio::time::advance(AT_ONCE * 2).await;
            assert_eq!(publisher.ended_by_broker(130_000), None);
            publisher.down(|| ());
        }
    }
}
