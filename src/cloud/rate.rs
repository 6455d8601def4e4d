//! The limit on cloud calls: a token bucket that all call kinds and the pages of lists share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{config::Rate, domain::Mono, runtime::clock::Clock};

/// A token bucket that fills at a rate and holds a burst.
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

    /// Takes a token, or returns how long it takes until there is one.
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
        // One millisecond is added because the clocks count in milliseconds.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second) + Duration::from_millis(1))
    }

    /// Returns a token that was taken and not used.
    pub fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }
}

/// The limit on cloud calls. All callers share it, and get their permits in the order of their
/// requests.
#[derive(Clone)]
pub(crate) struct RateLimit {
    bucket: Arc<Mutex<TokenBucket>>,
    /// Held while a caller waits for a token. The mutex is fair, so that no call is overtaken by
    /// others for ever.
    turn: Arc<tokio::sync::Mutex<()>>,
    returned: Arc<Notify>,
    clock: Clock,
}

/// The right to make one call. A permit that is dropped unspent passes to the next caller.
#[must_use = "a call needs it until it is made"]
pub(crate) struct Permit {
    limit: RateLimit,
    is_spent: bool,
}

impl Permit {
    /// Notes that the call is made.
    pub(crate) fn spend(mut self) {
        self.is_spent = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_spent {
            self.limit.bucket().give_back();
            self.limit.returned.notify_one();
        }
    }
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub(crate) fn new(rate: Rate, clock: Clock) -> Self {
        let bucket = TokenBucket::new(rate.calls_per_second, rate.burst, clock.now().mono);
        Self { bucket: Arc::new(Mutex::new(bucket)), turn: Arc::default(), returned: Arc::default(), clock }
    }

    fn bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to make a call, if there is one now and no caller waits for one.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let _turn = self.turn.try_lock().ok()?;
        let result = self.bucket().take(self.clock.now().mono);
        result.ok().map(|()| Permit { limit: self.clone(), is_spent: false })
    }

    /// Waits for the right to make a call.
    pub(crate) async fn acquire(&self) -> Permit {
        let _turn = self.turn.lock().await;
        loop {
            let result = self.bucket().take(self.clock.now().mono);
            match result {
                Ok(()) => return Permit { limit: self.clone(), is_spent: false },
                Err(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.returned.notified() => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

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

    fn limit(calls_per_second: f64) -> RateLimit {
        let clock = Clock::simulated(Instant::now(), std::sync::Arc::default());
        RateLimit::new(Rate { calls_per_second, burst: 1 }, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_permitted_in_the_order_of_asking() {
        let limit = limit(1.0);
        limit.acquire().await.spend();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for name in 0..4 {
            let (limit, order) = (limit.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                for _ in 0..3 {
                    limit.acquire().await.spend();
                    order.lock().unwrap().push(name);
                }
            });
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_without_a_call_costs_nobody_anything() {
        let limit = limit(0.1);
        let start = Instant::now();
        for _ in 0..100 {
            drop(limit.acquire().await);
        }
        limit.acquire().await.spend();
        assert_eq!(start.elapsed(), Duration::ZERO);
        let first = limit.clone();
        let looks = tokio::spawn(async move { drop(first.acquire().await) });
        tokio::task::yield_now().await;
        limit.acquire().await.spend();
        looks.await.unwrap();
        assert!(start.elapsed() <= Duration::from_millis(10_010), "{:?}", start.elapsed());
    }
}
