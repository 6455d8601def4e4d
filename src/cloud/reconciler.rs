//! The reconciler: reconciles the registry with the cloud's list. It is idempotent. A timer or a
//! part that needs a list wakes it, and it does not keep the reason: it reads the list to its end
//! and applies it to the registry.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    api::{Cloud, ListPage},
    list_gate::ListGate,
    list_timing::{Spacing, start_delay},
    rate::RateLimit,
};
use crate::{
    config::Retry,
    domain::{Backoff, CallError, CallFault, CallKind, SyncCounts, THROTTLED_FACTOR, ThingName},
    health::{Health, WITHOUT_LIST},
    ledger::{self, Ledger, ListMark, Step, Unavailable},
    runtime::{clock::sleep_until, failpoint, stop::Stop},
};

/// The most devices that a list may have before it is left unfinished. This bounds the memory that
/// a list takes, about 16 bytes for each device.
const MAX_DEVICES: usize = 200_000;

/// The most pages of one list, in case the cloud sends empty pages without an end.
const MAX_PAGES: usize = 10_000;

/// Why a list is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    No,
    /// To find the outcome of entries whose call returned an error.
    ToSettle,
    Now,
}

/// A list that is being read.
#[derive(Debug, Default)]
struct Reading {
    /// How many calls the list took.
    calls: u32,
    /// How many throttled responses to commands the list has waited for.
    throttled: u64,
}

/// Why a list was not applied.
enum Broken {
    Call(CallError),
    Store(Unavailable),
    TooLong,
}

pub(crate) struct Reconciler<C> {
    pub(crate) ledger: Ledger,
    pub(crate) cloud: Arc<C>,
    pub(crate) health: Arc<Health>,
    pub(crate) gate: Arc<ListGate>,
    pub(crate) rate: RateLimit,
    /// A second limit without a burst, which is for commands: the pages of a long list come one by
    /// one.
    pub(crate) pace: RateLimit,
    pub(crate) calls_per_second: f64,
    pub(crate) retry: Retry,
    pub(crate) interval: Option<Duration>,
    pub(crate) stop: Stop,
}

impl<C: Cloud> Reconciler<C> {
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.retry.base, self.retry.cap);
        let mut work = self.ledger.work();
        let mut changes = self.health.changes();
        self.start().await;
        let mut due = Some(Instant::now());
        let mut spacing = Spacing::default();
        while !self.stop.is_requested() {
            work.mark_unchanged();
            changes.mark_unchanged();
            let now = Instant::now();
            let periodic = due.is_some_and(|due| due <= now);
            let wanted = self.wanted().await;
            let is_spaced = wanted == Wanted::ToSettle && spacing.until.is_some_and(|until| now < until);
            if !periodic && (wanted == Wanted::No || is_spaced) {
                let settling = spacing.until.filter(|_| is_spaced);
                tokio::select! {
                    biased;
                    Ok(()) = work.changed() => {}
                    Ok(()) = changes.changed() => {}
                    () = sleep_until(due.into_iter().chain(settling).min()) => {}
                    () = self.stop.requested() => {}
                }
                continue;
            }
            let mut reading = Reading::default();
            let asked = self.sync_wanted().await;
            let result = tokio::select! {
                biased;
                result = self.list(&mut reading) => result,
                () = self.stop.requested() => return,
            };
            let broken = match result {
                Ok(counts) => {
                    backoff.succeed();
                    let cost = Duration::from_secs_f64(f64::from(reading.calls) / self.calls_per_second);
                    spacing.listed(now, Instant::now(), cost, wanted == Wanted::ToSettle);
                    let SyncCounts { associated, added, removed } = counts;
                    tracing::info!(associated, added, removed, "registry in sync with the cloud");
                    due = self.interval.map(|interval| {
                        // The interval varies by a tenth in either direction, so that the cores of
                        // a fleet that started together do not stay together.
                        Instant::now() + interval.mul_f64(0.9 + 0.2 * fastrand::f64())
                    });
                    continue;
                }
                Err(broken) => {
                    self.gate.drop_list();
                    broken
                }
            };
            tokio::select! {
                biased;
                () = self.after(broken, asked, &mut backoff) => {}
                () = self.stop.requested() => {}
            }
        }
    }

    /// Waits for the time of the first list, which comes after the start, since leftovers of the
    /// last run may wait for it. The time is random, because all core devices of a fleet that get
    /// their power back together should not call the cloud together. A `sync` that a client asks
    /// for ends the wait.
    async fn start(&self) {
        let end = Instant::now() + start_delay(self.calls_per_second, fastrand::f64());
        let mut work = self.ledger.work();
        while Instant::now() < end && !self.stop.is_requested() {
            work.mark_unchanged();
            if self.sync_wanted().await.is_some() {
                break;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => {}
                Ok(()) = work.changed() => {}
                () = self.stop.requested() => {}
            }
        }
        // A guard may wait for the first list of all, but no part waits for that of another start.
        if !self.ledger.summary().borrow().is_synced {
            self.gate.want_list();
        }
    }

    /// The number of the last request for a `sync` that is open.
    async fn sync_wanted(&self) -> Option<u64> {
        self.ledger.run_unsynced(|tx| ledger::sync_wanted(tx)).await.unwrap_or_default()
    }

    /// Why a list is needed now, if it is. A periodic list, for which no part waits, leaves most of
    /// the rate to other calls.
    async fn wanted(&self) -> Wanted {
        if self.gate.list_wanted() || self.health.out_of_reach() || self.sync_wanted().await.is_some() {
            Wanted::Now
        } else if self.ledger.summary().borrow().awaiting_list() > 0 {
            Wanted::ToSettle
        } else {
            Wanted::No
        }
    }

    /// Waits before a list that was broken off is tried again. `asked` is the last request for a
    /// `sync` that was open when the list began.
    async fn after(&self, broken: Broken, asked: Option<u64>, backoff: &mut Backoff) {
        let chance = fastrand::f64();
        let (wait, needs_repair) = match broken {
            Broken::Call(error) => {
                let CallError { fault, code, message, retry_after } = error;
                tracing::warn!(?fault, code, message, "the list of devices could not be read; trying again");
                if fault == CallFault::Throttled {
                    return self.throttled(backoff, retry_after).await;
                }
                (backoff.after(&fault, retry_after, chance), fault.needs_repair())
            }
            Broken::Store(error) => {
                tracing::warn!(%error, "the list of devices could not be stored; trying again");
                (backoff.fail(1, None, chance), false)
            }
            Broken::TooLong => {
                tracing::warn!(MAX_DEVICES, "the list of devices is too long and is left unfinished");
                (backoff.hold(chance), true)
            }
        };
        let end = Instant::now() + wait;
        let mut work = self.ledger.work();
        while Instant::now() < end {
            work.mark_unchanged();
            // A client that asks for another `sync` may have repaired what broke the list off.
            if needs_repair && self.sync_wanted().await > asked {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => {}
                Ok(()) = work.changed() => {}
            }
        }
    }

    /// Waits before a throttled page is requested again. The quota of the account is for commands
    /// first: a list for which no part waits stays behind for longer than any command does.
    async fn throttled(&self, backoff: &mut Backoff, retry_after: Option<Duration>) {
        tokio::time::sleep(backoff.after(&CallFault::Throttled, retry_after, fastrand::f64())).await;
        if self.wanted().await == Wanted::No {
            self.wait_unless_wanted(backoff.hold(fastrand::f64())).await;
        }
    }

    /// Reads the list to its end and applies it. A list that is broken off removes no device and
    /// settles no entry.
    async fn list(&self, reading: &mut Reading) -> Result<SyncCounts, Broken> {
        let mark = self.ledger.run_unsynced(|tx| Ok(ledger::begin_list(tx))).await.map_err(Broken::Store)?;
        self.gate.begin_list(mark.seq);
        let mut seen = Seen::default();
        let mut counts = SyncCounts::default();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let page = self.page(next.clone(), reading).await?;
            if page.next.is_some() && page.next == next {
                return Err(Broken::Call(CallError {
                    fault: CallFault::NotAws,
                    code: "RepeatedToken".into(),
                    message: "the list repeats its page token".into(),
                    retry_after: None,
                }));
            }
            page.devices.iter().for_each(|(thing, _)| seen.add(thing));
            counts = self.take_over(mark, page.devices, counts).await?;
            next = page.next;
            if next.is_some() {
                failpoint::pass("sync-between-pages");
            }
            if seen.names.len() > MAX_DEVICES {
                break;
            }
            if next.is_none() {
                self.health.clear("LIST_TOO_LONG");
                counts.associated = u32::try_from(seen.names.len()).unwrap_or(u32::MAX);
                return self.finish(mark, seen, counts).await;
            }
        }
        let message = format!(
            "more than {MAX_DEVICES} devices; the list is left unfinished, and removes nothing: {WITHOUT_LIST}"
        );
        self.health.raise("LIST_TOO_LONG", message);
        Err(Broken::TooLong)
    }

    /// Reads one page. A throttled page in the middle of a list is requested until the cloud
    /// answers: a list that begins anew would take all its calls again, and while an account is
    /// throttled a long list would never end.
    async fn page(&self, next: Option<String>, reading: &mut Reading) -> Result<ListPage, Broken> {
        if next.is_some() {
            // A list for which no part waits takes a tenth of the rate (docs/interface.md, "Sync").
            self.wait_unless_wanted(Duration::from_secs_f64((10.0 / self.calls_per_second).min(600.0))).await;
        }
        let mut backoff = Backoff::new(self.retry.base, self.retry.cap);
        loop {
            self.yield_to_commands(reading).await;
            self.pace.acquire().await.spend();
            self.rate.acquire().await.spend();
            reading.calls = reading.calls.saturating_add(1);
            let answer = self.cloud.list(next.clone()).await;
            self.gate.answered(CallKind::List, answer.as_ref().map(|_| ()), false);
            match answer {
                Err(CallError { fault: CallFault::Throttled, retry_after, .. }) if next.is_some() => {
                    self.throttled(&mut backoff, retry_after).await;
                }
                answer => return answer.map_err(Broken::Call),
            }
        }
    }

    /// Lets commands go first while the cloud throttles them: the page waits until a throttled
    /// command succeeded. It waits once for each throttled response, since that command may itself
    /// wait for this list.
    async fn yield_to_commands(&self, reading: &mut Reading) {
        match self.health.throttled_commands() {
            Some(count) if count > reading.throttled => reading.throttled = count,
            _ => return,
        }
        let mut changes = self.health.changes();
        let limit = self.retry.base.saturating_mul(THROTTLED_FACTOR).min(self.retry.cap);
        let end = Instant::now() + limit;
        while self.health.throttled_commands().is_some() {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return,
                Ok(()) = changes.changed() => {}
            }
        }
    }

    /// Waits for that long. The wait ends early when a part begins to wait for the list.
    async fn wait_unless_wanted(&self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut work = self.ledger.work();
        let mut changes = self.health.changes();
        while Instant::now() < end {
            work.mark_unchanged();
            changes.mark_unchanged();
            if self.wanted().await != Wanted::No {
                return;
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => {}
                Ok(()) = work.changed() => {}
                Ok(()) = changes.changed() => {}
            }
        }
    }

    async fn take_over(
        &self,
        mark: ListMark,
        devices: Vec<(ThingName, Option<crate::domain::Timestamp>)>,
        mut counts: SyncCounts,
    ) -> Result<SyncCounts, Broken> {
        let mut done = 0;
        let run = self.ledger.run_steps(move |tx| {
            let all = ledger::apply_page(tx, mark, &devices, &mut done, &mut counts)?;
            Ok(Step::when(all, counts))
        });
        run.await.map_err(Broken::Store)
    }

    async fn finish(&self, mark: ListMark, seen: Seen, mut counts: SyncCounts) -> Result<SyncCounts, Broken> {
        let mut after = None;
        let removed = self.ledger.run_steps(move |tx| {
            let all = ledger::remove_unlisted(tx, mark, |thing| seen.has(thing), &mut after, &mut counts)?;
            Ok(Step::when(all, counts))
        });
        let counts = removed.await.map_err(Broken::Store)?;
        failpoint::pass("sync-removed");
        let clock = self.health.wall_clock();
        for call_kind in CallKind::ALL.into_iter().filter(|call_kind| call_kind.is_settled_by_list()) {
            let mut after = (0, 0);
            let verified = self.ledger.run_steps(move |tx| {
                Ok(Step::when(ledger::settle_by_list(tx, call_kind, mark, clock, &mut after)?, ()))
            });
            verified.await.map_err(Broken::Store)?;
        }
        failpoint::pass("sync-before-end");
        let ended = self.ledger.run_steps(move |tx| Ok(Step::when(ledger::end_list(tx, mark, counts)?, ())));
        ended.await.map_err(Broken::Store)?;
        self.gate.end_list();
        Ok(counts)
    }
}

/// The names of a list, by hash. If two names have the same 64 bits, a device only stays in the
/// registry too long.
#[derive(Default)]
struct Seen {
    names: HashSet<u64>,
    hasher: RandomState,
}

impl Seen {
    fn add(&mut self, thing: &ThingName) {
        self.names.insert(self.hasher.hash_one(thing));
    }

    fn has(&self, thing: &ThingName) -> bool {
        self.names.contains(&self.hasher.hash_one(thing))
    }
}

#[cfg(test)]
mod tests;
