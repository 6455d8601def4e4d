//! Sets one object, and keeps the indexes that follow from it.

use std::collections::BTreeMap;

use super::{
    super::{
        object::{ChangeNumber, Changed, Forgotten, Kept, Outgoing, Progress, Slot},
        work::{QueueKey, Work},
    },
    State,
};
use crate::{
    domain::{Access, Target, ThingName},
    ledger::registry::rows,
};

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
    pub(in crate::ledger::pending) fn put_request(&mut self, seq: u64, mut new: Option<Kept>) -> Option<Kept> {
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
        if let Some(Kept { request, slots, .. }) = &mut new {
            // A list that is read grows by doubling.
            slots.shrink_to_fit();
            self.slots += slots.len() as u64;
            self.tokens.insert((request.client.clone(), request.token.clone()), seq);
            if request.expires_at.is_some() && request.tally.open > 0 {
                self.deadlines.insert(seq);
            }
            let (client, open) = (request.client.clone(), request.tally.open);
            self.count(&client, 1, open.into(), 0);
        }
        let change = ChangeNumber::next(&mut self.changes);
        put(&mut self.requests, seq, new.map(|new| Kept { change, ..new }))
    }

    pub(in crate::ledger::pending) fn put_progress(&mut self, seq: u64, new: Progress) -> Option<Progress> {
        let kept = self.requests.get_mut(&seq)?;
        let old = Progress::of(&kept.request);
        new.set(&mut kept.request);
        kept.change = ChangeNumber::next(&mut self.changes);
        match (kept.request.expires_at, new.tally.open) {
            (Some(_), 1..) => drop(self.deadlines.insert(seq)),
            _ => drop(self.deadlines.remove(&seq)),
        }
        let client = kept.request.client.clone();
        self.count(&client, 0, i64::from(new.tally.open) - i64::from(old.tally.open), 0);
        Some(old)
    }

    pub(in crate::ledger::pending) fn put_slot(&mut self, seq: u64, index: u32, new: Slot) -> Option<Slot> {
        let kept = self.requests.get_mut(&seq)?;
        let slot = kept.slots.get_mut(index as usize)?;
        kept.change = ChangeNumber::next(&mut self.changes);
        Some(std::mem::replace(slot, new))
    }

    pub(in crate::ledger::pending) fn put_forgotten(&mut self, seq: u64, new: Option<Forgotten>) -> Option<Forgotten> {
        if let Some(Forgotten { client, bytes, .. }) = self.forgotten.get(&seq).cloned() {
            self.count_stored(seq, &client, |stored| stored + bytes);
        }
        if let Some(Forgotten { client, bytes, .. }) = &new {
            self.count_stored(seq, client, |stored| stored.saturating_sub(*bytes));
        }
        put(&mut self.forgotten, seq, new)
    }

    pub(in crate::ledger::pending) fn put_work(
        &mut self,
        target: &Target,
        mut new: Option<Box<Work>>,
    ) -> Option<Box<Work>> {
        if let Some(new) = &mut new {
            new.details.trim();
        }
        let key = new.as_ref().map(|new| QueueKey::of(target, new));
        let old = put(&mut self.works, target.clone(), new);
        let old_key = old.as_ref().map(|old| QueueKey::of(target, old));
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

    pub(in crate::ledger::pending) fn put_owed(&mut self, n: u64, new: Option<Outgoing>) -> Option<Outgoing> {
        if let Some(Outgoing { seq, .. }) = new {
            *self.owed_of.entry(seq).or_default() += 1;
            self.count_owed(seq, 1);
            self.touch_request(seq);
        }
        let old = put(&mut self.owed, n, new);
        if let Some(Outgoing { seq, .. }) = old {
            self.touch_request(seq);
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

    /// A checkpoint logs a finished request again as long as one of its messages is owed, so that
    /// the present segment may have its image when none is owed any more.
    fn touch_request(&mut self, seq: u64) {
        if let Some(kept) = self.requests.get_mut(&seq) {
            kept.change = ChangeNumber::next(&mut self.changes);
        }
    }

    pub(in crate::ledger::pending) fn put_unacknowledged(&mut self, hash: [u8; 32], new: Option<u64>) -> Option<u64> {
        put(&mut self.unacknowledged, hash, new)
    }

    pub(in crate::ledger::pending) fn put_outdated(&mut self, thing: &ThingName, new: Option<u64>) -> Option<u64> {
        put(&mut self.outdated, thing.clone(), new)
    }

    pub(in crate::ledger::pending) fn put_device(
        &mut self,
        thing: &ThingName,
        new: Option<Changed>,
    ) -> Option<Changed> {
        let change = ChangeNumber::next(&mut self.changes);
        if let Some(new) = &new {
            let time = rows::since(&new.row);
            self.walked = self.walked.min(time);
            self.oldest = self.oldest.map(|oldest| oldest.min(time));
        }
        put(&mut self.devices, thing.clone(), new.map(|new| Changed { change, ..new }))
    }

    pub(in crate::ledger::pending) fn put_access(&mut self, thing: &ThingName, new: Option<Access>) -> Option<Access> {
        let old = put(&mut self.access, thing.clone(), new);
        if let Some(old) = &old {
            self.access_load.count(old, -1);
            self.access_failed.remove(thing);
            self.access_open.remove(thing);
        }
        self.index_access(thing);
        old
    }

    pub(super) fn index_access(&mut self, thing: &ThingName) {
        let Some(access) = self.access.get(thing) else { return };
        self.access_load.count(access, 1);
        if access.command().is_some() {
            let place = if access.error.is_some() { &mut self.access_failed } else { &mut self.access_open };
            place.insert(thing.clone());
        }
    }

    pub(in crate::ledger::pending) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Request(seq, old) => drop(self.put_request(seq, old.map(|old| *old))),
            Undo::Progress(seq, old) => drop(self.put_progress(seq, old)),
            Undo::Slot(seq, index, old) => drop(self.put_slot(seq, index, old)),
            Undo::Forgotten(seq, old) => drop(self.put_forgotten(seq, old)),
            Undo::Work(target, old) => drop(self.put_work(&target, old)),
            Undo::Owed(n, old) => drop(self.put_owed(n, old)),
            Undo::Unacknowledged(hash, old) => drop(self.put_unacknowledged(hash, old)),
            Undo::Outdated(thing, old) => drop(self.put_outdated(&thing, old)),
            Undo::Device(thing, old) => {
                if old.is_none() {
                    // The registry's row counts again, and its time is not known here.
                    self.oldest = None;
                }
                drop(self.put_device(&thing, old.map(|old| *old)));
            }
            Undo::Access(thing, old) => drop(self.put_access(&thing, old)),
        }
    }
}
