//! The clocks. No other module reads them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::domain::{Mono, Now, Timestamp};

/// The kernel's identifier of the machine's current boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The wall clock, and the time since the machine's boot, which continues when the agent restarts.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    /// Milliseconds from the boot to the start of the agent.
    before: u64,
    boot: u64,
    wall: Wall,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    /// The milliseconds that the wall clock shows at an instant. A simulation may change them.
    #[cfg(test)]
    Simulated(Instant, std::sync::Arc<std::sync::atomic::AtomicI64>),
}

impl Clock {
    /// Reads both clocks for the first time.
    #[must_use]
    pub fn start() -> Self {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let millis = since_boot.tv_sec.saturating_mul(1000).saturating_add(since_boot.tv_nsec / 1_000_000);
        // Without the identifier, each start of the agent counts as another boot.
        let boot = std::fs::read(BOOT_ID).map_or_else(|_| fastrand::u64(..), |name| digest(&name));
        Self { start: Instant::now(), before: u64::try_from(millis).unwrap_or_default(), boot, wall: Wall::System }
    }

    /// Starts with a wall clock that showed `millis` at `zero`.
    #[cfg(test)]
    pub(crate) fn simulated(zero: Instant, millis: std::sync::Arc<std::sync::atomic::AtomicI64>) -> Self {
        let before = u64::try_from(zero.elapsed().as_millis()).unwrap();
        Self { start: Instant::now(), before, boot: 1, wall: Wall::Simulated(zero, millis) }
    }

    /// The time of both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let wall = match &self.wall {
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            Wall::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => millis(since),
                // The clock shows a time before 1970.
                Err(error) => -millis(error.duration()),
            },
            #[cfg(test)]
            Wall::Simulated(zero, at_zero) => {
                at_zero.load(std::sync::atomic::Ordering::Relaxed).saturating_add(millis(zero.elapsed()))
            }
        };
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: Timestamp(wall), mono: Mono(self.before.saturating_add(elapsed)), boot: self.boot }
    }

    /// Converts a monotonic time to tokio's.
    #[must_use]
    pub fn instant(&self, at: Mono) -> Instant {
        self.start + Duration::from_millis(at.0.saturating_sub(self.before))
    }
}

fn digest(name: &[u8]) -> u64 {
    let bytes: [u8; 32] = Sha256::digest(name).into();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Waits until `at`; for ever if it is `None`.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
