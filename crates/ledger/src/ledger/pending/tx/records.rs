//! What a rule sets of a target: its device's record, its work, and the access of its broker
//! client. The counters, the history and the retained messages follow.

use std::sync::Arc;

use super::{
    super::{
        history,
        object::{ChangeNumber, Changed, DeviceRow, Key},
        state::Undo,
        work::{Queue, Work, visible},
    },
    Tx,
};
use crate::{
    domain::{Access, CallKind, Device, EventKind, Registered, Target, ThingName},
    ledger::registry::store::StoreError,
};

impl Tx<'_> {
    fn count_work(&mut self, (call_kind, queue): (CallKind, Queue), by: i64) {
        self.state.counters.loads[call_kind.index()].count(queue, by);
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
    pub(in crate::ledger::pending) fn set_access(&mut self, thing: &ThingName, new: Option<Access>) {
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
    pub(in crate::ledger::pending) fn set_device(
        &mut self,
        thing: &ThingName,
        old: Changed,
        new: Option<Device>,
        new_events: Vec<EventKind>,
    ) {
        let Changed { row: old, stored, .. } = old;
        let old = Arc::unwrap_or_clone(old);
        let (wall, millis) = (self.now.wall, self.elapsed());
        let has_changed = old.device != new;
        if new_events.is_empty() && !has_changed {
            return;
        }
        let mut events = old.events;
        for kind in new_events {
            history::append_event(&mut events, (millis, wall), kind);
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
        self.put_device(thing, Changed { row, stored, change: ChangeNumber::default() });
        if has_changed {
            self.outdate(thing);
        }
    }

    /// Adds an event to a device's history; other targets have none.
    pub(in crate::ledger::pending) fn append_event(
        &mut self,
        target: &Target,
        kind: EventKind,
    ) -> Result<(), StoreError> {
        let Target::Device(thing) = target else { return Ok(()) };
        let Changed { mut row, stored, .. } = self.device_row(thing)?;
        history::append_event(&mut Arc::make_mut(&mut row).events, (self.elapsed(), self.now.wall), kind);
        self.put_device(thing, Changed { row, stored, change: ChangeNumber::default() });
        Ok(())
    }

    /// Sets a target's work, `None` when nothing is left to do.
    ///
    /// # Errors
    /// The registry failed.
    pub(in crate::ledger::pending) fn set_work(
        &mut self,
        target: &Target,
        new: Option<Work>,
    ) -> Result<(), StoreError> {
        self.set_work_with(target, new, |tx, thing| Ok(tx.listed(thing)?.map(|device| device.registered)))
    }

    /// Sets the first work of a target, whose device the registry has as `registered`.
    ///
    /// # Errors
    /// None: what the registry has is given.
    pub(in crate::ledger::pending) fn add_work(
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
        let shown = |work: Option<&Work>| work.map(|work| (work.call_kind, work.details.queued_opposite.is_some()));
        let place = |work: Option<&Work>| work.map(|work| (work.call_kind, work.queue, work.place));
        let old = self.state.work(target);
        let (was_shown, was_at) = (shown(old), place(old));
        let (is_shown, is_at) = (shown(new.as_ref()), place(new.as_ref()));
        if old == new.as_ref() {
            return Ok(());
        }
        if was_at != is_at {
            if let Some((call_kind, queue, _)) = was_at {
                self.count_work((call_kind, queue), -1);
            }
            if let Some((call_kind, queue, _)) = is_at {
                self.count_work((call_kind, queue), 1);
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
}
