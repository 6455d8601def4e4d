//! Runs a checkpoint between two groups, one step at a time.

use std::time::Duration;

use super::{
    Committer,
    Uncommitted::{self, NotSynced, NotWritten},
    group_commit::{MAX_TOTALS, append, write_moved},
    progress::Progress,
};
use crate::{
    ledger::{
        data_dir::Disk,
        journal::Journal,
        pending::Group,
        registry::{Binding, Checkpoint, Step, carried_bytes},
    },
    runtime::failpoint,
};

/// A checkpoint begins when less than a segment divided by this number is free.
const RESERVED: u64 = 8;

impl<D: Disk> Committer<D> {
    /// The part of the segment that is used, in quarters.
    pub(super) fn used_quarters(&self) -> u64 {
        let used = |journal: &Journal<D::Files>| 4 - (4 * journal.room()).div_ceil(journal.length().max(1));
        self.journal.as_ref().map_or(0, used)
    }

    /// Continues a checkpoint, or begins one that is due, and waits for rows that are being written
    /// for no longer than `patience`.
    pub(super) fn continue_checkpoint(&mut self, patience: Duration) -> Progress {
        let Some(journal) = self.journal.as_ref().filter(|_| self.is_open()) else { return Progress::Over };
        let is_full = journal.room() < self.disk.segment() / RESERVED || journal.used() > self.full_at;
        let is_due = !journal.is_switching() && (is_full || self.is_deleted || self.needs_checkpoint);
        if !is_due && !journal.is_switching() {
            return Progress::Over;
        }
        if is_due && self.is_short_of_room() {
            return Progress::Over;
        }
        // One that is to begin anew would fill the rest of its segment with the same images.
        let is_waiting = self.lacks_room.is_some_and(|(next, _)| self.clock.now().mono < next);
        if self.checkpoint.is_none() && journal.is_switching() && is_waiting {
            return Progress::Over;
        }
        let step = self
            .commit(true)
            .and_then(|()| if is_due { self.begin_checkpoint() } else { self.step_checkpoint(patience) });
        match step {
            Ok(more) => {
                self.notify(None);
                more
            }
            Err(error) => {
                self.fail(Vec::new(), error);
                Progress::Over
            }
        }
    }

    /// Makes a whole checkpoint, or completes the one that is under way.
    pub(super) fn checkpoint_now(&mut self) -> Result<(), Uncommitted> {
        self.sync()?;
        if !self.journal.as_ref().is_some_and(Journal::is_switching) {
            self.switch(0)?;
        }
        while self.step_checkpoint(Duration::MAX)? != Progress::Over {}
        Ok(())
    }

    /// Begins another segment, if there is room for it.
    fn begin_checkpoint(&mut self) -> Result<Progress, Uncommitted> {
        match self.switch(0) {
            Ok(()) => Ok(Progress::More),
            Err(NotWritten(error)) => {
                self.has_no_room(error, self.wanted());
                Ok(Progress::Over)
            }
            Err(error) => Err(error),
        }
    }

    /// One step of a checkpoint. Everything in memory is durable.
    pub(super) fn step_checkpoint(&mut self, patience: Duration) -> Result<Progress, Uncommitted> {
        if self.is_rewriting(patience) {
            return Ok(Progress::Busy);
        }
        let (Some(registry), Some(journal)) = (&mut self.registry, &mut self.journal) else {
            // Its copy could not be opened.
            return Err(NotWritten(self.failing()));
        };
        if !journal.is_switching() {
            return Ok(Progress::Over);
        }
        let checkpoint = self.checkpoint.get_or_insert_with(|| {
            self.binding.attempt += 1;
            let binding = Binding { checkpoint: self.binding.checkpoint + 1, ..self.binding };
            Checkpoint::begin(&self.state, binding, registry)
        });
        match checkpoint.step(&self.state, registry, patience) {
            Ok(Step::More) => Ok(Progress::More),
            Ok(Step::Busy) => Ok(Progress::Busy),
            Ok(Step::Log(images)) if Journal::<D::Files>::footprint(images.len() as u64) > journal.room() => {
                self.begin_anew()
            }
            Ok(Step::Log(images)) => {
                let logged = append(journal, &mut self.has_failed_write, &images)
                    .and_then(|()| journal.sync().map_err(NotSynced));
                if let Err(error) = logged {
                    // The journal lacks these images, so the checkpoint begins anew.
                    self.checkpoint = None;
                    return Err(error);
                }
                Ok(Progress::More)
            }
            Ok(Step::Done) if Journal::<D::Files>::footprint(MAX_TOTALS as u64) > journal.room() => self.begin_anew(),
            Ok(Step::Done) => {
                let checkpoint = self.checkpoint.take();
                self.moved.extend(checkpoint.iter().flat_map(|checkpoint| checkpoint.complete(&mut self.state)));
                self.state.counters.attempt = self.binding.attempt;
                // With the totals, which count the rows that the registry has of these objects now.
                // Where the segment has no room for them, they are in the next group.
                let mut payload = Group::totals(&self.state);
                let totals = payload.len();
                write_moved(&self.moved, &self.state, &mut payload);
                let has_room = Journal::<D::Files>::footprint(payload.len() as u64) <= journal.room();
                if !has_room {
                    payload.truncate(totals);
                }
                let completed = append(journal, &mut self.has_failed_write, &payload)
                    .and_then(|()| journal.complete().map_err(NotSynced));
                if let Err(error) = completed {
                    // The older segments count until another checkpoint is complete.
                    self.moved.extend(checkpoint.iter().flat_map(Checkpoint::written));
                    return Err(error);
                }
                if has_room {
                    self.moved.clear();
                }
                self.moved_logged = 0;
                // As much again as is carried fits beside it, half of it at most in a long segment.
                let (unit, carried) = (self.disk.segment(), journal.used());
                self.full_at = carried + carried / 2 + unit - unit / RESERVED;
                self.disk.observe(&self.state, true);
                failpoint::pass("checkpoint-complete");
                self.binding.checkpoint += 1;
                (self.is_stalled, self.is_deleted) = (false, journal.is_deleted());
                self.needs_checkpoint = false;
                self.has_begun = false;
                if carried_bytes(&self.state) < unit / 4 {
                    self.carry_factor = 1;
                }
                self.trim_segments();
                Ok(Progress::Over)
            }
            Err(error) => {
                // It begins anew when the registry is open again; the journal keeps both segments.
                self.is_stalled = true;
                self.registry_failed(error.clone());
                Err(NotWritten(error))
            }
        }
    }

    /// The images of a checkpoint take more room than was estimated, or other groups filled its
    /// segment: all that is open is logged again in a longer one, when there is room for it.
    fn begin_anew(&mut self) -> Result<Progress, Uncommitted> {
        self.checkpoint = None;
        self.carry_factor *= 2;
        match self.switch(0) {
            Ok(()) => Ok(Progress::More),
            Err(error) => {
                // The next attempt asks for no more than this one.
                self.carry_factor /= 2;
                let NotWritten(error) = error else { return Err(error) };
                self.has_no_room(error, self.wanted());
                Ok(Progress::Over)
            }
        }
    }

    /// Gives back what a burst needed of the segments that are free now.
    fn trim_segments(&mut self) {
        let length = self.wanted();
        let Some(journal) = &mut self.journal else { return };
        self.reserved = self.reserved.min(length);
        if let Err(error) = journal.trim(length) {
            tracing::warn!(%error, "segments of the journal stay longer than they need to be");
        }
    }
}
