//! Limits and guards that the rules of the ledger follow.

use super::Pattern;

/// What is too much, and rejected.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One message's payload in bytes, in either direction.
    pub max_payload_bytes: usize,
    /// Entries that are not ended.
    pub max_pending_entries: u64,
    /// Live bytes in the store.
    pub max_database_bytes: u64,
}

/// What is never, or not lightly, disassociated.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Never disassociated; the core's own name and the MQTT client's are among them.
    pub protected: Vec<Pattern>,
    /// Largest share of the known devices that may go without `force`, 0..1.
    pub max_fraction: f64,
}
