//! The handle to the ledger: other parts of the agent submit rules to its queue and watch its
//! changes.

use std::thread;

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Rules,
    committer::Committer,
    data_dir::{DataDir, Disk},
    health::{StoreHealth, Unavailable},
    job::{Job, Notifiers, Replies, Step, Typed},
    pending::{Summary, Tx},
    registry::store::StoreError,
    stats::{Counting, Stats},
};
use crate::runtime::clock::Clock;

/// Jobs that the queue of the committing thread holds; [`Ledger::submit`] waits while it is full.
const WAITING: usize = 1024;

/// The receiver of a rule's result.
pub(crate) type Answer<R> = oneshot::Receiver<Result<R, Unavailable>>;

/// A handle to the ledger; clones are the same ledger.
#[derive(Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<Box<dyn Job>>,
    summary: watch::Receiver<Summary>,
    health: watch::Receiver<StoreHealth>,
    work: watch::Receiver<()>,
    outgoing: watch::Receiver<()>,
    devices: watch::Receiver<()>,
    access: watch::Receiver<()>,
    counting: Counting,
}

impl Ledger {
    /// Starts the thread on the store in `data_dir`, whose lock it keeps. The thread ends, and
    /// closes the store, when the last handle is dropped; the second value resolves then.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(
        data_dir: impl Into<DataDir>,
        rules: Rules,
        clock: Clock,
    ) -> std::io::Result<(Self, oneshot::Receiver<()>)> {
        let (ledger, mut thread, mut queue) = Self::assemble(data_dir.into(), rules, clock);
        let (closed_in, closed) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new().name("ledger".into()).spawn(move || {
            thread.run(&mut queue, &runtime);
            let _ = closed_in.send(());
        })?;
        Ok((ledger, closed))
    }

    /// As [`Self::start`], but on a simulated disk, as a task that sleeps for `pause()` before each
    /// group.
    #[cfg(any(test, feature = "testing"))]
    pub fn simulate(
        disk: impl Disk,
        rules: Rules,
        clock: Clock,
        mut pause: impl FnMut() -> std::time::Duration,
    ) -> (Self, impl Future<Output = ()>) {
        let (ledger, mut thread, mut queue) = Self::assemble(disk, rules, clock);
        let run = async move { thread.simulate(&mut queue, &mut pause).await };
        (ledger, run)
    }

    fn assemble<D: Disk>(disk: D, rules: Rules, clock: Clock) -> (Self, Committer<D>, mpsc::Receiver<Box<dyn Job>>) {
        let (jobs, queue) = mpsc::channel(WAITING);
        let losses = disk.losses();
        let (summary_in, summary) = watch::channel(Summary::default());
        let (health_in, health) = watch::channel(StoreHealth { losses, ..StoreHealth::default() });
        let (work_in, work) = watch::channel(());
        let (outgoing_in, outgoing) = watch::channel(());
        let (devices_in, devices) = watch::channel(());
        let (access_in, access) = watch::channel(());
        let counting = Counting::default();
        let notifiers = Notifiers {
            summary: summary_in,
            health: health_in,
            work: work_in,
            outgoing: outgoing_in,
            devices: devices_in,
            access: access_in,
            counting: counting.clone(),
        };
        let committer = Committer::new(disk, rules, clock, notifiers);
        (Self { jobs, summary, health, work, outgoing, devices, access, counting }, committer, queue)
    }

    /// Runs a rule in one transaction, and returns its result when what it wrote is durable.
    ///
    /// # Errors
    /// The store failed; nothing is promised.
    pub async fn run<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        received(self.submit(Replies::Durable, rule).await?).await
    }

    /// As [`Self::run`], but the result may come before the writes are durable
    /// ([`Replies::AtOnce`]).
    ///
    /// # Errors
    /// The store failed.
    pub async fn run_unsynced<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        received(self.submit(Replies::AtOnce, rule).await?).await
    }

    /// Runs a rule that has several steps, each in a transaction of its own, and returns its result
    /// when what it wrote is durable. Other rules run between two steps, and a crash may fall
    /// between them.
    ///
    /// # Errors
    /// The store failed; nothing is promised.
    pub async fn run_steps<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Step<R>, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        received(self.submit_steps(Replies::Durable, rule).await?).await
    }

    /// Puts a rule into the queue, and returns the receiver of its result. Rules run in the order
    /// of submission.
    ///
    /// # Errors
    /// The ledger is closed.
    pub async fn submit<R: Send + 'static>(
        &self,
        replies: Replies,
        mut rule: impl FnMut(&mut Tx<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<Answer<R>, Unavailable> {
        self.submit_steps(replies, move |tx| rule(tx).map(Step::Done)).await
    }

    /// As [`Self::submit`], for a rule that has several steps.
    ///
    /// # Errors
    /// The ledger is closed.
    pub async fn submit_steps<R: Send + 'static>(
        &self,
        replies: Replies,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Step<R>, StoreError> + Send + 'static,
    ) -> Result<Answer<R>, Unavailable> {
        let (reply, receiver) = oneshot::channel();
        let job = Typed { rule, value: None, replies, reply };
        self.jobs.send(Box::new(job)).await.map_err(|_| closed())?;
        Ok(receiver)
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

    /// The health of the store.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.health.clone()
    }

    /// Wakes the dispatchers when there is work. It carries no value: the receiver reads the
    /// ledger.
    #[must_use]
    pub fn work(&self) -> watch::Receiver<()> {
        self.work.clone()
    }

    /// Wakes the task that publishes results.
    #[must_use]
    pub fn outgoing(&self) -> watch::Receiver<()> {
        self.outgoing.clone()
    }

    /// Wakes the task that publishes devices.
    #[must_use]
    pub fn devices(&self) -> watch::Receiver<()> {
        self.devices.clone()
    }

    /// Wakes the task that disables and enables clients of the broker.
    #[must_use]
    pub fn access(&self) -> watch::Receiver<()> {
        self.access.clone()
    }
}

async fn received<R>(answer: Answer<R>) -> Result<R, Unavailable> {
    answer.await.unwrap_or_else(|_| Err(closed()))
}

fn closed() -> Unavailable {
    Unavailable("the agent is stopping".into())
}
