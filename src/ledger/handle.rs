//! The handle to the ledger: what others ask of it, in line, and how they hear of it.

use std::{path::PathBuf, thread};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Rules,
    committer::Committer,
    data_dir::{DataDir, Disk},
    pending::{Summary, Tx},
    registry::store::StoreError,
    stats::{Counting, Stats},
};
use crate::{domain::Timestamp, runtime::clock::Clock};

/// Questions and commands that wait for the thread; whoever comes later waits in line.
const WAITING: usize = 1024;

/// The store could not do it; nothing of it is done or promised. The text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available: {0}")]
pub struct Unavailable(pub String);

/// How the store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// Why nothing can be stored now.
    pub failing: Option<StoreError>,
    /// What was damaged, in this run or in an earlier one of which something is kept.
    pub losses: Vec<Loss>,
    /// A rule found its own state inconsistent.
    pub defect: Option<String>,
}

impl StoreHealth {
    /// Adds a loss; a later one of what is kept in the same place counts.
    pub(super) fn lose(&mut self, loss: Loss) {
        self.losses.retain(|other| other.kept_as.is_none() || other.kept_as != loss.kept_as);
        self.losses.push(loss);
    }
}

/// What a damage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Finished requests and history.
    Registry,
    /// A part of the journal.
    Journal,
    /// All of both.
    Both,
}

/// A damage of the store. As text it says what was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was found.
    pub at: Timestamp,
    /// Where what was damaged is kept; `None` if it could not be.
    pub kept_as: Option<PathBuf>,
    /// What was wrong.
    pub why: String,
    /// What was lost.
    pub lost: Lost,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, kept_as, why, lost } = self;
        match lost {
            Lost::Journal => write!(f, "the journal of the store was damaged ({why}), found at {at}")?,
            Lost::Registry => write!(f, "the registry of the store was damaged ({why}) and replaced at {at}")?,
            Lost::Both => write!(f, "the store was damaged ({why}) and replaced at {at}")?,
        }
        match kept_as {
            Some(path) => write!(f, "; what it held is kept in {}. ", path.display())?,
            None => f.write_str("; no copy could be kept. ")?,
        }
        f.write_str(match lost {
            Lost::Journal => "Accepted commands and outcomes that stood there are lost: send them again",
            Lost::Registry => {
                "Finished requests and the history of devices are lost; accepted commands are carried out"
            }
            Lost::Both => {
                "Accepted commands that had not ended are lost, send them again; so are finished requests and the \
                 history of devices"
            }
        })?;
        f.write_str(match kept_as {
            Some(_) => ". Remove that directory to end this message",
            None => ". The next start ends this message",
        })
    }
}

/// A rule in line, and who waits for it.
pub(super) trait Job: Send {
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

/// Where the committing thread tells what came about.
pub(super) struct Tellers {
    pub(super) summary: watch::Sender<Summary>,
    pub(super) health: watch::Sender<StoreHealth>,
    pub(super) work: watch::Sender<()>,
    pub(super) outgoing: watch::Sender<()>,
    pub(super) devices: watch::Sender<()>,
    pub(super) access: watch::Sender<()>,
    pub(super) counting: Counting,
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
    access: watch::Receiver<()>,
    counting: Counting,
}

impl Ledger {
    /// Starts the thread on the store in `data_dir`, whose lock it keeps. It ends, and the store is
    /// closed, when the last handle is gone; the second value is then done.
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

    /// The same on a simulated disk, as a task that takes `pause()` for each group.
    #[cfg(test)]
    pub(crate) fn simulate(
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
        let tellers = Tellers {
            summary: summary_in,
            health: health_in,
            work: work_in,
            outgoing: outgoing_in,
            devices: devices_in,
            access: access_in,
            counting: counting.clone(),
        };
        let committer = Committer::new(disk, rules, clock, tellers);
        (Self { jobs, summary, health, work, outgoing, devices, access, counting }, committer, queue)
    }

    /// Runs a rule and answers when what it wrote is durable. The rule is called again, in another
    /// transaction, until it returns something; a crash may fall between two of its transactions.
    ///
    /// # Errors
    /// The store failed; nothing is promised.
    pub async fn run<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        self.submit(rule, false).await?.await.unwrap_or_else(|_| Err(closed()))
    }

    /// As [`Self::run`], but the answer may come before the writes are durable: for deletions whose
    /// loss costs only a repetition, and for questions.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run_lazily<R: Send + 'static>(
        &self,
        rule: impl FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send + 'static,
    ) -> Result<R, Unavailable> {
        self.submit(rule, true).await?.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Puts a rule in line, and returns where its answer will come: rules run in the order of
    /// submission.
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

    /// Wakes whoever disables and enables clients of the broker.
    #[must_use]
    pub fn access(&self) -> watch::Receiver<()> {
        self.access.clone()
    }
}

fn closed() -> Unavailable {
    Unavailable("the agent is stopping".into())
}
