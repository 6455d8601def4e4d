//! Offboard: partial build
mod clock;
pub mod config;
pub mod fields;
pub mod ledger;
pub mod model;
pub mod wire;
/// v
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
