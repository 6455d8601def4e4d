//! What every client of the broker shares: its options, TLS, and the explanation of errors. The
//! agent's connection uses it, and so do the commands that query the agent over the broker.

pub(crate) mod client;
pub(crate) mod tls;
