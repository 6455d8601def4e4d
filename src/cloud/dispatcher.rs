//! The dispatcher: sends the batches of one call kind to the cloud. It takes the entries from the
//! ledger and writes the outcome of each call back to the ledger.

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    api::Cloud,
    list_gate::ListGate,
    planner::{LanePlan, Next},
    rate::{Permit, RateLimit},
};
use crate::{
    config::{Batch, Retry},
    domain::{Again, CallError, CallFault, CallKind, CallToken, EntryError, Target, Verdict, Window},
    health::Health,
    ledger::{self, Ledger, Load, Pick, Taken},
    runtime::{
        clock::{Clock, sleep_until},
        failpoint,
        stop::Stop,
    },
};

/// How long a call may continue after a stop was requested. The nucleus kills the process after 5
/// s.
const LAST_CALL: Duration = Duration::from_millis(1500);

/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_secs(1);

/// After an outage the first call waits for a random time up to this, and up to the time that the
/// outage took. All core devices of a fleet find out within minutes that the cloud is back, and
/// their first calls should not come together with these lists.
const AFTER_OUTAGE: Duration = Duration::from_secs(60);

/// The rights to make one call: that of a call kind with a limit of its own, and that of all calls.
type Permits = (Option<Permit>, Permit);

/// Sends the calls of one kind that carries entries.
pub(crate) struct Dispatcher<C> {
    pub(crate) call_kind: CallKind,
    pub(crate) ledger: Ledger,
    pub(crate) cloud: Arc<C>,
    pub(crate) health: Arc<Health>,
    pub(crate) gate: Arc<ListGate>,
    pub(crate) rate: RateLimit,
    /// A second limit, in addition to the limit on all calls, for a call kind that is paced.
    pub(crate) pace: Option<RateLimit>,
    pub(crate) clock: Clock,
    pub(crate) batch: Batch,
    pub(crate) retry: Retry,
    pub(crate) stop: Stop,
}

impl<C: Cloud> Dispatcher<C> {
    /// Runs until the stop. A call in flight then gets [`LAST_CALL`] to finish, and is abandoned
    /// after that: the ledger has its entries as sent, and the next run looks their outcome up.
    pub(crate) async fn run(self) {
        let mut plan = LanePlan::new(self.call_kind, self.retry.base, self.retry.cap);
        let mut work = self.ledger.work();
        let mut changes = self.health.changes();
        let (mut since, mut out_since) = (Instant::now(), None);
        while !self.stop.is_requested() {
            work.mark_unchanged();
            changes.mark_unchanged();
            let again = match self.step(&mut plan, &mut since, &mut out_since).await {
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
            if again {
                continue;
            }
            // While the cloud is out of reach, the next response to a list call wakes this loop.
            let retrying = self.load().retrying > 0 && !self.waits_for_list();
            let wake = plan.retries_at().filter(|_| retrying).map(|at| self.clock.instant(at));
            tokio::select! {
                biased;
                Ok(()) = work.changed() => {}
                Ok(()) = changes.changed() => {}
                () = sleep_until(wake) => {}
                () = self.stop.requested() => {}
            }
            since = Instant::now();
        }
    }

    /// Makes a call if there is one to make. `since` is when the lane became idle or when entries
    /// were last taken. No waiting entry has waited for its batch longer than since then.
    /// `out_since` is when the lane began to wait for the end of an outage.
    async fn step(&self, plan: &mut LanePlan, since: &mut Instant, out_since: &mut Option<Instant>) -> Step {
        if self.waits_for_list() {
            // The next list that succeeds shows that the cloud is back, and which entries are still
            // to be sent.
            out_since.get_or_insert_with(Instant::now);
            return Step::Nothing;
        }
        if let Some(out_since) = out_since.take() {
            let wait = out_since.elapsed().min(AFTER_OUTAGE).mul_f64(fastrand::f64());
            return Step::Wait(Instant::now() + wait);
        }
        let pick = match plan.next(self.clock.now().mono) {
            Next::Wait(until) => return Step::Wait(self.clock.instant(until)),
            Next::These(targets) => Pick::These(targets),
            Next::Queue { again, shut } => {
                let load = self.load();
                if to_send(load) == 0 {
                    plan.forget_refusals();
                    self.health.clear(&busy_code(self.call_kind));
                    self.health.idle(self.call_kind);
                    return Step::Nothing;
                }
                // Checked before a permit is taken, since other call kinds may need that permit.
                if to_send(load) == load.retrying && (again.is_none() || plan.found_nothing()) {
                    return Step::Nothing;
                }
                self.linger(*since + self.batch.linger).await;
                self.queue_pick(again, shut)
            }
        };
        // The permit is awaited before the entries are taken. Until then a client can withdraw the
        // entries, and more entries can join the batch.
        let may_call = async {
            let pace = match &self.pace {
                Some(pace) => Some(pace.acquire().await),
                None => None,
            };
            (pace, self.rate.acquire().await)
        };
        let permits = tokio::select! {
            biased;
            permits = may_call => permits,
            () = self.stop.requested() => return Step::Nothing,
        };
        let mut began = Instant::now();
        let mut next = Some((self.settle_and_take(VecDeque::new(), Some(pick)).await, permits));
        while let Some((taken, (pace, permit))) = next {
            *since = began;
            let Taken { entries, token, again, gated, more } = match taken {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::warn!(%error, "the ledger gave no entries for a call");
                    return Step::Wait(Instant::now() + STORE_WAIT);
                }
            };
            plan.looked(again, entries.is_empty() && !more);
            if gated {
                self.gate.want_window();
            }
            if entries.is_empty() {
                // An entry that waits for a list is looked at again at each page of that list, and
                // must not take the permits of the list's own calls.
                return if more { Step::Again } else { Step::Nothing };
            }
            pace.into_iter().chain([permit]).for_each(Permit::spend);
            failpoint::pass("dispatcher-taken");
            let Some(answer) = self.call(&entries, token.as_ref()).await else { return Step::Nothing };
            began = Instant::now();
            next = self.settle(plan, &entries, &answer).await;
        }
        Step::Again
    }

    /// The pick of what is in the queue.
    fn queue_pick(&self, again: Option<Again>, shut: Vec<String>) -> Pick {
        Pick::Queue { limit: self.limit(), window: self.window(), again, shut }
    }

    fn load(&self) -> Load {
        self.ledger.summary().borrow().load(self.call_kind)
    }

    /// The most entries that one call may have.
    fn limit(&self) -> usize {
        self.batch.max_entries.min(self.call_kind.traits().max_entries)
    }

    /// Whether this lane waits for the list because the cloud is out of reach. A call kind whose
    /// outcomes a list shows leaves it to the list to find the cloud again; the others find it by
    /// their own calls.
    fn waits_for_list(&self) -> bool {
        self.call_kind.is_settled_by_list() && self.health.out_of_reach()
    }

    /// The requests that may be sent: all of them for a call kind of which no list could show that
    /// a request is superseded.
    fn window(&self) -> Window {
        if self.call_kind.takes_off() { self.gate.window() } else { Window::OPEN }
    }

    /// Waits until there are enough entries for a full call, or until that time.
    async fn linger(&self, until: Instant) {
        let mut summary = self.ledger.summary();
        let enough = self.limit() as u64;
        let full = summary.wait_for(|summary| to_send(summary.load(self.call_kind)) >= enough);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => {}
            _ = full => {}
            () = self.stop.requested() => {}
        }
    }

    /// Writes verdicts to the ledger, and takes the entries of the next call, if there is one. Both
    /// become durable together.
    async fn settle_and_take(
        &self,
        mut verdicts: VecDeque<(Target, Verdict)>,
        pick: Option<Pick>,
    ) -> Result<Taken, ledger::Unavailable> {
        let (call_kind, clock) = (self.call_kind, self.health.wall_clock());
        let fresh = CallToken::from_bits(fastrand::u128(..));
        let run = self.ledger.run_steps(move |tx| {
            if !verdicts.is_empty() {
                ledger::settle(tx, call_kind, &mut verdicts)?;
                if !verdicts.is_empty() || pick.is_some() {
                    return Ok(ledger::Step::Again);
                }
            }
            let taken = pick.as_ref().map(|pick| ledger::take(tx, call_kind, pick, clock, &fresh)).transpose()?;
            Ok(ledger::Step::Done(taken.unwrap_or_default()))
        });
        run.await
    }

    /// Makes a call. Returns `None` if it was abandoned because of the stop.
    async fn call(
        &self,
        entries: &[(Target, u32)],
        token: Option<&CallToken>,
    ) -> Option<Result<Vec<EntryError>, CallError>> {
        let targets: Vec<Target> = entries.iter().map(|(target, _)| target.clone()).collect();
        self.health.counters().calling(self.call_kind, targets.len());
        let answer = tokio::select! {
            biased;
            answer = self.cloud.call(self.call_kind, &targets, token) => answer,
            () = self.last_moment() => {
                tracing::info!(entries = targets.len(), "call abandoned at the stop; its outcome is looked up at the next start");
                return None;
            }
        };
        self.health.counters().calling(self.call_kind, 0);
        failpoint::pass("dispatcher-answered");
        self.log(entries.len(), &answer);
        Some(answer)
    }

    /// Writes the outcome of a call to the ledger. If the next call need not wait for anything, its
    /// entries are taken with that, which saves a sync; they are returned.
    async fn settle(
        &self,
        plan: &mut LanePlan,
        sent: &[(Target, u32)],
        answer: &Result<Vec<EntryError>, CallError>,
    ) -> Option<(Result<Taken, ledger::Unavailable>, Permits)> {
        let verdicts = plan.answered(sent, answer, self.clock.now().mono, fastrand::f64()).into();
        let next = if answer.is_ok() { self.next_at_once(plan, sent.len()) } else { None };
        let (pick, permits) = next.unzip();
        let taken = self.settle_and_take(verdicts, pick).await;
        if let Err(error) = &taken {
            // The ledger has the entries as sent, which is true, so they are sent again.
            tracing::warn!(%error, "the outcome of a call could not be stored; the call will be repeated");
        }
        failpoint::pass("dispatcher-settled");
        self.note_busy(plan, answer);
        self.gate.answered(self.call_kind, answer.as_ref().map(|_| ()), plan.is_refused());
        permits.map(|permits| (taken, permits))
    }

    /// What to take for the next call, if it need not wait: not for entries (a full batch is
    /// waiting, beyond those of the call that was just answered), nor for a permit.
    fn next_at_once(&self, plan: &mut LanePlan, sent: usize) -> Option<(Pick, Permits)> {
        let load = self.load();
        let fresh = to_send(load).saturating_sub(load.retrying).saturating_sub(sent as u64);
        if fresh < self.limit() as u64 || self.stop.is_requested() || self.waits_for_list() {
            return None;
        }
        let pace = match &self.pace {
            Some(pace) => Some(pace.try_acquire()?),
            None => None,
        };
        let permits = (pace, self.rate.try_acquire()?);
        let pick = match plan.next(self.clock.now().mono) {
            Next::Wait(_) => return None,
            Next::These(targets) => Pick::These(targets),
            Next::Queue { again, shut } => self.queue_pick(again, shut),
        };
        Some((pick, permits))
    }

    /// Raises a problem for a resource that stays busy, since its state may be one that does not
    /// end without a person.
    fn note_busy(&self, plan: &LanePlan, answer: &Result<Vec<EntryError>, CallError>) {
        let now = self.clock.now();
        let limit = self.retry.cap.saturating_mul(2);
        match (plan.busy(now.mono, self.retry.cap), answer) {
            (Some((resource, since)), Err(error))
                if error.fault == CallFault::Busy && now.mono.since(since) >= limit =>
            {
                let busy = now.mono.since(since).as_secs();
                let message = format!(
                    "the service has taken no change of {resource} for {busy} s ({}: {}); its requests wait: look in the console \
                     whether its state is UPDATING or FAILED and mend it there, or cancel the requests",
                    error.code, error.message
                );
                self.health.raise(busy_code(self.call_kind), message);
            }
            (Some((_, since)), _) if now.mono.since(since) >= limit => {}
            _ => self.health.clear(&busy_code(self.call_kind)),
        }
    }

    async fn last_moment(&self) {
        self.stop.requested().await;
        tokio::time::sleep(LAST_CALL).await;
    }

    fn log(&self, entries: usize, answer: &Result<Vec<EntryError>, CallError>) {
        let action = self.call_kind.traits().action;
        match answer {
            Ok(errors) => tracing::info!(action, entries, errors = errors.len(), "call answered"),
            Err(CallError { fault, code, message, .. }) => {
                tracing::warn!(action, entries, ?fault, code, message, "call failed");
            }
        }
    }
}

/// The code of the problem that a resource stays busy.
fn busy_code(call_kind: CallKind) -> Cow<'static, str> {
    match call_kind.traits().suffix {
        "" => "RESOURCE_BUSY".into(),
        suffix => format!("RESOURCE_BUSY{suffix}").into(),
    }
}

/// Entries that do not wait for a list.
fn to_send(load: Load) -> u64 {
    load.work.saturating_sub(load.awaiting_list)
}

enum Step {
    /// The step did something, and there may be more to do.
    Again,
    /// There is nothing to do until an event wakes the loop.
    Nothing,
    Wait(Instant),
}

#[cfg(test)]
mod tests;
