//! A transaction: what one step of a rule changes of the state, to be made durable or undone.
//!
//! Transactions run one after the other on one thread. Each changes the state in memory at once, so
//! that the next one sees it. A [`Group`] collects what several of them changed: its images go into
//! the journal as one, and if that fails, or a rule does, the old values are put back.

use std::sync::Arc;

use super::{
    counters::Counters,
    group::{Ended, Group, Touched},
    object::{Changed, DeviceRow, Forgotten, Kept, Key, Listed, Outgoing, Progress, Slot},
    state::{State, Undo},
    summary::{self, Summary},
    work::{Place, Queue, Work, visible},
};
use crate::{
    domain::{
        Access, CallKind, ClientId, ClientToken, Device, Fault, Happened, Now, Outcome, Registered, Request,
        RequestStatus, Target, ThingName,
    },
    ledger::{
        Rules,
        registry::{
            rows,
            store::{Direction, Row, Store, StoreError},
        },
    },
};

/// A transaction.
pub struct Tx<'a> {
    pub(crate) state: &'a mut State,
    pub(super) registry: &'a dyn Store,
    group: &'a mut Group,
    undo: Vec<Undo>,
    before: Counters,
    /// The clocks, read once.
    pub now: Now,
    /// Limits and guards.
    pub rules: &'a Rules,
    pub(super) touched: Touched,
    pub(super) ended: Ended,
}

impl<'a> Tx<'a> {
    /// Begins a transaction.
    #[must_use]
    pub(crate) fn begin(
        state: &'a mut State,
        registry: &'a dyn Store,
        group: &'a mut Group,
        now: Now,
        rules: &'a Rules,
    ) -> Self {
        let before = state.counters;
        state.counters.elapsed = state.counters.elapsed.at(now);
        let (touched, ended) = (Touched::default(), Ended::default());
        Self { state, registry, group, undo: Vec::new(), before, now, rules, touched, ended }
    }

    /// Ends it: what it changed joins the group. Returns whether there was anything.
    pub(crate) fn end(self) -> bool {
        let Self { state, group, undo, before, touched, ended, .. } = self;
        group.ended.add(&ended);
        group.touched.work |= touched.work;
        group.touched.outgoing |= touched.outgoing;
        group.touched.devices |= touched.devices;
        group.touched.access |= touched.access;
        let changed = !undo.is_empty() || state.counters.differ(&before);
        if changed {
            group.before.get_or_insert(before);
            group.undo.extend(undo);
        }
        changed
    }

    /// Undoes it: the rule failed.
    pub(crate) fn abort(self) {
        let Self { state, undo, before, .. } = self;
        for undo in undo.into_iter().rev() {
            state.undo(undo);
        }
        state.counters = Counters { elapsed: state.counters.elapsed, ..before };
    }

    /// The time that the agent knows to have passed, in milliseconds.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        self.state.counters.elapsed.millis
    }

    /// Notes that the cloud confirms the wall clock: time between two boots counts now.
    pub fn confirm_clock(&mut self) {
        self.state.counters.elapsed = self.state.counters.elapsed.confirmed_at(self.now);
    }

    fn changed(&mut self, key: Key, undo: Undo) {
        self.undo.push(undo);
        self.group.changed.insert(key);
    }

    pub(super) fn put_request(&mut self, seq: u64, new: Option<Kept>) {
        let old = self.state.put_request(seq, new);
        self.changed(Key::Request(seq), Undo::Request(seq, old.map(Box::new)));
    }

    fn put_progress(&mut self, seq: u64, new: Progress) {
        if let Some(old) = self.state.put_progress(seq, new) {
            self.changed(Key::Progress(seq), Undo::Progress(seq, old));
        }
    }

    fn put_slot(&mut self, (seq, index): Place, new: Slot) {
        if let Some(old) = self.state.put_slot(seq, index, new) {
            self.changed(Key::Slot(seq, index), Undo::Slot(seq, index, old));
        }
    }

    pub(super) fn put_forgotten(&mut self, seq: u64, new: Forgotten) {
        let old = self.state.put_forgotten(seq, Some(new));
        self.changed(Key::Forgotten(seq), Undo::Forgotten(seq, old));
    }

    pub(super) fn put_owed(&mut self, n: u64, new: Option<Outgoing>) -> Option<Outgoing> {
        let old = self.state.put_owed(n, new);
        self.changed(Key::Owed(n), Undo::Owed(n, old));
        old
    }

    pub(super) fn put_unacknowledged(&mut self, hash: [u8; 32], new: Option<u64>) {
        let old = self.state.put_unacknowledged(hash, new);
        self.changed(Key::Unacknowledged(hash), Undo::Unacknowledged(hash, old));
    }

    pub(super) fn put_outdated(&mut self, thing: &ThingName, new: Option<u64>) {
        let old = self.state.put_outdated(thing, new);
        self.changed(Key::Outdated(thing.clone()), Undo::Outdated(thing.clone(), old));
    }

    fn put_access(&mut self, thing: &ThingName, new: Option<Access>) {
        let old = self.state.put_access(thing, new);
        self.changed(Key::Access(thing.clone()), Undo::Access(thing.clone(), old));
    }

    pub(super) fn put_device(&mut self, thing: &ThingName, new: Changed) {
        let old = self.state.put_device(thing, Some(new));
        self.changed(Key::Device(thing.clone()), Undo::Device(thing.clone(), old.map(Box::new)));
    }

    /// The request with that number: open, or finished and kept.
    pub(super) fn request(&self, seq: u64) -> Result<Option<Request>, StoreError> {
        match self.state.request(seq) {
            Some(kept) => Ok(Some(kept.request.clone())),
            None if self.state.forgotten().contains_key(&seq) => Ok(None),
            None => self.registry.get(&rows::request(seq))?.map(|row| rows::decode_request(seq, &row)).transpose(),
        }
    }

    /// The number of a client's request with that token.
    pub(super) fn find(&self, client: &ClientId, token: &ClientToken) -> Result<Option<u64>, StoreError> {
        if let Some(seq) = self.state.find(client, token) {
            return Ok(Some(seq));
        }
        match self.registry.get(&rows::token(client, token))? {
            Some(row) => Ok(Some(rows::read_seq(&row)?).filter(|seq| !self.state.forgotten().contains_key(seq))),
            None => Ok(None),
        }
    }

    /// As [`Self::request`], where an index says that the request is open.
    pub(super) fn open_request(&self, seq: u64) -> Result<&Request, StoreError> {
        let kept = self.state.request(seq).ok_or_else(|| defect(format!("request {seq} is not open")))?;
        Ok(&kept.request)
    }

    /// A device's row with the bytes that the registry has of it.
    pub(super) fn device_row(&self, thing: &ThingName) -> Result<Changed, StoreError> {
        if let Some(changed) = self.state.devices().get(thing) {
            return Ok(changed.clone());
        }
        let key = rows::device(thing.as_str());
        match self.registry.get(&key)? {
            None => Ok(Changed::default()),
            Some(row) => {
                let stored = (key.len() + row.len()) as u64;
                Ok(Changed { row: Arc::new(rows::decode_device(&row)?), stored, change: 0 })
            }
        }
    }

    /// Whether the cloud lists a device; `None` if the registry does not know it.
    pub(super) fn listed(&self, thing: &ThingName) -> Result<Option<Listed>, StoreError> {
        match self.state.device(thing) {
            Some(row) => Ok(row.device.as_ref().map(Listed::from)),
            None => match self.registry.get(&rows::device(thing.as_str()))? {
                Some(row) => rows::decode_listed(&row),
                None => Ok(None),
            },
        }
    }

    /// A device of the registry.
    pub(super) fn device(&self, thing: &ThingName) -> Result<Option<Device>, StoreError> {
        match self.state.device(thing) {
            Some(row) => Ok(row.device.clone()),
            None => Ok(Arc::unwrap_or_clone(self.device_row(thing)?.row).device),
        }
    }

    pub(super) fn work_of(&self, target: &Target) -> Option<&Work> {
        self.state.work(target)
    }

    /// At most `limit` rows of the registry, from one end.
    pub(super) fn scan(
        &self,
        (from, to): (Vec<u8>, Vec<u8>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.registry.scan(&from, &to, direction, limit)
    }

    /// Totals as `status` shows them.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(self.state)
    }

    /// Bytes of all that is kept: rows of the registry, and an estimate of what is in memory.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        summary::live_bytes(self.state)
    }

    fn count_work(&mut self, (lane, queue): (CallKind, Queue), by: i64) {
        self.state.counters.loads[lane.index()].count(queue, by);
    }

    /// Notes that a device's retained message is out of date.
    fn outdate(&mut self, thing: &ThingName) {
        if self.rules.publish_devices {
            let n = self.state.counters.next_outgoing;
            self.state.counters.next_outgoing += 1;
            self.put_outdated(thing, Some(n));
            self.touched.devices = true;
        }
    }

    /// Sets the access record of a device's client of the broker, `None` if the agent does not
    /// manage that client.
    pub(super) fn set_access(&mut self, thing: &ThingName, new: Option<Access>) {
        let view = |access: Option<&Access>| access.and_then(Access::view);
        let old = self.state.access().get(thing);
        if old == new.as_ref() {
            return;
        }
        let has_changed = view(old) != view(new.as_ref());
        self.touched.access = true;
        self.put_access(thing, new);
        if has_changed {
            self.outdate(thing);
        }
    }

    /// Updates the access record when a device's record changes. A device becomes due only when it
    /// was associated, as far as the agent knew, and no longer is.
    fn follow_access(&mut self, thing: &ThingName, old: Option<Registered>, new: Option<Registered>) {
        if old == new {
            return;
        }
        let access = self.state.access().get(thing).cloned();
        let access = match (old, new) {
            (_, Some(Registered::Associated)) => Access::associated(access),
            (Some(Registered::Associated), Some(Registered::Disassociated)) => {
                let begins = self.rules.local_access && !self.rules.protects_access(thing);
                Access::disassociated(access, begins)
            }
            // The tombstone is forgotten, and with it an access record that has nothing to undo.
            (_, None) => access.filter(Access::is_ours),
            (_, Some(Registered::Disassociated)) => return,
        };
        self.set_access(thing, access);
    }

    /// Sets the registry's record of a device, `None` to forget it, and adds events to its history.
    /// `old` is its row as [`Self::device_row`] has it.
    pub(super) fn set_device(&mut self, thing: &ThingName, old: Changed, new: Option<Device>, happened: Vec<Happened>) {
        let Changed { row: old, stored, .. } = old;
        let old = Arc::unwrap_or_clone(old);
        let (wall, millis) = (self.now.wall, self.elapsed());
        let has_changed = old.device != new;
        if happened.is_empty() && !has_changed {
            return;
        }
        let mut events = old.events;
        for happened in happened {
            super::history::append_event(&mut events, (millis, wall), happened);
        }
        if has_changed {
            let registered = |device: Option<&Device>| device.map(|device| device.registered);
            self.follow_access(thing, registered(old.device.as_ref()), registered(new.as_ref()));
            let work = self.state.work(&Target::Device(thing.clone()));
            let (before, after) = ((registered(old.device.as_ref()), work), (registered(new.as_ref()), work));
            let mut counters = self.state.counters;
            counters.count_device(before, -1);
            counters.count_device(after, 1);
            self.state.counters = counters;
        }
        let changed = if has_changed { millis } else { old.changed };
        let row = Arc::new(DeviceRow { device: new, changed, events });
        self.put_device(thing, Changed { row, stored, change: 0 });
        if has_changed {
            self.outdate(thing);
        }
    }

    /// Adds an event to a device's history; other targets have none.
    pub(super) fn append_event(&mut self, target: &Target, happened: Happened) -> Result<(), StoreError> {
        let Target::Device(thing) = target else { return Ok(()) };
        let Changed { mut row, stored, .. } = self.device_row(thing)?;
        super::history::append_event(&mut Arc::make_mut(&mut row).events, (self.elapsed(), self.now.wall), happened);
        self.put_device(thing, Changed { row, stored, change: 0 });
        Ok(())
    }

    /// Sets a target's work, `None` when nothing is left to do.
    ///
    /// # Errors
    /// The registry failed.
    pub(super) fn set_work(&mut self, target: &Target, new: Option<Work>) -> Result<(), StoreError> {
        self.set_work_with(target, new, |tx, thing| Ok(tx.listed(thing)?.map(|device| device.registered)))
    }

    /// Sets the first work of a target, whose device the registry has as `registered`.
    ///
    /// # Errors
    /// None: what the registry has is given.
    pub(super) fn add_work(
        &mut self,
        target: &Target,
        new: Work,
        registered: Option<Registered>,
    ) -> Result<(), StoreError> {
        self.set_work_with(target, Some(new), |_, _| Ok(registered))
    }

    fn set_work_with(
        &mut self,
        target: &Target,
        new: Option<Work>,
        registered: impl FnOnce(&Self, &ThingName) -> Result<Option<Registered>, StoreError>,
    ) -> Result<(), StoreError> {
        let shown = |work: Option<&Work>| work.map(|work| (work.lane, work.queued_opposite.is_some()));
        let place = |work: Option<&Work>| work.map(|work| (work.lane, work.queue, work.place));
        let old = self.state.work(target);
        let (was_shown, was_at) = (shown(old), place(old));
        let (is_shown, is_at) = (shown(new.as_ref()), place(new.as_ref()));
        if old == new.as_ref() {
            return Ok(());
        }
        if was_at != is_at {
            if let Some((lane, queue, _)) = was_at {
                self.count_work((lane, queue), -1);
            }
            if let Some((lane, queue, _)) = is_at {
                self.count_work((lane, queue), 1);
                self.touched.work = true;
            }
        }
        if let Target::Device(thing) = target
            && was_shown != is_shown
        {
            let device = registered(self, thing)?;
            let old = self.state.work(target);
            let (before, after) = ((device, old), (device, new.as_ref()));
            let has_changed = visible(before.0, before.1) != visible(after.0, after.1);
            let mut counters = self.state.counters;
            counters.count_device(before, -1);
            counters.count_device(after, 1);
            self.state.counters = counters;
            if has_changed {
                self.outdate(thing);
            }
        }
        let old = self.state.put_work(target, new.map(Box::new));
        self.changed(Key::Work(target.clone()), Undo::Work(target.clone(), old));
        Ok(())
    }

    /// Ends one entry of a request, and the request with its last one. The caller takes the entry
    /// out of its target's waiters.
    pub(super) fn end_entry(&mut self, target: &Target, place: Place, outcome: &Outcome) -> Result<(), StoreError> {
        let fault = outcome.fault().map(Arc::new);
        let event = super::history::ended(self.open_request(place.0)?, fault.as_deref());
        self.append_event(target, event)?;
        self.end_recorded(target, place, outcome, fault.as_ref())
    }

    /// The same for an entry whose end its device's history shows already. Several entries may
    /// share the fault.
    pub(super) fn end_recorded(
        &mut self,
        target: &Target,
        place: Place,
        outcome: &Outcome,
        fault: Option<&Arc<Fault>>,
    ) -> Result<(), StoreError> {
        if self.state.open_target(place) != Some(target) {
            return Err(defect(format!("entry {} of request {} is not open", place.1, place.0)));
        }
        let request = self.open_request(place.0)?;
        let (mut progress, seq) = (Progress::of(request), request.seq);
        if progress.tally.open == 0 {
            return Err(defect(format!("request {seq} has an entry too many")));
        }
        let slot = match fault {
            Some(fault) => Slot::Failed(target.clone(), Arc::clone(fault)),
            None => Slot::Succeeded,
        };
        self.put_slot(place, slot);
        progress.tally.end(outcome);
        let counters = &mut self.state.counters;
        match target {
            Target::Registry => counters.open_syncs = counters.open_syncs.saturating_sub(1),
            _ => {
                counters.open_entries = counters.open_entries.saturating_sub(1);
                match outcome {
                    Outcome::Succeeded => self.ended.succeeded += 1,
                    _ => self.ended.failed += 1,
                }
            }
        }
        let is_over = progress.tally.open == 0;
        if is_over {
            progress.completed_at = Some(self.now.wall);
            progress.completed_elapsed = self.elapsed();
        }
        self.put_progress(seq, progress);
        if is_over {
            self.complete(seq, progress.tally.status())?;
        }
        Ok(())
    }

    /// Notes what a sync found for a request.
    pub(super) fn set_sync(&mut self, seq: u64, counts: crate::domain::SyncCounts) -> Result<(), StoreError> {
        let progress = Progress { sync: Some(counts), ..Progress::of(self.open_request(seq)?) };
        self.put_progress(seq, progress);
        Ok(())
    }

    /// Invariant 2: the one place where a request gets its final status, and with it its
    /// `completed`.
    fn complete(&mut self, seq: u64, status: RequestStatus) -> Result<(), StoreError> {
        if let Some(at) = RequestStatus::ALL.iter().position(|one| *one == status) {
            self.ended.requests[at] += 1;
        }
        self.state.counters.open_requests = self.state.counters.open_requests.saturating_sub(1);
        let client = self.open_request(seq)?.client.clone();
        self.owe(&client, seq, true);
        Ok(())
    }

    /// Puts a message into the outbox: `completed`, else `accepted`. A client of the local socket
    /// gets its answers there.
    pub(super) fn owe(&mut self, client: &ClientId, seq: u64, completed: bool) {
        if client.is_local() {
            return;
        }
        let n = self.state.counters.next_outgoing;
        self.state.counters.next_outgoing += 1;
        self.state.counters.outgoing += 1;
        self.touched.outgoing = true;
        self.put_owed(n, Some(Outgoing { seq, completed }));
    }
}

/// The state does not fit together: a defect of the agent, and no damage of the store.
pub(super) fn defect(what: String) -> StoreError {
    StoreError::Defect(what)
}
