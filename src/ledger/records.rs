//! The writes that keep a record and its indexes together. No rule touches a device's or a work's rows but by these.

use super::{
    schema::{self, Due, Outgoing, Place, Work},
    store::StoreError,
    story,
    tx::Tx,
};
use crate::model::{Device, DeviceState, Happened, Lane, Outcome, Registered, Request, RequestStatus, Target};

/// The state that people see, from the two records that make it up.
pub(super) fn visible(device: Option<&Device>, work: Option<&Work>) -> Option<DeviceState> {
    let under_way = work.and_then(|work| work.lane.traits().devices).map(|devices| devices.under_way);
    under_way.or(device.map(|device| match device.registered {
        Registered::Associated => DeviceState::Associated,
        Registered::Disassociated => DeviceState::Disassociated,
    }))
}

/// Whether a disassociation of it is open, be it behind an association.
pub(super) fn is_leaving(work: Option<&Work>) -> bool {
    work.is_some_and(|work| {
        let opposite = work.lane.traits().devices.and_then(|devices| devices.opposite);
        work.lane.takes_off() || work.behind.is_some() && opposite.is_some_and(Lane::takes_off)
    })
}

/// Whether guards count it among the devices there are.
pub(super) fn is_known(device: Option<&Device>, work: Option<&Work>) -> bool {
    is_leaving(work) || device.is_some_and(|device| device.registered == Registered::Associated)
}

/// Whether it is kept for a time that ends, and its story with it.
pub(super) fn has_tombstone(device: Option<&Device>) -> bool {
    device.is_some_and(|device| device.registered == Registered::Disassociated)
}

/// A device as its two records have it.
type Both<'r> = (Option<&'r Device>, Option<&'r Work>);

impl Tx<'_> {
    fn count_device(&mut self, before: Both<'_>, after: Both<'_>) {
        for ((device, work), by) in [(before, -1), (after, 1)] {
            let counters = &mut self.counters;
            if is_known(device, work) {
                counters.known = counters.known.saturating_add_signed(by);
            }
            if is_leaving(work) {
                counters.leaving = counters.leaving.saturating_add_signed(by);
            }
        }
        self.count_state(visible(before.0, before.1), visible(after.0, after.1));
    }

    fn count_state(&mut self, before: Option<DeviceState>, after: Option<DeviceState>) {
        for (state, by) in [(before, -1), (after, 1)] {
            if let Some(state) = state {
                let count = self.counters.devices(state);
                *count = count.saturating_add_signed(by);
            }
        }
    }

    fn count_work(&mut self, work: &Work, by: i64) {
        self.counters.loads.entry(work.lane).or_default().count(work.queue, by);
    }

    /// Notes that a device's retained message is out of date.
    fn outdate(&mut self, thing: &str) -> Result<(), StoreError> {
        if self.rules.publish_devices {
            let n = self.counters.next_outgoing;
            self.counters.next_outgoing += 1;
            self.put(schema::outdated(thing), n.to_be_bytes().to_vec())?;
            self.touched.devices = true;
        }
        Ok(())
    }

    /// Writes a device's record with its retention, `None` to forget it.
    pub(super) fn set_device(&mut self, target: &Target, new: Option<&Device>) -> Result<(), StoreError> {
        let thing = target.name();
        let old = self.device(thing)?;
        if old.as_ref() == new {
            return Ok(());
        }
        let work = self.work_of(target)?;
        self.count_device((old.as_ref(), work.as_ref()), (new, work.as_ref()));
        if has_tombstone(old.as_ref()) != has_tombstone(new) {
            self.hand_over_story(thing, has_tombstone(new))?;
        }
        if let Some(old) = &old {
            if new.is_none_or(|new| new.registered != old.registered) {
                self.delete(schema::device(old.registered, thing))?;
            }
            if old.registered == Registered::Disassociated {
                self.delete(schema::due(Due::Tombstone, old.changed_at, thing.as_bytes()))?;
            }
        }
        if let Some(new) = new {
            if new.registered == Registered::Disassociated {
                self.put(schema::due(Due::Tombstone, new.changed_at, thing.as_bytes()), Vec::new())?;
            }
            self.write(schema::device(new.registered, thing), new)?;
        }
        self.outdate(thing)
    }

    /// Writes a target's work with its place in the queue, `None` when nothing is left to do.
    pub(super) fn set_work(&mut self, target: &Target, new: Option<&Work>) -> Result<(), StoreError> {
        let old = self.work_of(target)?;
        if old.as_ref() == new {
            return Ok(());
        }
        if let Some(old) = &old {
            if new.is_none_or(|new| new.key() != old.key()) {
                self.delete(old.key())?;
            }
            self.count_work(old, -1);
        }
        match new {
            Some(new) => {
                if old.as_ref().is_none_or(|old| old.key() != new.key()) {
                    self.put(new.key(), schema::target_bytes(target))?;
                    self.touched.work = true;
                }
                self.count_work(new, 1);
                self.write(schema::work(target), new)?;
            }
            None => {
                self.delete(schema::work(target))?;
            }
        }
        if let Target::Device(thing) = target {
            let device = self.device(thing.as_str())?;
            self.count_device((device.as_ref(), old.as_ref()), (device.as_ref(), new));
            if visible(device.as_ref(), old.as_ref()) != visible(device.as_ref(), new) {
                self.outdate(thing.as_str())?;
            }
        }
        Ok(())
    }

    /// Ends one entry of a request, and the request with its last one.
    pub(super) fn end_entry(&mut self, target: &Target, (seq, no): Place, outcome: &Outcome) -> Result<(), StoreError> {
        self.drop_entry(target, (seq, no))?;
        let mut request = self.known_request(seq)?;
        let fault = outcome.fault();
        self.remember(target, Happened::ended(story::asked(&request), fault.as_ref()))?;
        if let Some(fault) = fault {
            let failure = crate::model::EntryFailure { target: target.clone(), fault };
            self.write(schema::failure(seq, no), &failure)?;
        }
        if request.tally.open == 0 {
            return Err(StoreError::Damaged(format!("request {seq} has an entry too many")));
        }
        request.tally.end(outcome);
        match outcome {
            _ if *target == Target::Registry => {}
            Outcome::Succeeded => self.ended.succeeded += 1,
            _ => self.ended.failed += 1,
        }
        if request.tally.open == 0 {
            self.complete(&mut request)?;
        }
        self.write(schema::request(seq), &request)
    }

    /// Deletes the two rows of an open entry. If only one of them is there, it would be found again and again.
    pub(super) fn drop_entry(&mut self, target: &Target, (seq, no): Place) -> Result<(), StoreError> {
        if !self.delete(schema::waiter(target, seq, no))? || !self.delete(schema::entry(seq, no))? {
            return Err(StoreError::Damaged(format!("entry {no} of request {seq} is not whole")));
        }
        let open = match target {
            Target::Registry => &mut self.counters.open_syncs,
            _ => &mut self.counters.open_entries,
        };
        *open = open.saturating_sub(1);
        Ok(())
    }

    /// Invariant 2: the one place where a request gets its final status, and with it its `completed`.
    fn complete(&mut self, request: &mut Request) -> Result<(), StoreError> {
        request.completed_at = Some(self.now.wall);
        let status = request.tally.status();
        if let Some(at) = RequestStatus::ALL.iter().position(|one| *one == status) {
            self.ended.requests[at] += 1;
        }
        self.counters.open_requests = self.counters.open_requests.saturating_sub(1);
        if let Some(at) = request.expires_at {
            self.delete(schema::due(Due::Expiry, at, &request.seq.to_be_bytes()))?;
        }
        self.put(schema::due(Due::Request, self.now.wall, &request.seq.to_be_bytes()), Vec::new())?;
        self.owe(request, true)
    }

    /// Puts a message into the outbox: `completed`, else `accepted`. Who asked over the socket is told there, or looks.
    pub(super) fn owe(&mut self, request: &Request, completed: bool) -> Result<(), StoreError> {
        if request.client.is_local() {
            return Ok(());
        }
        let message = Outgoing { seq: request.seq, completed };
        let n = self.counters.next_outgoing;
        self.counters.next_outgoing += 1;
        self.counters.outgoing += 1;
        self.touched.outgoing = true;
        self.write(schema::outgoing(n), &message)
    }
}
