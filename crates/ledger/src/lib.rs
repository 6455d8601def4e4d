//! The ledger of Offboard and the two layers below it, as a crate of their own: nothing here knows
//! a transport, a cloud or a configuration, and the compiler sees to it. Unlike the rest of the
//! agent this crate is compiled for speed (`Cargo.toml` of the workspace).
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
