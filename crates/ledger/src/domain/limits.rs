//! Limits and guards that the rules of the ledger enforce.

use super::Pattern;

/// Limits above which a command is rejected.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum size of one message's payload in bytes, in either direction.
    pub max_payload_bytes: usize,
    /// Maximum number of entries that have not ended.
    pub max_pending_entries: u64,
    /// Maximum number of live bytes in the store.
    pub max_database_bytes: u64,
}

/// Guards against disassociating the wrong devices.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Names that are never disassociated; they include the core device's own name and the MQTT
    /// client's name.
    pub protected: Vec<Pattern>,
    /// Largest share of the known devices, 0 to 1, that may be disassociated without `force`.
    pub max_fraction: f64,
}
