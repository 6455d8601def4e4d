//! Messages over which the broker ended the connection, and the consequences. MQTT 3.1.1 has no
//! reason code for "too large" or "not allowed".

use std::{
    collections::HashMap,
    mem::{self, Discriminant},
    time::Duration,
};

use tokio::time::Instant;

use super::tag::Tag;

/// A broker that ends the connection over a message does so within this time.
pub(super) const AT_ONCE: Duration = Duration::from_secs(2);

/// Payloads are not shortened below this, in bytes. It is less than any broker's limit, and enough
/// for each kind of message.
const SHORTEST: usize = 4 << 10;

/// How long the agent keeps to a limit that it found. The broker's configuration may have changed
/// since.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// How long messages of a kind are held back if they can be neither shortened nor put on hold one
/// by one. The status, which people look at, is held back for a shorter time.
const KIND_HELD: Duration = Duration::from_secs(3600);
pub(super) const STATUS_HELD: Duration = Duration::from_secs(600);

/// A message that was on the wire, without an acknowledgement, when the broker ended the
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The kind of the message.
    pub(crate) tag: Tag,
    /// The topic of the message.
    pub(crate) topic: String,
    /// The bytes of its payload.
    pub(crate) size: usize,
}

/// The consequences of messages over which the broker ended the connection.
#[derive(Default)]
pub(super) struct Refusals {
    /// The last such message, and how many connections in a row ended at it.
    last: Option<(Refused, u32)>,
    /// The longest payload that is published, and since when, if the broker accepts less than the
    /// configuration says.
    limit: Option<(usize, Instant)>,
    /// A message that cannot be shortened, and since when it is not published.
    dropped: Option<(Refused, Instant)>,
    /// Since when the status, device messages or metrics are not published. A policy that refuses
    /// one message refuses all of its kind.
    kinds: HashMap<Discriminant<Tag>, Instant>,
}

impl Refused {
    /// Whether all messages of its kind are alike to a broker.
    pub(crate) fn is_of_a_kind(&self) -> bool {
        matches!(self.tag, Tag::Device(..) | Tag::Metrics | Tag::Plugin | Tag::Status)
    }

    fn is_like(&self, other: &Self) -> bool {
        self == other || self.is_of_a_kind() && mem::discriminant(&self.tag) == mem::discriminant(&other.tag)
    }
}

impl Refusals {
    /// Notes that the broker ended the connection over this message. If it did so twice at the same
    /// message, the message is shortened when it is published again, or else held back, and it is
    /// returned so that the caller reports it. An unstable network hardly ever ends two connections
    /// within moments of the same message.
    pub(super) fn refused(&mut self, refused: Refused, max_payload: usize) -> Option<Refused> {
        let times = match self.last.take() {
            Some((last, times)) if last.is_like(&refused) => times + 1,
            _ => 1,
        };
        if times < 2 {
            self.last = Some((refused, times));
            return None;
        }
        if refused.is_of_a_kind() {
            self.kinds.insert(mem::discriminant(&refused.tag), Instant::now());
        } else if refused.size > SHORTEST {
            self.limit = Some(((refused.size / 2).clamp(SHORTEST, max_payload), Instant::now()));
        } else {
            self.dropped = Some((refused.clone(), Instant::now()));
        }
        Some(refused)
    }

    /// Whether messages of this kind are held back now.
    pub(super) fn hold(&self, tag: &Tag) -> bool {
        let time = if *tag == Tag::Status { STATUS_HELD } else { KIND_HELD };
        self.kinds.get(&mem::discriminant(tag)).is_some_and(|since| since.elapsed() < time)
    }

    /// The longest payload to publish, where `configured` is what the configuration says.
    pub(super) fn max_payload(&self, configured: usize) -> usize {
        match self.limit {
            Some((limit, since)) if since.elapsed() < REMEMBERED => limit.min(configured),
            _ => configured,
        }
    }

    /// Whether the broker ended the connection over this message, and the message cannot be
    /// shortened.
    pub(super) fn drops(&self, tag: &Tag, topic: &str, size: usize) -> bool {
        self.dropped.as_ref().is_some_and(|(dropped, since)| {
            since.elapsed() < REMEMBERED && dropped.tag == *tag && dropped.topic == topic && dropped.size == size
        })
    }
}
