//! The local side: the broker, the local socket and Greengrass IPC, and the commands and results
//! that pass through them.

pub(crate) mod access;
pub(crate) mod broker;
pub(crate) mod devices;
pub(crate) mod inbound;
pub(crate) mod inbox;
pub(crate) mod ipc;
pub(crate) mod outbox;
pub(crate) mod queries;
pub(crate) mod rejection_log;
pub(crate) mod socket;
pub(crate) mod status;
