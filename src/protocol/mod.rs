//! What crosses the broker: topics and JSON, in the words of the contract.

mod commands;
pub(crate) mod dynsec;
pub mod json;
pub mod messages;
pub mod page;
mod payload;
mod topics;

pub use commands::parse_command;
pub use payload::token_of;
pub use topics::{Address, ResultKind, Topics};
