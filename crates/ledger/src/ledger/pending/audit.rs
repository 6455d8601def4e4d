//! Totals and indexes counted again from the objects: what should never differ. For tests, and for
//! a recording that is replayed.

use std::collections::BTreeMap;

use super::{
    counters::Load,
    object::Slot,
    state::State,
    work::{Both, QueueKey, is_known, is_leaving, visible},
};
use crate::domain::{CallKind, DeviceState, Operation, Registered, RequestStatus, Target, ThingName};

/// Returns a description of each inconsistency in the state, or nothing for a consistent state.
/// `stored` are the devices of the registry.
pub(crate) fn audit(state: &State, stored: &BTreeMap<ThingName, Registered>) -> Vec<String> {
    let mut audit = Audit { state, wrong: Vec::new() };
    audit.requests();
    audit.work();
    audit.devices(stored);
    audit.indexes();
    audit.wrong
}

/// The devices that the registry or the state has, and those with open work: each by the state that
/// the cloud has and by its work. `stored` are the devices of the registry.
pub(crate) fn all_devices<'s>(
    state: &'s State,
    stored: &BTreeMap<ThingName, Registered>,
) -> BTreeMap<ThingName, Both<'s>> {
    let mut devices = stored.clone();
    for (thing, changed) in state.devices() {
        match &changed.row.device {
            Some(device) => drop(devices.insert(thing.clone(), device.registered)),
            None => drop(devices.remove(thing)),
        }
    }
    let worked = state.works().iter().filter_map(|(target, work)| match target {
        Target::Device(thing) => Some((thing.clone(), &**work)),
        _ => None,
    });
    let mut all: BTreeMap<ThingName, Both<'s>> =
        devices.into_iter().map(|(thing, registered)| (thing, (Some(registered), None))).collect();
    for (thing, work) in worked {
        all.entry(thing).or_default().1 = Some(work);
    }
    all
}

struct Audit<'s> {
    state: &'s State,
    wrong: Vec<String>,
}

impl Audit<'_> {
    fn equal(&mut self, what: &str, total: u64, found: usize) {
        if total != found as u64 {
            self.wrong.push(format!("{what}: {total} by the totals, {found} by the objects"));
        }
    }

    fn hold(&mut self, what: &str, holds: bool) {
        if !holds {
            self.wrong.push(what.to_owned());
        }
    }

    fn requests(&mut self) {
        let counters = self.state.counters;
        let (mut open, mut entries) = (0, 0);
        for (seq, kept) in self.state.requests() {
            let tally = &kept.request.tally;
            let count = |is: fn(&Slot) -> bool| kept.slots.iter().filter(|slot| is(slot)).count() as u64;
            let is_open = count(|slot| matches!(slot, Slot::Open(_)));
            self.hold(&format!("request {seq} has a number to come"), *seq < counters.next_seq);
            self.hold(&format!("request {seq}: entries"), kept.slots.len() == tally.entries as usize);
            self.hold(&format!("request {seq}: open entries"), u64::from(tally.open) == is_open);
            let failed = count(|slot| matches!(slot, Slot::Failed(..)));
            self.hold(&format!("request {seq}: failed entries"), u64::from(tally.failed()) == failed);
            let has_ended = kept.request.completed_at.is_some();
            self.hold(&format!("request {seq} has ended or not"), has_ended == (is_open == 0));
            self.hold(&format!("request {seq} is stored before its end"), has_ended || !kept.stored);
            open += usize::from(tally.status() == RequestStatus::InProgress);
            if kept.request.operation != Operation::Sync {
                entries += is_open as usize;
            }
            for slot in &kept.slots {
                if let Slot::Open(target) = slot {
                    let waits = self.state.work(target).is_some_and(|work| work.waiters.iter().any(|w| w.0.0 == *seq));
                    self.hold(&format!("an entry of request {seq} does not wait for its target"), waits);
                }
            }
            self.hold(&format!("request {seq} is forgotten, and here"), !self.state.forgotten().contains_key(seq));
        }
        self.equal("open requests", counters.open_requests, open);
        self.equal("open entries", counters.open_entries, entries);
        self.equal("outbox", counters.outgoing, self.state.owed().len());
    }

    fn work(&mut self) {
        let mut loads: BTreeMap<CallKind, Load> = BTreeMap::new();
        for (target, work) in self.state.works() {
            loads.entry(work.call_kind).or_default().count(work.queue, 1);
            let name = target.name();
            let at_place = self.state.queues().get(&QueueKey::of(target, work)) == Some(target);
            self.hold(&format!("the work on {name} is not in its queue"), at_place);
            self.hold(&format!("nothing asks for the work on {name}"), work.is_sent() || !work.waiting().is_empty());
            let opposite = work.call_kind.opposite();
            for waiter in &work.waiters {
                let call_kind = if work.is_for(waiter.0) { Some(work.call_kind) } else { opposite };
                let asked = self.state.request(waiter.0.0).and_then(|kept| kept.request.operation.call_kind());
                self.hold(&format!("request {} waits in another's turn", waiter.0.0), asked == call_kind);
                let is_open = self.state.open_target(waiter.0) == Some(target);
                self.hold(&format!("request {} waits for {name}, and has ended", waiter.0.0), is_open);
            }
            let in_order = work.waiters.windows(2).all(|pair| pair[0].0 < pair[1].0);
            self.hold(&format!("the waiters of {name} are in order"), in_order);
            let has_opposite = !work.queued_opposites().is_empty();
            self.hold(
                "no entry waits behind the work",
                work.details.queued_opposite.is_none() || (has_opposite && work.is_sent()),
            );
        }
        self.equal("queue", self.state.works().len() as u64, self.state.queues().len());
        for call_kind in CallKind::ALL {
            let (total, found) =
                (self.state.counters.loads[call_kind.index()], loads.get(&call_kind).copied().unwrap_or_default());
            self.hold(&format!("{call_kind:?}: {total:?} by the totals, {found:?} by the objects"), total == found);
        }
    }

    fn devices(&mut self, stored: &BTreeMap<ThingName, Registered>) {
        let mut counters = self.state.counters;
        let both: Vec<Both<'_>> = all_devices(self.state, stored).into_values().collect();
        let (known, leaving) = (
            both.iter().filter(|(device, work)| is_known(*device, *work)).count(),
            both.iter().filter(|(_, work)| is_leaving(*work)).count(),
        );
        self.equal("known devices", counters.known, known);
        self.equal("leaving devices", counters.leaving, leaving);
        let states: Vec<_> = both.iter().filter_map(|(device, work)| visible(*device, *work)).collect();
        for state in DeviceState::ALL {
            let found = states.iter().filter(|one| *one == state).count();
            self.equal(state.as_str(), *counters.devices(*state), found);
        }
    }

    /// What follows from the objects is as if it was made anew.
    fn indexes(&mut self) {
        let mut again = self.state.clone();
        again.index();
        self.hold("the indexes differ from what they are made of", again.has_same_indexes(self.state));
    }
}
