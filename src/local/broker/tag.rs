//! The kind of a published message, and the state of the connection on which it was published.

use bytes::Bytes;

use crate::domain::{ClientId, ThingName};

/// The kind of a published message, which is reported when the broker acknowledges the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A result of the outbox, by its number.
    Owed(u64),
    /// A device's retained message, as of a change.
    Device(ThingName, u64),
    /// The retained status.
    Status,
    /// A command to the broker's dynamic-security plugin, which is not stored.
    Plugin,
    /// Metrics. One such message is in flight at a time, and the next ones are left out meanwhile.
    Metrics,
    /// The status of a clean stop.
    Offline,
    /// A response that is not stored.
    Reply(ClientId),
    /// A response for which no part waits any more.
    GivenUp(ClientId),
}

/// The state of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionState {
    /// Counts connections. The number of an old connection is never used again.
    pub(crate) epoch: u64,
    /// Whether the connection is established.
    pub(crate) up: bool,
    /// Whether the broker kept the previous session.
    pub(crate) session: bool,
}

/// The purpose of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    /// Commands to the agent.
    Commands,
    /// Commands for all core devices.
    Broadcasts,
    /// The responses of the broker's dynamic-security plugin.
    Plugin,
}

/// A message about the broker's dynamic-security plugin.
#[derive(Debug)]
pub(crate) enum FromPlugin {
    /// Whether the broker granted the subscription to the responses.
    Subscribed(bool),
    /// A response.
    Response(Bytes),
}
