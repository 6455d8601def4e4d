//! Collects the metrics from the ledger and the health, and publishes them.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{DeviceState, RequestStatus, Timestamp},
    health::{Counts, Health},
    ledger::{AccessLoad, COMMIT_BOUNDS, Ledger, Stats, Summary},
    local::{
        broker::{Publisher, Tag},
        status::Report,
    },
    protocol::{
        Topics, messages,
        metrics::{MetricsMessage, Sample},
    },
    runtime::stop::Stop,
};

/// Publishes the metrics at their interval.
pub(crate) struct Metrics {
    pub(crate) report: Report,
    pub(crate) interval: Duration,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) topics: Topics,
    pub(crate) stop: Stop,
}

impl Metrics {
    pub(crate) async fn run(self) {
        while !self.stop.is_requested() {
            tokio::select! {
                biased;
                () = tokio::time::sleep(self.interval) => {}
                () = self.stop.requested() => return,
            }
            // Without a connection these values are lost. The counters in the next message include
            // them.
            self.publisher.publish(None, &self.topics.metrics(), self.report.metrics(), false, Tag::Metrics);
        }
    }
}

impl Report {
    /// The current metrics as a message.
    pub(crate) fn metrics(&self) -> Vec<u8> {
        let metrics = samples(&self.ledger, &self.health, self.started_at);
        messages::to_json(&MetricsMessage { at: self.health.now().to_string(), metrics })
    }
}

fn samples(ledger: &Ledger, health: &Health, started_at: Timestamp) -> Vec<Sample> {
    let mut samples = Samples(Vec::new());
    let summary = *ledger.summary().borrow();
    let snapshot = health.snapshot();
    samples.add("offboard_info", &[("version", crate::VERSION)], 1.0);
    samples.add("offboard_start_time_seconds", &[], seconds(started_at));
    if let Some(at) = snapshot.synced_at {
        samples.add("offboard_last_sync_time_seconds", &[], seconds(at));
    }
    samples.add("offboard_problems", &[], count(snapshot.problems.len() as u64));
    samples.seen(&health.counters().get(), health.skew());
    samples.done(&ledger.stats());
    samples.held(&summary);
    samples.0
}

struct Samples(Vec<Sample>);

impl Samples {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.push(Sample { name: name.to_owned(), labels, value });
    }

    fn seen(&mut self, counts: &Counts, skew: Option<i64>) {
        self.add("offboard_entries_in_flight", &[], count(counts.in_flight.values().sum()));
        self.add("offboard_connected", &[], f64::from(u8::from(counts.connected)));
        self.add("offboard_subscribed", &[], f64::from(u8::from(counts.subscribed)));
        if let Some(millis) = skew {
            self.add("offboard_clock_skew_seconds", &[], seconds(Timestamp(millis)));
        }
        self.add("offboard_local_access_granted", &[], f64::from(u8::from(counts.plugin_granted)));
        for ((command, is_done), answers) in &counts.plugin_answers {
            let outcome = if *is_done { "succeeded" } else { "failed" };
            let labels = [("command", command.as_str()), ("outcome", outcome)];
            self.add("offboard_local_access_answers_total", &labels, count(*answers));
        }
        if counts.plugin_silent > 0 {
            self.add("offboard_local_access_answers_total", &[("outcome", "silent")], count(counts.plugin_silent));
        }
        self.add("offboard_connections_total", &[], count(counts.connections));
        for (via, ipc) in &counts.ipc {
            let labels = [("via", via.as_str())];
            self.add("offboard_ipc_subscribed", &labels, f64::from(u8::from(ipc.subscribed)));
            self.add("offboard_ipc_connections_total", &labels, count(ipc.connections));
            self.add("offboard_ipc_silences_total", &labels, count(ipc.silences));
        }
        for (code, rejections) in &counts.rejections {
            self.add("offboard_rejections_total", &[("code", code.as_str())], count(*rejections));
        }
        for ((call_kind, answer), calls) in &counts.calls {
            let labels = [("action", call_kind.traits().action), ("answer", *answer)];
            self.add("offboard_cloud_calls_total", &labels, count(*calls));
        }
    }

    fn done(&mut self, stats: &Stats) {
        for (status, requests) in RequestStatus::ALL.iter().zip(stats.ended.requests) {
            if *status != RequestStatus::InProgress {
                self.add("offboard_requests_total", &[("status", status.as_str())], count(requests));
            }
        }
        for (outcome, entries) in [("succeeded", stats.ended.succeeded), ("failed", stats.ended.failed)] {
            self.add("offboard_entries_total", &[("outcome", outcome)], count(entries));
        }
        self.add("offboard_entry_retries_total", &[], count(stats.ended.retried));
        let mut so_far = 0;
        for (n, commits) in stats.commits.iter().enumerate() {
            so_far += commits;
            let bound = COMMIT_BOUNDS.get(n).map_or("+Inf".to_owned(), |micros| (count(*micros) / 1e6).to_string());
            self.add("offboard_commit_seconds_bucket", &[("le", &bound)], count(so_far));
        }
        self.add("offboard_commit_seconds_sum", &[], count(stats.commit_micros) / 1e6);
        self.add("offboard_commit_seconds_count", &[], count(so_far));
    }

    fn held(&mut self, summary: &Summary) {
        self.add("offboard_open_requests", &[], count(summary.open_requests));
        self.add("offboard_pending_entries", &[], count(summary.pending_entries));
        for state in DeviceState::ALL {
            self.add("offboard_devices", &[("state", state.as_str())], count(summary.devices(*state)));
        }
        let AccessLoad { revoked, pending, failed, .. } = summary.access;
        for (state, clients) in [("revoked", revoked), ("pending", pending), ("failed", failed)] {
            self.add("offboard_local_access", &[("state", state)], count(clients));
        }
        self.add("offboard_database_live_bytes", &[], count(summary.live_bytes));
        self.add("offboard_database_bytes", &[], count(summary.store_bytes));
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has doubles; these are far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}
