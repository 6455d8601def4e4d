//! The faults of a list, by line.

use std::fmt;

/// Maximum number of faults that are reported; the others are only counted.
pub(super) const MAX_REPORTED: usize = 5;

/// A fault in one line, or in the whole list.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Fault {
    pub(in crate::cli) line: Option<usize>,
    pub(in crate::cli) text: String,
}

/// The faults of a list; at least one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Faults {
    pub(in crate::cli) first: Vec<Fault>,
    pub(in crate::cli) count: usize,
}

impl Faults {
    pub(super) fn add(&mut self, line: Option<usize>, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MAX_REPORTED {
            self.first.push(Fault { line, text: text() });
        }
    }

    pub(super) fn one(line: Option<usize>, text: impl Into<String>) -> Self {
        Self { first: vec![Fault { line, text: text.into() }], count: 1 }
    }

    /// The faults, one per line, each with the name of the list.
    pub(in crate::cli) fn report(&self, list: &str) -> String {
        let mut lines: Vec<String> = self.first.iter().map(|fault| format!("{list}{fault}")).collect();
        if self.count > self.first.len() {
            lines.push(format!("{list}: {} more lines are wrong", self.count - self.first.len()));
        }
        lines.join("\n")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, ", line {line}: {}", self.text),
            None => write!(f, ": {}", self.text),
        }
    }
}
