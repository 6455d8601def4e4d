//! The retained `status`: what an operator should know at a glance, published at each connection
//! and at each change.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

#[cfg(test)]
use crate::testing::schemas::words;
use crate::{
    domain::{DeviceState, Timestamp},
    health::{Code, Conditions, Problem},
    ledger::{self, Ledger, Loss, StoreError},
    local::broker::{Publisher, Tag},
    protocol::{Topics, messages},
    runtime::stop::Stop,
};

/// The last will, and the goodbye of a clean stop.
pub(crate) const OFFLINE: &str = r#"{"state":"OFFLINE"}"#;

/// Without problems, and with some.
pub(crate) const HEALTH: [&str; 2] = ["OK", "DEGRADED"];

/// Between two looks at whether somebody has removed a quarantined store.
const LOOK_AT_KEPT: Duration = Duration::from_secs(60);

/// At most one a second (contract, section 4).
const PACE: Duration = Duration::from_secs(1);

/// Bytes of a problem's text, at most and at least, where the status has to be shortened.
const LONGEST_PROBLEM: usize = 4096;
const SHORTEST_PROBLEM: usize = 64;

/// How the agent is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusMessage {
    /// It runs, and is connected to the broker.
    #[cfg_attr(test, schemars(schema_with = "words::online"))]
    state: &'static str,
    /// The agent's version.
    version: &'static str,
    /// Whether there are problems.
    #[cfg_attr(test, schemars(schema_with = "words::health"))]
    health: &'static str,
    /// What a person should know of, and mend.
    problems: Vec<ProblemMessage>,
    /// What the cloud's last answers came to.
    #[cfg_attr(test, schemars(schema_with = "words::cloud_state"))]
    cloud: &'static str,
    /// How many devices of the registry are in which state.
    #[cfg_attr(test, schemars(schema_with = "words::device_counts"))]
    devices: BTreeMap<&'static str, u64>,
    /// Entries of requests that have not ended.
    pending_entries: u64,
    /// Requests that have not ended.
    open_requests: u64,
    /// When the cloud's list was last read to its end, if it was since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    last_sync_at: Option<String>,
    /// When the agent started.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    started_at: String,
}

/// Something that a person should know of.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ProblemMessage {
    /// For programs.
    #[cfg_attr(test, schemars(schema_with = "words::problem_code"))]
    code: Code,
    /// What is wrong, and what to do.
    message: String,
    /// Since when.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    since: String,
}

/// What the status is made from.
#[derive(Clone)]
pub(crate) struct Report {
    pub(crate) ledger: Ledger,
    pub(crate) conditions: Arc<Conditions>,
    pub(crate) data_dir: PathBuf,
    pub(crate) started_at: Timestamp,
}

/// A size for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    // Rounded down, lest too little room looks like enough.
    let tenths = ((bytes >> 10) * 10) >> 10;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// Publishes it.
pub(crate) struct Status {
    pub(crate) report: Report,
    pub(crate) line: Arc<Publisher>,
    pub(crate) topics: Topics,
    pub(crate) max_bytes: usize,
    pub(crate) stop: Stop,
}

impl Status {
    pub(crate) async fn run(self) {
        let mut summary = self.report.ledger.summary();
        let mut changes = self.report.conditions.changes();
        let mut link = self.line.link();
        let mut told: Option<(u64, Vec<u8>)> = None;
        while !self.stop.is_requested() {
            summary.mark_unchanged();
            changes.mark_unchanged();
            let now = *link.borrow_and_update();
            let message = self.report.message_within(self.line.max_payload(self.max_bytes));
            if now.up && told.as_ref().is_none_or(|(epoch, last)| *epoch != now.epoch || *last != message) {
                let epoch = now.epoch;
                if self.line.publish(Some(epoch), &self.topics.status(), message.clone(), true, Tag::Status) {
                    told = Some((epoch, message));
                }
                let next = Instant::now() + PACE;
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(next) => {}
                    Ok(()) = link.changed() => {}
                    () = self.stop.requested() => {}
                }
                continue;
            }
            tokio::select! {
                biased;
                Ok(()) = summary.changed() => {}
                Ok(()) = changes.changed() => {}
                Ok(()) = link.changed() => {}
                () = self.stop.requested() => {}
            }
        }
    }
}

impl Report {
    /// Notes what is wrong with the store, until the stop.
    pub(crate) async fn watch_store(self, stop: Stop) {
        let mut health = self.ledger.health();
        while !stop.is_requested() {
            let is_kept = self.store_problems(&health.borrow_and_update());
            tokio::select! {
                biased;
                Ok(()) = health.changed() => {}
                // Somebody may remove what is kept.
                () = tokio::time::sleep(LOOK_AT_KEPT), if is_kept => {}
                () = stop.requested() => {}
            }
        }
    }

    /// Reports what is wrong with the store as problems; whether quarantined stores are kept.
    fn store_problems(&self, health: &crate::ledger::StoreHealth) -> bool {
        match &health.failing {
            None => {
                ["STORE_FULL", "STORE_TOO_NEW", "STORE_FAILING"].iter().for_each(|code| self.conditions.clear(code))
            }
            Some(StoreError::Full) => self.conditions.raise("STORE_FULL", self.no_room()),
            Some(error @ StoreError::TooNew(_)) => self.conditions.raise("STORE_TOO_NEW", error.to_string()),
            Some(error) => {
                self.conditions.raise("STORE_FAILING", format!("{error}; commands are rejected until it is mended"))
            }
        }
        let is_there = |loss: &&Loss| loss.kept_as.as_ref().is_none_or(|kept| kept.exists());
        let losses: Vec<&Loss> = health.losses.iter().filter(is_there).collect();
        if losses.is_empty() {
            self.conditions.clear("STORE_REPLACED");
        } else {
            let texts: Vec<String> = losses.iter().map(ToString::to_string).collect();
            self.conditions.raise("STORE_REPLACED", texts.join(". "));
        }
        match &health.defect {
            Some(what) => {
                let message = format!(
                    "a rule of the ledger failed on its own state ({what}), and the command or call that it was about was \
                     not carried out; please report it with a support bundle, and restart the agent"
                );
                self.conditions.raise("INTERNAL_ERROR", message);
            }
            None => self.conditions.clear("INTERNAL_ERROR"),
        }
        let others = ledger::of_another_core(&self.data_dir);
        if others.is_empty() {
            self.conditions.clear("STORE_OF_ANOTHER_CORE");
        } else {
            let paths: Vec<_> = others.iter().map(|path| path.display().to_string()).collect();
            let message = format!(
                "the data directory held the store of another core device or region, of which nothing is sent; it is kept in \
                 {}: move it to the data directory of that core device (as store, with its journal beside it), or \
                 remove it, to end this message",
                paths.join(", ")
            );
            self.conditions.raise("STORE_OF_ANOTHER_CORE", message);
        }
        losses.iter().any(|loss| loss.kept_as.is_some()) || !others.is_empty()
    }

    /// How much room there is, and how much the store needs.
    fn no_room(&self) -> String {
        let dir = &self.data_dir;
        let free =
            ledger::free(dir).map_or_else(|error| error.to_string(), |free| format!("{} are free", mebibytes(free)));
        let needed = mebibytes(ledger::room_needed(dir));
        format!("{}; in {} {free}, and the store needs {needed}", StoreError::Full, dir.display())
    }

    /// The message, as of now.
    pub(crate) fn message(&self) -> Vec<u8> {
        self.message_within(usize::MAX)
    }

    /// The message, as of now, in at most `max_bytes`: where the texts of the problems do not fit,
    /// they are cut, and then left out from the last one on.
    pub(crate) fn message_within(&self, max_bytes: usize) -> Vec<u8> {
        let mut message = self.status_message();
        let mut longest = LONGEST_PROBLEM;
        loop {
            let json = messages::to_json(&message);
            if json.len() <= max_bytes || (longest == 0 && message.problems.pop().is_none()) {
                return json;
            }
            longest /= 2;
            for problem in &mut message.problems {
                let end = problem.message.floor_char_boundary(longest.max(SHORTEST_PROBLEM));
                problem.message.truncate(end);
            }
            if longest < SHORTEST_PROBLEM {
                longest = 0;
            }
        }
    }

    fn status_message(&self) -> StatusMessage {
        let conditions = self.conditions.snapshot();
        let summary = *self.ledger.summary().borrow();
        let shown = |problem: Problem| (problem.message, problem.since.to_string());
        let problems: Vec<ProblemMessage> = conditions
            .problems
            .into_iter()
            .map(|(code, problem)| {
                let (message, since) = shown(problem);
                ProblemMessage { code, message, since }
            })
            .collect();
        StatusMessage {
            state: "ONLINE",
            version: crate::VERSION,
            health: if problems.is_empty() { HEALTH[0] } else { HEALTH[1] },
            problems,
            cloud: conditions.cloud.as_str(),
            devices: DeviceState::ALL.iter().map(|state| (state.as_str(), summary.devices(*state))).collect(),
            pending_entries: summary.pending_entries,
            open_requests: summary.open_requests,
            last_sync_at: conditions.synced_at.map(|at| at.to_string()),
            started_at: self.started_at.to_string(),
        }
    }
}
