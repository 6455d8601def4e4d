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

pub(crate) use intake::{Intake, Wired};
pub(crate) use publisher::Publisher;
pub(in crate::local) use refusals::Refused;
pub(in crate::local) use retry::Retry;
pub(crate) use session::{Closer, GOODBYE, Mqtt, MqttParts};
pub(crate) use tag::{ConnectionState, FromPlugin, Subscription, Tag};
