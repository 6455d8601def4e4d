//! The associations: client devices with their core device, assets with their parent or their
//! project. The module also keeps the recent changes, and counts the changes that calls made.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::calls::{Operation, seconds};

/// Maximum number of changes that an eventually consistent list can be behind; older changes count
/// as settled.
const CHANGES_KEPT: usize = 100_000;

/// A group of associated members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// The client devices of a core device.
    Core(String),
    /// The child assets that a parent asset has under a hierarchy.
    Children { parent: String, hierarchy: String },
    /// The assets of a project.
    Project(String),
}

/// All groups with the timestamps of their members, in seconds since the epoch.
#[derive(Debug, Default)]
pub(super) struct Associations {
    /// A group remains when its last member is removed, because the group exists.
    groups: BTreeMap<Group, BTreeMap<String, f64>>,
    /// All assets that were ever a member of a group, or had members.
    assets: BTreeSet<String>,
    changes: VecDeque<Change>,
    lag: Option<Duration>,
    taken_off: BTreeMap<(Operation, String), usize>,
}

/// One change, kept so that the view of a lagging list can undo it.
#[derive(Debug)]
struct Change {
    at: Instant,
    group: Group,
    member: String,
    before: Option<f64>,
}

impl Group {
    pub(super) fn children(parent: &str, hierarchy: &str) -> Self {
        Self::Children { parent: parent.to_owned(), hierarchy: hierarchy.to_owned() }
    }
}

impl Associations {
    /// Adds members, and returns whether that changed anything. An existing member keeps its first
    /// timestamp.
    pub(super) fn add<'a>(
        &mut self,
        group: &Group,
        members: impl IntoIterator<Item = &'a String>,
        at: SystemTime,
    ) -> bool {
        if let Group::Children { parent, .. } = group {
            self.assets.insert(parent.clone());
        }
        let mut added = Vec::new();
        let present = self.groups.entry(group.clone()).or_default();
        for member in members {
            if !present.contains_key(member) {
                present.insert(member.clone(), to_milliseconds(seconds(at)));
                added.push(member);
            }
        }
        for &member in &added {
            self.remember(group, member, None);
            if !matches!(group, Group::Core(_)) {
                self.assets.insert(member.clone());
            }
        }
        !added.is_empty()
    }

    /// Removes a member, and returns whether that changed anything.
    pub(super) fn remove(&mut self, group: &Group, member: &str) -> bool {
        let before = self.groups.get_mut(group).and_then(|members| members.remove(member));
        if before.is_some() {
            self.remember(group, member, before);
        }
        before.is_some()
    }

    /// As [`Associations::remove`], for a call of the API, which is counted.
    pub(super) fn remove_by_call(&mut self, operation: Operation, group: &Group, member: &str) -> bool {
        let done = self.remove(group, member);
        if done {
            *self.taken_off.entry((operation, member.to_owned())).or_default() += 1;
        }
        done
    }

    pub(super) fn has(&self, group: &Group) -> bool {
        self.groups.contains_key(group)
    }

    pub(super) fn contains(&self, group: &Group, member: &str) -> bool {
        self.groups.get(group).is_some_and(|members| members.contains_key(member))
    }

    /// Whether the asset exists: it was ever a parent, a child or in a project, even if it no
    /// longer is.
    pub(super) fn has_asset(&self, id: &str) -> bool {
        self.assets.contains(id)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.keys()
    }

    pub(super) fn members(&self, group: &Group) -> BTreeMap<String, f64> {
        self.groups.get(group).cloned().unwrap_or_default()
    }

    /// The members that a list shows: the current ones, or those of some time ago.
    pub(super) fn listed(&self, group: &Group) -> BTreeMap<String, f64> {
        let mut view = self.members(group);
        let Some(lag) = self.lag else { return view };
        let recent = self.changes.iter().rev().take_while(|change| change.at.elapsed() < lag);
        for change in recent.filter(|change| change.group == *group) {
            match change.before {
                Some(timestamp) => view.insert(change.member.clone(), timestamp),
                None => view.remove(&change.member),
            };
        }
        view
    }

    /// The members of [`Associations::listed`] that follow a name, at least the first `most`. A
    /// page of a current list costs only its own length.
    pub(super) fn listed_after(&self, group: &Group, after: &str, most: usize) -> BTreeMap<String, f64> {
        let Some(members) = self.groups.get(group).filter(|_| self.lag.is_none()) else { return self.listed(group) };
        let rest = members.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        rest.take(most).map(|(name, timestamp)| (name.clone(), *timestamp)).collect()
    }

    /// Sets how far lists lag behind; changes until now count as settled.
    pub(super) fn set_lag(&mut self, lag: Option<Duration>) {
        self.lag = lag;
        self.changes.clear();
    }

    /// The number of times that calls of the operation removed the member.
    pub(super) fn taken_off(&self, operation: Operation, member: &str) -> usize {
        self.taken_off.get(&(operation, member.to_owned())).copied().unwrap_or_default()
    }

    pub(super) fn forget_taken_off(&mut self) {
        self.taken_off.clear();
    }

    fn remember(&mut self, group: &Group, member: &str, before: Option<f64>) {
        if self.lag.is_none() {
            return;
        }
        if self.changes.len() == CHANGES_KEPT {
            self.changes.pop_front();
        }
        let (group, member) = (group.clone(), member.to_owned());
        self.changes.push_back(Change { at: Instant::now(), group, member, before });
    }
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
        let mut associations = Associations::default();
        let [core, other] = ["core", "other"].map(|name| Group::Core(name.to_owned()));
        let [stays, leaves, comes] = ["stays", "leaves", "comes"].map(str::to_owned);
        let long_ago = SystemTime::UNIX_EPOCH;
        associations.add(&core, [&stays, &leaves], long_ago);
        associations.set_lag(Some(Duration::from_secs(3600)));
        associations.remove(&core, "leaves");
        associations.add(&core, [&comes, &leaves], SystemTime::now());
        associations.add(&other, [&leaves], SystemTime::now());

        let then = BTreeMap::from([(stays, 0.0), (leaves, 0.0)]);
        assert_eq!(associations.listed(&core), then);
        assert_eq!(associations.listed(&other), BTreeMap::new());
        associations.lag = Some(Duration::ZERO);
        assert_eq!(associations.listed(&core), associations.members(&core));
    }
}
