//! The agent's connection to the broker.

mod connection;
mod frames;
mod intake;
mod publisher;
mod refusals;
mod retry;
mod session;
mod tag;
mod under_way;

#[cfg(test)]
pub(crate) use intake::Intake;
pub(crate) use intake::Wired;
pub(crate) use publisher::Publisher;
pub(crate) use session::{Closer, GOODBYE, Mqtt, MqttParts};
pub(crate) use tag::{ConnectionState, FromPlugin, Subscription, Tag};
