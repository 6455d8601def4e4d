//! What is past its time ends, looked for once a second while anything is open; and what was kept
//! long enough is forgotten.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::Clock,
    conditions::Conditions,
    config::{Limits, Retention},
    failpoint,
    ledger::{self, Early, Ledger, Summary, Unavailable},
    model::{Lane, Mono, Timestamp},
    stop::Stop,
};

const PACE: Duration = Duration::from_secs(1);

/// Steps of 28 requests with a deadline that are looked at in one go.
const STEPS: u32 = 25;

/// What ended since is never forgotten early: a sender may not have its answer yet. New commands
/// are throttled instead.
const SPARED: Duration = Duration::from_secs(3600);

/// Steps of early forgetting between which others are served: each takes a few milliseconds.
const EARLY_STEPS: usize = 8;

/// Time between two looks at the retention, which is counted in days; and all that is looked at
/// while nothing is open, since each look wakes a gateway that could sleep.
const RETENTION_EVERY: Duration = Duration::from_secs(120);

/// Something changed; once a second at most, or a large sync would have us look all the time.
async fn changed(summary: &mut watch::Receiver<Summary>) {
    let _ = summary.changed().await;
    tokio::time::sleep(PACE).await;
}

pub(crate) struct Upkeep {
    pub(crate) ledger: Ledger,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    /// Lanes that this configuration does not serve.
    pub(crate) off: Vec<Lane>,
    pub(crate) stop: Stop,
}

impl Upkeep {
    pub(crate) async fn run(self) {
        let mut forgot: Option<Mono> = None;
        let mut after = Vec::new();
        let (mut summary, mut health) = (self.ledger.summary(), self.ledger.health());
        while !self.stop.is_requested() {
            // A store that failed is opened again when somebody asks for something.
            let is_well = health.borrow_and_update().failing.is_none();
            let is_idle = summary.borrow_and_update().open_requests == 0 && is_well;
            // The age of requests has to be noted even when no lane looks.
            let _ = self.conditions.window();
            self.tell_off();
            let now = self.clock.now().mono;
            let retention = forgot.is_none_or(|at| now.since(at) >= RETENTION_EVERY);
            if retention {
                forgot = Some(now);
            }
            match self.tick(after.clone(), retention).await {
                Ok(next) => after = next,
                Err(error) => tracing::debug!(%error, "no upkeep"),
            }
            tokio::select! {
                biased;
                () = tokio::time::sleep(if is_idle { RETENTION_EVERY } else { PACE }) => {}
                () = changed(&mut summary), if is_idle => {}
                Ok(()) = health.changed(), if is_idle => {}
                () = self.stop.requested() => {}
            }
        }
    }

    /// What was accepted by an earlier configuration waits for one that serves it again.
    fn tell_off(&self) {
        let summary = *self.ledger.summary().borrow();
        let waiting: u64 = self.off.iter().map(|lane| summary.load(*lane).work).sum();
        if waiting > 0 {
            let text = format!(
                "{waiting} entries on assets wait for siteWise.enabled; set it to true, or cancel their requests"
            );
            self.conditions.raise("SITEWISE_OFF", text);
        } else {
            self.conditions.clear("SITEWISE_OFF");
        }
    }

    /// Goes on with the deadlines from `after` on, and returns where to go on the next time.
    async fn tick(&self, mut after: Vec<u8>, retention: bool) -> Result<Vec<u8>, Unavailable> {
        let now = self.clock.now().wall;
        let [requests, tombstones] = [self.retention.requests, self.retention.tombstones].map(|kept| now.before(kept));
        let mut steps = 0;
        let mut stage = 0;
        let mut tombstone = Vec::new();
        // All in one go, since each answer wakes us; but each step in a transaction of its own.
        let looked = self.ledger.run(move |tx| {
            let done = match stage {
                0 => {
                    steps += 1;
                    ledger::expire(tx, &mut after)? || steps == STEPS
                }
                1 => ledger::forget_requests(tx, requests)?,
                2 => ledger::forget_devices(tx, tombstones, &mut tombstone)?,
                _ => ledger::forget_stories(tx, tombstones)?,
            };
            stage += u32::from(done);
            let last = if retention { 4 } else { 1 };
            Ok((stage == last).then(|| after.clone()))
        });
        let after = looked.await?;
        if retention {
            failpoint::pass("upkeep-forgot");
        }
        let max = self.limits.max_database_bytes;
        let Summary { live_bytes, store_bytes, .. } = *self.ledger.summary().borrow();
        // sled takes several times the room of what is in it, and a rewritten store up to three
        // times: so where its file nears half of the limit an eighth is left, which makes it worth
        // being rewritten. The memory that sled takes grows with what is in it, too.
        let is_large = store_bytes > max / 16 * 7;
        let goal = if is_large { max / 8 } else { max / 2 };
        if live_bytes > goal {
            self.forget_early(now.before(SPARED), goal).await?;
        }
        let live_bytes = self.ledger.summary().borrow().live_bytes;
        if live_bytes > max - max / 64 {
            let text = format!(
                "the store has {live_bytes} bytes of records, limits.maxDatabaseBytes is {max}: new commands are rejected until \
                 older ones have ended for an hour; raise the limit if this lasts"
            );
            self.conditions.raise("STORE_LIMIT", text);
        } else {
            self.conditions.clear("STORE_LIMIT");
        }
        Ok(after)
    }

    /// Makes room without looking at the retention: requests first, then histories, then
    /// disassociated devices.
    async fn forget_early(&self, before: Timestamp, goal: u64) -> Result<(), Unavailable> {
        let mut requests = Early::new(before, goal);
        let mut devices = Vec::new();
        loop {
            let (mut early, mut after) = (requests, devices);
            let steps = self.ledger.run(move |tx| {
                let mut done = false;
                for _ in 0..EARLY_STEPS {
                    done = early.step(tx)?
                        && (tx.counters.live_bytes <= goal
                            || (ledger::forget_stories(tx, before)?
                                // By those of the last minutes a list that lags behind is known.
                                && ledger::forget_devices(tx, before, &mut after)?));
                    if done || tx.is_full() {
                        break;
                    }
                }
                Ok(Some((done, early.clone(), std::mem::take(&mut after))))
            });
            let done;
            (done, requests, devices) = steps.await?;
            if done || self.stop.is_requested() {
                return Ok(());
            }
        }
    }
}
