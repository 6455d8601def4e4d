//! The messages in flight to the broker on one connection, and whether there is room for more. The
//! client library has 100 slots for messages without an acknowledgement. When all slots are full it
//! sends nothing more, not even an acknowledgement.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use rumqttc::{AsyncClient, QoS};
use tokio::time::Instant;

use super::{
    refusals::Refusals,
    tag::{ConnectionState, Subscription, Tag},
};
use crate::domain::ClientId;

/// The next response waits if more than this many responses are in flight: they must leave slots of
/// the library's table of 100 to other messages.
const MAX_REPLIES: usize = 50;

/// The next response to a client waits if more than this many responses to it are in flight. A
/// client whose results the broker denies must leave room for others.
const MAX_REPLIES_EACH: usize = 16;

/// How long such a response waits, with all that come after it, until it is dropped: responses are
/// not guaranteed. If the broker acknowledged other messages meanwhile, it denies these. If there
/// were no other messages, it may be slow.
const DENIED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// How long a message that the broker never acknowledged counts against its client, or against
/// others of its kind.
pub(super) const FORGIVEN: Duration = Duration::from_secs(300);

/// No other message is sent if more than this many messages are in flight, for responses and for
/// all messages. When the library's table of 100 is full, it sends neither an acknowledgement nor a
/// disconnection.
const MAX_UNDER_WAY: (usize, usize) = (80, 95);

/// No other status is published if this many statuses are in flight.
const MAX_STATUSES: usize = 3;

/// A broker that has not acknowledged a message for this long denies it and will never acknowledge
/// it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The connection is made anew if more than this many messages were never acknowledged. Each of
/// them keeps a slot of the table, and without a free slot the agent's acknowledgements cannot be
/// sent.
const MAX_STUCK: usize = 50;

/// The time between two such reconnections.
const RECONNECT: Duration = Duration::from_secs(60);

/// A published message, with what is reported if the broker ends the connection over it.
pub(super) struct Message {
    pub(super) tag: Tag,
    pub(super) topic: String,
    pub(super) size: usize,
}

/// The connection, and the messages that are in flight on it.
pub(super) struct UnderWay {
    pub(super) connection: ConnectionState,
    pub(super) client: AsyncClient,
    /// Messages that the client library has and that are not on the wire yet.
    pub(super) queued: VecDeque<Message>,
    /// Messages on the wire, by packet id, and since when.
    pub(super) sent: HashMap<u16, (Message, Instant)>,
    pub(super) refusals: Refusals,
    /// Subscriptions that are not on the wire yet, and those that are, by packet id.
    pub(super) subscribing: VecDeque<Subscription>,
    pub(super) subscriptions: HashMap<u16, Subscription>,
    pub(super) replies: usize,
    pub(super) reconnected: Option<Instant>,
    pub(super) acknowledged: Option<Instant>,
    pub(super) closing: bool,
}

impl UnderWay {
    pub(super) fn has_room(&self, tag: &Tag) -> bool {
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
            Tag::Status => self.awaited(tag) < MAX_STATUSES && under_way < MAX_UNDER_WAY.1,
            Tag::Metrics => self.awaited(tag) == 0 && under_way < MAX_UNDER_WAY.1,
            Tag::Owed(_) | Tag::Device(..) | Tag::Plugin | Tag::GivenUp(_) => under_way < MAX_UNDER_WAY.1,
        }
    }

    /// Messages of this kind that the broker may still acknowledge.
    fn awaited(&self, tag: &Tag) -> usize {
        let is_awaited = |(message, since): &&(Message, Instant)| message.tag == *tag && since.elapsed() < FORGIVEN;
        self.queued.iter().filter(|message| message.tag == *tag).count() + self.sent.values().filter(is_awaited).count()
    }

    /// Since when responses to `client` are on the wire.
    fn unanswered(&self, client: &ClientId) -> impl Iterator<Item = Instant> {
        let own = self.sent.values().filter(move |(message, since)| match &message.tag {
            Tag::Reply(to) | Tag::GivenUp(to) => to == client && since.elapsed() < FORGIVEN,
            _ => false,
        });
        own.map(|(_, since)| *since)
    }

    /// Whether the broker accepts no more responses to `client`.
    pub(super) fn denies(&self, client: &ClientId) -> bool {
        self.unanswered(client).count() >= MAX_REPLIES_EACH
            && self.unanswered(client).min().is_some_and(|since| {
                let others = self.acknowledged.is_some_and(|at| at > since);
                since.elapsed() >= if others { DENIED.0 } else { DENIED.1 }
            })
    }

    pub(super) fn clear(&mut self) {
        self.queued.clear();
        self.sent.clear();
        self.subscribing.clear();
        self.subscriptions.clear();
        self.replies = 0;
    }

    /// Passes a subscription to the client library; `false` if its queue is full.
    pub(super) fn subscribe(&mut self, subscription: Subscription, filter: &str) -> bool {
        let is_taken = self.client.try_subscribe(filter, QoS::AtLeastOnce).is_ok();
        if is_taken {
            self.subscribing.push_back(subscription);
        }
        is_taken
    }

    /// Gives up responses that the broker will not acknowledge, and ends a connection that is full
    /// of such messages.
    pub(super) fn sweep(&mut self) {
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
