//! What happens when the journal or the registry fails: changes are undone, jobs are rejected, a
//! damaged registry is replaced.

use std::path::PathBuf;

use super::{
    Committer, Ran,
    Uncommitted::{self, NotSynced, NotWritten},
    not_open,
};
use crate::ledger::{
    data_dir::Disk,
    health::{Loss, Lost, Unavailable},
    pending::Touched,
    registry::store::StoreError,
};

impl<D: Disk> Committer<D> {
    pub(super) fn failing(&self) -> StoreError {
        self.notify.health.borrow().failing.clone().unwrap_or_else(not_open)
    }

    /// Undoes a group that is not committed, and rejects its jobs. If the disk may have a part of
    /// the group, the jobs are held until the header of another segment excludes that part.
    pub(super) fn fail(&mut self, mut ran: Vec<Ran>, error: Uncommitted) {
        // What earlier steps of these jobs did may be undone, and their results would count it.
        ran.extend(self.unfinished.drain(..).map(|job| (job, Ok(()))));
        self.group.undo(&mut self.state);
        self.changed_since = None;
        // Changes of unsynced jobs are undone, too; the new run makes their callers begin anew.
        self.state.begin_run(self.clock.now());
        match error {
            NotWritten(error) => {
                tracing::error!(%error, "the journal takes no group");
                let unavailable = Unavailable(error.to_string());
                // Callers that did not wait for durability read the ledger again.
                self.group.touched = Touched { work: true, outgoing: true, devices: true, access: true };
                self.notify(None);
                ran.into_iter().for_each(|(job, result)| job.finish(result.and(Err(unavailable.clone()))));
            }
            NotSynced(error) => {
                tracing::error!(%error, "the journal was not synced; beginning another segment");
                self.undo_unsynced();
                self.notify.health.send_modify(|health| health.failing = Some(error.clone()));
                self.reopen.0 = self.clock.now().mono;
                self.held.extend(ran.into_iter().map(|(job, _)| job));
                self.ensure_open();
            }
        }
    }

    /// After a failed sync: what is not durable is undone, and has to be cut away.
    pub(super) fn undo_unsynced(&mut self) {
        self.appended.undo(&mut self.state);
        self.state.begin_run(self.clock.now());
        // A checkpoint in progress may have logged what the cut takes away.
        self.checkpoint = None;
        (self.needs_cut, self.moved_logged) = (true, 0);
    }

    /// Closes the registry, which is then opened again or replaced.
    pub(super) fn registry_failed(&mut self, error: StoreError) {
        tracing::error!(%error, "the registry failed; opening it again");
        (self.rewriting, self.registry, self.checkpoint) = (None, None, None);
        self.reopen.0 = self.clock.now().mono;
        // A file system that allocates late may find at a sync that it has no room.
        self.is_suspect |= matches!(error, StoreError::Io(_) | StoreError::Full);
        let error = match error {
            // If the journal cannot take the replacement now, the next opening repeats it.
            StoreError::Damaged(what) => self.replace_registry(&what).err().unwrap_or(StoreError::Damaged(what)),
            error => error,
        };
        self.notify.health.send_modify(|health| health.failing = Some(error));
    }

    /// Quarantines the registry; a new one is made at the next opening, and read from the cloud.
    /// Open requests, and changes that the registry did not have yet, stay in memory.
    pub(super) fn replace_registry(&mut self, what: &str) -> Result<(), StoreError> {
        if self.state.counters.is_bound {
            // Or the replacement would be taken back with a group that is undone later.
            self.group.undo(&mut self.state);
            self.state.lose_registry();
            self.state.begin_run(self.clock.now());
            self.binding.generation = self.state.counters.generation;
            (self.checkpoint, self.is_suspect) = (None, false);
            // First, or the next start would take a new registry for one that lost all its rows.
            self.log_totals()?;
        }
        let kept = self.disk.quarantine_registry(self.clock.now().wall.0);
        self.report_replaced(Lost::Registry, kept, what);
        Ok(())
    }

    /// Reports what is lost, in the log and as a problem.
    pub(super) fn report(&self, lost: Lost, kept_as: Option<PathBuf>, why: &str) {
        let loss = Loss { at: self.clock.now().wall, kept_as, why: why.to_owned(), lost };
        tracing::error!("{loss}");
        self.notify.health.send_modify(|health| health.lose(loss));
    }

    pub(super) fn report_replaced(&self, lost: Lost, kept: std::io::Result<PathBuf>, what: &str) {
        match kept {
            Ok(kept_as) => self.report(lost, Some(kept_as), what),
            Err(error) => {
                tracing::error!(%error, "the damaged store cannot be quarantined; check the data directory's owner and mode");
            }
        }
    }
}
