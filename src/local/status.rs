//! The retained `status`: what an operator should see first. It is published at each connection and
//! at each change.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::{DeviceState, Timestamp},
    health::{Health, Problem},
    ledger::Ledger,
    local::broker::{Publisher, Tag},
    protocol::{
        Topics, messages,
        status::{HEALTH, ProblemMessage, StatusMessage},
    },
    runtime::stop::Stop,
};

/// At most one status a second is published (docs/interface.md, "Status").
const PACE: Duration = Duration::from_secs(1);

/// The most and the fewest bytes of a problem's text in a status that has to be shortened.
const LONGEST_PROBLEM: usize = 4096;
const SHORTEST_PROBLEM: usize = 64;

/// The parts from which the status is made.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) ledger: Ledger,
    pub(crate) health: Arc<Health>,
    pub(crate) started_at: Timestamp,
}

/// Publishes the status.
pub(crate) struct Status {
    pub(crate) report: Report,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) topics: Topics,
    /// The longest message of its transport, in bytes.
    pub(crate) max_bytes: usize,
    pub(crate) stop: Stop,
}

impl Status {
    pub(crate) async fn run(self) {
        let mut summary = self.report.ledger.summary();
        let mut changes = self.report.health.changes();
        let mut connection = self.publisher.connection_state();
        let mut published: Option<(u64, Vec<u8>)> = None;
        while !self.stop.is_requested() {
            summary.mark_unchanged();
            changes.mark_unchanged();
            let now = *connection.borrow_and_update();
            let message = self.report.message_within(self.publisher.max_payload(self.max_bytes));
            if now.up && published.as_ref().is_none_or(|(epoch, last)| *epoch != now.epoch || *last != message) {
                let epoch = now.epoch;
                if self.publisher.publish(Some(epoch), &self.topics.status(), message.clone(), true, Tag::Status) {
                    published = Some((epoch, message));
                }
                let next = Instant::now() + PACE;
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(next) => {}
                    Ok(()) = connection.changed() => {}
                    () = self.stop.requested() => {}
                }
                continue;
            }
            tokio::select! {
                biased;
                Ok(()) = summary.changed() => {}
                Ok(()) = changes.changed() => {}
                Ok(()) = connection.changed() => {}
                () = self.stop.requested() => {}
            }
        }
    }
}

impl Report {
    /// The current message.
    pub(crate) fn message(&self) -> Vec<u8> {
        self.message_within(usize::MAX)
    }

    /// The current message, in at most `max_bytes`. If the texts of the problems do not fit, they are
    /// cut, and then left out from the last one on.
    pub(crate) fn message_within(&self, max_bytes: usize) -> Vec<u8> {
        let mut message = self.status_message();
        let mut longest = LONGEST_PROBLEM;
        loop {
            let json = messages::to_json(&message);
            if json.len() <= max_bytes || (longest == 0 && message.problems.pop().is_none()) {
                return json;
            }
            longest = if longest / 2 < SHORTEST_PROBLEM { 0 } else { longest / 2 };
            for problem in &mut message.problems {
                let end = problem.message.floor_char_boundary(longest.max(SHORTEST_PROBLEM));
                problem.message.truncate(end);
            }
        }
    }

    fn status_message(&self) -> StatusMessage {
        let health = self.health.snapshot();
        let summary = *self.ledger.summary().borrow();
        let shown = |problem: Problem| (problem.message, problem.since.to_string());
        let problems: Vec<ProblemMessage> = health
            .problems
            .into_iter()
            .map(|(code, problem)| {
                let (message, since) = shown(problem);
                ProblemMessage { code, message, since }
            })
            .collect();
        StatusMessage {
            state: "ONLINE".into(),
            version: crate::VERSION.into(),
            health: if problems.is_empty() { HEALTH[0] } else { HEALTH[1] }.into(),
            problems,
            cloud: health.cloud.as_str().into(),
            devices: DeviceState::ALL.iter().map(|state| (state.as_str().into(), summary.devices(*state))).collect(),
            pending_entries: summary.pending_entries,
            open_requests: summary.open_requests,
            last_sync_at: health.synced_at.map(|at| at.to_string()),
            started_at: self.started_at.to_string(),
        }
    }
}
