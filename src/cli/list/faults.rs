//! What is wrong with a list, by line.

use std::fmt;

/// Faults that are told; the rest is counted.
pub(super) const TOLD: usize = 5;

/// What is wrong with one line, or with all of the list.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Fault {
    pub(in crate::cli) line: Option<usize>,
    pub(in crate::cli) text: String,
}

/// What is wrong with a list; at least one fault.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Faults {
    pub(in crate::cli) first: Vec<Fault>,
    pub(in crate::cli) count: usize,
}

impl Faults {
    pub(super) fn add(&mut self, line: Option<usize>, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(Fault { line, text: text() });
        }
    }

    pub(super) fn one(line: Option<usize>, text: impl Into<String>) -> Self {
        Self { first: vec![Fault { line, text: text.into() }], count: 1 }
    }

    /// The faults in lines of their own, each with the name of the list.
    pub(in crate::cli) fn told(&self, list: &str) -> String {
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
