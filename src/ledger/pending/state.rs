//! The ledger's state in memory: everything that is open, and what the registry does not have yet.
//!
//! Only the `put` functions change it. Each sets one object, keeps the indexes that follow from it,
//! and returns the old value, which undoes it. None of them decides anything, reads a clock or the
//! registry: so replaying images gives the same state, and setting one twice changes nothing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::{
    counters::Counters,
    object::{Changed, DeviceRow, Forgotten, Image, Kept, Key, Outgoing, Progress, Slot},
    work::{Place, QueueKey, Work, queue_key},
};
use crate::domain::{Access, AccessView, ClientId, ClientToken, Now, Operation, Target, ThingName};

/// How long a client that was refused for a limit counts as an active one: twice the wait that the
/// rejection asks for.
const REFUSED_MILLIS: u64 = 120_000;

/// The most clients that are remembered as refused.
const MAX_REFUSED: usize = 64;

/// What a client has in the ledger, for the limit of one client's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientLoad {
    /// Requests in memory.
    pub(super) requests: u64,
    /// Entries that have not ended.
    pub(super) entries: u64,
    /// Messages that the broker has not acknowledged.
    pub(super) owed: u64,
}

/// How many of the broker's clients the agent manages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLoad {
    /// Disabled.
    pub revoked: u64,
    /// To be disabled or enabled.
    pub pending: u64,
    /// Of which the last attempt failed.
    pub failed: u64,
    /// Of these, those that the broker does not know.
    pub unknown: u64,
}

impl AccessLoad {
    fn count(&mut self, access: &Access, by: i64) {
        if access.error.as_ref().is_some_and(|error| error.is_unknown) {
            self.unknown = self.unknown.saturating_add_signed(by);
        }
        let count = match access.view() {
            Some(AccessView::Revoked) => &mut self.revoked,
            Some(AccessView::Pending) => &mut self.pending,
            Some(AccessView::Failed(_)) => &mut self.failed,
            None => return,
        };
        *count = count.saturating_add_signed(by);
    }
}

/// The state.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) counters: Counters,
    requests: BTreeMap<u64, Kept>,
    forgotten: BTreeMap<u64, Forgotten>,
    works: BTreeMap<Target, Box<Work>>,
    owed: BTreeMap<u64, Outgoing>,
    unacknowledged: BTreeMap<[u8; 32], u64>,
    outdated: BTreeMap<ThingName, u64>,
    devices: BTreeMap<ThingName, Changed>,
    /// The broker's clients of devices, as far as the agent manages them. They stay here, and are
    /// logged again at each checkpoint: whatever becomes of the registry, the agent knows which
    /// clients it disabled.
    access: BTreeMap<ThingName, Access>,
    // What follows from the above.
    tokens: HashMap<(ClientId, ClientToken), u64>,
    queues: BTreeMap<QueueKey, Target>,
    owed_of: HashMap<u64, u32>,
    deadlines: BTreeSet<u64>,
    clients: HashMap<ClientId, ClientLoad>,
    /// Devices about whose client there is something to do: whose last attempt failed, and others.
    access_failed: BTreeSet<ThingName>,
    access_open: BTreeSet<ThingName>,
    access_load: AccessLoad,
    /// Entries of all requests in memory.
    slots: u64,
    /// Clients that were refused for a limit, and when, by `Elapsed`: the last few.
    refused: BTreeMap<ClientId, u64>,
    /// Counts the changes of device rows.
    changes: u64,
    /// The journal has no room for more commands until a checkpoint is complete.
    pub(crate) is_short_of_room: bool,
}

/// The old value of an object, which undoes its change.
#[derive(Debug)]
pub(crate) enum Undo {
    Request(u64, Option<Box<Kept>>),
    Progress(u64, Progress),
    Slot(u64, u32, Slot),
    Forgotten(u64, Option<Forgotten>),
    Work(Target, Option<Box<Work>>),
    Owed(u64, Option<Outgoing>),
    Unacknowledged([u8; 32], Option<u64>),
    Outdated(ThingName, Option<u64>),
    Device(ThingName, Option<Box<Changed>>),
    Access(ThingName, Option<Access>),
}

/// Sets or removes a value of a map, and returns the old one.
fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

impl State {
    pub(super) fn put_request(&mut self, seq: u64, new: Option<Kept>) -> Option<Kept> {
        if let Some(old) = self.requests.get(&seq) {
            let name = (old.request.client.clone(), old.request.token.clone());
            let (client, open) = (old.request.client.clone(), old.request.tally.open);
            self.slots = self.slots.saturating_sub(old.slots.len() as u64);
            if self.tokens.get(&name) == Some(&seq) {
                self.tokens.remove(&name);
            }
            self.deadlines.remove(&seq);
            self.count(&client, -1, -i64::from(open), 0);
        }
        if let Some(Kept { request, slots, .. }) = &new {
            self.slots += slots.len() as u64;
            self.tokens.insert((request.client.clone(), request.token.clone()), seq);
            if request.expires_at.is_some() && request.tally.open > 0 {
                self.deadlines.insert(seq);
            }
            let (client, open) = (request.client.clone(), request.tally.open);
            self.count(&client, 1, open.into(), 0);
        }
        put(&mut self.requests, seq, new)
    }

    pub(super) fn put_progress(&mut self, seq: u64, new: Progress) -> Option<Progress> {
        let kept = self.requests.get_mut(&seq)?;
        let old = Progress::of(&kept.request);
        new.set(&mut kept.request);
        match (kept.request.expires_at, new.tally.open) {
            (Some(_), 1..) => drop(self.deadlines.insert(seq)),
            _ => drop(self.deadlines.remove(&seq)),
        }
        let client = kept.request.client.clone();
        self.count(&client, 0, i64::from(new.tally.open) - i64::from(old.tally.open), 0);
        Some(old)
    }

    pub(super) fn put_slot(&mut self, seq: u64, index: u32, new: Slot) -> Option<Slot> {
        let slot = self.requests.get_mut(&seq)?.slots.get_mut(index as usize)?;
        Some(std::mem::replace(slot, new))
    }

    pub(super) fn put_forgotten(&mut self, seq: u64, new: Option<Forgotten>) -> Option<Forgotten> {
        put(&mut self.forgotten, seq, new)
    }

    pub(super) fn put_work(&mut self, target: &Target, new: Option<Box<Work>>) -> Option<Box<Work>> {
        let key = new.as_ref().map(|new| queue_key(target, new));
        let old = put(&mut self.works, target.clone(), new);
        let old_key = old.as_ref().map(|old| queue_key(target, old));
        if key != old_key {
            if let Some(old_key) = old_key {
                self.queues.remove(&old_key);
            }
            if let Some(key) = key {
                self.queues.insert(key, target.clone());
            }
        }
        old
    }

    pub(super) fn put_owed(&mut self, n: u64, new: Option<Outgoing>) -> Option<Outgoing> {
        if let Some(Outgoing { seq, .. }) = new {
            *self.owed_of.entry(seq).or_default() += 1;
            self.count_owed(seq, 1);
        }
        let old = put(&mut self.owed, n, new);
        if let Some(Outgoing { seq, .. }) = old {
            self.count_owed(seq, -1);
            if let Some(count) = self.owed_of.get_mut(&seq) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.owed_of.remove(&seq);
                }
            }
        }
        old
    }

    pub(super) fn put_unacknowledged(&mut self, hash: [u8; 32], new: Option<u64>) -> Option<u64> {
        put(&mut self.unacknowledged, hash, new)
    }

    pub(super) fn put_outdated(&mut self, thing: &ThingName, new: Option<u64>) -> Option<u64> {
        put(&mut self.outdated, thing.clone(), new)
    }

    pub(super) fn put_device(&mut self, thing: &ThingName, new: Option<Changed>) -> Option<Changed> {
        self.changes += 1;
        let change = self.changes;
        put(&mut self.devices, thing.clone(), new.map(|new| Changed { change, ..new }))
    }

    pub(super) fn put_access(&mut self, thing: &ThingName, new: Option<Access>) -> Option<Access> {
        let old = put(&mut self.access, thing.clone(), new);
        if let Some(old) = &old {
            self.access_load.count(old, -1);
            self.access_failed.remove(thing);
            self.access_open.remove(thing);
        }
        self.index_access(thing);
        old
    }

    fn index_access(&mut self, thing: &ThingName) {
        let Some(access) = self.access.get(thing) else { return };
        self.access_load.count(access, 1);
        if access.command().is_some() {
            let place = if access.error.is_some() { &mut self.access_failed } else { &mut self.access_open };
            place.insert(thing.clone());
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Request(seq, old) => drop(self.put_request(seq, old.map(|old| *old))),
            Undo::Progress(seq, old) => drop(self.put_progress(seq, old)),
            Undo::Slot(seq, index, old) => drop(self.put_slot(seq, index, old)),
            Undo::Forgotten(seq, old) => drop(self.put_forgotten(seq, old)),
            Undo::Work(target, old) => drop(self.put_work(&target, old)),
            Undo::Owed(n, old) => drop(self.put_owed(n, old)),
            Undo::Unacknowledged(hash, old) => drop(self.put_unacknowledged(hash, old)),
            Undo::Outdated(thing, old) => drop(self.put_outdated(&thing, old)),
            Undo::Device(thing, old) => drop(self.put_device(&thing, old.map(|old| *old))),
            Undo::Access(thing, old) => drop(self.put_access(&thing, old)),
        }
    }

    /// Sets an object to its image in the journal, and returns what undoes that. The part of an
    /// object that is missing, because its image comes later in the journal, is passed over.
    pub(crate) fn replay(&mut self, image: Image<'_>) -> Option<Undo> {
        Some(match image {
            Image::Counters(counters) => {
                self.counters = counters;
                return None;
            }
            Image::Request(seq, new) => {
                Undo::Request(seq, self.put_request(seq, new.map(Cow::into_owned)).map(Box::new))
            }
            Image::Progress(seq, new) => Undo::Progress(seq, self.put_progress(seq, new)?),
            Image::Slot(seq, index, new) => Undo::Slot(seq, index, self.put_slot(seq, index, new.into_owned())?),
            Image::Forgotten(seq, new) => Undo::Forgotten(seq, self.put_forgotten(seq, new.map(Cow::into_owned))),
            Image::Work(target, new) => {
                let old = self.put_work(&target, new.map(|new| Box::new(new.into_owned())));
                Undo::Work(target.into_owned(), old)
            }
            Image::Owed(n, new) => Undo::Owed(n, self.put_owed(n, new)),
            Image::Unacknowledged(hash, new) => Undo::Unacknowledged(hash, self.put_unacknowledged(hash, new)),
            Image::Outdated(thing, new) => {
                let old = self.put_outdated(&thing, new);
                Undo::Outdated(thing.into_owned(), old)
            }
            Image::Device(thing, new) => {
                let old = self.put_device(&thing, new.map(Cow::into_owned)).map(Box::new);
                Undo::Device(thing.into_owned(), old)
            }
            Image::Access(thing, new) => {
                let old = self.put_access(&thing, new.map(Cow::into_owned));
                Undo::Access(thing.into_owned(), old)
            }
        })
    }

    /// The present image of an object.
    pub(crate) fn image(&self, key: &Key) -> Option<Image<'_>> {
        Some(match key {
            Key::Request(seq) => Image::Request(*seq, self.requests.get(seq).map(Cow::Borrowed)),
            Key::Progress(seq) => Image::Progress(*seq, Progress::of(&self.requests.get(seq)?.request)),
            Key::Slot(seq, index) => {
                Image::Slot(*seq, *index, Cow::Borrowed(self.requests.get(seq)?.slots.get(*index as usize)?))
            }
            Key::Forgotten(seq) => Image::Forgotten(*seq, self.forgotten.get(seq).map(Cow::Borrowed)),
            Key::Work(target) => {
                let work = self.works.get_key_value(target);
                // The target's own copy, where there is one: the image lives as long as the state.
                let target = work.map_or_else(|| Cow::Owned(target.clone()), |(target, _)| Cow::Borrowed(target));
                Image::Work(target, work.map(|(_, work)| Cow::Borrowed(&**work)))
            }
            Key::Owed(n) => Image::Owed(*n, self.owed.get(n).copied()),
            Key::Unacknowledged(hash) => Image::Unacknowledged(*hash, self.unacknowledged.get(hash).copied()),
            Key::Outdated(thing) => Image::Outdated(Cow::Owned(thing.clone()), self.outdated.get(thing).copied()),
            Key::Device(thing) => Image::Device(Cow::Owned(thing.clone()), self.devices.get(thing).map(Cow::Borrowed)),
            Key::Access(thing) => Image::Access(Cow::Owned(thing.clone()), self.access.get(thing).map(Cow::Borrowed)),
        })
    }

    /// Makes the indexes anew: what follows from several objects, whose images may come in any
    /// order.
    pub(crate) fn index(&mut self) {
        let is_open = |kept: &&Kept| kept.request.expires_at.is_some() && kept.request.tally.open > 0;
        self.deadlines = self.requests.values().filter(is_open).map(|kept| kept.request.seq).collect();
        let name = |kept: &Kept| (kept.request.client.clone(), kept.request.token.clone());
        self.tokens = self.requests.values().map(|kept| (name(kept), kept.request.seq)).collect();
        self.queues = self.works.iter().map(|(target, work)| (queue_key(target, work), target.clone())).collect();
        (self.access_load, self.access_failed, self.access_open) = Default::default();
        let managed: Vec<ThingName> = self.access.keys().cloned().collect();
        managed.iter().for_each(|thing| self.index_access(thing));
        self.clients.clear();
        self.owed_of.clear();
        let loads = self.requests.values().map(|kept| (kept.request.client.clone(), kept.request.tally.open));
        for (client, open) in loads.collect::<Vec<_>>() {
            self.count(&client, 1, open.into(), 0);
        }
        let owed: Vec<u64> = self.owed.values().map(|owed| owed.seq).collect();
        for seq in owed {
            *self.owed_of.entry(seq).or_default() += 1;
            self.count_owed(seq, 1);
        }
    }

    fn count(&mut self, client: &ClientId, requests: i64, entries: i64, owed: i64) {
        let load = self.clients.entry(client.clone()).or_default();
        load.requests = load.requests.saturating_add_signed(requests);
        load.entries = load.entries.saturating_add_signed(entries);
        load.owed = load.owed.saturating_add_signed(owed);
        if *load == ClientLoad::default() {
            self.clients.remove(client);
        }
    }

    /// A finished request that only the registry has is owed to its client without being counted.
    fn count_owed(&mut self, seq: u64, by: i64) {
        if let Some(client) = self.requests.get(&seq).map(|kept| kept.request.client.clone()) {
            self.count(&client, 0, 0, by);
        }
    }

    pub(crate) fn request(&self, seq: u64) -> Option<&Kept> {
        self.requests.get(&seq)
    }

    pub(crate) fn requests(&self) -> &BTreeMap<u64, Kept> {
        &self.requests
    }

    /// Entries of all requests in memory.
    pub(crate) fn slots(&self) -> u64 {
        self.slots
    }

    pub(crate) fn forgotten(&self) -> &BTreeMap<u64, Forgotten> {
        &self.forgotten
    }

    pub(crate) fn find(&self, client: &ClientId, token: &ClientToken) -> Option<u64> {
        self.tokens.get(&(client.clone(), token.clone())).copied()
    }

    pub(crate) fn work(&self, target: &Target) -> Option<&Work> {
        self.works.get(target).map(|work| &**work)
    }

    pub(crate) fn works(&self) -> &BTreeMap<Target, Box<Work>> {
        &self.works
    }

    pub(crate) fn queues(&self) -> &BTreeMap<QueueKey, Target> {
        &self.queues
    }

    pub(crate) fn owed(&self) -> &BTreeMap<u64, Outgoing> {
        &self.owed
    }

    /// Whether a message of that request is owed.
    pub(crate) fn is_owed(&self, seq: u64) -> bool {
        self.owed_of.contains_key(&seq)
    }

    pub(crate) fn unacknowledged(&self) -> &BTreeMap<[u8; 32], u64> {
        &self.unacknowledged
    }

    pub(crate) fn outdated(&self) -> &BTreeMap<ThingName, u64> {
        &self.outdated
    }

    pub(crate) fn devices(&self) -> &BTreeMap<ThingName, Changed> {
        &self.devices
    }

    pub(crate) fn access(&self) -> &BTreeMap<ThingName, Access> {
        &self.access
    }

    /// Devices about whose client there is something to do: those whose last attempt failed, or
    /// the others.
    pub(crate) fn access_open(&self, failed: bool) -> &BTreeSet<ThingName> {
        if failed { &self.access_failed } else { &self.access_open }
    }

    pub(crate) fn access_load(&self) -> AccessLoad {
        self.access_load
    }

    /// Open requests that have a deadline.
    pub(crate) fn deadlines(&self) -> &BTreeSet<u64> {
        &self.deadlines
    }

    pub(crate) fn client(&self, client: &ClientId) -> ClientLoad {
        self.clients.get(client).copied().unwrap_or_default()
    }

    /// Whether another client has anything in the ledger, or was refused for a limit lately.
    pub(crate) fn has_others(&self, client: &ClientId) -> bool {
        let lately = self.counters.elapsed.millis.saturating_sub(REFUSED_MILLIS);
        self.clients.len() > usize::from(self.clients.contains_key(client))
            || self.refused.iter().any(|(other, at)| other != client && *at >= lately)
    }

    /// Notes that a client was refused for a limit: others leave it room. Not kept over a restart.
    pub(super) fn refuse(&mut self, client: &ClientId) {
        let now = self.counters.elapsed.millis;
        self.refused.retain(|_, at| at.saturating_add(REFUSED_MILLIS) >= now);
        if self.refused.len() < MAX_REFUSED {
            self.refused.insert(client.clone(), now);
        }
    }

    /// The entry's target, if it is open.
    pub(crate) fn open_target(&self, (seq, index): Place) -> Option<&Target> {
        match self.requests.get(&seq)?.slots.get(index as usize)? {
            Slot::Open(target) => Some(target),
            _ => None,
        }
    }

    /// A device's row, if it is here.
    pub(crate) fn device(&self, thing: &ThingName) -> Option<&DeviceRow> {
        self.devices.get(thing).map(|changed| &*changed.row)
    }

    /// The registry has that request now: it stays in memory as long as one of its messages is
    /// owed.
    pub(crate) fn request_is_stored(&mut self, seq: u64) {
        if !self.is_owed(seq) {
            self.put_request(seq, None);
        } else if let Some(kept) = self.requests.get_mut(&seq) {
            kept.stored = true;
        }
    }

    /// The registry no longer has that request.
    pub(crate) fn forgotten_is_stored(&mut self, seq: u64) {
        self.forgotten.remove(&seq);
    }

    /// The registry has that device's row as of `change` now, with that many bytes. Returns how
    /// many it had before. A row that changed since stays in memory.
    pub(crate) fn device_is_stored(&mut self, thing: &ThingName, change: u64, bytes: u64) -> Option<u64> {
        let changed = self.devices.get_mut(thing)?;
        let before = std::mem::replace(&mut changed.stored, bytes);
        if changed.change == change {
            self.devices.remove(thing);
        }
        Some(before)
    }

    /// Whether what follows from the objects is the same.
    pub(super) fn has_same_indexes(&self, other: &Self) -> bool {
        self.tokens == other.tokens
            && self.queues == other.queues
            && self.owed_of == other.owed_of
            && self.deadlines == other.deadlines
            && self.clients == other.clients
            && self.access_failed == other.access_failed
            && self.access_open == other.access_open
            && self.access_load == other.access_load
    }

    /// Whether there is anything that a checkpoint would store.
    pub(crate) fn has_settled(&self) -> bool {
        let is_finished = |kept: &Kept| kept.request.completed_at.is_some() && !kept.stored;
        !self.devices.is_empty() || !self.forgotten.is_empty() || self.requests.values().any(is_finished)
    }

    /// A run begins, with what an earlier one left.
    pub(crate) fn begin_run(&mut self, now: Now) {
        self.counters.run += 1;
        self.counters.first_seq = self.counters.next_seq;
        self.counters.elapsed = self.counters.elapsed.at(now);
        self.index();
        self.recount();
    }

    /// The registry is lost, and a new one begins: what it had is to be read from the cloud. What
    /// is in memory stays, and goes into the new one.
    pub(crate) fn lose_registry(&mut self) {
        self.counters.generation += 1;
        (self.counters.registry_bytes, self.counters.attempt) = (0, 0);
        (self.counters.synced, self.counters.is_bound) = (false, false);
        self.forgotten.clear();
        self.devices.values_mut().for_each(|changed| changed.stored = 0);
        self.requests.values_mut().for_each(|kept| kept.stored = false);
        self.recount_devices([]);
    }

    /// Counts what is open again.
    fn recount(&mut self) {
        let counters = &mut self.counters;
        counters.loads = Default::default();
        for work in self.works.values() {
            counters.loads[work.lane.index()].count(work.queue, 1);
        }
        (counters.open_requests, counters.open_entries, counters.open_syncs) = (0, 0, 0);
        for kept in self.requests.values().filter(|kept| kept.request.tally.open > 0) {
            counters.open_requests += 1;
            match kept.request.operation {
                Operation::Sync => counters.open_syncs += 1,
                _ => counters.open_entries += u64::from(kept.request.tally.open),
            }
        }
        counters.outgoing = self.owed.len() as u64;
    }
}
