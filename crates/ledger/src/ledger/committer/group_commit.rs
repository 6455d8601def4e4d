//! Makes a group of changes durable: room in the journal, one write, one sync.

use std::time::Duration;

use super::{
    Committer,
    Uncommitted::{self, NotSynced, NotWritten},
    not_open,
    progress::Progress,
};
use crate::{
    domain::ThingName,
    ledger::{
        data_dir::Disk,
        journal::{Files, Journal},
        pending::{Group, Key, State, devices_to_write, write},
        registry::{
            carried_bytes, rows,
            store::{Store, StoreError},
        },
    },
    runtime::failpoint,
};

/// The wait before another attempt to reserve room that was missing.
const ROOM_RETRY: Duration = Duration::from_secs(5);

/// Appends a group. If a second write in a row fails, the sectors are bad, and another segment has
/// to begin, as after a failed sync.
pub(super) fn append<F: Files>(
    journal: &mut Journal<F>,
    has_failed: &mut bool,
    payload: &[u8],
) -> Result<(), Uncommitted> {
    match journal.append(payload) {
        Ok(_) => {
            *has_failed = false;
            Ok(())
        }
        Err(error) if std::mem::replace(has_failed, true) => Err(NotSynced(error)),
        Err(error) => Err(NotWritten(error)),
    }
}

/// Adds the images of objects that a checkpoint moved to the registry.
pub(super) fn write_moved(moved: &[Key], state: &State, payload: &mut Vec<u8>) {
    moved.iter().filter_map(|key| state.image(key)).for_each(|image| write(payload, &image));
}

/// The most bytes of an image of the totals.
pub(super) const MAX_TOTALS: usize = 2048;

impl<D: Disk> Committer<D> {
    /// Writes the group to the journal, and syncs the journal if `durable` is set.
    pub(super) fn commit(&mut self, durable: bool) -> Result<(), Uncommitted> {
        if self.has_unlogged() {
            let mut payload = self.group.images(&self.state);
            if durable {
                self.reserve()?;
            }
            let moved_logged = self.make_room(&mut payload)?;
            let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
            failpoint::pass("commit-before-write");
            append(journal, &mut self.has_failed_write, &payload)?;
            self.state.note_logged();
            self.moved_logged = moved_logged;
            self.group.append_to(&mut self.appended);
            self.changed_since = None;
        }
        if durable {
            failpoint::pass("commit-before-sync");
            self.sync()?;
            failpoint::pass("commit-synced");
        }
        Ok(())
    }

    /// Whether there are changes, or objects that moved, which the journal does not have.
    fn has_unlogged(&self) -> bool {
        !self.group.is_empty() || self.moved.len() > self.moved_logged
    }

    pub(super) fn sync(&mut self) -> Result<(), Uncommitted> {
        let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
        journal.sync().map_err(NotSynced)?;
        self.appended = Group::default();
        self.moved.drain(..std::mem::take(&mut self.moved_logged));
        if self.group.is_empty() {
            self.disk.observe(&self.state, true);
        }
        Ok(())
    }

    /// Adds the images of objects that moved, and makes room for the group in the segment, or
    /// begins another one. A checkpoint that is completed for it changes the totals, the bytes of
    /// rows, and what moved: `payload` gets all of that. Returns of how many objects that moved the
    /// journal has an image with this group.
    pub(super) fn make_room(&mut self, payload: &mut Vec<u8>) -> Result<usize, Uncommitted> {
        let needed = |payload: &[u8]| Journal::<D::Files>::footprint((payload.len() + MAX_TOTALS) as u64);
        let has_room = |journal: &Option<Journal<D::Files>>, payload: &[u8]| {
            journal.as_ref().is_some_and(|journal| needed(payload) <= journal.room())
        };
        let mut of_group = payload.len();
        write_moved(&self.moved[self.moved_logged..], &self.state, payload);
        if has_room(&self.journal, payload) {
            return Ok(self.moved.len());
        }
        if self.journal.as_ref().is_some_and(Journal::is_switching) {
            // The registry gets only what is durable, and this group is not. So the group is taken
            // back, and set again when the checkpoint is complete.
            payload.truncate(of_group);
            let noted = (self.group.touched, self.group.ended);
            self.group.undo(&mut self.state);
            self.sync()?;
            let before = self.state.counters;
            let mut written = devices_to_write(payload, &self.state);
            while self.step_checkpoint(Duration::MAX)? != Progress::Over {}
            let after = self.state.counters;
            for (thing, bytes) in &mut written {
                bytes.now = self.stored_bytes(thing).map_err(NotWritten)?;
            }
            self.group.redo(&mut self.state, payload, &written).map_err(NotWritten)?;
            // The images of the group have the totals from before the checkpoint.
            let grown = after.registry_bytes.wrapping_sub(before.registry_bytes);
            let counters = &mut self.state.counters;
            counters.registry_bytes = counters.registry_bytes.wrapping_add(grown);
            counters.attempt = after.attempt;
            payload.extend(Group::totals(&self.state));
            of_group = payload.len();
            write_moved(&self.moved[self.moved_logged..], &self.state, payload);
            (self.group.touched, self.group.ended) = noted;
        }
        if has_room(&self.journal, payload) {
            return Ok(self.moved.len());
        }
        self.sync()?;
        match self.switch(needed(payload)) {
            Ok(()) => Ok(self.moved.len()),
            // What is open is carried out all the same, and what moved is logged when there is room.
            Err(NotWritten(_)) if has_room(&self.journal, &payload[..of_group]) => {
                payload.truncate(of_group);
                Ok(self.moved_logged)
            }
            Err(error) => Err(error),
        }
    }

    /// Bytes that the registry has of a device's row.
    fn stored_bytes(&self, thing: &ThingName) -> Result<u64, StoreError> {
        let key = rows::device(thing.as_str());
        let row = self.registry.as_ref().ok_or_else(not_open)?.get(&key)?;
        Ok(row.map_or(0, |row| (key.len() + row.len()) as u64))
    }

    /// Begins another segment, which takes all that is open and `needed` bytes.
    pub(super) fn switch(&mut self, needed: u64) -> Result<(), Uncommitted> {
        let length = self.next_length(needed);
        let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
        match journal.switch(length) {
            Ok(_) => {}
            // There is no room for the segment, and the present one continues.
            Err(error) if !journal.is_cut_due() => return Err(NotWritten(error)),
            Err(error) => return Err(NotSynced(error)),
        }
        (self.reserved, self.has_begun) = (0, true);
        self.state.note_switched();
        failpoint::pass("checkpoint-begun");
        Ok(())
    }

    /// Bytes of the next segment: all that is open is logged again there, and as much fits beside
    /// it.
    pub(super) fn next_length(&self, needed: u64) -> u64 {
        let (unit, carried) = (self.disk.segment(), carried_bytes(&self.state) * self.carry_factor);
        // Most of the time little is open, and the segments stay as they are.
        if carried + needed < unit / 4 { unit } else { carried + carried / 2 + needed + unit }
    }

    /// Reserves room for all that is open in the next segment before more is accepted, so that an
    /// accepted command never fails because of a full disk. The room grows in steps of a segment,
    /// because each step takes two syncs.
    ///
    /// Without room only a group that opens more fails, and no more is accepted: what is open is
    /// carried out, and needs less room then.
    pub(super) fn reserve(&mut self) -> Result<(), Uncommitted> {
        let length = self.wanted();
        if length <= self.reserved {
            return Ok(());
        }
        let is_waiting = self.lacks_room.is_some_and(|(next, _)| self.clock.now().mono < next);
        match if is_waiting { Err(StoreError::Full) } else { self.try_to_reserve(length) } {
            Err(error) if self.group.opens_more(&self.state) => Err(NotWritten(error)),
            _ => Ok(()),
        }
    }

    /// Bytes that the next segment should have.
    pub(super) fn wanted(&self) -> u64 {
        self.next_length(0).next_multiple_of(self.disk.segment())
    }

    /// Whether the room for the next segment is missing, and not only that for a command that was
    /// refused.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.lacks_room.is_some() && self.wanted() > self.reserved
    }

    fn try_to_reserve(&mut self, length: u64) -> Result<(), StoreError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.reserve(length) {
            Ok(()) => {
                self.reserved = length;
                if self.lacks_room.take().is_some() {
                    self.notify.health.send_modify(|health| (health.failing, health.segment) = (None, 0));
                }
                Ok(())
            }
            Err(error) => {
                self.has_no_room(error.clone(), length);
                Err(error)
            }
        }
    }

    /// Tries again to get the room that was missing, so that `status` shows that it is missing for
    /// as long as it is.
    pub(super) fn retry_room(&mut self) {
        if let Some((next, length)) = self.lacks_room
            && self.clock.now().mono >= next
        {
            let _ = self.try_to_reserve(length);
        }
    }

    /// Notes that there is no room for the next segment, of `length` bytes.
    pub(super) fn has_no_room(&mut self, error: StoreError, length: u64) {
        if self.lacks_room.is_none() {
            tracing::error!(%error, length, "there is no room for the next segment of the journal");
        }
        self.lacks_room = Some((self.clock.now().mono.after(ROOM_RETRY), length));
        self.notify.health.send_modify(|health| (health.failing, health.segment) = (Some(error), length));
    }

    /// Writes the changes of unsynced jobs to the journal.
    pub(super) fn flush(&mut self) {
        if self.group.is_empty() || !self.is_open() {
            return;
        }
        match self.commit(false) {
            Ok(()) => self.notify(None),
            Err(error) => self.fail(Vec::new(), error),
        }
    }

    /// Makes a change of the totals alone durable.
    pub(super) fn log_totals(&mut self) -> Result<(), StoreError> {
        self.owes_totals = true;
        let mut payload = Group::totals(&self.state);
        let logged = self.make_room(&mut payload).and_then(|moved_logged| {
            let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
            append(journal, &mut self.has_failed_write, &payload)?;
            self.moved_logged = moved_logged;
            self.sync()
        });
        match logged {
            Ok(()) => {
                self.owes_totals = false;
                Ok(())
            }
            Err(NotWritten(error)) => Err(error),
            Err(NotSynced(error)) => {
                (self.needs_cut, self.moved_logged) = (true, 0);
                Err(error)
            }
        }
    }
}
