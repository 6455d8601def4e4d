//! Reads a JSON object member by member and collects the faults with their paths, instead of
//! stopping at the first fault.
//!
//! The text comes from outside and may have megabytes. Therefore only references into it are kept:
//! a member is parsed when it is requested, and a list is parsed element by element. All faults are
//! counted, and only the first ones are kept.

mod faults;
mod fields;
mod scan;

#[cfg(test)]
mod tests;

pub use faults::{Faults, MAX_FAULTS};
pub use fields::{Fields, Style};
pub use scan::each;
