//! Reads a JSON object member by member and collects the faults with their paths, instead of
//! stopping at the first.
//!
//! The text comes from outside and may have megabytes. So nothing is kept of it but references into
//! it: a member is parsed when it is asked for, a list element by element. Faults are counted, and
//! only the first ones are kept.

mod faults;
mod fields;
mod scan;

#[cfg(test)]
mod tests;

pub use faults::{Faults, MAX_FAULTS};
pub use fields::{Fields, Style};
pub use scan::each;
