//! What a user of the agent can see, against the built binary and a real broker: one binary, so
//! that the product is linked once. A module is a topic; tests/README.md says how to run one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

mod common;

mod architecture;
mod assets;
mod associate;
mod broadcast;
mod broker_faults;
mod brokers;
mod check;
mod cli_output;
mod clocks;
mod cloud_faults;
mod commands;
mod data_directory;
mod disassociation;
mod disk_faults;
mod documents;
mod durability;
mod failing_disk;
mod file_permissions;
mod floods;
mod greengrass;
mod impersonated_agent;
mod ipc;
mod journal_faults;
mod kills;
mod large_responses;
mod local_access;
mod local_socket;
mod long_run;
mod malformed_commands;
mod network;
mod oversized;
mod power_cut;
mod process;
mod rate;
mod readme;
mod recording;
mod release;
mod resource_budget;
mod secrets;
mod senders;
mod store_faults;
mod tls;
mod token_exchange;
mod unacknowledged_publishes;
#[cfg(feature = "watch")]
mod watch;
