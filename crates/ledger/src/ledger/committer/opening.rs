//! Opens the journal and the registry, binds the one to the other, and recovers what is in them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    Committer, REOPEN,
    Uncommitted::{NotSynced, NotWritten},
};
use crate::{
    domain::Mono,
    ledger::{
        SCHEMA,
        data_dir::Disk,
        health::{Lost, Unavailable},
        journal::{Identity, Journal, Recovered, Replay},
        pending::{self, Counters, Group, Image, State, Summary},
        registry::{
            Binding, rows,
            store::{Direction, Store, StoreError},
        },
    },
    runtime::errors::panic_text,
};

/// Rows that are read at a time.
const COUNT_STEP: usize = 1000;

/// Numbers that are passed over after a damage of the journal: more than the damaged part can have
/// given away, so that no request or message gets a number that another one had.
const PASSED_OVER: u64 = 1 << 20;

impl<D: Disk> Committer<D> {
    /// Opens the journal and the registry where they are closed, unless the wait after the last
    /// failure is not over.
    pub(super) fn ensure_open(&mut self) {
        let now = self.clock.now().mono;
        if self.is_open() || now < self.reopen.0 {
            return;
        }
        let opened = catch_unwind(AssertUnwindSafe(|| self.open())).unwrap_or_else(|panic| {
            let what = panic_text(&*panic);
            Err(StoreError::Io(format!("an internal error; please report it: {what}")))
        });
        match opened {
            Ok(()) => {
                self.reopen = (Mono(0), REOPEN.0);
                if self.lacks_room.is_none() {
                    self.notify.health.send_modify(|health| health.failing = None);
                }
                self.notify.summary.send_replace(Summary::of(&self.state));
                for wake in [&self.notify.work, &self.notify.outgoing, &self.notify.devices, &self.notify.access] {
                    wake.send_replace(());
                }
            }
            Err(error) => {
                tracing::error!(%error, data_dir = %self.disk, "the store cannot be opened");
                self.reopen = (now.after(self.reopen.1), (self.reopen.1 * 2).min(REOPEN.1));
                self.notify.health.send_modify(|health| health.failing = Some(error));
            }
        }
    }

    pub(super) fn open(&mut self) -> Result<(), StoreError> {
        if self.needs_cut
            && let Some(journal) = &mut self.journal
        {
            journal.cut()?;
            self.is_deleted = journal.is_deleted();
            // The new segment may be the one that was reserved.
            (self.reserved, self.full_at, self.has_failed_write) = (0, u64::MAX, false);
            self.needs_cut = false;
            let error = Unavailable("the disk failed".into());
            self.held.drain(..).for_each(|job| job.finish(Err(error.clone())));
        }
        if self.journal.is_none() {
            self.open_journal()?;
        }
        if self.owes_totals {
            self.log_totals()?;
        }
        if self.registry.is_none() {
            self.open_registry()?;
        }
        if self.needs_checkpoint && self.group.is_empty() {
            self.checkpoint_at_once()?;
        }
        Ok(())
    }

    /// Makes what was mended durable before anybody sees it: the next start would mend in another
    /// way what has gone on since. Without room for it the ledger works all the same, and the
    /// checkpoint is made when there is room.
    fn checkpoint_at_once(&mut self) -> Result<(), StoreError> {
        match self.checkpoint_now() {
            Ok(()) => Ok(()),
            // There is no room for a segment: the registry is open.
            Err(NotWritten(StoreError::Full)) if self.registry.is_some() => {
                self.has_no_room(StoreError::Full, self.wanted());
                Ok(())
            }
            Err(NotWritten(error)) => {
                // The ledger is not open yet.
                (self.rewriting, self.registry) = (None, None);
                Err(error)
            }
            Err(NotSynced(error)) => {
                self.undo_unsynced();
                Err(error)
            }
        }
    }

    pub(super) fn open_journal(&mut self) -> Result<(), StoreError> {
        let files = self.disk.open_journal();
        let fresh = Identity { id: self.disk.new_id(), schema: SCHEMA as u32, owner: self.disk.owner() };
        let mut state = State::default();
        let mut is_replaced = false;
        let mut replay = |replay: Replay<'_>| match replay {
            Replay::Group { sequence, payload } => {
                let set = |image: Image<'_>| {
                    let Counters { run, generation, .. } = state.counters;
                    let totals = if let Image::Counters(totals) = &image { Some(*totals) } else { None };
                    drop(state.replay(image));
                    // What follows in the group is of the new registry.
                    if run > 0 && totals.is_some_and(|totals| totals.generation != generation) {
                        is_replaced = true;
                        state.has_nothing_stored();
                    }
                };
                pending::read(payload, set)
                    .map_err(|error| StoreError::Unread(format!("group {sequence} of the journal: {error}")))
            }
            Replay::Hole => {
                state.lose_track();
                Ok(())
            }
        };
        // Reading the identity of the journal may already find the damage.
        let opened = files.and_then(|files| Journal::open(files, fresh, self.disk.segment(), &mut replay));
        let (journal, recovered) = match opened {
            Err(StoreError::Damaged(what)) => {
                let kept = self.disk.quarantine_all(self.clock.now().wall.0);
                self.report_replaced(Lost::Both, kept, &what);
                return Err(StoreError::Io(format!("the store was damaged: {what}")));
            }
            opened => opened?,
        };
        let Recovered { is_new, identity, checkpoint, has_begun, sequence, damage } = recovered;
        (self.is_journal_new, self.has_begun) = (is_new, has_begun);
        // Rows that were lost with a registry are here again; the totals do not count them, and the
        // registry of today does not have them.
        self.needs_count |= is_replaced;
        tracing::debug!(is_new, checkpoint, sequence, "the journal is open");
        if let Some(damage) = damage {
            state.pass_over(PASSED_OVER);
            state.mend();
            (self.needs_count, self.needs_checkpoint) = (true, true);
            tracing::error!(
                intact_through = damage.intact_through,
                "the journal is damaged: the groups before and after the damage count"
            );
            self.report(Lost::Journal, damage.kept_as, &damage.text);
        }
        state.begin_run(self.clock.now());
        state.count_from_here();
        state.note_logged();
        self.state = state;
        (self.group, self.appended) = (Group::default(), Group::default());
        (self.moved, self.moved_logged) = (Vec::new(), 0);
        self.binding =
            Binding { journal: identity.id, generation: self.state.counters.generation, checkpoint, attempt: 0 };
        self.journal = Some(journal);
        self.disk.observe(&self.state, true);
        self.log_totals()
    }

    pub(super) fn open_registry(&mut self) -> Result<(), StoreError> {
        let opened = self.disk.open_registry().and_then(|registry| self.bind(registry));
        match opened {
            Ok(registry) => self.registry = Some(registry),
            Err(StoreError::Damaged(what)) => {
                let is_bound = self.state.counters.is_bound;
                if is_bound || self.binding.generation > 0 {
                    self.replace_registry(&what)?;
                } else if self.is_journal_new {
                    // A journal is made before its registry: there was another journal, which is
                    // missing.
                    let kept = self.disk.quarantine_registry(self.clock.now().wall.0);
                    self.report_replaced(Lost::Both, kept, &format!("its journal is missing; {what}"));
                } else {
                    // The making of the registry was interrupted: it had no rows.
                    self.disk.discard_registry().map_err(|error| StoreError::Io(error.to_string()))?;
                }
                let registry = self.disk.open_registry()?;
                self.registry = Some(self.bind(registry)?);
            }
            Err(error) => return Err(error),
        }
        self.is_journal_new = false;
        crate::runtime::failpoint::pass("open-bound");
        Ok(())
    }

    /// Checks that a registry belongs to the journal, and binds a new one to it.
    pub(super) fn bind(&mut self, mut registry: D::Registry) -> Result<D::Registry, StoreError> {
        let expected = self.binding;
        let found = Binding::read(&registry)?;
        match found {
            Some(found) if found.journal != expected.journal || found.generation != expected.generation => {
                self.is_journal_new |= !self.state.counters.is_bound;
                return Err(StoreError::Damaged("its registry belongs to another journal".into()));
            }
            Some(found) if found.checkpoint < expected.checkpoint => {
                let (has, of) = (found.checkpoint, expected.checkpoint);
                return Err(StoreError::Damaged(format!("its registry has {has} of {of} checkpoints")));
            }
            Some(found) if found.attempt < self.state.counters.attempt => {
                return Err(StoreError::Damaged("its registry has a part of its last checkpoint".into()));
            }
            // Before the registry has the next checkpoint, the journal has another segment.
            Some(found) if found.checkpoint > expected.checkpoint + u64::from(self.has_begun) => {
                // An old copy of the journal, or its last segment is gone: what it has open may
                // have ended long ago, and what came since is lost.
                let kept = self.journal.as_ref().and_then(Journal::keep_copy);
                let (of, has) = (found.checkpoint, expected.checkpoint);
                let text = format!("it has {has} of {of} checkpoints, so its last groups are missing");
                self.report(Lost::Journal, kept, &text);
                self.state.lose_track();
                self.state.pass_over(PASSED_OVER);
                (self.needs_count, self.needs_checkpoint) = (true, true);
                // Until a checkpoint is complete, each start has to find this again, also one after
                // a kill in that checkpoint: the registry is two ahead of the journal then.
                let next = Binding { checkpoint: found.checkpoint + 1, ..found };
                next.write(&mut registry).inspect_err(|_| self.is_suspect = true)?;
                self.binding = next;
                if let Some(journal) = &mut self.journal {
                    journal.pass_over_checkpoints(next.checkpoint);
                }
            }
            Some(_) => {}
            None if self.state.counters.is_bound => {
                return Err(StoreError::Damaged("all rows of its registry are gone".into()));
            }
            None => {
                self.binding.attempt = 0;
                self.binding.write(&mut registry).inspect_err(|_| self.is_suspect = true)?;
            }
        }
        self.binding.attempt = found.map_or(0, |found| found.attempt);
        if self.needs_count {
            self.drop_finished(&registry)?;
            self.count_devices(&registry)?;
        }
        // The next opening takes the copy. Without room for one the registry is used as it is.
        let is_copied = self.is_suspect
            && match registry.rewrite() {
                Err(StoreError::Full) => false,
                copied => copied?,
            };
        if is_copied {
            drop(registry);
            registry = self.disk.open_registry()?;
            self.is_suspect = false;
        }
        if !self.state.counters.is_bound {
            self.state.counters.is_bound = true;
            self.log_totals()?;
        }
        Ok(registry)
    }

    /// Where the journal lost groups, requests that are open in it may have ended: the registry says
    /// so of those that a checkpoint moved there.
    fn drop_finished(&mut self, registry: &D::Registry) -> Result<(), StoreError> {
        let requests = self.state.requests().iter();
        let open: Vec<u64> =
            requests.filter(|(_, kept)| kept.request.completed_at.is_none()).map(|(seq, _)| *seq).collect();
        let mut finished = Vec::new();
        for seq in open {
            let row = registry.get(&rows::request(seq))?;
            if row.map(|row| rows::decode_request(seq, &row)).transpose()?.is_some_and(|row| row.completed_at.is_some())
            {
                finished.push(seq);
            }
        }
        if !finished.is_empty() {
            finished.into_iter().for_each(|seq| self.state.has_finished(seq));
            self.state.mend();
        }
        // Counts anew what is open.
        self.state.begin_run(self.clock.now());
        Ok(())
    }

    /// Counts the devices by all rows, where the journal's totals may be wrong.
    pub(super) fn count_devices(&mut self, registry: &D::Registry) -> Result<(), StoreError> {
        let (mut from, to) = rows::all_of(b'd');
        let mut devices = Vec::new();
        loop {
            let found = registry.scan(&from, &to, Direction::Up, COUNT_STEP)?;
            let Some((last, _)) = found.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, row) in &found {
                if let Some(listed) = rows::decode_listed(row)? {
                    devices.push((rows::read_thing(key)?, listed.registered));
                }
            }
        }
        self.state.recount_devices(devices);
        self.needs_count = false;
        Ok(())
    }
}
