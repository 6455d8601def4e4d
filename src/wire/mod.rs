//! What crosses the broker: topics and JSON, in the words of the contract.

mod commands;
pub mod messages;
pub mod page;
mod topics;

pub use commands::{parse_command, token_of};
pub use topics::{Address, ResultKind, Topics};
