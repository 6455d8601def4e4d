//! The wait after a failure: exponential backoff with full jitter, and the cloud's Retry-After as
//! the minimum.
//!
//! The formula is that of "Exponential Backoff And Jitter" (AWS Architecture Blog): a random time
//! below `min(cap, base * 2^n)`, so that the devices of a fleet that fail together do not retry
//! together. While the cloud is out of reach, [`Backoff::probe`] has a formula of its own.

use std::time::Duration;

use super::CallFault;

/// The base of the wait after a throttled call, as a multiple of that after a failed one.
pub const THROTTLED_FACTOR: u32 = 5;

/// Longest Retry-After that the agent follows; a longer value is taken for a mistake of the sender.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Computes waits from the number of consecutive failures.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Creates a backoff without failures. The first wait is below `base`, and no wait is above
    /// `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, failures: 0 }
    }

    /// Counts a failed call and returns the wait that its fault asks for. `chance` is random, from
    /// 0 to below 1.
    pub fn after(&mut self, fault: &CallFault, retry_after: Option<Duration>, chance: f64) -> Duration {
        if fault.needs_repair() {
            return self.hold(chance);
        }
        match fault {
            CallFault::Throttled => self.fail(THROTTLED_FACTOR, retry_after, chance),
            CallFault::Unreachable | CallFault::NoResponse | CallFault::NotAws | CallFault::Server => {
                self.probe(retry_after, chance)
            }
            _ => self.fail(1, retry_after, chance),
        }
    }

    /// Counts one more failure and returns the wait after it. `chance` is random, from 0 to below
    /// 1; `factor` multiplies the base.
    pub fn fail(&mut self, factor: u32, retry_after: Option<Duration>, chance: f64) -> Duration {
        // 2^20 times any base that is used exceeds every cap.
        let limit = self.base.saturating_mul(factor).saturating_mul(1 << self.failures.min(20)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(chance.clamp(0.0, 1.0)).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    /// Counts one more failure to reach the cloud and returns the wait before the next probe: in
    /// the upper half of a limit that quadruples. In an outage of the cloud all core devices of a
    /// fleet probe, and all that probe within a short time call again in that time after its end.
    /// With these waits they come back about as soon as with [`Self::fail`], with a third fewer
    /// calls after a long outage, and far fewer after one of minutes.
    fn probe(&mut self, retry_after: Option<Duration>, chance: f64) -> Duration {
        // The exponent of the limit is twice the number of failures.
        let limit = self.base.saturating_mul(1 << (2 * self.failures.min(10))).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    /// The wait while a person has to repair something: from the cap to twice the cap.
    #[must_use]
    pub fn hold(&self, chance: f64) -> Duration {
        self.cap.mul_f64(1.0 + chance.clamp(0.0, 1.0))
    }

    /// A backoff with the same limits and without failures.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.base, self.cap)
    }

    /// Resets the count of failures after a success.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 10);
        let waits: Vec<u64> = (0..6).map(|_| backoff.fail(1, None, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert_eq!(backoff.fail(1, None, 0.0), Duration::ZERO);
        assert_eq!(backoff.fail(1, Some(second * 30), 0.0), second * 30, "Retry-After is the least");
        assert_eq!(backoff.fail(1, Some(second * 999_999), 0.0), MAX_RETRY_AFTER);
        backoff.succeed();
        assert_eq!(backoff.fail(5, None, 1.0).as_secs(), 5);
        for _ in 0..100 {
            backoff.fail(5, None, 1.0);
        }
    }

    #[test]
    fn probes_come_in_the_upper_half_of_a_limit_that_quadruples() {
        let second = Duration::from_secs(1);
        let waits = |chance| {
            let mut backoff = Backoff::new(second, second * 300);
            std::array::from_fn(|_| backoff.probe(None, chance).as_secs_f64())
        };
        assert_eq!(waits(1.0), [1.0, 4.0, 16.0, 64.0, 256.0, 300.0]);
        assert_eq!(waits(0.0), [0.5, 2.0, 8.0, 32.0, 128.0, 150.0]);
        let mut backoff = Backoff::new(second, second * 300);
        assert_eq!(backoff.probe(Some(second * 30), 1.0), second * 30, "Retry-After is the least");
        assert!((0..100).all(|_| backoff.probe(None, 1.0) <= second * 300));
    }
}
