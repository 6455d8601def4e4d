//! The kinds of names in lists, and the names that were found.

use std::collections::HashSet;

use super::faults::{Faults, MAX_REPORTED};
use crate::domain::{InvalidName, MonitorId, ThingName};

/// Maximum number of characters of a faulty value that are shown.
const SHOWN: usize = 80;

/// A kind of names that a list can hold.
pub(in crate::cli) struct Kind {
    /// The header of the CSV column, and the member of an object in a JSON list.
    pub(super) column: &'static str,
    /// The members of a JSON object that hold the list, as the AWS CLI prints and accepts it.
    pub(super) lists: &'static [&'static str],
    /// The first word of each row in the AWS CLI's text output; the last word of the row is the
    /// name.
    pub(super) row: Option<&'static str>,
    check: fn(&str) -> Result<(), InvalidName>,
}

/// Client devices.
pub(in crate::cli) const THINGS: Kind = Kind {
    column: "thingName",
    lists: &["associatedClientDevices", "entries"],
    row: Some("ASSOCIATEDCLIENTDEVICES"),
    check: |name| ThingName::new(name).map(|_| ()),
};

/// Assets in a project of SiteWise Monitor.
pub(in crate::cli) const ASSETS: Kind =
    Kind { column: "assetId", lists: &["assetIds"], row: None, check: |name| MonitorId::new(name).map(|_| ()) };

impl Kind {
    /// Checks one name.
    ///
    /// # Errors
    /// The value, and the rule that it violates.
    pub(in crate::cli) fn check(&self, name: &str) -> Result<(), String> {
        (self.check)(name).map_err(|rule| format!("{} {rule}", quoted(name)))
    }
}

/// The names and faults that were found so far.
pub(super) struct Found<'k> {
    pub(super) kind: &'k Kind,
    pub(super) names: Vec<String>,
    pub(super) seen: HashSet<String>,
    pub(super) faults: Faults,
}

impl Found<'_> {
    pub(super) fn name(&mut self, line: impl FnOnce() -> usize, name: &str) {
        match self.kind.check(name) {
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
