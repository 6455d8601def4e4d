//! The faults of a text, and their places in it.

use std::fmt;

use crate::domain::FieldFault;

/// The most faults of a message that are kept. A rejection that named more would be larger than the
/// message that it answers.
pub const MAX_FAULTS: usize = 20;

/// The most characters of a member's name that are shown.
const MAX_NAME: usize = 160;

/// The faults of a text: the first ones, and the number of all.
#[derive(Debug)]
pub struct Faults {
    first: Vec<FieldFault>,
    count: usize,
    limit: usize,
}

impl Faults {
    /// Keeps the first `limit` faults, and counts all of them.
    #[must_use]
    pub fn limited(limit: usize) -> Self {
        Self { first: Vec::new(), count: 0, limit }
    }

    /// The faults that are kept, and the number of all faults.
    #[must_use]
    pub fn into_parts(self) -> (Vec<FieldFault>, usize) {
        (self.first, self.count)
    }

    /// Whether there is no fault.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn push(&mut self, fault: impl FnOnce() -> FieldFault) {
        self.count += 1;
        if self.first.len() < self.limit {
            self.first.push(fault());
        }
    }
}

/// The place of an object in the text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>, &'a str, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, key) = match self {
            Self::Root => return Ok(()),
            Self::Member(parent, key) | Self::Element(parent, key, _) => (parent, key),
        };
        parent.fmt(f)?;
        if !matches!(parent, Path::Root) {
            f.write_str(".")?;
        }
        // The path shows a member's name as it was sent, except for control characters: each would
        // become six bytes of JSON.
        for c in key.chars().take(MAX_NAME) {
            fmt::Write::write_char(f, if c.is_control() { '\u{fffd}' } else { c })?;
        }
        if let Self::Element(_, _, index) = self { write!(f, "[{index}]") } else { Ok(()) }
    }
}
