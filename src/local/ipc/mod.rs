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

mod connection;
mod environment;
mod frame;
mod operation;
mod watch;

#[cfg(fuzzing)]
pub use frame::fuzz;
