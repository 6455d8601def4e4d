//! The names in a list that were found.

use std::collections::HashSet;

use super::faults::{Faults, MAX_REPORTED};
use crate::domain::operations::spec::Names;

/// Maximum number of characters of a faulty value that are shown.
const SHOWN: usize = 80;

/// Checks one name.
///
/// # Errors
/// The value, and the rule that it violates.
pub(in crate::cli) fn check(names: &Names, name: &str) -> Result<(), String> {
    (names.kind.check)(name).map_err(|rule| format!("{} {rule}", quoted(name)))
}

/// The names and faults that were found so far.
pub(super) struct Found<'k> {
    pub(super) kind: &'k Names,
    pub(super) names: Vec<String>,
    pub(super) seen: HashSet<String>,
    pub(super) faults: Faults,
}

impl Found<'_> {
    pub(super) fn name(&mut self, line: impl FnOnce() -> usize, name: &str) {
        match check(self.kind, name) {
            Ok(()) => {
                if self.seen.insert(name.to_owned()) {
                    self.names.push(name.to_owned());
                }
            }
            Err(text) => self.fault(line, || text),
        }
    }

    pub(super) fn fault(&mut self, line: impl FnOnce() -> usize, text: impl FnOnce() -> String) {
        // Computing a line number is slow, so only reported faults get one.
        let line = (self.faults.first.len() < MAX_REPORTED).then(line);
        self.faults.add(line, text);
    }
}

/// A value as messages show it, cut to the maximum length.
pub(super) fn quoted(value: &str) -> String {
    let cut: String = value.chars().take(SHOWN).collect();
    format!("{cut:?}{}", if cut.len() < value.len() { "..." } else { "" })
}

/// The message for a list of which the AWS CLI printed one page only.
pub(super) const MORE_PAGES: &str = "the list is not complete: there is a token for its next page; call the AWS CLI without --max-items and --no-paginate";
