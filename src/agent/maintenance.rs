//! Maintenance: ends requests that are past their deadline, once a second while any request is
//! open, and removes records whose retention has ended.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    cloud::list_gate::ListGate,
    config::Retention,
    domain::{CallKind, Limits, Mono, Switch, WallClock},
    health::Health,
    ledger::{self, Early, Ledger, Step, Summary, Unavailable},
    runtime::{clock::Clock, failpoint, stop::Stop},
};

const PACE: Duration = Duration::from_secs(1);

/// Requests that ended within this time are never forgotten early, since a sender may not have its
/// response yet. New commands are throttled instead.
const SPARED: Duration = Duration::from_secs(3600);

/// The time between two checks of the retention, which is counted in days. While no request is open
/// these are the only checks, since each check wakes a gateway that could sleep.
const RETENTION_EVERY: Duration = Duration::from_secs(120);

/// Steps by which room is made between two looks at the deadlines: some 100 ms.
const EARLY_STEPS: usize = 10;

/// How far the making of room is, down to so many bytes: with the requests, and with the devices, up
/// to that key.
type Progress = (u64, Early, Vec<u8>);

/// Waits for a change of the summary, and at least a second. Without the pause, a large sync would
/// cause continuous checks.
async fn changed(summary: &mut watch::Receiver<Summary>) {
    let _ = summary.changed().await;
    tokio::time::sleep(PACE).await;
}

pub(crate) struct Maintenance {
    pub(crate) ledger: Ledger,
    pub(crate) health: Arc<Health>,
    pub(crate) gate: Arc<ListGate>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    /// The call kinds that this configuration does not serve.
    pub(crate) off: Vec<CallKind>,
    pub(crate) stop: Stop,
}

impl Maintenance {
    pub(crate) async fn run(self) {
        let mut forgot: Option<Mono> = None;
        let (mut next, mut early) = (0, None);
        let (mut summary, mut health) = (self.ledger.summary(), self.ledger.health());
        while !self.stop.is_requested() {
            // A store that failed is opened again when a job needs it.
            let is_well = health.borrow_and_update().failing.is_none();
            let is_idle = summary.borrow_and_update().open_requests == 0 && is_well;
            // The age of requests has to be noted even if no dispatcher looks at it.
            let _ = self.gate.window();
            self.raise_unserved();
            let now = self.clock.now().mono;
            let retention = forgot.is_none_or(|at| now.since(at) >= RETENTION_EVERY);
            if retention {
                forgot = Some(now);
            }
            match self.tick(next, retention, &mut early).await {
                Ok(after) => next = after,
                Err(error) => tracing::debug!(%error, "maintenance failed; it is tried again"),
            }
            tokio::select! {
                biased;
                // Commands run between two parts of the making of room.
                () = tokio::time::sleep(PACE / 100), if early.is_some() => {}
                () = tokio::time::sleep(if is_idle { RETENTION_EVERY } else { PACE }) => {}
                () = changed(&mut summary), if is_idle => {}
                Ok(()) = health.changed(), if is_idle => {}
                () = self.stop.requested() => {}
            }
        }
    }

    /// Raises a problem for entries that an earlier configuration accepted and that this one does
    /// not serve.
    fn raise_unserved(&self) {
        let summary = *self.ledger.summary().borrow();
        for switch in Switch::ALL {
            let is_behind = |call_kind: &&CallKind| call_kind.traits().service.hosts().switch == Some(*switch);
            let waiting: u64 = self.off.iter().filter(is_behind).map(|call_kind| summary.load(*call_kind).work).sum();
            if waiting > 0 {
                self.health.raise(switch.problem, switch.waiting(waiting));
            } else {
                self.health.clear(switch.problem);
            }
        }
    }

    /// Continues with the deadlines from request `next` on, and returns where to continue the next
    /// time. `early` is how far the making of room is, if it is under way.
    async fn tick(&self, mut next: u64, retention: bool, early: &mut Option<Progress>) -> Result<u64, Unavailable> {
        let clock = self.health.wall_clock();
        let looked = self.ledger.run_steps(move |tx| {
            if clock == WallClock::Confirmed {
                tx.confirm_clock();
            }
            Ok(Step::when(ledger::expire(tx, clock, &mut next)?, next))
        });
        let next = looked.await?;
        if retention {
            self.forget().await?;
        }
        let max = self.limits.max_database_bytes;
        let Summary { live_bytes, store_bytes, .. } = *self.ledger.summary().borrow();
        // sled takes several times the space of its records, and up to three times while a registry
        // is rewritten. If its file nears half of the limit, the goal is therefore an eighth, which
        // makes the file worth a rewrite. The memory that sled takes grows with its records, too.
        let is_large = store_bytes > max / 16 * 7;
        let goal = if is_large { max / 8 } else { max / 2 };
        if live_bytes > goal {
            *early = self.forget_early(goal, early.take()).await?;
            if early.is_some() {
                return Ok(next);
            }
        } else {
            *early = None;
        }
        let live_bytes = self.ledger.summary().borrow().live_bytes;
        if live_bytes > max - max / 64 {
            let text = format!(
                "the store has {live_bytes} bytes of records, limits.maxDatabaseBytes is {max}: new commands are rejected until \
                 older ones have ended for an hour; raise the limit if this lasts"
            );
            self.health.raise("STORE_LIMIT", text);
        } else {
            self.health.clear("STORE_LIMIT");
        }
        Ok(next)
    }

    /// Forgets records whose retention has ended.
    async fn forget(&self) -> Result<(), Unavailable> {
        let [requests, tombstones] = [self.retention.requests, self.retention.tombstones].map(millis);
        let (mut next, mut after, mut are_requests_done) = (0, Vec::new(), false);
        let forgotten = self.ledger.run_steps(move |tx| {
            let elapsed = tx.elapsed();
            if !are_requests_done {
                are_requests_done = ledger::forget_requests(tx, elapsed.saturating_sub(requests), &mut next)?;
                return Ok(Step::Again);
            }
            let done = ledger::forget_devices(tx, elapsed.saturating_sub(tombstones), &mut after)?;
            Ok(Step::when(done, ()))
        });
        forgotten.await?;
        failpoint::pass("maintenance-forgot");
        Ok(())
    }

    /// Makes room regardless of the retention: requests first, then disassociated devices and
    /// histories. Returns how far it is if that takes more than a moment.
    async fn forget_early(&self, goal: u64, mut early: Option<Progress>) -> Result<Option<Progress>, Unavailable> {
        let (spared, mut steps) = (millis(SPARED), 0);
        early = early.filter(|(of, ..)| *of == goal);
        let forgotten = self.ledger.run_steps(move |tx| {
            let before = tx.elapsed().saturating_sub(spared);
            let (_, requests, after) = early.get_or_insert_with(|| (goal, Early::new(before, goal), Vec::new()));
            let done = requests.step(tx)?
                && (tx.live_bytes() <= goal
                    // The tombstones of the last minutes are kept, since a list that lags behind is
                    // recognised by them.
                    || ledger::forget_devices(tx, before, after)?);
            steps += 1;
            Ok(if done {
                Step::Done(None)
            } else if steps == EARLY_STEPS {
                Step::Done(early.take())
            } else {
                Step::Again
            })
        });
        forgotten.await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
