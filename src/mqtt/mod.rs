//! What every client of the broker shares: its options, TLS, and what an error means. Used by the
//! agent's connection and by the commands that ask the agent over the broker.

pub(crate) mod client;
pub(crate) mod tls;
