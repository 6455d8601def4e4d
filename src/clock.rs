//! The one place where the clocks are read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::{Mono, Now, Timestamp};

/// Wall time and the time since this was made; clones count from the same start.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    /// Milliseconds of the wall clock at an instant, which a simulation may move.
    #[cfg(test)]
    Simulated(Instant, std::sync::Arc<std::sync::atomic::AtomicI64>),
}

impl Clock {
    /// Starts counting.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: Wall::System }
    }

    /// Starts counting, with a wall clock that showed `millis` at `zero`.
    #[cfg(test)]
    pub(crate) fn simulated(zero: Instant, millis: std::sync::Arc<std::sync::atomic::AtomicI64>) -> Self {
        Self { start: Instant::now(), wall: Wall::Simulated(zero, millis) }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let wall = match &self.wall {
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            Wall::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => millis(since),
                // A clock before 1970.
                Err(error) => -millis(error.duration()),
            },
            #[cfg(test)]
            Wall::Simulated(zero, at_zero) => {
                at_zero.load(std::sync::atomic::Ordering::Relaxed).saturating_add(millis(zero.elapsed()))
            }
        };
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: Timestamp(wall), mono: Mono(mono) }
    }

    /// A monotonic instant as tokio's.
    #[must_use]
    pub fn instant(&self, at: Mono) -> Instant {
        self.start + Duration::from_millis(at.0)
    }
}
