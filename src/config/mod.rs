//! The configuration: parses JSON text to a typed [`Config`], or returns every fault at once.
//!
//! `keys` has every key with its default, its range and its meaning. `read.rs` reads the text as a
//! whole, and `sections.rs` and `mqtt.rs` its sections, with one function for each. `address.rs`
//! checks the hosts and ports in them. `shown.rs` removes the secrets.

mod address;
pub(crate) mod keys;
mod mqtt;
mod read;
mod sections;
mod settings;
mod shown;

#[cfg(test)]
mod tests;

pub(crate) use address::host_and_port;
pub use mqtt::Mqtt;
pub(crate) use mqtt::{broker_url, default_client_id, readable_password};
pub use read::{environment, parse};
pub(crate) use read::{is_like_a_region, topic_prefix};
pub use sections::{Batch, Endpoints, Ipc, LocalAccess, LogFormat, Rate, Retention, Retry};
pub use settings::{Config, ConfigError};
