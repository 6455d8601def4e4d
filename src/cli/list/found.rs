//! What the names of a list are, and those that were found in it.

use std::collections::HashSet;

use super::faults::{Faults, TOLD};
use crate::domain::{InvalidName, MonitorId, ThingName};

/// Characters of a faulty value that are shown.
const SHOWN: usize = 80;

/// What the names of a list are.
pub(in crate::cli) struct Kind {
    /// The column of a CSV file, and the member of an object in a JSON list.
    pub(super) column: &'static str,
    /// Members of a JSON object that hold the list, as the AWS CLI prints and takes it.
    pub(super) lists: &'static [&'static str],
    /// The word before each row of the AWS CLI's text output, which ends in the name.
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
    /// Checks a name by itself.
    ///
    /// # Errors
    /// The value, and the rule that it breaks.
    pub(in crate::cli) fn check(&self, name: &str) -> Result<(), String> {
        (self.check)(name).map_err(|rule| format!("{} {rule}", quoted(name)))
    }
}

/// What was found so far.
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
        // Lines are counted for those that are told alone.
        let line = (self.faults.first.len() < TOLD).then(line);
        self.faults.add(line, text);
    }
}

/// A value as it is shown, cut.
pub(super) fn quoted(value: &str) -> String {
    let cut: String = value.chars().take(SHOWN).collect();
    format!("{cut:?}{}", if cut.len() < value.len() { "..." } else { "" })
}

/// The AWS CLI printed a page of a list and no more.
pub(super) const MORE_PAGES: &str = "the list is not complete: there is a token for its next page; call the AWS CLI without --max-items and --no-paginate";
