//! When to connect again after a connection failed or ended, and which of these failures are
//! logged. Time and randomness are arguments.

use std::time::Duration;

use crate::domain::Backoff;

/// The wait after a first failure is below the first value, and no wait is above the second.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The shortest wait: a connection that ends at once must not make the agent spin.
const LEAST: Duration = Duration::from_millis(50);

/// A connection that lasted this long counts as stable. It is longer than the longest wait:
/// otherwise each of two clients with the same id would take the other's wait for a success of its
/// own, and come back at once.
pub(in crate::local) const STABLE: Duration = Duration::from_secs(35);

/// After this many connections in a row that ended earlier, the connection counts as unstable, and
/// a person should look for the cause.
const UNSTABLE: u64 = 3;

/// How many different messages are counted separately. A broker that responds with noise causes
/// more of them.
const MAX_MESSAGES: usize = 8;

/// Counts failures until a connection is stable.
#[derive(Debug)]
pub(in crate::local) struct Retry {
    backoff: Backoff,
    /// How many connections were made.
    made: u64,
    counts: Vec<(String, u64)>,
    others: u64,
}

impl Retry {
    pub(in crate::local) fn new() -> Self {
        Self { backoff: Backoff::new(WAITS.0, WAITS.1), made: 0, counts: Vec::new(), others: 0 }
    }

    /// Notes that a connection was made. Returns whether that is logged.
    pub(in crate::local) fn made(&mut self) -> bool {
        self.made += 1;
        self.made.is_power_of_two()
    }

    /// Notes that a connection that had been made ended.
    pub(in crate::local) fn ended(&mut self, lasted: Duration) {
        if lasted >= STABLE {
            *self = Self::new();
        }
    }

    /// Whether connections end soon after they are made.
    pub(in crate::local) fn is_unstable(&self) -> bool {
        self.made >= UNSTABLE
    }

    /// Whether a message is logged. It keeps the log short when the same failure repeats: it allows
    /// a line at the 1st, 2nd, 4th, 8th time and so on.
    pub(in crate::local) fn is_worth_a_line(&mut self, message: &str) -> bool {
        let known = self.counts.iter().any(|(known, _)| known == message);
        if !known && self.counts.len() < MAX_MESSAGES {
            self.counts.push((message.to_owned(), 0));
        }
        let count = match self.counts.iter_mut().find(|(known, _)| known == message) {
            Some((_, count)) => count,
            None => &mut self.others,
        };
        *count += 1;
        count.is_power_of_two()
    }

    /// The wait before the next connection. `chance` is random, from 0 to below 1.
    pub(in crate::local) fn wait(&mut self, chance: f64) -> Duration {
        self.backoff.fail(1, None, chance).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Runs one hour in which each attempt ends as `attempt` says. Returns the times of the
    /// attempts, and how many lines were logged.
    fn hour(seed: u64, mut attempt: impl FnMut(&mut Retry, u64) -> bool) -> (Vec<Duration>, usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut retry, mut now, mut at, mut lines) = (Retry::new(), Duration::ZERO, Vec::new(), 0);
        while now < HOUR {
            at.push(now);
            lines += usize::from(attempt(&mut retry, at.len() as u64));
            let wait = retry.wait(random.f64());
            assert!((LEAST..=WAITS.1).contains(&wait), "{wait:?}");
            now += wait;
        }
        (at, lines)
    }

    #[test]
    fn a_broker_that_refuses_for_an_hour_is_tried_a_few_hundred_times_and_logged_in_few_lines() {
        let refused = |seed| hour(seed, |retry, _| retry.is_worth_a_line("connection refused"));
        for seed in 0..100 {
            let (at, lines) = refused(seed);
            assert!((120..=400).contains(&at.len()), "{} attempts, seed {seed}", at.len());
            assert!((2..=20).contains(&lines), "{lines} lines, seed {seed}");
        }
        assert_ne!(refused(1).0, refused(2).0, "two agents do not come back together");
        assert_eq!(refused(1).0, refused(1).0);
    }

    #[test]
    fn short_connections_do_not_shorten_the_waits() {
        let (at, lines) = hour(7, |retry, n| {
            let made = retry.made();
            retry.ended(WAITS.1 / 2);
            assert_eq!(retry.is_unstable(), n >= UNSTABLE);
            retry.is_worth_a_line("closed") || made
        });
        assert!((120..=400).contains(&at.len()) && lines <= 20, "{} attempts, {lines} lines", at.len());
    }

    #[test]
    fn a_stable_connection_starts_all_over() {
        let mut retry = Retry::new();
        for _ in 0..10 {
            retry.made();
            retry.ended(STABLE / 2);
            retry.wait(0.9);
        }
        assert!(retry.is_unstable() && retry.wait(0.9) > WAITS.0);
        retry.ended(STABLE);
        assert!(!retry.is_unstable() && retry.wait(0.9) <= WAITS.0 && retry.made());
    }

    #[test]
    fn ever_new_messages_share_a_count() {
        let (at, lines) = hour(3, |retry, n| retry.is_worth_a_line(&format!("noise {n}")));
        assert!((120..=400).contains(&at.len()) && lines <= 20, "{} attempts, {lines} lines", at.len());
    }
}
