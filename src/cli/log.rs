//! The log: its format, its levels, and its limit of lines per second.
//!
//! Input from outside must not fill a gateway's flash by provoking log lines. Lines above the limit
//! are dropped, and the log reports their number once a second.

use std::{
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, LevelFilter, Targets},
    layer::{Context, Filter, SubscriberExt},
    util::SubscriberInitExt,
};

use crate::config::LogFormat;

/// Maximum number of error lines per second. Errors have a limit of their own, so that other lines
/// cannot displace them.
const ERRORS: u32 = 40;

/// Maximum number of warnings and informational lines per second: a busy agent writes about three
/// for each call, and makes one call per second.
const LINES: u32 = 20;

/// Maximum number of debug and trace lines per second, which are enabled by `RUST_LOG`.
const DETAILS: u32 = 1000;

const SECOND: Duration = Duration::from_secs(1);

/// Target of the line that reports dropped lines; the limit never drops it.
const OWN: &str = "offboard::log";

/// The lines in the current second.
#[derive(Clone, Copy, Default)]
struct Share {
    since: Duration,
    lines: u32,
}

/// Limits the lines per second; see the module. Clones share their state.
#[derive(Clone)]
pub(super) struct Limit(Arc<State>);

struct State {
    start: Instant,
    /// Shares of errors, of warnings and information, and of details.
    shares: Mutex<[Share; 3]>,
    left_out: AtomicU64,
    is_left_out: Notify,
}

impl Limit {
    fn new() -> Self {
        Self(Arc::new(State {
            start: Instant::now(),
            shares: Mutex::default(),
            left_out: AtomicU64::new(0),
            is_left_out: Notify::new(),
        }))
    }

    /// Whether one more line of that level may be written at `now`, the time since the start.
    fn takes(&self, level: Level, now: Duration) -> bool {
        let (kind, most) = match level {
            Level::ERROR => (0, ERRORS),
            Level::WARN | Level::INFO => (1, LINES),
            _ => (2, DETAILS),
        };
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = &mut shares[kind];
        if now >= share.since + SECOND {
            *share = Share { since: now, lines: 0 };
        }
        share.lines = share.lines.saturating_add(1);
        let takes = share.lines <= most;
        drop(shares);
        if !takes {
            self.0.left_out.fetch_add(1, Ordering::Relaxed);
            self.0.is_left_out.notify_one();
        }
        takes
    }

    /// Logs how many lines were dropped since the last report.
    pub(super) fn report(&self) {
        let left_out = self.0.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            tracing::warn!(target: OWN, left_out, "too many log lines a second; some were left out");
        }
    }

    /// Logs the number of dropped lines once a second, as long as lines are dropped.
    pub(super) async fn keep_reporting(self) {
        loop {
            self.0.is_left_out.notified().await;
            tokio::time::sleep(SECOND).await;
            self.report();
        }
    }
}

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    // This filter allows all levels. Without this hint the hints of the other filters would have no
    // effect, and all of sled's trace events would be formatted before a filter drops them.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        metadata.target() == OWN || self.takes(*metadata.level(), self.0.start.elapsed())
    }
}

/// Starts the log. The caller has to run [`Limit::keep_reporting`].
pub(super) fn start(format: LogFormat) -> Limit {
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, is_wrong) = levels(&wanted);
    let layer = tracing_subscriber::fmt::layer().with_target(false).with_ansi(false);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let limit = Limit::new();
    tracing_subscriber::registry().with(layer.with_filter(filter.and(limit.clone()))).init();
    if is_wrong {
        tracing::warn!(
            RUST_LOG = wanted,
            "RUST_LOG has no level for the agent's own lines, which are logged from level info on; set it to error, warn, \
             info, debug, trace or off, or to offboard=LEVEL"
        );
    }
    limit
}

/// The levels of `RUST_LOG`, and whether it lacks one for the agent's own lines: a misspelt level
/// counts as the name of a target, and would silence the errors, too.
fn levels(wanted: &str) -> (Targets, bool) {
    // The lines of the AWS SDK repeat the agent's own.
    // A target counts for all that begin with it: for `offboard_ledger`, too.
    let default = || Targets::new().with_target("offboard", Level::INFO).with_default(Level::WARN);
    let directives: Vec<&str> = wanted.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    let has_own = |targets: &Targets| {
        targets.default_level().is_some()
            || targets.iter().any(|(target, _)| target == "offboard")
            || targets.would_enable("offboard", &Level::ERROR)
    };
    match Targets::from_str(&directives.join(",")) {
        _ if directives.is_empty() => (default(), false),
        Ok(targets) if has_own(&targets) => (targets, false),
        Ok(targets) => (default().with_targets(targets), true),
        Err(_) => (default(), true),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Written {
        fn lines(&self, with: &str) -> usize {
            let bytes = self.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().filter(|line| line.contains(with)).count()
        }
    }

    #[test]
    fn a_misspelt_level_does_not_silence_the_agent() {
        let logs = |wanted: &str, level: Level| {
            let enabled = |target: &str| levels(wanted).0.would_enable(target, &level);
            assert_eq!(enabled("offboard_ledger::ledger"), enabled("offboard::agent"), "{wanted}");
            enabled("offboard::agent")
        };
        for wrong in ["inof", "debugg", "nonsense[[[", "sled=debug", "offboard=loud"] {
            assert!(levels(wrong).1, "{wrong}");
            assert!(logs(wrong, Level::INFO) && !logs(wrong, Level::DEBUG), "{wrong}");
        }
        for (good, level) in [
            ("", Level::INFO),
            ("warn", Level::WARN),
            ("offboard=debug", Level::DEBUG),
            ("info,offboard=trace", Level::TRACE),
        ] {
            assert!(!levels(good).1 && logs(good, level), "{good}");
        }
        for off in ["off", "OFF", "0", "offboard=off", "offboard=OFF"] {
            assert!(!levels(off).1 && !logs(off, Level::ERROR), "{off}");
        }
        assert!(levels("sled=debug").0.would_enable("sled", &Level::DEBUG));
    }

    #[test]
    fn each_second_takes_so_many_lines_of_each_kind() {
        let limit = Limit::new();
        for (level, most) in [
            (Level::ERROR, ERRORS),
            (Level::WARN, LINES),
            // Information shares the limit of warnings, which is used up.
            (Level::INFO, 0),
            (Level::DEBUG, DETAILS),
        ] {
            let taken = (0..5000).filter(|_| limit.takes(level, Duration::ZERO)).count();
            assert_eq!(taken, most as usize, "{level}");
        }
        assert!(!limit.takes(Level::INFO, SECOND - Duration::from_millis(1)));
        let over_an_hour = (0..360_000).filter(|n| limit.takes(Level::INFO, SECOND + SECOND * *n / 100)).count();
        assert_eq!(over_an_hour, 3600 * LINES as usize);
    }

    #[test]
    fn what_is_left_out_is_reported_in_one_line() {
        let (written, limit) = (Written::default(), Limit::new());
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(written.clone());
        let filter = Targets::new().with_default(Level::INFO).and(limit.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.with_filter(filter)), || {
            limit.report();
            assert_eq!(written.lines("left out"), 0, "nothing was");
            // A slow machine may need more than a second for these lines.
            let start = Instant::now();
            (0..10_000).for_each(|n| tracing::info!(n, "flood"));
            (0..10_000).for_each(|n| tracing::error!(n, "flooded"));
            (0..10_000).for_each(|n| tracing::debug!(n, "not asked for"));
            let seconds = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
            let (lines, errors) = (written.lines("INFO"), written.lines("ERROR"));
            assert!((1..=seconds * LINES as usize).contains(&lines), "{lines} in {seconds} s");
            assert!((1..=seconds * ERRORS as usize).contains(&errors), "{errors} in {seconds} s");
            limit.report();
            limit.report();
            assert_eq!(written.lines(&format!("left_out={}", 20_000 - lines - errors)), 1);
            assert_eq!(written.lines("left out"), 1);
        });
    }
}
