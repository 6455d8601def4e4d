//! Who is associated, what the cloud was asked, and what is wrong with the way to it.

use std::collections::{BTreeMap, BTreeSet};

use super::world::{BEGIN, Millis, Plan};
use crate::domain::Timestamp;

/// What is wrong with the way to the cloud, beside a single call's faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    Unreachable,
    Silent,
    Portal,
    Throttled,
    Denied,
    NoCredentials,
}

impl Weather {
    pub(super) const BAD: [Self; 6] =
        [Self::Unreachable, Self::Silent, Self::Portal, Self::Throttled, Self::Denied, Self::NoCredentials];
}

pub(super) struct CloudState {
    pub(super) associated: BTreeMap<String, Millis>,
    /// What changed, and when: a list may be read as of a while ago.
    pub(super) changes: Vec<(Millis, String, Option<Millis>)>,
    pub(super) begin: BTreeMap<String, Millis>,
    pub(super) weather: Weather,
    /// When an answer to a call, or a complete list, last showed the agent that a device is gone.
    pub(super) gone: BTreeMap<String, Millis>,
    /// When an answer to a call, or a list, last showed the agent that a device is there.
    pub(super) here: BTreeMap<String, Millis>,
    /// The same, by answers alone.
    pub(super) joined: BTreeMap<String, Millis>,
    /// Until when each association of a device has ended, by the answers to the agent's calls: a
    /// list that still has one lags behind.
    pub(super) ended: BTreeMap<String, Millis>,
    /// When the list that is being read began.
    pub(super) list_begun: Option<Millis>,
    pub(super) list_so_far: BTreeMap<String, Millis>,
    /// The last complete list of this incarnation: when it began, and what it said.
    pub(super) complete: Option<(Millis, BTreeMap<String, Millis>)>,
    /// The last one that the agent has taken into its ledger: its disk may fail before that.
    pub(super) taken_in: Option<(Millis, BTreeMap<String, Millis>)>,
    /// The time of the agent's last sync when the last complete list was delivered.
    synced_before: Option<Timestamp>,
    pub(super) in_flight: BTreeSet<String>,
    /// Calls that were answered, and the entries in them.
    pub(super) calls: usize,
    pub(super) sent: usize,
    /// Calls of any kind since the incarnation began, for the limit on their rate.
    pub(super) requests: (Millis, u64),
}

impl CloudState {
    pub(super) fn new(plan: &Plan, rng: &mut fastrand::Rng) -> Self {
        let begin: BTreeMap<String, Millis> =
            (0..plan.devices).map(|n| (format!("d{n:03}"), BEGIN - rng.i64(1000..100_000_000))).collect();
        Self {
            associated: begin.clone(),
            changes: Vec::new(),
            begin,
            weather: if plan.calm { Weather::Unreachable } else { Weather::Fine },
            gone: BTreeMap::new(),
            here: BTreeMap::new(),
            joined: BTreeMap::new(),
            ended: BTreeMap::new(),
            list_begun: None,
            list_so_far: BTreeMap::new(),
            complete: None,
            taken_in: None,
            synced_before: None,
            in_flight: BTreeSet::new(),
            calls: 0,
            sent: 0,
            requests: (0, 0),
        }
    }

    /// Another incarnation of the agent knows nothing of the last one's lists and calls.
    pub(super) fn restart(&mut self, now: Millis) {
        self.list_begun = None;
        (self.complete, self.taken_in, self.synced_before) = (None, None, None);
        self.in_flight.clear();
        self.requests = (now, 0);
    }

    /// The agent, which was last in sync at `synced_at`, gets the last page of a list of `listed`.
    pub(super) fn deliver(&mut self, listed: BTreeMap<String, Millis>, synced_at: Option<Timestamp>) {
        self.take_in(synced_at);
        self.complete = self.list_begun.map(|begun| (begun, listed));
        self.synced_before = synced_at;
    }

    /// Notes that the agent has the last complete list in its ledger, if it was in sync at another
    /// time than before that list: `synced_at` is when it was last in sync.
    pub(super) fn take_in(&mut self, synced_at: Option<Timestamp>) {
        if synced_at != self.synced_before {
            self.taken_in = self.complete.clone();
        }
    }

    pub(super) fn set(&mut self, now: Millis, name: &str, association: Option<Millis>) {
        match association {
            Some(at) => self.associated.insert(name.to_owned(), at),
            None => self.associated.remove(name),
        };
        self.changes.push((now, name.to_owned(), association));
    }

    pub(super) fn as_of(&self, at: Millis) -> BTreeMap<String, Millis> {
        let mut view = self.begin.clone();
        for (_, name, association) in self.changes.iter().take_while(|(changed, ..)| *changed <= at) {
            match association {
                Some(at) => view.insert(name.clone(), *at),
                None => view.remove(name),
            };
        }
        view
    }
}
