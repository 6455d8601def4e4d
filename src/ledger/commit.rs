//! The committing thread: runs the rules of whoever asks, one after the other, and makes a group of them durable at
//! once. The previous group's sync gathers the company for the next; where it was quick and there is a crowd, a few milliseconds
//! more do.
//!
//! No state of the store ends the thread, let alone the process: it answers that it is unavailable, opens the store
//! again after a while, and moves a damaged one aside.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Counters, Rules,
    sled_store::{DataDir, panic_text},
    stats::{Counting, Stats},
    store::{Disk, Store, StoreError},
    tx::{Group, Summary, Tx},
};
use crate::{
    clock::Clock,
    failpoint,
    model::{Mono, Timestamp},
};

/// Questions and commands that wait for the thread; whoever comes later waits in line.
const WAITING: usize = 1024;

/// Jobs that are gathered into one group, and writes beyond which it is made durable: bounds its memory.
const GROUP_JOBS: usize = 256;
const GROUP_WRITES: usize = 8192;

/// Bytes of a store below which it is not rewritten.
const SMALL: u64 = 64 << 20;

/// Groups between two looks at whether the store should be rewritten.
const LOOK_AT_SIZE: u32 = 256;

/// Time between the ends of two syncs in which a crowd gathers: a disk that syncs in a fraction of it would else be asked for each
/// command by itself, which costs more than the command. Who is alone does not wait.
const GATHER: Duration = Duration::from_millis(5);

/// Waits between two openings of a store that fails.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The store could not do it; nothing of it is done or promised. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available: {0}")]
pub struct Unavailable(pub String);

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Why nothing can be stored now.
    pub failing: Option<StoreError>,
    /// The last store that was damaged: when, where it was put, and what was wrong with it.
    pub replaced: Option<(Timestamp, PathBuf, String)>,
}

trait Job: Send {
    /// Runs a step in a transaction of its own; `false` to be called again.
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError>;
    /// Whether the answer may come before what was written is durable.
    fn is_lazy(&self) -> bool;
    fn finish(self: Box<Self>, result: Result<(), Unavailable>);
}

struct Typed<R, F> {
    rule: F,
    value: Option<R>,
    lazy: bool,
    reply: oneshot::Sender<Result<R, Unavailable>>,
}

impl<R: Send, F: FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send> Job for Typed<R, F> {
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        self.value = (self.rule)(tx)?;
        Ok(self.value.is_some())
    }

    fn is_lazy(&self) -> bool {
        self.lazy
    }

    fn finish(self: Box<Self>, result: Result<(), Unavailable>) {
        let Self { value, reply, .. } = *self;
        let result = match (result, value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(Unavailable("a rule did not end".into())),
        };
        // Whoever asked may be gone; what was written stays.
        let _ = reply.send(result);
    }
}

/// A handle to the ledger; clones are the same ledger.
#[derive(Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<Box<dyn Job>>,
    summary: watch::Receiver<Summary>,
    health: watch::Receiver<StoreHealth>,
    work: watch::Receiver<()>,
    outgoing: watch::Receiver<()>,
    devices: watch::Receiver<()>,
    counting: Counting,
}

impl Ledger {
    /// Starts the thread on the store below `data_dir`. It ends, and the store is closed, when the last handle is
    /// gone; the second value is then done.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(data_dir: &Path, rules: Rules, clock: Clock) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (ledger, mut thread, mut queue) = Self::assemble(DataDir(data_dir.to_path_buf()), rules, clock);
        let (closed_in, closed) = oneshot::channel();
        thread::Builder::new().name("ledger".into()).spawn(move || {
            thread.ensure_open();
            while let Some(first) = queue.blocking_recv() {
                if !first.is_lazy() {
                    thread.gather();
                }
                thread.turn(first, &mut queue);
            }
            thread.close();
            let _ = closed_in.send(());
        })?;
        Ok((ledger, closed))
    }

    /// The same on a simulated disk, as a task that takes `pause()` for each group.
    #[cfg(test)]
    pub(crate) fn simulate(
        disk: impl Disk,
        rules: Rules,
        clock: Clock,
        mut pause: impl FnMut() -> Duration,
    ) -> (Self, impl Future<Output = ()>) {
        let (ledger, mut thread, mut queue) = Self::assemble(disk, rules, clock);
        let run = async move {
            thread.ensure_open();
            while let Some(first) = queue.recv().await {
                tokio::time::sleep(pause()).await;
                thread.turn(first, &mut queue);
            }
            thread.close();
        };
        (ledger, run)
    }

    fn assemble<D: Disk>(disk: D, rules: Rules, clock: Clock) -> (Self, Committer<D>, mpsc::Receiver<Box<dyn Job>>) {
        let (jobs, queue) = mpsc::channel(WAITING);
        let (summary_in, summary) = watch::channel(Summary::default());
        let replaced = disk.moved_aside().map(|(at, aside)| (Timestamp(at), aside, "in an earlier run".into()));
        let (health_in, health) = watch::channel(StoreHealth { replaced, ..StoreHealth::default() });
        let (work_in, work) = watch::channel(());
        let (outgoing_in, outgoing) = watch::channel(());
        let (devices_in, devices) = watch::channel(());
        let counting = Counting::default();
        let committer = Committer {
            counting: counting.clone(),
            crowd: None,
            disk,
            rules,
            clock,
            store: None,
            reopen: (Mono(0), REOPEN.0),
            durable: Counters::default(),
            // The first one at the first group.
            until_look: 1,
            rewritten: None,
            disown_from: None,
            summary: summary_in,
            health: health_in,
            work: work_in,
            outgoing: outgoing_in,
            devices: devices_in,
        };
        (Self { jobs, summary, health, work, outgoing, devices, counting }, committer, queue)
    }

    /// Runs a rule and answers when what it wrote is durable. The rule is called again, in another transaction, until
    /// it returns something; a crash may fall between two of its transactions.
    ///
    /// # Errors
    /// The store failed; nothing is promised.
    pub async fn run<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        self.submit(rule, false).await?.await.unwrap_or_else(|_| Err(closed()))
    }

    /// As [`Self::run`], but the answer may come before the writes are durable: for deletions whose loss costs only a
    /// repetition, and for questions.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run_lazily<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        self.submit(rule, true).await?.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Puts a rule in line, and returns where its answer will come: rules run in the order of submission.
    ///
    /// # Errors
    /// The ledger is closed.
    pub async fn submit<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send + 'static,
        lazy: bool,
    ) -> Result<oneshot::Receiver<Result<R, Unavailable>>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let job = Typed { rule, value: None, lazy, reply };
        self.jobs.send(Box::new(job)).await.map_err(|_| closed())?;
        Ok(answer)
    }

    /// Totals, as of the last commit.
    #[must_use]
    pub fn summary(&self) -> watch::Receiver<Summary> {
        self.summary.clone()
    }

    /// What was done since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.counting.read()
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.health.clone()
    }

    /// Wakes whoever sends work. Carries nothing: read the ledger.
    #[must_use]
    pub fn work(&self) -> watch::Receiver<()> {
        self.work.clone()
    }

    /// Wakes whoever publishes results.
    #[must_use]
    pub fn outgoing(&self) -> watch::Receiver<()> {
        self.outgoing.clone()
    }

    /// Wakes whoever publishes devices.
    #[must_use]
    pub fn devices(&self) -> watch::Receiver<()> {
        self.devices.clone()
    }
}

fn closed() -> Unavailable {
    Unavailable("the agent is stopping".into())
}

struct Committer<D: Disk> {
    /// The end of the last sync, if several waited for it.
    crowd: Option<Instant>,
    counting: Counting,
    disk: D,
    rules: Rules,
    clock: Clock,
    store: Option<D::Store>,
    /// When to try again, and how long to wait after the next failure.
    reopen: (Mono, Duration),
    /// Totals, as of the last group that is durable.
    durable: Counters,
    /// Groups until the store's size is looked at.
    until_look: u32,
    /// What was live, and the store's size, when it was last rewritten.
    rewritten: Option<(u64, u64)>,
    /// Requests from this number on were told not to be taken when the store failed under them.
    disown_from: Option<u64>,
    summary: watch::Sender<Summary>,
    health: watch::Sender<StoreHealth>,
    work: watch::Sender<()>,
    outgoing: watch::Sender<()>,
    devices: watch::Sender<()>,
}

impl<D: Disk> Committer<D> {
    /// Runs `first` and what waits behind it as one group.
    fn turn(&mut self, first: Box<dyn Job>, queue: &mut mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = vec![first];
        while jobs.len() < GROUP_JOBS
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        self.ensure_open();
        let result = match self.store.as_mut() {
            Some(store) => run_group(store, &mut jobs, &self.rules, &self.clock),
            None => Err(self.failing()),
        };
        match result {
            Ok(group) => {
                self.finish(jobs, &group);
                self.durable = group.counters;
                self.look_at_size();
            }
            Err(error) => self.fail(jobs, error),
        }
    }

    /// Waits for company, where there was some just now.
    fn gather(&self) {
        let since = self.crowd.map(|at| at.elapsed());
        if let Some(rest) = since.and_then(|since| GATHER.checked_sub(since)) {
            thread::sleep(rest);
        }
    }

    fn close(&mut self) {
        if let Some(store) = &mut self.store
            && let Ok(Err(error)) = catch_unwind(AssertUnwindSafe(|| store.sync()))
        {
            tracing::warn!(%error, "the store was not flushed at the end; nothing acknowledged is lost");
        }
        self.store = None;
    }

    /// Rewrites a store that takes far more room than what is in it, between two groups.
    fn look_at_size(&mut self) {
        self.until_look = self.until_look.checked_sub(1).unwrap_or(LOOK_AT_SIZE);
        let live = self.summary.borrow().live_bytes;
        let Some(store) = self.store.as_mut().filter(|_| self.until_look == 0) else { return };
        let size = store.size();
        self.summary.send_if_modified(|summary| {
            let grown = summary.store_bytes != size;
            summary.store_bytes = size;
            grown
        });
        if !is_bloated(live, size, self.rewritten) {
            return;
        }
        match guarded(|| store.rewrite()) {
            Ok(true) => {
                self.store = None;
                self.ensure_open();
                let now = self.store.as_ref().map_or(size, Store::size);
                tracing::info!(live_bytes = live, before = size, now, "the store was rewritten, to give room back");
                self.rewritten = Some((live, now));
            }
            Ok(false) => {
                tracing::warn!(
                    bytes = size,
                    "no room to rewrite the store, which would give room back; trying again later"
                );
            }
            // Not written to any more: the copy may be complete, and then it is what opens next.
            Err(error) => self.fail(Vec::new(), error),
        }
    }

    fn finish(&mut self, jobs: Vec<Box<dyn Job>>, group: &Done) {
        self.counting.ended(&group.ended);
        if let Some(time) = group.time {
            self.counting.committed(time);
            let waited = jobs.iter().filter(|job| !job.is_lazy()).count();
            self.crowd = (waited > 1).then(Instant::now);
        }
        // Before the answers: whoever is answered finds the totals up to date.
        self.summary.send_if_modified(|summary| {
            let mut now = Summary::of(&group.counters);
            now.store_bytes = summary.store_bytes;
            let changed = *summary != now;
            *summary = now;
            changed
        });
        for job in jobs {
            job.finish(Ok(()));
        }
        for (touched, wake) in [
            (group.touched.work, &self.work),
            (group.touched.outgoing, &self.outgoing),
            (group.touched.devices, &self.devices),
        ] {
            if touched {
                wake.send_replace(());
            }
        }
    }

    fn failing(&self) -> StoreError {
        self.health.borrow().failing.clone().unwrap_or_else(|| StoreError::Io("not open".into()))
    }

    fn fail(&mut self, jobs: Vec<Box<dyn Job>>, error: StoreError) {
        for job in jobs {
            job.finish(Err(Unavailable(error.to_string())));
        }
        if self.store.is_some() {
            tracing::error!(%error, "the store failed; opening it again");
            self.store = None;
            self.disown_from.get_or_insert(self.durable.next_seq);
            if let StoreError::Damaged(what) = &error {
                self.replace(what);
            }
            self.health.send_modify(|health| health.failing = Some(error));
            self.reopen.0 = self.clock.now().mono;
        }
    }

    /// Opens the store if it is not, unless the last failure was just now.
    fn ensure_open(&mut self) {
        let now = self.clock.now().mono;
        if self.store.is_some() || now < self.reopen.0 {
            return;
        }
        let opened = guarded(|| {
            let mut store = self.disk.open()?;
            let mut counters = super::open(&mut store)?;
            if counters.run <= self.durable.run {
                counters = super::follow(&mut store, &self.durable, counters)?;
            }
            if let Some(from) = self.disown_from {
                counters = disown(&mut store, from, &self.rules, &self.clock)?;
            }
            Ok((store, counters))
        });
        match opened {
            Ok((store, counters)) => {
                self.store = Some(store);
                self.disown_from = None;
                self.reopen = (Mono(0), REOPEN.0);
                self.health.send_modify(|health| health.failing = None);
                self.summary.send_replace(Summary::of(&counters));
                self.durable = counters;
                for wake in [&self.work, &self.outgoing, &self.devices] {
                    wake.send_replace(());
                }
            }
            Err(error) => {
                tracing::error!(%error, data_dir = %self.disk, "the store cannot be opened");
                self.reopen = (now.after(self.reopen.1), (self.reopen.1 * 2).min(REOPEN.1));
                if let StoreError::Damaged(what) = &error
                    && self.replace(what)
                {
                    self.reopen.0 = now;
                }
                self.health.send_modify(|health| health.failing = Some(error));
            }
        }
    }

    /// Moves a damaged store aside; a new one is made at the next opening, and read anew from the cloud.
    fn replace(&mut self, what: &str) -> bool {
        let at = self.clock.now().wall;
        match self.disk.move_aside(at.0) {
            Ok(aside) => {
                self.disown_from = None;
                tracing::error!(
                    reason = what,
                    kept_as = %aside.display(),
                    "the store was damaged and is replaced by a new one; commands that it held are lost, send them again"
                );
                self.health.send_modify(|health| health.replaced = Some((at, aside, what.to_owned())));
                true
            }
            Err(error) => {
                tracing::error!(%error, "the damaged store cannot be moved aside; check the data directory's owner and mode");
                false
            }
        }
    }
}

/// Whether a store is worth being rewritten: it takes four times what is live, and has not just been. A fresh copy takes
/// up to three times (measured), so it has to double first, or half of what was live has to go.
fn is_bloated(live: u64, size: u64, rewritten: Option<(u64, u64)>) -> bool {
    size > SMALL
        && size > 4 * live
        && rewritten.is_none_or(|(live_then, size_then)| size > 2 * size_then || live < live_then / 2)
}

/// Makes it true that what was rejected for the store's failure is not taken, although the store may have kept it.
fn disown(store: &mut impl Store, from: u64, rules: &Rules, clock: &Clock) -> Result<Counters, StoreError> {
    loop {
        let mut group = Group::default();
        let mut tx = Tx::begin(store, &mut group, clock.now(), rules)?;
        let done = super::disown(&mut tx, from)?;
        let counters = tx.counters.clone();
        tx.end();
        group.apply(store)?;
        failpoint::pass("open-disowning");
        if done {
            store.sync()?;
            return Ok(counters);
        }
    }
}

/// What a group that is durable leaves to tell.
struct Done {
    counters: Counters,
    touched: super::Touched,
    ended: super::Ended,
    /// What writing and syncing took, if it was made durable.
    time: Option<Duration>,
}

fn run_group(
    store: &mut impl Store,
    jobs: &mut [Box<dyn Job>],
    rules: &Rules,
    clock: &Clock,
) -> Result<Done, StoreError> {
    guarded(|| {
        let mut group = Group::default();
        let mut done = Done {
            counters: Counters::default(),
            touched: super::Touched::default(),
            ended: super::Ended::default(),
            time: None,
        };
        let mut durable = false;
        let mut wrote = false;
        for job in jobs.iter_mut() {
            loop {
                let mut tx = Tx::begin(store, &mut group, clock.now(), rules)?;
                let ended = job.step(&mut tx)?;
                done.counters = tx.counters.clone();
                let changed = tx.end();
                wrote |= changed;
                durable |= changed && !job.is_lazy();
                if group.writes() > GROUP_WRITES {
                    group.apply(store)?;
                }
                if ended {
                    break;
                }
            }
        }
        let begun = Instant::now();
        if wrote {
            failpoint::pass("commit-before-apply");
            group.apply(store)?;
        }
        if durable {
            failpoint::pass("commit-before-sync");
            store.sync()?;
            failpoint::pass("commit-synced");
            done.time = Some(begun.elapsed());
        }
        done.touched = group.touched;
        done.ended = group.ended;
        Ok(done)
    })
}

/// A fault of our own in a rule must neither end the thread nor pass for damage, which would put the store away.
fn guarded<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic_text(&*panic);
        Err(StoreError::Io(format!("an internal error; please report it: {what}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_rewritten_when_it_is_mostly_dead_and_not_again_and_again() {
        let mib = |n: u64| n << 20;
        assert!(!is_bloated(0, mib(60), None), "small enough whatever is in it");
        assert!(is_bloated(mib(20), mib(100), None) && !is_bloated(mib(30), mib(100), None), "four times");
        let rewritten = Some((mib(30), mib(90)));
        assert!(!is_bloated(mib(32), mib(130), rewritten), "it was just rewritten");
        assert!(is_bloated(mib(32), mib(181), rewritten), "it has doubled");
        assert!(is_bloated(mib(10), mib(95), rewritten), "most of it has gone since");
    }
}
