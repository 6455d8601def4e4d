//! The agent's connection to the broker.

mod connection;
mod frames;
mod intake;
mod publisher;
pub(in crate::local) mod retry;
mod session;

pub(crate) use intake::{Intake, Wired};
pub(in crate::local) use publisher::Refused;
pub(crate) use publisher::{ConnectionState, Publisher, Tag};
pub(crate) use session::{Closer, GOODBYE, Mqtt, MqttParts};
