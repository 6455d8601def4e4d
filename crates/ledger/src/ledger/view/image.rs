//! The view of the ledger: its state in memory, and the rows of its registry.

use std::collections::{BTreeMap, BTreeSet};

use super::{Owed, Queue, Totals, View, Waiter, Work};
use crate::{
    domain::{
        Access, CallKind, ClientId, ClientToken, Device, DeviceState, EntryFailure, Event, Request, Target, ThingName,
    },
    ledger::{
        pending::{self, Slot, State},
        registry::{
            rows,
            store::{Direction, Store},
        },
        testing::{MemStore, Rows},
    },
};

/// A state with its registry.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub(crate) state: State,
    pub(crate) registry: MemStore,
}

impl Image {
    /// What a ledger has in memory, over a registry with these rows.
    pub fn of(state: &State, rows: Rows) -> Self {
        Self { state: state.clone(), registry: MemStore { rows } }
    }

    /// A registry with these rows, and nothing in memory.
    pub fn of_rows(rows: Rows) -> Self {
        Self { state: State::default(), registry: MemStore { rows } }
    }

    /// Puts other rows into the registry.
    pub fn replace_rows(&mut self, rows: &Rows) {
        self.registry.rows.clone_from(rows);
    }

    /// The number that the next request had when this run began.
    pub fn first_sequence(&self) -> u64 {
        self.state.counters.first_seq
    }

    /// The requests in memory.
    pub fn requests_in_memory(&self) -> impl Iterator<Item = &Request> {
        self.state.requests().values().map(|kept| &kept.request)
    }

    /// Whether the registry has all of a request: memory has nothing of it, or what is stored, too.
    pub fn is_only_stored(&self, seq: u64) -> bool {
        self.state.request(seq).is_none_or(|kept| kept.stored)
    }

    /// The requests that are forgotten, and whose rows the next checkpoint removes.
    pub fn forgotten(&self) -> impl Iterator<Item = u64> {
        self.state.forgotten().keys().copied()
    }

    /// Whether the next checkpoint removes a request's rows.
    pub fn is_forgotten(&self, seq: u64) -> bool {
        self.state.forgotten().contains_key(&seq)
    }

    /// The devices whose rows the next checkpoint writes.
    pub fn devices_in_memory(&self) -> impl Iterator<Item = (&ThingName, &Device)> {
        let devices = self.state.devices().iter();
        devices.filter_map(|(thing, changed)| Some((thing, changed.row.device.as_ref()?)))
    }

    /// Whether the next checkpoint writes or removes a device's row.
    pub fn is_in_memory(&self, thing: &ThingName) -> bool {
        self.state.device(thing).is_some()
    }

    fn scan(&self, (from, to): (Vec<u8>, Vec<u8>)) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.registry.scan(&from, &to, Direction::Up, usize::MAX).unwrap()
    }

    fn row(&self, thing: &ThingName) -> Option<pending::DeviceRow> {
        match self.state.device(thing) {
            Some(row) => Some(row.clone()),
            None => {
                let row = self.registry.get(&rows::device(thing.as_str())).unwrap()?;
                Some(rows::decode_device(&row).unwrap())
            }
        }
    }

    /// The devices of the registry, without what the state has of them.
    pub fn stored(&self) -> BTreeMap<ThingName, Device> {
        let rows = self.scan(rows::all_of(b'd')).into_iter();
        let device = |(key, row): (Vec<u8>, Vec<u8>)| {
            Some((rows::read_thing(&key).unwrap(), rows::decode_device(&row).unwrap().device?))
        };
        rows.filter_map(device).collect()
    }

    fn names(&self) -> BTreeSet<ThingName> {
        let stored = self.scan(rows::all_of(b'd'));
        let stored = stored.into_iter().map(|(key, _)| rows::read_thing(&key).unwrap());
        self.state.devices().keys().cloned().chain(stored).collect()
    }
}

impl View for Image {
    fn sequence(&self) -> u64 {
        self.state.counters.next_seq
    }

    fn find(&self, client: &ClientId, token: &ClientToken) -> Option<u64> {
        let stored = || {
            let row = self.registry.get(&rows::token(client, token)).unwrap()?;
            Some(rows::read_seq(&row).unwrap()).filter(|seq| !self.state.forgotten().contains_key(seq))
        };
        self.state.find(client, token).or_else(stored)
    }

    fn request(&self, seq: u64) -> Option<Request> {
        if let Some(kept) = self.state.request(seq) {
            return Some(kept.request.clone());
        }
        let row = self.registry.get(&rows::request(seq)).unwrap()?;
        (!self.state.forgotten().contains_key(&seq)).then(|| rows::decode_request(seq, &row).unwrap())
    }

    fn requests(&self) -> Vec<Request> {
        let stored = self.scan(rows::all_of(b'r'));
        let stored = stored.into_iter().map(|(key, _)| rows::read_seq(&key).unwrap());
        let all: BTreeSet<u64> = self.state.requests().keys().copied().chain(stored).collect();
        all.into_iter().filter_map(|seq| self.request(seq)).collect()
    }

    fn unknown_names(&self, seq: u64) -> Vec<String> {
        if let Some(kept) = self.state.request(seq) {
            return kept.unknown.clone();
        }
        let pieces = self.scan(rows::names(seq)).into_iter();
        pieces.flat_map(|(_, names)| rows::decode::<Vec<String>>(&names, "a view").unwrap()).collect()
    }

    fn open_entries(&self, seq: u64) -> Vec<(u32, Target)> {
        let Some(kept) = self.state.request(seq) else { return Vec::new() };
        let open = |(index, slot): (u32, &Slot)| match slot {
            Slot::Open(target) => Some((index, target.clone())),
            _ => None,
        };
        (0..).zip(&kept.slots).filter_map(open).collect()
    }

    fn failed_entries(&self, seq: u64) -> Vec<(u32, EntryFailure)> {
        let failed = |(index, slot): (u32, &Slot)| match slot {
            Slot::Failed(target, fault) => {
                Some((index, EntryFailure { target: target.clone(), fault: (**fault).clone() }))
            }
            _ => None,
        };
        if let Some(kept) = self.state.request(seq) {
            return (0..).zip(&kept.slots).filter_map(failed).collect();
        }
        let stored = self.scan(rows::failures(seq, 0)).into_iter();
        stored.map(|(key, row)| (rows::read_index(&key).unwrap(), rows::decode(&row, "a view").unwrap())).collect()
    }

    fn unacknowledged(&self) -> Vec<([u8; 32], u64)> {
        self.state.unacknowledged().iter().map(|(hash, seq)| (*hash, *seq)).collect()
    }

    fn targets(&self) -> Vec<Target> {
        self.state.works().keys().cloned().collect()
    }

    fn work(&self, target: &Target) -> Option<Work> {
        let work = self.state.work(target)?.clone();
        Some(Work {
            call_kind: work.call_kind,
            queue: match work.queue {
                pending::Queue::Fresh => Queue::Fresh,
                pending::Queue::Retry => Queue::Retry,
                pending::Queue::Parked => Queue::Parked,
                pending::Queue::AwaitList => Queue::AwaitList,
            },
            place: work.place,
            sent: work.is_sent(),
            outcome_unknown: work.is_outcome_unknown(),
            attempts: work.attempts,
            entry_errors: work.details.entry_errors,
            error: work.details.error.as_deref().cloned(),
            queued_opposite: work.details.queued_opposite,
            call: work.call_token().cloned(),
        })
    }

    fn waiters(&self, target: &Target) -> Vec<Waiter> {
        let waiters = self.state.work(target).map(|work| work.waiters.to_vec()).unwrap_or_default();
        waiters.into_iter().map(|waiter| Waiter { place: waiter.0, known_association: waiter.1 }).collect()
    }

    fn device(&self, thing: &ThingName) -> Option<Device> {
        self.row(thing)?.device
    }

    fn devices(&self) -> BTreeMap<ThingName, Device> {
        self.names().into_iter().filter_map(|thing| Some((thing.clone(), self.device(&thing)?))).collect()
    }

    fn owed(&self) -> Vec<Owed> {
        let owed = self.state.owed().iter();
        owed.map(|(n, message)| Owed { n: *n, seq: message.seq, completed: message.completed }).collect()
    }

    fn outdated(&self) -> BTreeMap<ThingName, u64> {
        self.state.outdated().clone()
    }

    fn history(&self) -> BTreeMap<ThingName, Vec<Event>> {
        let events = |thing: ThingName| {
            let events: Vec<Event> = self.row(&thing)?.events.into_iter().map(|(_, event)| event).collect();
            (!events.is_empty()).then_some((thing, events))
        };
        self.names().into_iter().filter_map(events).collect()
    }

    fn access(&self) -> BTreeMap<ThingName, Access> {
        self.state.access().clone()
    }

    fn totals(&self) -> Totals {
        let mut counters = self.state.counters;
        let has_load = |call_kind: &CallKind| counters.loads[call_kind.index()] != pending::Load::default();
        Totals {
            open_requests: counters.open_requests,
            open_entries: counters.open_entries,
            owed: counters.outgoing,
            work: CallKind::ALL
                .into_iter()
                .filter(has_load)
                .map(|call_kind| (call_kind, counters.loads[call_kind.index()]))
                .collect(),
            devices: DeviceState::ALL.iter().map(|state| (*state, *counters.devices(*state))).collect(),
            synced: counters.synced,
        }
    }
}
