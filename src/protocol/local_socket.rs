//! What both ends of the local socket have to agree on.

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "agent.sock";

/// Longest line, in bytes (contract, "Local socket").
pub(crate) const MAX_LINE: usize = 8 << 20;
