//! The message `metrics`: counters and gauges, and their text for Prometheus.

use std::{collections::BTreeMap, fmt::Write};

use serde::{Deserialize, Serialize};

#[cfg(test)]
use crate::testing::schemas::texts;

/// Each metric: its name, its type in the terms of Prometheus, and what it counts. Counters begin
/// at zero when the agent starts.
pub const METRICS: &[(&str, &str, &str)] = &[
    ("offboard_info", "gauge", "1, with the version as a label"),
    ("offboard_start_time_seconds", "gauge", "when the agent started, in seconds since 1970"),
    ("offboard_last_sync_time_seconds", "gauge", "when the registry was last read from the cloud; missing before that"),
    ("offboard_problems", "gauge", "problems that status shows"),
    ("offboard_connected", "gauge", "1 while there is a connection to the broker"),
    ("offboard_subscribed", "gauge", "1 while the broker grants the subscription to commands"),
    (
        "offboard_clock_skew_seconds",
        "gauge",
        "how far the cloud's clock is ahead of this device's, by its last answer; missing before that",
    ),
    ("offboard_connections_total", "counter", "connections to the broker that were made"),
    ("offboard_ipc_subscribed", "gauge", "1 while commands can arrive over Greengrass IPC, by transport"),
    (
        "offboard_ipc_connections_total",
        "counter",
        "connections to the Greengrass IPC server that were made, by transport",
    ),
    (
        "offboard_ipc_silences_total",
        "counter",
        "connections to the Greengrass IPC server that delivered nothing any more, by transport",
    ),
    ("offboard_requests_total", "counter", "requests that ended, by status"),
    ("offboard_entries_total", "counter", "entries that ended, by outcome: succeeded or failed"),
    ("offboard_entry_retries_total", "counter", "entries that were put into a call again"),
    ("offboard_rejections_total", "counter", "commands and queries that were rejected, by code"),
    ("offboard_cloud_calls_total", "counter", "calls to the cloud, by action and kind of response; ok is a success"),
    ("offboard_entries_in_flight", "gauge", "entries in calls that have no response yet"),
    ("offboard_open_requests", "gauge", "requests that have not ended"),
    ("offboard_pending_entries", "gauge", "entries that have not ended"),
    ("offboard_devices", "gauge", "devices in the registry, by state"),
    ("offboard_local_access_granted", "gauge", "1 while the broker's dynamic-security plugin answers the agent"),
    (
        "offboard_local_access",
        "gauge",
        "clients of the broker by state: revoked, pending (to be disabled or enabled) or failed",
    ),
    (
        "offboard_local_access_answers_total",
        "counter",
        "answers of the broker's dynamic-security plugin, by command and outcome; silent is a message without a response",
    ),
    ("offboard_database_live_bytes", "gauge", "bytes of all records, which limits.maxDatabaseBytes limits"),
    ("offboard_database_bytes", "gauge", "bytes of the database's file, measured from time to time"),
    ("offboard_commit_seconds", "histogram", "time that a commit took to be on disk"),
];

/// One value of a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sample {
    /// The name: one of [`METRICS`], with `_bucket`, `_sum` or `_count` for the parts of a
    /// histogram.
    #[cfg_attr(test, schemars(schema_with = "texts::metric"))]
    pub name: String,
    /// The labels that distinguish it from other values of that name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// The message `metrics`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MetricsMessage {
    /// The time of the values.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub at: String,
    /// All values.
    pub metrics: Vec<Sample>,
}

/// A message in the text format of Prometheus, version 0.0.4, as a node exporter's text-file
/// collector takes it (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
#[must_use]
pub fn exposition(message: &MetricsMessage) -> String {
    let mut text = String::new();
    for (name, kind, help) in METRICS {
        // A name cannot be escaped in this format; an invalid name would become lines of its own.
        let of_this = |sample: &&Sample| {
            let rest = sample.name.strip_prefix(name);
            let is_known = rest.is_some_and(|rest| {
                rest.is_empty() || *kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&rest)
            });
            is_known && sample.labels.keys().all(|label| is_label(label))
        };
        let mut samples = message.metrics.iter().filter(of_this).peekable();
        if samples.peek().is_none() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for Sample { name, labels, value } in samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

/// A label's name, by the rule of the format.
fn is_label(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_help_type_and_escaped_labels() {
        let labels = BTreeMap::from([("version".to_owned(), "a\"b\\c\nd".to_owned())]);
        let bucket = |le: &str, value| Sample {
            name: "offboard_commit_seconds_bucket".into(),
            labels: BTreeMap::from([("le".to_owned(), le.to_owned())]),
            value,
        };
        let info = Sample { name: "offboard_info".into(), labels, value: 1.0 };
        let metrics = vec![bucket("0.001", 2.0), bucket("+Inf", 3.0), info];
        let text = exposition(&MetricsMessage { at: String::new(), metrics });
        let expected = "# HELP offboard_info 1, with the version as a label\n# TYPE offboard_info gauge\n\
             offboard_info{version=\"a\\\"b\\\\c\\nd\"} 1\n\
             # HELP offboard_commit_seconds time that a commit took to be on disk\n# TYPE offboard_commit_seconds histogram\n\
             offboard_commit_seconds_bucket{le=\"0.001\"} 2\noffboard_commit_seconds_bucket{le=\"+Inf\"} 3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_name_makes_a_line_of_its_own() {
        let sample = |name: &str, label: &str| Sample {
            name: name.into(),
            labels: BTreeMap::from([(label.to_owned(), "x".to_owned())]),
            value: 1.0,
        };
        let forged = "version\"} 1\nforged{a";
        let metrics = vec![
            sample("offboard_info", forged),
            sample("offboard_commit_seconds_x\nforged", "le"),
            sample("offboard_info", ""),
            sample("offboard_info", "version"),
        ];
        let text = exposition(&MetricsMessage { at: String::new(), metrics });
        assert!(!text.contains("forged") && text.ends_with("offboard_info{version=\"x\"} 1\n"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn the_page_on_metrics_names_them_all() {
        let rows = METRICS.iter().map(|(name, kind, help)| format!("| `{name}` | {kind} | {help} |"));
        let page = include_str!("../../docs/metrics.md");
        for row in rows {
            assert!(page.lines().any(|line| line == row), "docs/metrics.md lacks the line\n{row}");
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), METRICS.len());
    }
}
