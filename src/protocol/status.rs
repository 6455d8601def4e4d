//! The message `status`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

#[cfg(test)]
use crate::testing::schemas::words;

/// The last will, and the goodbye of a clean stop.
pub(crate) const OFFLINE: &str = r#"{"state":"OFFLINE"}"#;

/// Without problems, and with some.
pub(crate) const HEALTH: [&str; 2] = ["OK", "DEGRADED"];

/// How the agent is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusMessage {
    /// It runs, and is connected to the broker.
    #[cfg_attr(test, schemars(schema_with = "words::online"))]
    pub(crate) state: &'static str,
    /// The agent's version.
    pub(crate) version: &'static str,
    /// Whether there are problems.
    #[cfg_attr(test, schemars(schema_with = "words::health"))]
    pub(crate) health: &'static str,
    /// What a person should know of, and mend.
    pub(crate) problems: Vec<ProblemMessage>,
    /// What the cloud's last answers came to.
    #[cfg_attr(test, schemars(schema_with = "words::cloud_state"))]
    pub(crate) cloud: &'static str,
    /// How many devices of the registry are in which state.
    #[cfg_attr(test, schemars(schema_with = "words::device_counts"))]
    pub(crate) devices: BTreeMap<&'static str, u64>,
    /// Entries of requests that have not ended.
    pub(crate) pending_entries: u64,
    /// Requests that have not ended.
    pub(crate) open_requests: u64,
    /// When the cloud's list was last read to its end, if it was since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    pub(crate) last_sync_at: Option<String>,
    /// When the agent started.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    pub(crate) started_at: String,
}

/// Something that a person should know of.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ProblemMessage {
    /// For programs.
    #[cfg_attr(test, schemars(schema_with = "words::problem_code"))]
    pub(crate) code: Cow<'static, str>,
    /// What is wrong, and what to do.
    pub(crate) message: String,
    /// Since when.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    pub(crate) since: String,
}
