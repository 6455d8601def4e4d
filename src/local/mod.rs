//! The local side: how commands reach the agent on the core device, and how results leave it.

pub mod ipc;
