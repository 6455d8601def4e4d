//! The limit on cloud calls: a bucket of tokens, shared by all lanes and the pages of lists.

use std::time::Duration;

use crate::model::Mono;

/// A bucket that fills at a rate and holds a burst.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Mono,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(per_second: f64, burst: u32, now: Mono) -> Self {
        Self { per_second, burst: f64::from(burst), tokens: f64::from(burst), at: now }
    }

    /// Takes a token, or tells how long until there is one.
    ///
    /// # Errors
    /// The time to wait before asking again.
    pub fn take(&mut self, now: Mono) -> Result<(), Duration> {
        self.tokens = (self.tokens + now.since(self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A millisecond more, since that is what clocks count in.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second) + Duration::from_millis(1))
    }

    /// Puts a token back that was taken for nothing.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_burst_and_the_rate() {
        let mut bucket = TokenBucket::new(2.0, 3, Mono(0));
        let taken = (0..20_u64).filter(|n| bucket.take(Mono(n * 100)).is_ok()).count();
        assert_eq!(taken, 3 + 3, "a burst of 3, then 2 a second over 1.9 s");
        let mut bucket = TokenBucket::new(2.0, 1, Mono(0));
        assert_eq!(bucket.take(Mono(0)), Ok(()));
        let wait = bucket.take(Mono(0)).unwrap_err();
        bucket.give_back();
        assert_eq!(bucket.take(Mono(0)), Ok(()));
        assert_eq!(bucket.take(Mono(0).after(wait)), Ok(()));
    }
}
