//! Offboard: an edge agent that disassociates client devices from their AWS IoT Greengrass core
//! device.
//!
//! # Data flow
//!
//! ```text
//!  broker, socket, IPC ─commands─► inbox ──► ledger ──► dispatcher ──calls──► cloud
//!        ▲                                   │  ▲          │ outcomes          │
//!        │ accepted, completed               │  └──────────┘                   │
//!        └────────────── outbox ◄────────────┤  ▲                              │
//!                                            │  └────── reconciler ◄───────────┘
//!                                  journal + registry      list of associated devices
//! ```
//!
//! Requests and outcomes pass through the ledger: the inbox does not call the dispatcher, and the
//! dispatcher does not publish. Each part reads its work from the ledger and writes the result
//! back. A watch channel without data wakes the part. After a restart each part reads the ledger in
//! the same way, so that no part needs code for a restart.
//!
//! Two objects are shared outside of the ledger. The parts write to [`health`], and the status
//! message shows it. The list gate in [`cloud`] coordinates the dispatchers with the reconciler.
//!
//! The diagram omits the queries, whose responses the inbox sends; the publishers of the status, of
//! the device messages and of the metrics; local access, which commands the broker's plugin; and
//! the maintenance.
//!
//! # Modules
//!
//! The table lists the modules from the lowest layer to the highest. A module uses only modules in
//! rows above its own row. [`domain`], [`runtime`] and [`ledger`] are a crate of their own,
//! [`offboard_ledger`].
//!
//! | module | content |
//! | --- | --- |
//! | [`domain`] | types and pure rules: names, operations, requests, outcomes, devices, call kinds, time |
//! | [`runtime`] | what reads the machine: the clock, users, the stop signal, failpoints |
//! | [`protocol`] | what crosses a transport: JSON reader, topics, commands, messages |
//! | [`config`] | the configuration, read and checked |
//! | [`health`] | the state of the outside world, which the parts write and `status` shows |
//! | `mqtt` | what every client of the broker shares |
//! | [`ledger`] | the durable state: pending in memory, journal, registry |
//! | `local` | broker, socket, inbox, outbox, queries, device and status topics |
//! | [`cloud`] | the cloud's API and its AWS form, planner, dispatcher, reconciler, list gate, rate limit |
//! | `agent` | wiring, supervision, shutdown, metrics, maintenance |
//! | [`cli`] | the command line: a file for each kind of subcommand |
//! | `testing` | the simulation, and the generation of schemas; for tests only |
//!
//! `local` and `cloud` never import each other: they meet in the ledger. `domain` imports nothing
//! of the others. The `runtime` and `health` modules are below both sides, since both read the
//! clock, obey the stop signal and report what they see of the world, and neither may import the
//! other or the agent. `mqtt` is below `local` and `cli`, because a command connects to the broker
//! as the agent does. `tests/it/architecture.rs` reads the sources and fails on any other use, and
//! on an import cycle between files.
//!
//! The invariants and the decisions are in `ARCHITECTURE.md`. The library exists for the binary and
//! the tests; its interface follows their needs and is not kept stable.

#![forbid(unsafe_code)]

pub mod cli;
pub mod cloud;
pub mod config;
pub mod health;
pub mod protocol;

mod agent;
mod local;
mod mqtt;

pub use offboard_ledger::{domain, ledger, runtime};

/// Decodes frames of Greengrass IPC, for the fuzzer.
#[cfg(fuzzing)]
pub fn fuzz_ipc_frames(bytes: &[u8], cut: usize) {
    local::ipc::fuzz(bytes, cut);
}

#[cfg(test)]
mod testing;

/// This build's version, as `status` and `--version` report it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
