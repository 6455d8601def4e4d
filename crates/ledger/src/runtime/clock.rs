//! The clocks. No other module reads them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::domain::{Mono, Now, Timestamp};

/// The kernel's identifier of the machine's current boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The wall clock, and the time since the machine's boot, which continues when the agent restarts
/// and while the machine is suspended.
#[derive(Clone, Debug)]
pub struct Clock {
    boot: u64,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    #[cfg(any(test, feature = "testing"))]
    Simulated {
        /// The boot.
        zero: Instant,
        /// The milliseconds that the wall clock shows at the boot. A simulation may change them.
        wall: std::sync::Arc<std::sync::atomic::AtomicI64>,
        /// The milliseconds for which the machine was suspended.
        suspended: std::sync::Arc<std::sync::atomic::AtomicU64>,
    },
}

impl Clock {
    /// The clocks of this machine.
    #[must_use]
    pub fn start() -> Self {
        // Without the identifier, each start of the agent counts as another boot.
        let boot = std::fs::read(BOOT_ID).map_or_else(|_| fastrand::u64(..), |name| digest(&name));
        Self { boot, source: Source::System }
    }

    /// Starts with a wall clock that showed `wall` milliseconds at `zero`.
    #[cfg(any(test, feature = "testing"))]
    pub fn simulated(zero: Instant, wall: std::sync::Arc<std::sync::atomic::AtomicI64>) -> Self {
        Self { boot: 1, source: Source::Simulated { zero, wall, suspended: std::sync::Arc::default() } }
    }

    /// The simulated machine was suspended: both clocks continued, and no timer did.
    #[cfg(any(test, feature = "testing"))]
    pub fn suspend(&self, time: Duration) {
        if let Source::Simulated { suspended, .. } = &self.source {
            suspended
                .fetch_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The time of both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let (wall, mono) = match &self.source {
            Source::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the one place")]
                let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
                    Ok(since) => millis(since),
                    // The clock shows a time before 1970.
                    Err(error) => -millis(error.duration()),
                };
                // `Instant` does not count the time for which the machine is suspended.
                let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                (wall, since_boot.tv_sec.saturating_mul(1000).saturating_add(since_boot.tv_nsec / 1_000_000))
            }
            #[cfg(any(test, feature = "testing"))]
            Source::Simulated { zero, wall, suspended } => {
                let suspended = suspended.load(std::sync::atomic::Ordering::Relaxed);
                let since = millis(zero.elapsed() + Duration::from_millis(suspended));
                (wall.load(std::sync::atomic::Ordering::Relaxed).saturating_add(since), since)
            }
        };
        Now { wall: Timestamp(wall), mono: Mono(u64::try_from(mono).unwrap_or_default()), boot: self.boot }
    }

    /// Converts a monotonic time to tokio's, of which the timers do not count a suspension.
    #[must_use]
    pub fn instant(&self, at: Mono) -> Instant {
        Instant::now() + Duration::from_millis(at.0.saturating_sub(self.now().mono.0))
    }
}

fn digest(name: &[u8]) -> u64 {
    let bytes: [u8; 32] = Sha256::digest(name).into();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Waits until `at`; for ever if it is `None`.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
