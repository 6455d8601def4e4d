//! The ledger's state in memory: everything that is open, and what the registry does not have yet.
//!
//! Only the `put` functions change it. Each sets one object, keeps the indexes that follow from it,
//! and returns the old value, which undoes it. None of them decides anything, reads a clock or the
//! registry: so replaying images gives the same state, and setting one twice changes nothing.

mod image;
mod index;
mod load;
mod put;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use self::load::AccessLoad;
pub(crate) use self::{load::ClientLoad, put::Undo};
use super::{
    counters::Counters,
    object::{
        BYTES_A_MESSAGE, BYTES_A_REQUEST, BYTES_AN_ENTRY, ChangeNumber, Changed, DeviceRow, Forgotten, Kept, Outgoing,
        Slot,
    },
    work::{Place, QueueKey, Work},
};
use crate::{
    domain::{Access, ClientId, ClientToken, Now, Target, ThingName},
    ledger::registry::rows,
};

/// How long a client that was refused for a limit counts as an active one: twice the longest wait
/// that a rejection asks for.
const REFUSED_MILLIS: u64 = 600_000;

/// The most clients that are remembered as refused.
const MAX_REFUSED: usize = 64;

/// The ledger's state in memory.
#[derive(Clone, Debug, Default)]
pub struct State {
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
    /// Bytes that the registry has of each client's requests, of those from number `counted_from`
    /// on: reading all of them at a start would take too long.
    stored: HashMap<ClientId, u64>,
    counted_from: u64,
    /// Clients that were refused for a limit, and when, by `Elapsed`: the last few.
    refused: BTreeMap<ClientId, u64>,
    /// The earliest of the times by which devices' rows are forgotten, by `Elapsed`, in the registry
    /// and in memory; `None` until a walk has seen all rows.
    oldest: Option<u64>,
    /// The same of those that the present walk has seen.
    walked: u64,
    /// Counts the changes of requests and device rows.
    changes: u64,
    /// The changes that the journal has, and those that it has in older segments than the present
    /// one.
    logged: u64,
    logged_before: u64,
    /// The journal has no room for more commands until a checkpoint is complete.
    pub(crate) is_short_of_room: bool,
}

impl State {
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

    /// How many messages of that request are owed.
    pub(crate) fn owed_of(&self, seq: u64) -> u32 {
        self.owed_of.get(&seq).copied().unwrap_or_default()
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

    /// Bytes that count for a client's requests against the limit of the database.
    pub(crate) fn bytes_of(&self, client: &ClientId) -> u64 {
        let ClientLoad { requests, entries, owed } = self.client(client);
        self.stored.get(client).copied().unwrap_or_default()
            + requests * BYTES_A_REQUEST
            + entries * BYTES_AN_ENTRY
            + owed * BYTES_A_MESSAGE
    }

    /// Bytes that the registry has of the requests of all clients.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.values().sum()
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

    /// The registry has that request now, in rows of so many bytes: it stays in memory as long as
    /// one of its messages is owed.
    pub(crate) fn request_is_stored(&mut self, seq: u64, bytes: u64) {
        let Some(client) = self.request(seq).map(|kept| kept.request.client.clone()) else { return };
        self.count_stored(seq, &client, |stored| stored + bytes);
        if !self.is_owed(seq) {
            self.put_request(seq, None);
        } else if let Some(kept) = self.requests.get_mut(&seq) {
            kept.stored = true;
        }
    }

    /// The registry has rows of so many bytes of a request that was forgotten meanwhile. Returns
    /// whether it was.
    pub(crate) fn forgotten_has_rows(&mut self, seq: u64, bytes: u64) -> bool {
        let forgotten = self.forgotten.get_mut(&seq);
        forgotten.map(|forgotten| forgotten.bytes = bytes).is_some()
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
        if changed.change.0 == change {
            self.devices.remove(thing);
        } else {
            // Its image in the journal has to say so, too.
            changed.change = ChangeNumber::next(&mut self.changes);
        }
        Some(before)
    }

    /// The earliest of the times by which devices' rows are forgotten ([`rows::since`]); `None` if it
    /// is not known. A row may turn out to be younger, and never older.
    pub(crate) fn oldest_row(&self) -> Option<u64> {
        self.oldest
    }

    /// A walk through all rows begins.
    pub(crate) fn begin_walk(&mut self) {
        self.walked = self.devices.values().map(|changed| rows::since(&changed.row)).min().unwrap_or(rows::NEVER);
    }

    /// The walk has seen a row of the registry.
    pub(crate) fn see_row(&mut self, thing: &ThingName, time: u64) {
        // The row in memory replaces it, and counts.
        if !self.devices.contains_key(thing) {
            self.walked = self.walked.min(time);
        }
    }

    /// The walk has seen all rows.
    pub(crate) fn end_walk(&mut self) {
        self.oldest = Some(self.walked);
    }

    /// The journal has all changes.
    pub(crate) fn note_logged(&mut self) {
        self.logged = self.changes;
    }

    /// The journal has begun another segment.
    pub(crate) fn note_switched(&mut self) {
        self.logged_before = self.logged;
    }

    /// Whether the present segment of the journal has the image of an object that changed last with
    /// `change`.
    pub(crate) fn is_in_segment(&self, change: u64) -> bool {
        change > self.logged_before
    }

    /// Whether there is anything that a checkpoint would store.
    pub(crate) fn has_settled(&self) -> bool {
        let is_finished = |kept: &Kept| kept.request.completed_at.is_some() && !kept.stored;
        !self.devices.is_empty() || !self.forgotten.is_empty() || self.requests.values().any(is_finished)
    }

    /// The state is read from the journal: requests from now on are counted for their clients.
    pub(crate) fn count_from_here(&mut self) {
        self.counted_from = self.counters.next_seq;
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
        self.has_nothing_stored();
        self.recount_devices([]);
    }

    /// The registry has none of what is in memory.
    pub(crate) fn has_nothing_stored(&mut self) {
        self.forgotten.clear();
        self.stored.clear();
        self.devices.values_mut().for_each(|changed| changed.stored = 0);
        self.requests.values_mut().for_each(|kept| kept.stored = false);
    }
}
