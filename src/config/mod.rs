//! The configuration: JSON text in, a typed [`Config`] or every fault at once.
//!
//! `read.rs` reads the text as a whole, `sections.rs` and `mqtt.rs` its sections, one function for
//! each; `shown.rs` takes out what nobody should see.

mod mqtt;
mod read;
mod sections;
mod settings;
mod shown;

#[cfg(test)]
mod tests;

pub use mqtt::Mqtt;
pub(crate) use mqtt::{broker_url, readable_password};
pub(crate) use read::is_like_a_region;
pub use read::parse;
pub use sections::{Batch, Endpoints, Ipc, LocalAccess, LogFormat, Rate, Retention, Retry};
pub use settings::{Config, ConfigError};
