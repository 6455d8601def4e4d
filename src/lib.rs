//! Offboard: an edge agent that takes client devices off their AWS IoT Greengrass core device.
//!
//! The data flow, the modules and the invariants are in `ARCHITECTURE.md`. The library exists for
//! the binary and the tests; its interface follows their needs and is not kept stable.

#![forbid(unsafe_code)]

pub mod batching;
pub mod cli;
pub mod clock;
pub mod cloud;
pub mod conditions;
pub mod config;
pub mod failpoint;
pub mod fields;
pub mod ledger;
pub mod local;
pub mod metrics;
pub mod model;
pub mod wire;

mod agent;
mod answers;
mod causes;
mod cautions;
mod devices;
mod inbox;
mod outbox;
mod rejection_log;
mod socket_results;
mod status;
mod stop;
mod supervisor;
mod sync;
mod transport;
mod upkeep;
mod uplink;
mod users;

#[cfg(test)]
mod schemas;
#[cfg(test)]
mod simulation;

/// This build's version, as `status` and `--version` tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
