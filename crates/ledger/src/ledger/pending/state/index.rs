//! What follows from the objects: made anew after a replay, and counted at each change.

use super::{super::object::Kept, ClientLoad, State};
use crate::domain::{ClientId, Operation, ThingName};

impl State {
    /// Makes the indexes anew that follow from several objects, whose images may come in any order.
    /// The queues follow from the work alone, and [`Self::put_work`] keeps them.
    pub(crate) fn index(&mut self) {
        let is_open = |kept: &&Kept| kept.request.expires_at.is_some() && kept.request.tally.open > 0;
        self.deadlines = self.requests.values().filter(is_open).map(|kept| kept.request.seq).collect();
        let name = |kept: &Kept| (kept.request.client.clone(), kept.request.token.clone());
        self.tokens = self.requests.values().map(|kept| (name(kept), kept.request.seq)).collect();
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

    pub(super) fn count(&mut self, client: &ClientId, requests: i64, entries: i64, owed: i64) {
        let load = self.clients.entry(client.clone()).or_default();
        load.requests = load.requests.saturating_add_signed(requests);
        load.entries = load.entries.saturating_add_signed(entries);
        load.owed = load.owed.saturating_add_signed(owed);
        if *load == ClientLoad::default() {
            self.clients.remove(client);
        }
    }

    /// Counts the bytes that the registry has of a client's requests.
    pub(super) fn count_stored(&mut self, seq: u64, client: &ClientId, count: impl FnOnce(u64) -> u64) {
        if seq < self.counted_from {
            return;
        }
        let bytes = count(self.stored.get(client).copied().unwrap_or_default());
        if bytes == 0 {
            self.stored.remove(client);
        } else {
            self.stored.insert(client.clone(), bytes);
        }
    }

    /// Adds `by` to the number of messages that are owed to the client of request `seq`. A finished
    /// request that is only in the registry is not counted.
    pub(super) fn count_owed(&mut self, seq: u64, by: i64) {
        if let Some(client) = self.requests.get(&seq).map(|kept| kept.request.client.clone()) {
            self.count(&client, 0, 0, by);
        }
    }

    /// Whether what [`Self::index`] makes anew is the same.
    pub(in crate::ledger::pending) fn has_same_indexes(&self, other: &Self) -> bool {
        self.tokens == other.tokens
            && self.owed_of == other.owed_of
            && self.deadlines == other.deadlines
            && self.clients == other.clients
            && self.access_failed == other.access_failed
            && self.access_open == other.access_open
            && self.access_load == other.access_load
    }

    /// Counts what is open again.
    pub(super) fn recount(&mut self) {
        let counters = &mut self.counters;
        counters.loads = Default::default();
        for work in self.works.values() {
            counters.loads[work.call_kind.index()].count(work.queue, 1);
        }
        (counters.open_requests, counters.open_entries) = (0, 0);
        for kept in self.requests.values().filter(|kept| kept.request.tally.open > 0) {
            counters.open_requests += 1;
            if kept.request.operation != Operation::Sync {
                counters.open_entries += u64::from(kept.request.tally.open);
            }
        }
        counters.outgoing = self.owed.len() as u64;
    }
}
