//! The present connection: its subscriptions, and the requests in flight on it.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::super::{
    connection::Connection,
    watch::{self, Watch},
};

/// The state of a subscription on the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    /// The subscription was not requested, or it was denied.
    Absent,
    /// The subscription was requested.
    Asked,
    /// The subscription is granted: a message on its stream is a delivery.
    Granted,
}

/// To what the agent subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Commands,
    /// Commands for all core devices, if they are accepted.
    Broadcasts,
    /// The agent's own status.
    Status,
}

impl Subject {
    pub(super) const ALL: [Self; 3] = [Self::Commands, Self::Broadcasts, Self::Status];
}

/// What the server denies, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denied {
    Subscription(Subject),
    Publishing,
}

/// The subject of a request that has no response yet.
pub(super) enum Pending {
    Subscription(Subject),
    /// A publish, by the packet id that the publisher has for it.
    Publish {
        packet: u16,
        topic: String,
        size: usize,
    },
}

/// The present connection, and the requests in flight on it.
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) pending: BTreeMap<i32, (Pending, Instant)>,
    /// The subscriptions, in the order of [`Subject::ALL`], each with its stream.
    pub(super) subscriptions: [(Subscription, i32); 3],
    /// `None` if the subscription to the agent's own status is not possible.
    pub(super) watch: Option<Watch>,
    /// When to try a denied subscription again, and how often it was denied.
    pub(super) resubscribe: Option<Instant>,
    pub(super) denied: u32,
    /// Publishing pauses until this time.
    pub(super) resume_at: Option<Instant>,
    pub(super) epoch: u64,
}

impl Live {
    pub(super) fn is_granted(&self, subject: Subject) -> bool {
        self.subscriptions[subject as usize].0 == Subscription::Granted
    }

    /// Whether a stream is that of a subscription.
    pub(super) fn has_subscription(&self, stream: i32) -> bool {
        self.subscriptions.iter().any(|(_, own)| *own == stream)
    }

    pub(super) fn wakes_at(&self) -> Instant {
        let responses = self.pending.values().map(|(_, until)| *until);
        let others = [self.resubscribe, self.resume_at, self.watch.as_ref().map(Watch::wakes_at)];
        let next = responses.chain(others.into_iter().flatten()).min();
        // A connection without subscriptions and requests has no event to wait for.
        next.unwrap_or_else(|| Instant::now() + watch::IDLE)
    }
}
