//! The ledger of Offboard and the two layers below it, as a crate of their own. Nothing here knows
//! a transport, a cloud or a configuration, and the compiler enforces that. This crate is compiled
//! for speed, and the rest of the agent for size (`Cargo.toml` of the workspace).
//!
//! * [`domain`] has the types and the pure rules.
//! * [`runtime`] has what reads the machine: the clock, users, the stop signal, failpoints.
//! * [`ledger`] is the durable state.
//!
//! The crate exists for the agent and its tests; its interface follows their needs and is not kept
//! stable.

#![forbid(unsafe_code)]

pub mod domain;
pub mod ledger;
pub mod runtime;
