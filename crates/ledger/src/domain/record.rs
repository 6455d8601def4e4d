//! What all records have in common. The ledger stores values of the domain as records.
//!
//! A record is JSON. A registry has up to a hundred thousand records of devices, in memory and on
//! flash, and their members and those of other frequent records have names of one or two letters:
//! longer names were up to half of a record.

/// For serde: whether a member may be left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
