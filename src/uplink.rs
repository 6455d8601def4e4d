//! The uplink: runs a lane's plan against the cloud. Reads its work from the ledger, writes what came of it back.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    batching::{LanePlan, Next, TokenBucket},
    clock::Clock,
    cloud::Cloud,
    conditions::Conditions,
    config::{Batch, Retry},
    failpoint,
    ledger::{self, Ledger, Pick, Taken},
    model::{CallError, DeviceState, EntryError, Lane, Target},
    stop::Stop,
};

/// How long a call may go on after a stop was asked for; the nucleus kills after 5 s.
const LAST_CALL: Duration = Duration::from_millis(1500);

/// Wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(1);

/// The limit on cloud calls, shared by whoever makes them.
#[derive(Clone)]
pub(crate) struct RateLimit {
    bucket: Arc<Mutex<TokenBucket>>,
    clock: Clock,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub(crate) fn new(rate: crate::config::Rate, clock: Clock) -> Self {
        let bucket = TokenBucket::new(rate.calls_per_second, rate.burst, clock.now().mono);
        Self { bucket: Arc::new(Mutex::new(bucket)), clock }
    }

    /// Waits for the right to make a call.
    pub(crate) async fn acquire(&self) {
        loop {
            let result = self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(self.clock.now().mono);
            match result {
                Ok(()) => return,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }
}

/// A lane of calls that carry entries.
pub(crate) struct Uplink<C> {
    pub(crate) lane: Lane,
    pub(crate) ledger: Ledger,
    pub(crate) cloud: Arc<C>,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) rate: RateLimit,
    pub(crate) clock: Clock,
    pub(crate) batch: Batch,
    pub(crate) retry: Retry,
    pub(crate) stop: Stop,
}

impl<C: Cloud> Uplink<C> {
    /// Runs until the stop. A call in flight is then given a moment, and abandoned: the ledger has its entries as
    /// sent, and the next run finds out.
    pub(crate) async fn run(self) {
        let mut plan = LanePlan::new(self.retry.base, self.retry.cap);
        let mut work = self.ledger.work();
        let mut changes = self.conditions.changes();
        let mut idle = true;
        while !self.stop.is_requested() {
            work.mark_unchanged();
            changes.mark_unchanged();
            let again = match self.step(&mut plan, idle).await {
                Step::Again => true,
                Step::Wait(until) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(until) => {}
                        () = self.stop.requested() => {}
                    }
                    continue;
                }
                Step::Nothing => false,
            };
            idle = !again;
            if again {
                continue;
            }
            // Out of reach, the list's next answer is what wakes us.
            let retrying = self.ledger.summary().borrow().retrying > 0 && !self.conditions.out_of_reach();
            let wake = plan.retries_at().filter(|_| retrying).map(|at| self.clock.instant(at));
            tokio::select! {
                biased;
                _ = work.changed() => {}
                _ = changes.changed() => {}
                () = sleep_until(wake) => {}
                () = self.stop.requested() => {}
            }
        }
    }

    async fn step(&self, plan: &mut LanePlan, idle: bool) -> Step {
        if self.conditions.out_of_reach() {
            // The next list that gets through tells that the cloud is back, and what is still to be done.
            return Step::Nothing;
        }
        let pick = match plan.next(self.clock.now().mono) {
            Next::Wait(until) => return Step::Wait(self.clock.instant(until)),
            Next::These(targets) => Pick::These(targets),
            Next::Queue { retries } => {
                let summary = *self.ledger.summary().borrow();
                if summary.devices(DeviceState::Disassociating) <= summary.verifying {
                    return Step::Nothing;
                }
                if idle {
                    self.linger().await;
                }
                Pick::Queue { limit: self.batch.max_entries, window: self.conditions.window(), retries }
            }
        };
        // Before the entries are taken, so that they can be withdrawn as long as possible, and find company.
        tokio::select! {
            biased;
            () = self.rate.acquire() => {}
            () = self.stop.requested() => return Step::Nothing,
        }
        match self.take(pick).await {
            Ok(Taken { entries, gated, more }) => {
                if gated {
                    self.conditions.want_window();
                }
                if entries.is_empty() {
                    return if more { Step::Again } else { Step::Nothing };
                }
                failpoint::pass("uplink-taken");
                self.send(plan, &entries).await
            }
            Err(error) => {
                tracing::warn!(%error, "no entries taken");
                Step::Wait(tokio::time::Instant::now() + STORE_WAIT)
            }
        }
    }

    /// Waits for company of an entry that finds the line idle.
    async fn linger(&self) {
        let mut summary = self.ledger.summary();
        let enough = self.batch.max_entries as u64;
        let full = summary.wait_for(|s| s.devices(DeviceState::Disassociating).saturating_sub(s.verifying) >= enough);
        tokio::select! {
            biased;
            () = tokio::time::sleep(self.batch.linger) => {}
            _ = full => {}
            () = self.stop.requested() => {}
        }
    }

    async fn take(&self, pick: Pick) -> Result<Taken, ledger::Unavailable> {
        let (lane, trusted) = (self.lane, self.conditions.clock_trusted());
        self.ledger.run(move |tx| ledger::take(tx, lane, &pick, trusted).map(Some)).await
    }

    async fn send(&self, plan: &mut LanePlan, entries: &[(Target, u32)]) -> Step {
        let targets: Vec<Target> = entries.iter().map(|(target, _)| target.clone()).collect();
        let answer = tokio::select! {
            biased;
            answer = self.cloud.call(self.lane, &targets) => answer,
            () = self.last_moment() => {
                tracing::info!(entries = targets.len(), "call abandoned at the stop; its outcome is looked up at the next start");
                return Step::Nothing;
            }
        };
        failpoint::pass("uplink-answered");
        self.log(entries.len(), &answer);
        let verdicts = plan.answered(entries, &answer, self.clock.now().mono, fastrand::f64());
        let mut left: VecDeque<_> = verdicts.into();
        let settled = self.ledger.run(move |tx| {
            ledger::settle(tx, &mut left)?;
            Ok(left.is_empty().then_some(()))
        });
        if let Err(error) = settled.await {
            // The ledger has them as sent, which is true, and they come again.
            tracing::warn!(%error, "an answer of the cloud is not written down; the call will be repeated");
        }
        failpoint::pass("uplink-settled");
        self.conditions.answered(self.lane, answer.as_ref().map(|_| ()));
        Step::Again
    }

    async fn last_moment(&self) {
        self.stop.requested().await;
        tokio::time::sleep(LAST_CALL).await;
    }

    fn log(&self, entries: usize, answer: &Result<Vec<EntryError>, CallError>) {
        match answer {
            Ok(errors) => tracing::info!(entries, errors = errors.len(), "disassociate call answered"),
            Err(CallError { fault, code, message, .. }) => {
                tracing::warn!(entries, ?fault, code, message, "disassociate call failed");
            }
        }
    }
}

enum Step {
    /// Something was done, and there may be more.
    Again,
    /// Nothing to do until somebody wakes us.
    Nothing,
    Wait(tokio::time::Instant),
}

pub(crate) async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
