//! The agent's connection to the broker.

mod connection;
mod frames;
mod intake;
mod publisher;
mod retry;
mod session;

#[cfg(test)]
pub(crate) use intake::Intake;
pub(crate) use intake::Wired;
pub(crate) use publisher::{ConnectionState, Publisher, Subscription, Tag};
pub(crate) use session::{Closer, GOODBYE, Mqtt, MqttParts};
