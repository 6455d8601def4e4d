//! What a published message was, and the state of the connection that it was published on.

use bytes::Bytes;

use crate::domain::{ClientId, ThingName};

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

/// What a subscription is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    /// Commands to the agent.
    Commands,
    /// The responses of the broker's dynamic-security plugin.
    Plugin,
}

/// What comes from the broker's dynamic-security plugin.
#[derive(Debug)]
pub(crate) enum FromPlugin {
    /// The subscription to the responses is granted, or not.
    Subscribed(bool),
    /// A response.
    Response(Bytes),
}
