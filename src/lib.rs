//! Offboard: an edge agent that takes client devices off their AWS IoT Greengrass core device.
//!
//! The data flow, the modules and the invariants are in `ARCHITECTURE.md`. The library exists for
//! the binary and the tests; its interface follows their needs and is not kept stable.

#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod domain;
pub mod health;
pub mod ledger;
pub mod protocol;
pub mod runtime;

mod local;
mod mqtt;

/// Decodes frames of Greengrass IPC, for the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_ipc_frames(bytes: &[u8], cut: usize) {
    local::ipc::fuzz(bytes, cut);
}

#[cfg(test)]
mod testing;

/// This build's version, as `status` and `--version` tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
