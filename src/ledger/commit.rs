//! The committing thread: runs the rules of whoever asks, one after the other, and makes a group of them durable at
//! once. The previous group's sync gathers the company for the next; where it was quick and there is a crowd, a few milliseconds
//! more do.
//!
//! No state of the store ends the thread, let alone the process: it answers that it is unavailable, opens the store
//! again after a while, and moves a damaged one aside.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    Counters, Rules,
    handle::{Job, Tellers, Unavailable},
    store::{Disk, Store, StoreError},
    tx::{Group, Summary, Tx},
};
use crate::{clock::Clock, failpoint, model::Mono, supervisor::panic_text};

/// Jobs that are gathered into one group.
const GROUP_JOBS: usize = 256;

/// Bytes of a store below which it is not rewritten.
const SMALL: u64 = 64 << 20;

/// Groups between two looks at whether the store should be rewritten.
const LOOK_AT_SIZE: u32 = 256;

/// Longest time from the end of a sync in which a crowd gathers for the next: a disk that syncs in a fraction of it would else be
/// asked for each command by itself, which costs more than the command. Who is alone does not wait, nor does a crowd to which
/// nobody comes within a step: a broker may send no more before it gets an answer.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_STEP: Duration = Duration::from_millis(1);

/// Waits between two openings of a store that fails.
const REOPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

type Queue = mpsc::Receiver<Box<dyn Job>>;

pub(super) struct Committer<D: Disk> {
    /// The end of the last sync, if several waited for it.
    crowd: Option<Instant>,
    /// What lazy jobs wrote since, and nothing else: it goes with the next group, if there is a crowd, since each batch costs the
    /// store some waking of its threads.
    group: Group,
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
    tell: Tellers,
}

impl<D: Disk> Committer<D> {
    pub(super) fn new(disk: D, rules: Rules, clock: Clock, tell: Tellers) -> Self {
        Self {
            crowd: None,
            group: Group::default(),
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
            tell,
        }
    }

    /// Runs what comes until nobody is left who could ask.
    pub(super) fn run(&mut self, queue: &mut Queue) {
        self.ensure_open();
        while let Some(first) = self.next(queue) {
            let crowd = self.crowd;
            self.turn(first, queue, |queue| crowd.is_some_and(|since| has_company(queue, since)));
        }
        self.close();
    }

    /// The same in a simulation, where time does not pass while a thread computes.
    #[cfg(test)]
    pub(super) async fn simulate(&mut self, queue: &mut Queue, pause: &mut impl FnMut() -> Duration) {
        self.ensure_open();
        while let Some(first) = queue.recv().await {
            tokio::time::sleep(pause()).await;
            self.turn(first, queue, |_| false);
            if queue.is_empty() {
                self.apply();
            }
        }
        self.close();
    }

    /// Runs `first` and what waits behind it as one group, and what joins them meanwhile if some of it has to be made durable.
    fn turn(&mut self, first: Box<dyn Job>, queue: &mut Queue, mut company: impl FnMut(&Queue) -> bool) {
        let mut jobs = vec![first];
        let mut run = Ok(Ran::default());
        let mut done = 0;
        self.ensure_open();
        while let Ok(ran) = &mut run {
            while jobs.len() < GROUP_JOBS
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            let result = match &mut self.store {
                Some(store) => run_jobs(store, &mut self.group, &mut jobs[done..], &self.rules, &self.clock, ran),
                None => Err(self.failing()),
            };
            done = jobs.len();
            if let Err(error) = result {
                run = Err(error);
            } else if !ran.durable || done >= GROUP_JOBS || !company(queue) {
                break;
            }
        }
        match run.and_then(|ran| self.commit(ran)) {
            Ok(done) => {
                self.finish(jobs, &done);
                self.durable = done.counters;
                self.look_at_size();
            }
            Err(error) => self.fail(jobs, error),
        }
    }

    /// The next job. What lazy ones wrote does not wait longer for it than a crowd gathers.
    fn next(&mut self, queue: &mut Queue) -> Option<Box<dyn Job>> {
        while !self.group.is_empty() {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(_) if self.crowd.is_some_and(|since| since.elapsed() < GATHER) => thread::sleep(GATHER_STEP),
                Err(_) => self.apply(),
            }
        }
        queue.blocking_recv()
    }

    /// Applies what lazy jobs wrote.
    fn apply(&mut self) {
        // There is a store wherever there is something to apply to it.
        if let Some(store) = &mut self.store
            && let Err(error) = guarded(|| apply(store, &mut self.group, false))
        {
            self.fail(Vec::new(), error);
        }
    }

    /// Makes durable what somebody waits for. What is only lazy goes with the next group, if there is a crowd.
    fn commit(&mut self, ran: Ran) -> Result<Done, StoreError> {
        let Some(store) = &mut self.store else { return Err(self.failing()) };
        let begun = Instant::now();
        if ran.durable || self.crowd.is_none() {
            guarded(|| apply(store, &mut self.group, ran.durable))?;
        }
        let touched = std::mem::take(&mut self.group.touched);
        let ended = std::mem::take(&mut self.group.ended);
        Ok(Done { counters: ran.counters, touched, ended, time: ran.durable.then(|| begun.elapsed()) })
    }

    fn close(&mut self) {
        self.apply();
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
        let live = self.tell.summary.borrow().live_bytes;
        let Some(store) = self.store.as_mut().filter(|_| self.until_look == 0) else { return };
        let size = store.size();
        self.tell.summary.send_if_modified(|summary| {
            let grown = summary.store_bytes != size;
            summary.store_bytes = size;
            grown
        });
        if !is_bloated(live, size, self.rewritten) {
            return;
        }
        match guarded(|| self.group.apply(store).and_then(|()| store.rewrite())) {
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
        failpoint::fail("ledger");
        self.tell.counting.ended(&group.ended);
        if let Some(time) = group.time {
            self.tell.counting.committed(time);
            let waited = jobs.iter().filter(|job| !job.is_lazy()).count();
            self.crowd = (waited > 1).then(Instant::now);
        }
        // Before the answers: whoever is answered finds the totals up to date.
        self.tell.summary.send_if_modified(|summary| {
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
            (group.touched.work, &self.tell.work),
            (group.touched.outgoing, &self.tell.outgoing),
            (group.touched.devices, &self.tell.devices),
        ] {
            if touched {
                wake.send_replace(());
            }
        }
    }

    fn failing(&self) -> StoreError {
        self.tell.health.borrow().failing.clone().unwrap_or_else(|| StoreError::Io("not open".into()))
    }

    fn fail(&mut self, jobs: Vec<Box<dyn Job>>, error: StoreError) {
        self.group = Group::default();
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
            self.tell.health.send_modify(|health| health.failing = Some(error));
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
                self.group = Group::default();
                self.disown_from = None;
                self.reopen = (Mono(0), REOPEN.0);
                self.tell.health.send_modify(|health| health.failing = None);
                self.tell.summary.send_replace(Summary::of(&counters));
                self.durable = counters;
                for wake in [&self.tell.work, &self.tell.outgoing, &self.tell.devices] {
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
                self.tell.health.send_modify(|health| health.failing = Some(error));
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
                self.tell.health.send_modify(|health| health.replaced = Some((at, aside, what.to_owned())));
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

/// Bytes that the store's file may have, where `live` bytes of records are allowed: above it the store is rewritten at the
/// next look, whatever its last rewriting left.
pub(crate) fn max_file_bytes(live: u64) -> u64 {
    live.saturating_mul(4).max(SMALL).saturating_mul(2)
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

/// Whether another job is there, or comes within a step, so that it may join the group.
fn has_company(queue: &Queue, since: Instant) -> bool {
    if since.elapsed() >= GATHER {
        return false;
    }
    if queue.is_empty() {
        thread::sleep(GATHER_STEP);
    }
    !queue.is_empty()
}

/// What the jobs of a group came to, before it is committed.
#[derive(Default)]
struct Ran {
    /// Somebody waits for some of it to be durable.
    durable: bool,
    counters: Counters,
}

/// What a group leaves to tell.
struct Done {
    counters: Counters,
    touched: super::Touched,
    ended: super::Ended,
    /// What writing and syncing took, if it was made durable.
    time: Option<Duration>,
}

/// Runs the jobs on what is in the group already.
fn run_jobs(
    store: &mut impl Store,
    group: &mut Group,
    jobs: &mut [Box<dyn Job>],
    rules: &Rules,
    clock: &Clock,
    ran: &mut Ran,
) -> Result<(), StoreError> {
    guarded(|| {
        for job in jobs {
            loop {
                let mut tx = Tx::begin(store, group, clock.now(), rules)?;
                let ended = job.step(&mut tx)?;
                ran.counters.clone_from(&tx.counters);
                let changed = tx.end();
                ran.durable |= (changed && !job.is_lazy()) || job.syncs();
                group.apply_full(store)?;
                if ended {
                    break;
                }
            }
        }
        Ok(())
    })
}

fn apply(store: &mut impl Store, group: &mut Group, durable: bool) -> Result<(), StoreError> {
    if !group.is_empty() {
        failpoint::pass("commit-before-apply");
        group.apply(store)?;
    }
    if durable {
        failpoint::pass("commit-before-sync");
        store.sync()?;
        failpoint::pass("commit-synced");
    }
    Ok(())
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
