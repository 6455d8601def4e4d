//! Offboard: partial build
pub mod config;
pub mod fields;
pub mod model;
pub mod wire;
/// v
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
