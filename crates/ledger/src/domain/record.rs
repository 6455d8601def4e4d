//! What the records have in common, as which the ledger stores values of the domain.
//!
//! A record is JSON, and its members have names of one or two letters: a registry has up to a
//! hundred thousand records in memory and on flash, and names were half of them.

/// For serde: whether a member may be left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
