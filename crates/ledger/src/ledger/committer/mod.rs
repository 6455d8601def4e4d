//! The committing thread: runs the rules of all jobs, one after the other, and makes a group of
//! them durable with one write and one sync of the journal.
//!
//! Jobs that arrive during a sync form the next group. A single job is committed at once. Between
//! two groups the thread continues a checkpoint, if one has begun.
//!
//! No error of the store ends the thread or the process: the thread answers that the store is not
//! available, opens it again after a while, and replaces a damaged registry.

mod checkpointing;
mod failure;
mod group_commit;
mod opening;
mod progress;
mod rewriting;
mod size;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use progress::Progress;
use rewriting::Rewriting;
pub use size::max_file_bytes;
use tokio::sync::mpsc;

use super::{
    Rules,
    data_dir::Disk,
    health::Unavailable,
    job::{Job, Notifiers, Replies},
    journal::Journal,
    pending::{Group, Key, State, Summary, Touched, Tx},
    registry::{Binding, Checkpoint, store::StoreError},
};
use crate::{
    domain::Mono,
    runtime::{clock::Clock, errors::panic_text, failpoint},
};

/// Jobs that are gathered into one group.
const GROUP_JOBS: usize = 256;

/// Objects that a group may change before it is committed although more jobs wait, or a job of it
/// has more to do. A group takes some 500 bytes of memory for each, until it is durable.
const GROUP_CHANGES: usize = 2000;

/// How long the changes of unsynced jobs stay in memory only. After that a kill does not undo them.
const UNSYNCED_DELAY: Duration = Duration::from_millis(500);

/// How long an idle ledger waits for rows that are being written, before it looks for jobs again.
const IDLE_PATIENCE: Duration = Duration::from_millis(1);

/// How long a group waits for rows that are being written while the segment is nearly full.
const BUSY_PATIENCE: Duration = Duration::from_millis(10);

/// Waits between two attempts to open a store that fails.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
    /// Objects that checkpoints moved to the registry, and that the journal would bring back. Of
    /// the first `moved_logged` the journal has an image that says so, and that is not durable yet.
    moved: Vec<Key>,
    moved_logged: usize,
    /// Changes that are in memory, and not in the journal yet.
    group: Group,
    /// Changes that are in the journal, and not durable yet.
    appended: Group,
    /// Since when the group has changes.
    changed_since: Option<Mono>,
    /// Jobs with more steps to do.
    unfinished: VecDeque<Box<dyn Job>>,
    /// A sync of the journal failed: before anything else is written, the header of another segment
    /// has to record which groups count.
    needs_cut: bool,
    /// Jobs of the group whose sync failed. They are answered when no part of the group can come
    /// back.
    held: Vec<Box<dyn Job>>,
    /// When to try again, and how long to wait after the next failure.
    reopen: (Mono, Duration),
    /// A sync of the registry's file failed: its readable rows are copied before it counts again.
    is_suspect: bool,
    /// The devices have to be counted again: a part of the journal with changes of the totals was
    /// lost, or the journal has rows that a lost registry had, too.
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
    /// The state was mended after a damage of the journal: a checkpoint is due, or the next start
    /// would mend it again.
    needs_checkpoint: bool,
    /// The factor by which the estimated size of the images of open objects is multiplied.
    carry_factor: u64,
    /// Bytes that are reserved for the next segment.
    reserved: u64,
    /// There was no room for the next segment: when to try again, and for how many bytes.
    lacks_room: Option<(Mono, u64)>,
    /// Bytes of the segment at which a checkpoint is due, also if the segment is longer.
    full_at: u64,
    /// The last write of the journal failed.
    has_failed_write: bool,
    until_look: u32,
    /// What was live, and the file's size, when the registry was last rewritten.
    rewritten: Option<(u64, u64)>,
    /// A copy of the registry that is being made, during which nothing is written to it.
    rewriting: Option<Rewriting>,
    notify: Notifiers,
}

/// A job of a group, and its result.
type Ran = (Box<dyn Job>, Result<(), Unavailable>);

/// Why a group is not committed.
enum Uncommitted {
    /// The journal has no part of the group.
    NotWritten(StoreError),
    /// The disk may have any part of the group.
    NotSynced(StoreError),
}

use Uncommitted::{NotSynced, NotWritten};

impl<D: Disk> Committer<D> {
    pub(super) fn new(disk: D, rules: Rules, clock: Clock, notify: Notifiers) -> Self {
        Self {
            disk,
            rules,
            clock,
            state: State::default(),
            journal: None,
            registry: None,
            binding: Binding::default(),
            checkpoint: None,
            moved: Vec::new(),
            moved_logged: 0,
            group: Group::default(),
            appended: Group::default(),
            changed_since: None,
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
            needs_checkpoint: false,
            carry_factor: 1,
            reserved: 0,
            lacks_room: None,
            full_at: u64::MAX,
            has_failed_write: false,
            // The first look is at the first group.
            until_look: 1,
            rewritten: None,
            rewriting: None,
            notify,
        }
    }

    /// Runs jobs until no handle is left that could send one.
    pub(super) fn run(&mut self, queue: &mut Queue, runtime: &tokio::runtime::Runtime) {
        self.ensure_open();
        loop {
            let next = match queue.try_recv() {
                Ok(job) => Some(job),
                Err(_) if !self.unfinished.is_empty() => None,
                Err(mpsc::error::TryRecvError::Disconnected) => break,
                Err(mpsc::error::TryRecvError::Empty) if self.continue_checkpoint(IDLE_PATIENCE) != Progress::Over => {
                    continue;
                }
                // Every caller may be waiting for a held job, so the thread must not wait for a new
                // job only. While the registry is rewritten, the thread looks for the end of that.
                Err(mpsc::error::TryRecvError::Empty)
                    if self.group.is_empty() && self.held.is_empty() && self.rewriting.is_none() =>
                {
                    match queue.blocking_recv() {
                        Some(job) => Some(job),
                        None => break,
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => {
                    match runtime.block_on(async { tokio::time::timeout(UNSYNCED_DELAY, queue.recv()).await }) {
                        Ok(Some(job)) => Some(job),
                        Ok(None) => break,
                        Err(_) => {
                            self.is_rewriting(Duration::ZERO);
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
    #[cfg(any(test, feature = "testing"))]
    pub(super) async fn simulate(&mut self, queue: &mut Queue, pause: &mut impl FnMut() -> Duration) {
        self.ensure_open();
        loop {
            let mut next = None;
            if self.unfinished.is_empty() {
                let wait = if self.held.is_empty() { Duration::MAX } else { UNSYNCED_DELAY };
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
            while queue.is_empty()
                && self.unfinished.is_empty()
                && self.continue_checkpoint(IDLE_PATIENCE) != Progress::Over
            {
                tokio::time::sleep(pause()).await;
            }
            if queue.is_empty() {
                self.flush();
            }
        }
        self.close();
    }

    /// Runs the waiting jobs as one group, makes it durable unless all its changes are unsynced,
    /// and answers the jobs.
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
        self.retry_room();
        // While a checkpoint cannot continue, the rest of its segment is reserved for requests that
        // were accepted before.
        self.state.is_short_of_room = self.is_stalled && self.used_quarters() >= 2 || self.is_short_of_room();
        let (mut durable, mut failed) = (false, None);
        let mut ran: Vec<Ran> = Vec::with_capacity(jobs.len());
        let mut continued = Vec::new();
        for mut job in jobs {
            if durable && self.group.len() > GROUP_CHANGES {
                self.unfinished.push_back(job);
                continue;
            }
            match self.run_job(&mut *job, queue, &mut failed) {
                Ok((ended, changed)) => {
                    durable |= changed && job.replies() == Replies::Durable;
                    if ended {
                        ran.push((job, Ok(())));
                    } else {
                        continued.push(job);
                    }
                }
                Err(error) => ran.push((job, Err(error))),
            }
        }
        // Behind those that have not run yet: otherwise a long job would hold them up to its end.
        self.unfinished.extend(continued);
        let begun = Instant::now();
        match if durable || self.is_due() { self.commit(durable) } else { Ok(()) } {
            Ok(()) => {
                self.notify(durable.then(|| begun.elapsed()));
                ran.into_iter().for_each(|(job, result)| job.finish(result));
                // A registry that has just failed would fail them, too.
                if failed.is_none() {
                    self.look_at_size();
                    self.step_between_groups();
                }
            }
            Err(error) => self.fail(ran, error),
        }
        // The commit may have found the same failure, and closed the registry for it.
        if let Some(error) = failed.filter(|_| self.registry.is_some()) {
            self.registry_failed(error);
        }
    }

    /// Whether the changes of unsynced jobs are old or many enough to be written without a sync.
    fn is_due(&mut self) -> bool {
        if self.group.is_empty() {
            return false;
        }
        let now = self.clock.now().mono;
        now.since(*self.changed_since.get_or_insert(now)) >= UNSYNCED_DELAY || self.group.len() > GROUP_CHANGES
    }

    /// Continues a checkpoint after a group. A fuller segment gets more steps, and in its last
    /// quarter the thread waits for them, so that a checkpoint ends before the segment is full. The
    /// step that begins another segment is the last one: that segment is empty.
    fn step_between_groups(&mut self) {
        let mut steps = 0;
        loop {
            let quarters = self.used_quarters();
            let patience = if quarters < 3 { Duration::ZERO } else { BUSY_PATIENCE };
            if steps >= 1 << (2 * quarters) || self.continue_checkpoint(patience) != Progress::More {
                return;
            }
            steps += 1;
        }
    }

    fn is_open(&self) -> bool {
        self.journal.is_some() && self.registry.is_some() && !self.needs_cut
    }

    /// Runs the steps of a job until it ends or another job waits. Returns whether the job has
    /// ended, and whether it changed anything. A job that fails is undone, and fails alone.
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
                            self.notify.health.send_modify(|health| health.defect = Some(what));
                        }
                        StoreError::Replaced => {}
                        error => *failed = Some(error),
                    }
                    return Err(unavailable);
                }
            }
        }
    }

    fn close(&mut self) {
        self.flush();
        if self.is_open() && self.sync().is_ok() && self.state.has_settled() {
            let made = self.checkpoint_now();
            self.flush();
            if let Err(NotWritten(error) | NotSynced(error)) = made {
                tracing::warn!(%error, "no checkpoint at the stop; the next start reads more of the journal");
            }
        }
        if let Some(journal) = self.journal.as_mut().filter(|_| !self.needs_cut)
            && let Err(error) = journal.close()
        {
            tracing::warn!(%error, "the journal was not closed; nothing acknowledged is lost");
        }
        (self.checkpoint, self.rewriting, self.registry, self.journal) = (None, None, None, None);
        let error = Unavailable("the agent is stopping".into());
        self.unfinished.drain(..).for_each(|job| job.finish(Err(error.clone())));
    }

    /// Notifies the watchers of what changed, before any job is answered.
    fn notify(&mut self, time: Option<Duration>) {
        failpoint::fail("ledger");
        self.disk.observe(&self.state, false);
        let Touched { work, outgoing, devices, access } = std::mem::take(&mut self.group.touched);
        self.notify.counting.ended(&std::mem::take(&mut self.group.ended));
        if let Some(time) = time {
            self.notify.counting.committed(time);
        }
        self.notify.summary.send_if_modified(|summary| {
            let mut now = Summary::of(&self.state);
            now.store_bytes = summary.store_bytes;
            let changed = *summary != now;
            *summary = now;
            changed
        });
        for (touched, wake) in [
            (work, &self.notify.work),
            (outgoing, &self.notify.outgoing),
            (devices, &self.notify.devices),
            (access, &self.notify.access),
        ] {
            if touched {
                wake.send_replace(());
            }
        }
    }
}

fn not_open() -> StoreError {
    StoreError::Io("not open".into())
}
