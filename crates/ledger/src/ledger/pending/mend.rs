//! After a damage of the journal: repairs objects that refer to lost objects.
//!
//! Work whose images are lost may have been sent, and entries may have ended. So their outcome is
//! taken for unknown: the next complete list shows it, or the call is repeated.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use smallvec::smallvec;

use super::{
    object::{Outgoing, Progress, Slot},
    state::State,
    work::{CallState, Queue, Waiter, WaitsSince, Work},
};
use crate::domain::{Fault, Registered, Target, ThingName};

impl State {
    /// A part of the journal is lost: whatever is open now may have been sent, or have ended.
    pub(crate) fn lose_track(&mut self) {
        self.counters.outcome_seq += 1;
        let targets: Vec<Target> = self.works().keys().cloned().collect();
        for target in targets {
            if let Some(work) = self.work(&target).cloned() {
                let work = self.with_unknown_outcome(work);
                self.put_work(&target, Some(Box::new(work)));
            }
        }
    }

    /// The registry has that open request as finished, which counts: only its result may still be
    /// owed.
    pub(crate) fn has_finished(&mut self, seq: u64) {
        let client = self.put_request(seq, None).map(|kept| kept.request.client);
        let is_owed = self.owed().values().any(|message| message.seq == seq && message.completed);
        if client.is_some_and(|client| !client.is_local()) && !is_owed {
            self.owe_result(seq);
        }
    }

    fn owe_result(&mut self, seq: u64) {
        let n = self.counters.next_outgoing;
        self.counters.next_outgoing += 1;
        self.put_owed(n, Some(Outgoing { seq, completed: true }));
    }

    fn with_unknown_outcome(&self, mut work: Work) -> Work {
        work.call_state = CallState::OutcomeUnknown;
        if work.call_kind.is_settled_by_list() {
            // No answer said that it failed: what the list does not show as done is sent again.
            work.queue = Queue::AwaitList;
            work.details.since = WaitsSince { outcome_seq: self.counters.outcome_seq, joined_before: 0 };
        }
        work
    }

    /// Skips numbers that lost groups may have used, so that none is used twice.
    pub(crate) fn pass_over(&mut self, numbers: u64) {
        let counters = &mut self.counters;
        for number in [&mut counters.next_seq, &mut counters.next_outgoing, &mut counters.outcome_seq] {
            *number = number.saturating_add(numbers);
        }
    }

    /// Makes the objects fit together again.
    pub(crate) fn mend(&mut self) {
        self.mend_waiters();
        self.mend_entries();
        self.mend_totals();
        self.index();
    }

    /// Work waits for open entries only.
    fn mend_waiters(&mut self) {
        let targets: Vec<Target> = self.works().keys().cloned().collect();
        for target in targets {
            let Some(mut work) = self.work(&target).cloned() else { continue };
            work.waiters.retain(|waiter| self.open_target(waiter.0) == Some(&target));
            if work.queued_opposites().is_empty() {
                work.details.queued_opposite = None;
            }
            let is_needed = !work.waiting().is_empty() || (work.is_sent() && work.call_kind.is_settled_by_list());
            self.put_work(&target, is_needed.then(|| Box::new(work)));
        }
    }

    /// Each open entry has its work.
    fn mend_entries(&mut self) {
        let mut open = Vec::new();
        for (seq, kept) in self.requests() {
            let Some(call_kind) = kept.request.operation.call_kind() else { continue };
            for (index, slot) in (0..).zip(&kept.slots) {
                if let Slot::Open(target) = slot {
                    open.push(((*seq, index), call_kind, target.clone()));
                }
            }
        }
        for (place, call_kind, target) in open {
            let waiter = Waiter(place, None);
            match self.work(&target).cloned() {
                Some(work) if work.waiters.iter().any(|waiter| waiter.0 == place) => {}
                Some(mut work) if work.call_kind == call_kind && work.is_for(place) => {
                    let at = work.waiters.partition_point(|waiter| waiter.0 < place);
                    work.waiters.insert(at, waiter);
                    self.put_work(&target, Some(Box::new(work)));
                }
                None => {
                    let work = self.with_unknown_outcome(Work::new(call_kind, smallvec![waiter]));
                    self.put_work(&target, Some(Box::new(work)));
                }
                Some(_) => {
                    let text = "outcome unknown: the journal was damaged, and a request for the opposite is open";
                    let slot = Slot::Failed(target, Arc::new(Fault::new("TimedOut", text)));
                    self.put_slot(place.0, place.1, slot);
                }
            }
        }
    }

    /// A request's totals are those of its entries, and it has ended with its last one.
    fn mend_totals(&mut self) {
        let mut ended = Vec::new();
        let mut totals = Vec::new();
        for (seq, kept) in self.requests() {
            let count = |is: fn(&Slot) -> bool| {
                u32::try_from(kept.slots.iter().filter(|slot| is(slot)).count()).unwrap_or(u32::MAX)
            };
            let open = count(|slot| matches!(slot, Slot::Open(_)));
            let failed = count(|slot| matches!(slot, Slot::Failed(..)));
            let mut progress = Progress::of(&kept.request);
            let tally = &mut progress.tally;
            tally.entries = u32::try_from(kept.slots.len()).unwrap_or(u32::MAX);
            (tally.open, tally.succeeded) = (open, count(|slot| matches!(slot, Slot::Succeeded)));
            tally.canceled = tally.canceled.min(failed);
            tally.timed_out = tally.timed_out.min(failed - tally.canceled);
            if open == 0 && progress.completed_at.is_none() {
                progress.completed_at = Some(kept.request.accepted_at);
                progress.completed_elapsed = self.counters.elapsed.millis;
                if !kept.request.client.is_local() {
                    ended.push(*seq);
                }
            } else if open > 0 {
                progress.completed_at = None;
            }
            totals.push((*seq, progress));
        }
        for (seq, progress) in totals {
            self.put_progress(seq, progress);
        }
        let is_early = |message: &Outgoing| {
            let kept = self.request(message.seq);
            message.completed && kept.is_some_and(|kept| kept.request.completed_at.is_none())
        };
        let early: Vec<u64> = self.owed().iter().filter(|(_, message)| is_early(message)).map(|(n, _)| *n).collect();
        for n in early {
            self.put_owed(n, None);
        }
        let owed: BTreeSet<u64> =
            self.owed().values().filter(|message| message.completed).map(|message| message.seq).collect();
        ended.into_iter().filter(|seq| !owed.contains(seq)).for_each(|seq| self.owe_result(seq));
    }

    /// Counts the devices again, of which the registry has `stored`.
    pub(crate) fn recount_devices(&mut self, stored: impl IntoIterator<Item = (ThingName, Registered)>) {
        let mut devices: BTreeMap<ThingName, Option<Registered>> =
            stored.into_iter().map(|(thing, registered)| (thing, Some(registered))).collect();
        for (thing, changed) in self.devices() {
            devices.insert(thing.clone(), changed.row.device.as_ref().map(|device| device.registered));
        }
        for target in self.works().keys() {
            if let Target::Device(thing) = target {
                devices.entry(thing.clone()).or_default();
            }
        }
        let mut counters = self.counters;
        counters.clear_devices();
        for (thing, registered) in devices {
            counters.count_device((registered, self.work(&Target::Device(thing))), 1);
        }
        self.counters = counters;
    }
}
