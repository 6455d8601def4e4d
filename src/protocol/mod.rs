//! The messages and topics that cross a transport, as docs/interface.md defines them.

mod commands;
pub(crate) mod dynsec;
pub mod json;
pub(crate) mod local_socket;
pub mod messages;
pub mod metrics;
pub mod page;
mod payload;
pub(crate) mod status;
pub(crate) mod topics;

pub use commands::parse_command;
pub use payload::token_of;
pub use topics::{Address, ResultKind, Topics};
