//! Calls and errors of the last minutes, computed from counters that only grow.

use std::{collections::VecDeque, time::Duration};

use crate::protocol::metrics::MetricsMessage;

/// The time that one column of the sparkline covers: short enough to show a burst, and 5 minutes
/// fit beside the numbers on 80 columns.
const COLUMN: Duration = Duration::from_secs(5);

/// Number of columns that are kept.
const KEPT: usize = 60;

/// Number of columns that make a minute.
const MINUTE: usize = 12;

/// The number of calls to the cloud, and the number of those that failed.
pub(super) type Counts = (u64, u64);

/// The agent's counters since its start.
pub(super) fn counters(metrics: &MetricsMessage) -> Counts {
    let calls = metrics.metrics.iter().filter(|metric| metric.name == "offboard_cloud_calls_total");
    calls.fold((0, 0), |(calls, errors), metric| {
        let value = whole(metric.value);
        let failed = if metric.labels.get("answer").is_some_and(|answer| answer == "ok") { 0 } else { value };
        (calls.saturating_add(value), errors.saturating_add(failed))
    })
}

/// The value of a metric without labels.
pub(super) fn gauge(metrics: &MetricsMessage, name: &str) -> Option<u64> {
    metrics.metrics.iter().find(|metric| metric.name == name).map(|metric| whole(metric.value))
}

/// Converts the value of a metric, a double, to a count.
fn whole(value: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut at the ends of the range")]
    let whole = value as u64;
    whole
}

/// The counts of each column; `None` where the agent did not answer.
#[derive(Default)]
pub(super) struct History {
    last: Option<Counts>,
    columns: VecDeque<Option<Counts>>,
    /// The number of the newest column.
    newest: u64,
}

impl History {
    /// Records the agent's counters at `elapsed`, the time since the watch began.
    pub(super) fn record(&mut self, elapsed: Duration, counters: Option<Counts>) {
        let column = elapsed.as_secs() / COLUMN.as_secs();
        let passed = if self.columns.is_empty() { 1 } else { column.saturating_sub(self.newest) };
        self.newest = column;
        for _ in 0..passed.min(KEPT as u64) {
            self.columns.push_back(None);
        }
        while self.columns.len() > KEPT {
            self.columns.pop_front();
        }
        if let Some(now) = counters {
            // A counter that became smaller started again from zero: the agent was restarted.
            let grown = |now: u64, last: u64| if now < last { now } else { now - last };
            let last = self.last.unwrap_or(now);
            let (calls, errors) = (grown(now.0, last.0), grown(now.1, last.1));
            if let Some(column) = self.columns.back_mut() {
                let sum = column.unwrap_or_default();
                *column = Some((sum.0 + calls, sum.1 + errors));
            }
        }
        // Calls that were made while the agent did not answer belong to no column.
        self.last = counters;
    }

    /// Whether no column has counts.
    pub(super) fn is_empty(&self) -> bool {
        self.columns.iter().all(Option::is_none)
    }

    /// The newest columns, at most `most`, from the oldest to the newest.
    pub(super) fn columns(&self, most: usize) -> impl Iterator<Item = Option<Counts>> + '_ {
        self.columns.iter().skip(self.columns.len().saturating_sub(most)).copied()
    }

    /// The counts of the last minute.
    pub(super) fn last_minute(&self) -> Counts {
        self.columns(MINUTE).flatten().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels() {
        let calls = |result: &str, value: u64| json!({"name": "offboard_cloud_calls_total", "labels": {"action": "a", "answer": result}, "value": value});
        let read = |metrics: Value| serde_json::from_value(json!({"at": "x", "metrics": metrics})).unwrap();
        let metrics = read(
            json!([calls("ok", 12), calls("throttled", 3), {"name": "offboard_entries_in_flight", "value": 100.0}]),
        );
        assert_eq!(counters(&metrics), (15, 3));
        assert_eq!((gauge(&metrics, "offboard_entries_in_flight"), gauge(&metrics, "nothing")), (Some(100), None));
        assert_eq!(counters(&read(json!([]))), (0, 0));
    }

    #[test]
    fn what_is_counted_goes_to_its_column() {
        let mut history = History::default();
        let mut record = |seconds, counts| history.record(Duration::from_secs(seconds), counts);
        record(0, Some((100, 10)));
        record(1, Some((103, 10)));
        record(6, Some((104, 11)));
        // The agent does not answer; the calls that it counted meanwhile are not a burst of this
        // moment.
        record(11, None);
        record(16, Some((500, 50)));
        // The agent was restarted.
        record(17, Some((2, 0)));
        assert_eq!(history.columns(9).collect::<Vec<_>>(), [Some((3, 0)), Some((1, 1)), None, Some((2, 0))]);
        assert_eq!(history.last_minute(), (6, 1));
        history.record(Duration::from_secs(1_000_000), Some((2, 0)));
        assert_eq!((history.columns.len(), history.last_minute()), (KEPT, (0, 0)));
    }
}
