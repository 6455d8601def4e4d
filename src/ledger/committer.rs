//! The committing thread: runs the rules of all jobs, one after the other, and makes a group of them
//! durable with one write and one sync of the journal.
//!
//! Jobs that arrive during a sync form the next group. A single job is committed at once. Between
//! two groups the thread goes on with a checkpoint, if one has begun.
//!
//! No state of the store ends the thread, let alone the process: the thread answers that the store
//! is not available, opens it again after a while, and replaces a damaged registry.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Rules,
    data_dir::Disk,
    handle::{Job, Loss, Lost, Tellers, Unavailable},
    journal::{Identity, Journal, Recovered, Replay},
    pending::{self, Group, SCHEMA, State, Summary, Touched, Tx},
    registry::{
        Binding, Checkpoint, Step, carried_bytes, rows,
        store::{Direction, Store, StoreError},
    },
};
use crate::{
    domain::Mono,
    runtime::{clock::Clock, errors::panic_text, failpoint},
};

/// Jobs that are gathered into one group.
const GROUP_JOBS: usize = 256;

/// Objects that a group may change before it is committed although a job of it has more to do.
const GROUP_CHANGES: usize = 2000;

/// How long changes that nobody waits for stay in memory alone. After that a kill does not undo them.
const LAZY: Duration = Duration::from_millis(500);

/// The part of a segment that has to be free for the next group, else a checkpoint begins.
const RESERVED: u64 = 8;

/// Rows that are read at a time.
const COUNT_STEP: usize = 1000;

/// Groups between two looks at the size of the registry.
const LOOK_AT_SIZE: u32 = 256;

/// Bytes of a registry's file below which it is not rewritten.
const SMALL: u64 = 64 << 20;

/// Waits between two attempts to open a store that fails.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Numbers that are passed over after a damage of the journal: more than the damaged part can have
/// given away, so that no request or message gets a number that another one had.
const PASSED_OVER: u64 = 1 << 20;

type Queue = mpsc::Receiver<Box<dyn Job>>;

pub(super) struct Committer<D: Disk> {
    disk: D,
    rules: Rules,
    clock: Clock,
    state: State,
    journal: Option<Journal<D::Files>>,
    registry: Option<D::Registry>,
    /// Which registry the journal expects, by the last checkpoint that is complete.
    binding: Binding,
    checkpoint: Option<Checkpoint>,
    /// Changes that are in memory, and not in the journal yet.
    group: Group,
    /// Changes that are in the journal, and not durable yet.
    appended: Group,
    /// Jobs with more steps to do.
    unfinished: VecDeque<Box<dyn Job>>,
    /// A sync of the journal failed: before anything else, another segment has to say how far it
    /// counts.
    needs_cut: bool,
    /// Jobs of the group that failed with it. They are answered when nothing of it can come back.
    held: Vec<Box<dyn Job>>,
    /// When to try again, and how long to wait after the next failure.
    reopen: (Mono, Duration),
    /// A sync of the registry's file failed: its readable rows are copied before it counts again.
    is_suspect: bool,
    /// A part of the journal was lost, and with it what changed of the totals; or it has rows that a
    /// lost registry had, too.
    needs_count: bool,
    /// The last step of a checkpoint failed.
    is_stalled: bool,
    /// The journal was made by this opening.
    is_journal_new: bool,
    /// The journal had begun another segment after its last complete checkpoint.
    has_begun: bool,
    /// The totals changed, and the journal does not have them yet. What they announce (a new
    /// registry) must not be on the disk before them.
    owes_totals: bool,
    /// A segment of the journal was deleted: a checkpoint is due, after which it is not needed.
    is_deleted: bool,
    /// By how much names are longer than usual.
    carry_factor: u64,
    /// Bytes that the next segment has for sure.
    reserved: u64,
    until_look: u32,
    /// What was live, and the file's size, when the registry was last rewritten.
    rewritten: Option<(u64, u64)>,
    tell: Tellers,
}

/// A job of a group, and what came of it.
type Ran = (Box<dyn Job>, Result<(), Unavailable>);

/// Why a group is not committed.
enum Uncommitted {
    /// Nothing of it is in the journal.
    NotWritten(StoreError),
    /// The disk may have any part of it.
    NotSynced(StoreError),
}

use Uncommitted::{NotSynced, NotWritten};

impl<D: Disk> Committer<D> {
    pub(super) fn new(disk: D, rules: Rules, clock: Clock, tell: Tellers) -> Self {
        Self {
            disk,
            rules,
            clock,
            state: State::default(),
            journal: None,
            registry: None,
            binding: Binding::default(),
            checkpoint: None,
            group: Group::default(),
            appended: Group::default(),
            unfinished: VecDeque::new(),
            needs_cut: false,
            held: Vec::new(),
            reopen: (Mono(0), REOPEN.0),
            is_suspect: false,
            needs_count: false,
            is_stalled: false,
            is_journal_new: false,
            has_begun: false,
            owes_totals: false,
            is_deleted: false,
            carry_factor: 1,
            reserved: 0,
            // The first look is at the first group.
            until_look: 1,
            rewritten: None,
            tell,
        }
    }

    /// Runs jobs until no handle is left that could send one.
    pub(super) fn run(&mut self, queue: &mut Queue, runtime: &tokio::runtime::Runtime) {
        self.ensure_open();
        loop {
            let next = match queue.try_recv() {
                Ok(job) => Some(job),
                Err(mpsc::error::TryRecvError::Disconnected) => break,
                Err(mpsc::error::TryRecvError::Empty) if !self.unfinished.is_empty() => None,
                Err(mpsc::error::TryRecvError::Empty) if self.continue_checkpoint() => continue,
                // Everybody who would ask may wait for the jobs that are held.
                Err(mpsc::error::TryRecvError::Empty) if self.group.is_empty() && self.held.is_empty() => {
                    match queue.blocking_recv() {
                        Some(job) => Some(job),
                        None => break,
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => {
                    match runtime.block_on(async { tokio::time::timeout(LAZY, queue.recv()).await }) {
                        Ok(Some(job)) => Some(job),
                        Ok(None) => break,
                        Err(_) => {
                            self.ensure_open();
                            self.flush();
                            continue;
                        }
                    }
                }
            };
            self.turn(next, queue);
        }
        self.close();
    }

    /// The same in a simulation, where time does not pass while a thread computes.
    #[cfg(test)]
    pub(super) async fn simulate(&mut self, queue: &mut Queue, pause: &mut impl FnMut() -> Duration) {
        self.ensure_open();
        loop {
            let mut next = None;
            if self.unfinished.is_empty() {
                let wait = if self.held.is_empty() { Duration::MAX } else { LAZY };
                match tokio::time::timeout(wait, queue.recv()).await {
                    Ok(None) => break,
                    Ok(job) => next = job,
                    Err(_) => {
                        self.ensure_open();
                        continue;
                    }
                }
            }
            tokio::time::sleep(pause()).await;
            self.turn(next, queue);
            while queue.is_empty() && self.unfinished.is_empty() && self.continue_checkpoint() {
                tokio::time::sleep(pause()).await;
            }
            if queue.is_empty() {
                self.flush();
            }
        }
        self.close();
    }

    /// Runs the waiting jobs as one group, makes it durable if somebody waits for that, and answers.
    fn turn(&mut self, first: Option<Box<dyn Job>>, queue: &mut Queue) {
        self.ensure_open();
        let mut jobs: Vec<Box<dyn Job>> = std::mem::take(&mut self.unfinished).into();
        jobs.extend(first);
        while jobs.len() < GROUP_JOBS
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        if !self.is_open() {
            let error = Unavailable(self.failing().to_string());
            jobs.into_iter().for_each(|job| job.finish(Err(error.clone())));
            return;
        }
        // While a checkpoint cannot go on, the rest of its segment is for what was accepted before.
        self.state.is_short_of_room = self.is_stalled && self.used_quarters() >= 2;
        let (mut durable, mut failed) = (false, None);
        let mut ran: Vec<Ran> = Vec::with_capacity(jobs.len());
        for mut job in jobs {
            match self.run_job(&mut *job, queue, &mut failed) {
                Ok((ended, changed)) => {
                    durable |= changed && !job.is_lazy();
                    if ended {
                        ran.push((job, Ok(())));
                    } else {
                        self.unfinished.push_back(job);
                    }
                }
                Err(error) => ran.push((job, Err(error))),
            }
        }
        let begun = Instant::now();
        match if durable { self.commit(true) } else { Ok(()) } {
            Ok(()) => {
                self.tell(durable.then(|| begun.elapsed()));
                ran.into_iter().for_each(|(job, result)| job.finish(result));
                self.look_at_size();
                // The fuller the segment, the more, so that a checkpoint ends before it is full.
                let steps = 1 << (2 * self.used_quarters());
                let _ = (0..steps).all(|_| self.continue_checkpoint());
            }
            Err(error) => self.fail(ran, error),
        }
        if let Some(error) = failed {
            self.registry_failed(error);
        }
    }

    fn is_open(&self) -> bool {
        self.journal.is_some() && self.registry.is_some() && !self.needs_cut
    }

    /// The part of the segment that is used, in quarters.
    fn used_quarters(&self) -> u64 {
        let used = |journal: &Journal<D::Files>| 4 - (4 * journal.room()).div_ceil(journal.length().max(1));
        self.journal.as_ref().map_or(0, used)
    }

    /// Runs a job's steps, as long as nothing else waits: whether it has ended, and whether it
    /// changed anything. A job that fails is undone, and fails alone.
    fn run_job(
        &mut self,
        job: &mut dyn Job,
        queue: &Queue,
        failed: &mut Option<StoreError>,
    ) -> Result<(bool, bool), Unavailable> {
        let Some(registry) = &self.registry else { return Err(Unavailable(self.failing().to_string())) };
        let mut changed = false;
        loop {
            let mut tx = Tx::begin(&mut self.state, registry, &mut self.group, self.clock.now(), &self.rules);
            let step = catch_unwind(AssertUnwindSafe(|| job.step(&mut tx)));
            match step.unwrap_or_else(|panic| Err(StoreError::Defect(panic_text(&*panic)))) {
                Ok(ended) => {
                    changed |= tx.end();
                    if ended || !queue.is_empty() || self.group.len() > GROUP_CHANGES {
                        return Ok((ended, changed));
                    }
                }
                Err(error) => {
                    tx.abort();
                    let unavailable = Unavailable(error.to_string());
                    match error {
                        StoreError::Defect(what) => {
                            tracing::error!(defect = what, "a rule of the ledger failed; please report it");
                            self.tell.health.send_modify(|health| health.defect = Some(what));
                        }
                        StoreError::Replaced => {}
                        error => *failed = Some(error),
                    }
                    return Err(unavailable);
                }
            }
        }
    }

    /// Writes the group to the journal, and makes durable what is in it.
    fn commit(&mut self, durable: bool) -> Result<(), Uncommitted> {
        if !self.group.is_empty() {
            let payload = self.group.images(&self.state);
            if durable {
                self.reserve()?;
            }
            self.make_room(&payload)?;
            let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
            failpoint::pass("commit-before-write");
            journal.append(&payload).map_err(NotWritten)?;
            self.group.append_to(&mut self.appended);
        }
        if durable {
            failpoint::pass("commit-before-sync");
            self.sync()?;
            failpoint::pass("commit-synced");
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Uncommitted> {
        let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
        journal.sync().map_err(NotSynced)?;
        self.appended = Group::default();
        #[cfg(test)]
        if self.group.is_empty() {
            self.disk.observe(&self.state, true);
        }
        Ok(())
    }

    /// Sees to it that the segment takes the group.
    fn make_room(&mut self, payload: &[u8]) -> Result<(), Uncommitted> {
        let needed = Journal::<D::Files>::footprint(payload.len() as u64);
        let has_room =
            |journal: &Option<Journal<D::Files>>| journal.as_ref().is_some_and(|journal| needed <= journal.room());
        if has_room(&self.journal) {
            return Ok(());
        }
        if self.journal.as_ref().is_some_and(Journal::is_switching) {
            // The registry gets only what is durable, and this group is not. So the group is taken
            // back, and set again when the checkpoint is complete.
            let told = (self.group.touched, self.group.ended);
            self.group.undo(&mut self.state);
            self.sync()?;
            while self.step_checkpoint()? {}
            self.group.redo(&mut self.state, payload).map_err(NotWritten)?;
            (self.group.touched, self.group.ended) = told;
        }
        if has_room(&self.journal) {
            return Ok(());
        }
        self.sync()?;
        self.switch(needed)
    }

    /// Begins another segment, which takes all that is open and `needed` bytes.
    fn switch(&mut self, needed: u64) -> Result<(), Uncommitted> {
        let length = self.next_length(needed);
        let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
        self.reserved = 0;
        self.has_begun = true;
        journal.switch(length).map_err(NotSynced)?;
        failpoint::pass("checkpoint-begun");
        Ok(())
    }

    /// Bytes of the next segment: all that is open is logged again there, and as much fits beside it.
    fn next_length(&self, needed: u64) -> u64 {
        let (unit, carried) = (self.disk.segment(), carried_bytes(&self.state) * self.carry_factor);
        // Most of the time little is open, and the segments stay as they are.
        if carried + needed < unit / 4 { unit } else { carried + carried / 2 + needed + unit }
    }

    /// Sees to it that the next segment has room for all that is open before more is accepted: so
    /// that what was accepted never fails for a full disk.
    fn reserve(&mut self) -> Result<(), Uncommitted> {
        let length = self.next_length(0);
        if length > self.reserved
            && let Some(journal) = &mut self.journal
        {
            journal.reserve(length).map_err(NotWritten)?;
            self.reserved = length;
        }
        Ok(())
    }

    /// Goes on with a checkpoint, or begins one if it is time; whether there is more to do.
    fn continue_checkpoint(&mut self) -> bool {
        let Some(journal) = self.journal.as_ref().filter(|_| self.is_open()) else { return false };
        let is_full = journal.room() < self.disk.segment() / RESERVED;
        let is_due = !journal.is_switching() && (is_full || self.is_deleted);
        if !is_due && !journal.is_switching() {
            return false;
        }
        let step = self
            .commit(true)
            .and_then(|()| if is_due { self.switch(0).map(|()| true) } else { self.step_checkpoint() });
        match step {
            Ok(more) => {
                self.tell(None);
                more
            }
            Err(error) => {
                self.fail(Vec::new(), error);
                false
            }
        }
    }

    /// One step of a checkpoint; whether there is more to do. Everything in memory is durable.
    fn step_checkpoint(&mut self) -> Result<bool, Uncommitted> {
        let (Some(registry), Some(journal)) = (&mut self.registry, &mut self.journal) else { return Ok(false) };
        if !journal.is_switching() {
            return Ok(false);
        }
        let binding = Binding { checkpoint: self.binding.checkpoint + 1, ..self.binding };
        let checkpoint = self.checkpoint.get_or_insert_with(|| Checkpoint::begin(&self.state, binding));
        match checkpoint.step(&self.state, registry) {
            Ok(Step::More) => Ok(true),
            Ok(Step::Log(images)) if Journal::<D::Files>::footprint(images.len() as u64) > journal.room() => {
                // More than was reckoned with: all of it goes into a longer segment.
                self.carry_factor *= 2;
                self.checkpoint = None;
                self.switch(0).map(|()| true)
            }
            Ok(Step::Log(images)) => {
                if let Err(error) = journal.append(&images) {
                    // They would be missing.
                    self.checkpoint = None;
                    return Err(NotWritten(error));
                }
                journal.sync().map_err(NotSynced)?;
                Ok(true)
            }
            Ok(Step::Done) => {
                if let Some(checkpoint) = self.checkpoint.take() {
                    checkpoint.complete(&mut self.state);
                }
                journal.append(&Group::totals(&self.state)).map_err(NotWritten)?;
                journal.complete().map_err(NotSynced)?;
                #[cfg(test)]
                self.disk.observe(&self.state, true);
                failpoint::pass("checkpoint-complete");
                self.binding = binding;
                (self.is_stalled, self.is_deleted) = (false, journal.is_deleted());
                self.has_begun = false;
                self.carry_factor = 1;
                Ok(false)
            }
            Err(error) => {
                // It begins anew when the registry is open again; the journal keeps both segments.
                self.is_stalled = true;
                self.registry_failed(error.clone());
                Err(NotWritten(error))
            }
        }
    }

    /// Writes changes that nobody waits for to the journal.
    fn flush(&mut self) {
        if self.group.is_empty() || !self.is_open() {
            return;
        }
        match self.commit(false) {
            Ok(()) => self.tell(None),
            Err(error) => self.fail(Vec::new(), error),
        }
    }

    fn close(&mut self) {
        self.flush();
        if self.is_open() && self.sync().is_ok() && self.state.has_settled() {
            let is_switching = self.journal.as_ref().is_some_and(Journal::is_switching);
            let mut more = if is_switching { Ok(true) } else { self.switch(0).map(|()| true) };
            while let Ok(true) = more {
                more = self.step_checkpoint();
            }
            if let Err(NotWritten(error) | NotSynced(error)) = more {
                tracing::warn!(%error, "no checkpoint at the stop; the next start reads more of the journal");
            }
        }
        if let Some(journal) = self.journal.as_mut().filter(|_| !self.needs_cut)
            && let Err(error) = journal.close()
        {
            tracing::warn!(%error, "the journal was not closed; nothing acknowledged is lost");
        }
        (self.registry, self.journal) = (None, None);
        let error = Unavailable("the agent is stopping".into());
        self.unfinished.drain(..).for_each(|job| job.finish(Err(error.clone())));
    }

    /// Reports what changed, before anybody is answered.
    fn tell(&mut self, time: Option<Duration>) {
        failpoint::fail("ledger");
        #[cfg(test)]
        self.disk.observe(&self.state, false);
        let Touched { work, outgoing, devices, access } = std::mem::take(&mut self.group.touched);
        self.tell.counting.ended(&std::mem::take(&mut self.group.ended));
        if let Some(time) = time {
            self.tell.counting.committed(time);
        }
        self.tell.summary.send_if_modified(|summary| {
            let mut now = Summary::of(&self.state);
            now.store_bytes = summary.store_bytes;
            let changed = *summary != now;
            *summary = now;
            changed
        });
        for (touched, wake) in [
            (work, &self.tell.work),
            (outgoing, &self.tell.outgoing),
            (devices, &self.tell.devices),
            (access, &self.tell.access),
        ] {
            if touched {
                wake.send_replace(());
            }
        }
    }

    fn failing(&self) -> StoreError {
        self.tell.health.borrow().failing.clone().unwrap_or_else(not_open)
    }

    /// A group is not committed: the state is as before it, and its jobs are rejected. If the disk
    /// may have a part of it, that waits until another segment says that it does not count.
    fn fail(&mut self, ran: Vec<Ran>, error: Uncommitted) {
        self.group.undo(&mut self.state);
        // Changes that nobody waited for are undone, too, and whoever made them begins anew.
        self.state.begin_run(self.clock.now());
        match error {
            NotWritten(error) => {
                tracing::error!(%error, "the journal takes no group");
                let unavailable = Unavailable(error.to_string());
                // Whoever took something for done, without waiting for it, looks again.
                self.group.touched = Touched { work: true, outgoing: true, devices: true, access: true };
                self.tell(None);
                ran.into_iter().for_each(|(job, result)| job.finish(result.and(Err(unavailable.clone()))));
            }
            NotSynced(error) => {
                tracing::error!(%error, "the journal was not synced; beginning another segment");
                self.appended.undo(&mut self.state);
                self.state.begin_run(self.clock.now());
                // A checkpoint in progress may have logged what the cut takes away.
                self.checkpoint = None;
                self.needs_cut = true;
                self.tell.health.send_modify(|health| health.failing = Some(error.clone()));
                self.reopen.0 = self.clock.now().mono;
                self.held.extend(ran.into_iter().map(|(job, _)| job));
                self.ensure_open();
            }
        }
    }

    /// The registry is closed, to be opened again or replaced.
    fn registry_failed(&mut self, error: StoreError) {
        tracing::error!(%error, "the registry failed; opening it again");
        self.registry = None;
        self.checkpoint = None;
        self.reopen.0 = self.clock.now().mono;
        self.is_suspect |= matches!(error, StoreError::Io(_));
        let error = match error {
            // What the journal cannot take now is done at the next attempt to open it.
            StoreError::Damaged(what) => self.replace_registry(&what).err().unwrap_or(StoreError::Damaged(what)),
            error => error,
        };
        self.tell.health.send_modify(|health| health.failing = Some(error));
    }

    /// Opens what is not open, unless the last failure was just now.
    fn ensure_open(&mut self) {
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
                self.tell.health.send_modify(|health| health.failing = None);
                self.tell.summary.send_replace(Summary::of(&self.state));
                for wake in [&self.tell.work, &self.tell.outgoing, &self.tell.devices, &self.tell.access] {
                    wake.send_replace(());
                }
            }
            Err(error) => {
                tracing::error!(%error, data_dir = %self.disk, "the store cannot be opened");
                self.reopen = (now.after(self.reopen.1), (self.reopen.1 * 2).min(REOPEN.1));
                self.tell.health.send_modify(|health| health.failing = Some(error));
            }
        }
    }

    fn open(&mut self) -> Result<(), StoreError> {
        if self.needs_cut
            && let Some(journal) = &mut self.journal
        {
            journal.cut()?;
            self.is_deleted = journal.is_deleted();
            self.needs_cut = false;
            let error = Unavailable("the disk failed; nothing of the command is kept".into());
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
        Ok(())
    }

    fn open_journal(&mut self) -> Result<(), StoreError> {
        let files = self.disk.open_journal();
        let fresh = Identity { id: self.disk.new_id(), schema: SCHEMA as u32, owner: self.disk.owner() };
        let mut state = State::default();
        let mut is_replaced = false;
        let mut replay = |replay: Replay<'_>| match replay {
            Replay::Group { sequence, payload } => {
                let before = state.counters;
                pending::read(payload, |image| drop(state.replay(image)))
                    .map_err(|error| StoreError::Unread(format!("group {sequence} of the journal: {error}")))?;
                is_replaced |= before.run > 0 && before.generation != state.counters.generation;
                Ok(())
            }
            Replay::Hole => {
                state.lose_track();
                Ok(())
            }
        };
        // The look at whose journal it is may find the damage already.
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
        // Rows that were lost with a registry are here again; the totals do not count them.
        self.needs_count |= is_replaced;
        tracing::debug!(is_new, checkpoint, sequence, "the journal is open");
        if let Some(damage) = damage {
            state.pass_over(PASSED_OVER);
            state.mend();
            self.needs_count = true;
            tracing::error!(
                intact_through = damage.intact_through,
                "the journal is damaged: what stands before and behind the damage counts"
            );
            self.report(Lost::Journal, damage.kept_as, &damage.text);
        }
        state.begin_run(self.clock.now());
        self.state = state;
        (self.group, self.appended) = (Group::default(), Group::default());
        self.binding = Binding { journal: identity.id, generation: self.state.counters.generation, checkpoint };
        self.journal = Some(journal);
        #[cfg(test)]
        self.disk.observe(&self.state, true);
        self.log_totals()
    }

    /// Makes a change of the totals alone durable.
    fn log_totals(&mut self) -> Result<(), StoreError> {
        self.owes_totals = true;
        let payload = Group::totals(&self.state);
        let logged = self.make_room(&payload).and_then(|()| {
            let Some(journal) = &mut self.journal else { return Err(NotWritten(not_open())) };
            journal.append(&payload).map_err(NotWritten)?;
            self.sync()
        });
        match logged {
            Ok(()) => {
                self.owes_totals = false;
                Ok(())
            }
            Err(NotWritten(error)) => Err(error),
            Err(NotSynced(error)) => {
                self.needs_cut = true;
                Err(error)
            }
        }
    }

    fn open_registry(&mut self) -> Result<(), StoreError> {
        let opened = self.disk.open_registry().and_then(|registry| self.bind(registry));
        match opened {
            Ok(registry) => self.registry = Some(registry),
            Err(StoreError::Damaged(what)) => {
                let is_bound = self.state.counters.is_bound;
                if is_bound || self.binding.generation > 0 {
                    self.replace_registry(&what)?;
                } else if self.is_journal_new {
                    // A journal is made before its registry: there was another one, which is gone.
                    let kept = self.disk.quarantine_registry(self.clock.now().wall.0);
                    self.report_replaced(Lost::Both, kept, &format!("its journal is missing; {what}"));
                } else {
                    // Its making was interrupted: nothing was in it.
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

    /// Sees to it that a registry is the one that the journal goes with.
    fn bind(&mut self, mut registry: D::Registry) -> Result<D::Registry, StoreError> {
        let expected = self.binding;
        match Binding::read(&registry)? {
            Some(found) if found.journal != expected.journal || found.generation != expected.generation => {
                self.is_journal_new |= !self.state.counters.is_bound;
                return Err(StoreError::Damaged("its registry belongs to another journal".into()));
            }
            Some(found) if found.checkpoint < expected.checkpoint => {
                let (has, of) = (found.checkpoint, expected.checkpoint);
                return Err(StoreError::Damaged(format!("its registry has {has} of {of} checkpoints")));
            }
            // Before the registry has the next checkpoint, the journal has another segment.
            Some(found) if found.checkpoint > expected.checkpoint + u64::from(self.has_begun) => {
                // An old copy of the journal, or its last segment is gone: what it has open may have
                // ended long ago, and what came since is lost.
                let kept = self.journal.as_ref().and_then(Journal::keep_copy);
                let (of, has) = (found.checkpoint, expected.checkpoint);
                let text = format!("it has {has} of {of} checkpoints, so its last groups are missing");
                self.report(Lost::Journal, kept, &text);
                self.state.lose_track();
                self.state.pass_over(PASSED_OVER);
                self.needs_count = true;
                self.binding.checkpoint = found.checkpoint;
            }
            Some(_) => {}
            None if self.state.counters.is_bound => {
                return Err(StoreError::Damaged("all rows of its registry are gone".into()));
            }
            None => expected.write(&mut registry).inspect_err(|_| self.is_suspect = true)?,
        }
        if self.needs_count {
            self.count_devices(&registry)?;
        }
        // The next opening takes the copy.
        if self.is_suspect && registry.rewrite()? {
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

    /// Counts the devices by all rows, where the journal's totals may be wrong.
    fn count_devices(&mut self, registry: &D::Registry) -> Result<(), StoreError> {
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

    /// Quarantines the registry; a new one is made at the next opening, and read from the cloud.
    /// What is open, and what the registry did not have yet, stays.
    fn replace_registry(&mut self, what: &str) -> Result<(), StoreError> {
        if self.state.counters.is_bound {
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
    fn report(&self, lost: Lost, kept_as: Option<PathBuf>, why: &str) {
        let loss = Loss { at: self.clock.now().wall, kept_as, why: why.to_owned(), lost };
        tracing::error!("{loss}");
        self.tell.health.send_modify(|health| health.lose(loss));
    }

    fn report_replaced(&self, lost: Lost, kept: std::io::Result<PathBuf>, what: &str) {
        match kept {
            Ok(kept_as) => self.report(lost, Some(kept_as), what),
            Err(error) => {
                tracing::error!(%error, "the damaged store cannot be quarantined; check the data directory's owner and mode");
            }
        }
    }

    /// Rewrites a registry that takes far more room than what is in it, between two groups.
    fn look_at_size(&mut self) {
        self.until_look = self.until_look.checked_sub(1).unwrap_or(LOOK_AT_SIZE);
        let live = self.state.counters.registry_bytes;
        let Some(registry) = self.registry.as_mut().filter(|_| self.until_look == 0) else { return };
        let size = registry.size();
        self.tell.summary.send_if_modified(|summary| {
            let grown = summary.store_bytes != size;
            summary.store_bytes = size;
            grown
        });
        if !is_bloated(live, size, self.rewritten) || self.checkpoint.is_some() {
            return;
        }
        match registry.rewrite() {
            Ok(true) => {
                self.registry = None;
                self.ensure_open();
                let now = self.registry.as_ref().map_or(size, Store::size);
                tracing::info!(live_bytes = live, before = size, now, "the registry was rewritten, to give room back");
                self.rewritten = Some((live, now));
            }
            Ok(false) => {
                tracing::warn!(
                    bytes = size,
                    "no room to rewrite the registry, which would give room back; trying again later"
                );
            }
            // Not written to any more: the copy may be complete, and then it is what opens next.
            Err(error) => self.registry_failed(error),
        }
    }
}

fn not_open() -> StoreError {
    StoreError::Io("not open".into())
}

/// Whether a registry is worth being rewritten: it takes four times what is live, and has not just
/// been. A fresh copy takes up to three times (measured), so it has to double first, or half of what
/// was live has to go.
fn is_bloated(live: u64, size: u64, rewritten: Option<(u64, u64)>) -> bool {
    size > SMALL
        && size > 4 * live
        && rewritten.is_none_or(|(live_then, size_then)| size > 2 * size_then || live < live_then / 2)
}

/// Bytes that the registry's file may have, where `live` bytes of records are allowed: above it the
/// registry is rewritten at the next look, whatever its last rewriting left.
pub(crate) fn max_file_bytes(live: u64) -> u64 {
    live.saturating_mul(4).max(SMALL).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_rewritten_when_it_is_mostly_dead_and_not_again_and_again() {
        let mib = |n: u64| n << 20;
        // A fresh copy takes three times what is live.
        for live in [0, mib(1), mib(256)] {
            assert!(is_bloated(live, max_file_bytes(live) + 1, Some((live, 3 * live))), "{live}");
        }
        assert!(!is_bloated(0, mib(60), None), "small enough whatever is in it");
        assert!(is_bloated(mib(20), mib(100), None) && !is_bloated(mib(30), mib(100), None), "four times");
        let rewritten = Some((mib(30), mib(90)));
        assert!(!is_bloated(mib(32), mib(130), rewritten), "it was just rewritten");
        assert!(is_bloated(mib(32), mib(181), rewritten), "it has doubled");
        assert!(is_bloated(mib(10), mib(95), rewritten), "most of it has gone since");
    }
}
