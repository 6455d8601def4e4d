//! When lists begin: the first list after the start, and lists that only settle entries.

use std::time::Duration;

use tokio::time::Instant;

/// The first list begins at a random time within this span divided by the square of the calls per
/// second that the core device may make. With the default rate of 1, thousands of core devices that
/// get their power back together make 10 to 20 calls a second. An operator who sets a low rate has
/// many core devices that share a small quota; one who sets a high rate has calls to spare.
const START_SPREAD: Duration = Duration::from_secs(120);
const MAX_START_SPREAD: Duration = Duration::from_secs(600);

/// The wait before the first list. `chance` is from 0 to 1.
pub(super) fn start_delay(calls_per_second: f64, chance: f64) -> Duration {
    START_SPREAD.div_f64(calls_per_second * calls_per_second).min(MAX_START_SPREAD).mul_f64(chance)
}

/// Lists that only settle errors of entries wait between each other, up to this many times what the
/// last list took. A device that fails each second must not keep a large core listing for ever. In
/// the long run these lists take a tenth of the rate, as periodic lists do.
const MAX_SPACING: u32 = 9;

/// When the next list that only settles entries may begin.
#[derive(Debug, Default)]
pub(super) struct Spacing {
    pub(super) until: Option<Instant>,
    factor: u32,
}

impl Spacing {
    /// Notes a list that was read from `begin` to `end`; its calls take `cost` of the rate.
    pub(super) fn listed(&mut self, begin: Instant, end: Instant, cost: Duration, to_settle: bool) {
        let is_first = self.until.is_none_or(|until| begin >= until + cost.saturating_mul(MAX_SPACING));
        self.factor = if to_settle && !is_first { (self.factor * 2).clamp(1, MAX_SPACING) } else { 1 };
        self.until = Some(end + cost.saturating_mul(self.factor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One device fails each second on a core of 10,000 devices.
    #[tokio::test(start_paused = true)]
    async fn lists_that_settle_entries_take_a_tenth_of_the_rate_in_the_long_run() {
        let cost = Duration::from_secs(100);
        let (start, mut spacing, mut now, mut lists) = (Instant::now(), Spacing::default(), Instant::now(), 0);
        while now < start + Duration::from_secs(24 * 3600) {
            let begin = spacing.until.map_or(now, |until| until.max(now));
            now = begin + cost;
            spacing.listed(begin, now, cost, true);
            lists += 1;
        }
        assert!((86..=92).contains(&lists), "{lists}");
        // After a quiet time the first list does not wait.
        let begin = now + Duration::from_secs(3600);
        assert!(spacing.until.is_some_and(|until| until < begin));
        spacing.listed(begin, begin + cost, cost, true);
        assert_eq!(spacing.until, Some(begin + cost * 2));
    }

    #[test]
    fn a_fleet_that_starts_together_is_spread_by_the_rate_of_one_core() {
        let latest = |rate| start_delay(rate, 1.0).as_secs_f64();
        assert_eq!([1.0, 0.5, 10.0].map(latest), [120.0, 480.0, 1.2]);
        assert_eq!(latest(0.001), 600.0, "no core device waits for hours");
        assert_eq!(start_delay(1.0, 0.0), Duration::ZERO);
    }
}
