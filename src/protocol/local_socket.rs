//! The constants on which both ends of the local socket have to agree.

/// The socket's name in the data directory.
pub(crate) const SOCKET: &str = "agent.sock";

/// The longest line, in bytes (docs/interface.md, "Local socket").
pub(crate) const MAX_LINE: usize = 8 << 20;
