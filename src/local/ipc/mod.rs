//! Greengrass IPC, the Unix socket that the nucleus gives to every component: commands from AWS IoT
//! Core and from other components, and credentials that recover without a restart.
//!
//! | module | content |
//! | --- | --- |
//! | `frame` | one message of the event-stream RPC protocol as bytes |
//! | `operation` | the few operations that the agent uses, as JSON |
//! | `environment` | where the server is, and as whom to connect |
//! | `connection` | one connection: handshake, frames, single requests |
//! | `watch` | when a connection that delivers nothing counts as dead; pure |
//! | `session` | a transport: commands in, results out |
//! | `problems` | what is wrong with both transports |
//! | `probe` | what `offboard check` tries where no agent runs |

mod connection;
mod environment;
mod frame;
mod operation;
mod probe;
mod problems;
mod session;
mod watch;

pub(crate) use connection::{TokenExchangeAccess, token_exchange_access};
pub(crate) use environment::Environment;
#[cfg(fuzzing)]
pub(crate) use frame::fuzz;
pub(crate) use operation::Way;
pub(crate) use probe::probe;
pub(crate) use problems::{Problems, UNAVAILABLE};
pub(crate) use session::{Ipc, IpcParts};
