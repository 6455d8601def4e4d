//! Once a second: what is past its time ends, and what was kept long enough is forgotten.

use std::time::Duration;

use crate::{
    clock::Clock,
    config::{Limits, Retention},
    ledger::{self, Ledger, Unavailable},
    stop::Stop,
};

const PACE: Duration = Duration::from_secs(1);

/// Seconds between two looks at the retention, which is counted in days.
const RETENTION_EVERY: u32 = 60;

pub(crate) struct Upkeep {
    pub(crate) ledger: Ledger,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    pub(crate) stop: Stop,
}

impl Upkeep {
    pub(crate) async fn run(self) {
        let mut ticks = 0_u32;
        while !self.stop.is_requested() {
            if let Err(error) = self.tick(ticks.is_multiple_of(RETENTION_EVERY)).await {
                tracing::debug!(%error, "no upkeep");
            }
            ticks = ticks.wrapping_add(1);
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = self.stop.requested() => {}
            }
        }
    }

    async fn tick(&self, retention: bool) -> Result<(), Unavailable> {
        self.ledger.run(|tx| Ok(ledger::expire(tx)?.then_some(()))).await?;
        let now = self.clock.now().wall;
        if retention {
            let before = now.before(self.retention.requests);
            self.ledger.run(move |tx| Ok(ledger::forget_requests(tx, before)?.then_some(()))).await?;
            let before = now.before(self.retention.tombstones);
            self.ledger.run(move |tx| Ok(ledger::forget_devices(tx, before)?.then_some(()))).await?;
        }
        let half = self.limits.max_database_bytes / 2;
        if self.ledger.summary().borrow().live_bytes > half {
            // The oldest first, until there is room again.
            let early = move |tx: &mut ledger::Tx<'_>| {
                let done = tx.counters.live_bytes <= half || ledger::forget_requests(tx, now)?;
                Ok(done.then_some(()))
            };
            self.ledger.run(early).await?;
        }
        Ok(())
    }
}
