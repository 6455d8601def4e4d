//! The one place where the clocks are read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::{Mono, Now, Timestamp};

/// Wall time and the time since this was made; clones count from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => millis(since),
            // A clock before 1970.
            Err(error) => -millis(error.duration()),
        };
        let mono = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: Timestamp(wall), mono: Mono(mono) }
    }

    /// A monotonic instant as tokio's.
    #[must_use]
    pub fn instant(&self, at: Mono) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + std::time::Duration::from_millis(at.0))
    }
}
