//! The two clocks: wall time for people and the cloud, monotonic time for waiting.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A wall-clock instant in milliseconds since 1970, shown as RFC 3339 in UTC.
///
/// A gateway's wall clock may be years off and may jump. Two wall-clock instants may be compared
/// only where docs/interface.md, "Superseded requests", defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Parses RFC 3339 text; `None` if the text is not RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }

    /// This instant plus `duration`, capped at the last instant.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This instant minus `duration`, capped at the first instant.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000) {
            Ok(at) => write!(
                f,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
                at.millisecond()
            ),
            // The year is outside the range of RFC 3339; only a broken clock gives such a value.
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

/// Monotonic time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

impl Mono {
    /// This instant plus `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to this instant, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What the cloud's answers say of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallClock {
    /// There was no answer since the start.
    Unconfirmed,
    /// It agrees with the cloud's clock.
    Confirmed,
    /// It disagrees.
    Wrong,
}

/// Both clocks, read together and passed to the rules, which read no clock themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Wall time.
    pub wall: Timestamp,
    /// Monotonic time since the machine's boot.
    pub mono: Mono,
    /// The boot that `mono` counts from; it differs between two boots.
    pub boot: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_as_it_is_written() {
        for text in ["2026-11-20T21:37:00.123Z", "1970-01-01T00:00:00.000Z", "0001-02-03T04:05:06.007Z"] {
            assert_eq!(Timestamp::parse(text).map(|at| at.to_string()).as_deref(), Some(text));
        }
        let offset = Timestamp::parse("2026-11-20T22:37:00+01:00");
        assert_eq!(offset, Timestamp::parse("2026-11-20T21:37:00Z"));
        for bad in ["", "yesterday", "2026-11-20", "2026-13-20T21:37:00Z"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_impossible_clock_is_still_shown() {
        assert!(Timestamp(i64::MAX).to_string().starts_with("9999"));
        assert_eq!(Timestamp(i64::MAX).after(Duration::MAX), Timestamp(i64::MAX));
    }
}
