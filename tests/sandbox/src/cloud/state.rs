//! What the stand-in knows: the associations, how they changed, and how it is set up to behave.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tokio::time::Instant;

use super::calls::{CallLog, seconds};
use super::faults::Faults;

/// How many changes an eventually consistent list can be behind; older ones count as settled.
const CHANGES_KEPT: usize = 100_000;

/// What disassociating a device does that is not associated. The Greengrass V2 API reference does not say, so a client
/// has to be right for both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NotAssociated {
    /// It succeeds.
    #[default]
    Ignore,
    /// It is in `errorEntries` with the code `ResourceNotFoundException`.
    EntryError,
}

/// The switches of the stand-in.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) page_size: Option<usize>,
    pub(super) list_lag: Option<Duration>,
    pub(super) not_associated: NotAssociated,
    pub(super) clock_offset: i64,
    pub(super) first_entry: usize,
}

/// Everything behind the one lock.
#[derive(Debug)]
pub(super) struct State {
    associations: BTreeMap<String, BTreeMap<String, f64>>,
    changes: VecDeque<Change>,
    taken_off: BTreeMap<String, usize>,
    pub(super) calls: CallLog,
    pub(super) faults: Faults,
    pub(super) settings: Settings,
    pub(super) offline: bool,
}

/// One change, kept so that it can be undone in the view of a list that lags behind.
#[derive(Debug)]
struct Change {
    at: Instant,
    core: String,
    thing: String,
    before: Option<f64>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            associations: BTreeMap::new(),
            changes: VecDeque::new(),
            taken_off: BTreeMap::new(),
            calls: CallLog::default(),
            faults: Faults::default(),
            settings: Settings {
                page_size: None,
                list_lag: None,
                not_associated: NotAssociated::default(),
                clock_offset: 0,
                first_entry: 0,
            },
            offline: false,
        }
    }

    /// The server's clock, which may be set wrong on purpose.
    pub(super) fn now(&self) -> SystemTime {
        shifted(SystemTime::now(), self.settings.clock_offset)
    }

    /// Associates and says whether that changed anything. One that is associated keeps its first timestamp.
    pub(super) fn associate(&mut self, core: &str, thing: &str, at: SystemTime) -> bool {
        let things = self.associations.entry(core.to_owned()).or_default();
        if things.contains_key(thing) {
            return false;
        }
        things.insert(thing.to_owned(), to_milliseconds(seconds(at)));
        self.remember(core, thing, None);
        true
    }

    /// Takes off and says whether that changed anything.
    pub(super) fn dissociate(&mut self, core: &str, thing: &str) -> bool {
        let before = self.associations.get_mut(core).and_then(|things| things.remove(thing));
        if before.is_some() {
            self.remember(core, thing, before);
        }
        before.is_some()
    }

    /// As [`State::dissociate`], by a call of the API: it counts.
    pub(super) fn dissociate_by_call(&mut self, core: &str, thing: &str) -> bool {
        let done = self.dissociate(core, thing);
        if done {
            *self.taken_off.entry(thing.to_owned()).or_default() += 1;
        }
        done
    }

    pub(super) fn associated(&self, core: &str) -> BTreeMap<String, f64> {
        self.associations.get(core).cloned().unwrap_or_default()
    }

    /// What a list shows: the associations, or those of a while ago.
    pub(super) fn listed(&self, core: &str) -> BTreeMap<String, f64> {
        let mut view = self.associated(core);
        let Some(lag) = self.settings.list_lag else { return view };
        let recent = self.changes.iter().rev().take_while(|change| change.at.elapsed() < lag);
        for change in recent.filter(|change| change.core == core) {
            match change.before {
                Some(timestamp) => view.insert(change.thing.clone(), timestamp),
                None => view.remove(&change.thing),
            };
        }
        view
    }

    /// Sets how far lists are behind; what happened until now counts as settled.
    pub(super) fn set_list_lag(&mut self, lag: Option<Duration>) {
        self.settings.list_lag = lag;
        self.changes.clear();
    }

    pub(super) fn taken_off(&self, thing: &str) -> usize {
        self.taken_off.get(thing).copied().unwrap_or_default()
    }

    pub(super) fn clear_observations(&mut self) {
        self.calls.clear();
        self.taken_off.clear();
    }

    fn remember(&mut self, core: &str, thing: &str, before: Option<f64>) {
        if self.settings.list_lag.is_none() {
            return;
        }
        if self.changes.len() == CHANGES_KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { at: Instant::now(), core: core.to_owned(), thing: thing.to_owned(), before });
    }
}

/// The last second that [`shifted`] gives, the end of 9998: HTTP dates have years of four digits.
const LAST_SECOND: u64 = 253_370_764_799;

/// The time so many seconds later, or earlier if negative, within the years that an HTTP date can have (1970 to 9998).
pub(super) fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let by = Duration::from_secs(seconds.unsigned_abs());
    let moved = if seconds < 0 { since_epoch.saturating_sub(by) } else { since_epoch.saturating_add(by) };
    UNIX_EPOCH + moved.min(Duration::from_secs(LAST_SECOND))
}

/// AWS's timestamps have at most milliseconds.
fn to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagging_list_shows_what_was() {
        let mut state = State::new();
        let long_ago = SystemTime::UNIX_EPOCH;
        state.associate("core", "stays", long_ago);
        state.associate("core", "leaves", long_ago);
        state.set_list_lag(Some(Duration::from_secs(3600)));
        state.dissociate("core", "leaves");
        state.associate("core", "comes", SystemTime::now());
        state.associate("core", "leaves", SystemTime::now());
        state.associate("other", "leaves", SystemTime::now());

        let then = BTreeMap::from([("stays".to_owned(), 0.0), ("leaves".to_owned(), 0.0)]);
        assert_eq!(state.listed("core"), then);
        assert_eq!(state.listed("other"), BTreeMap::new());
        state.settings.list_lag = Some(Duration::ZERO);
        assert_eq!(state.listed("core"), state.associated("core"));
    }
}
