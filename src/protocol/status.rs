//! The message `status`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[cfg(test)]
use crate::testing::schemas::texts;

/// The last will, and the last message of a clean stop.
pub(crate) const OFFLINE: &str = r#"{"state":"OFFLINE"}"#;

/// The health without problems, and with problems.
pub(crate) const HEALTH: [&str; 2] = ["OK", "DEGRADED"];

/// The state of the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusMessage {
    /// `ONLINE`: the agent runs and is connected to the broker.
    #[cfg_attr(test, schemars(schema_with = "texts::online"))]
    pub(crate) state: Cow<'static, str>,
    /// The agent's version.
    pub(crate) version: Cow<'static, str>,
    /// Whether there are problems.
    #[cfg_attr(test, schemars(schema_with = "texts::health"))]
    pub(crate) health: Cow<'static, str>,
    /// The problems that a person should know of and solve.
    pub(crate) problems: Vec<ProblemMessage>,
    /// The state of the cloud, by its last responses.
    #[cfg_attr(test, schemars(schema_with = "texts::cloud_state"))]
    pub(crate) cloud: Cow<'static, str>,
    /// How many devices of the registry are in which state.
    #[cfg_attr(test, schemars(schema_with = "texts::device_counts"))]
    pub(crate) devices: BTreeMap<Cow<'static, str>, u64>,
    /// How many entries have not ended.
    pub(crate) pending_entries: u64,
    /// How many requests have not ended.
    pub(crate) open_requests: u64,
    /// When the cloud's list was last read to its end, if that happened since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub(crate) last_sync_at: Option<String>,
    /// When the agent started.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub(crate) started_at: String,
}

/// A problem that a person should know of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ProblemMessage {
    /// The problem's code, for programs.
    #[cfg_attr(test, schemars(schema_with = "texts::problem_code"))]
    pub(crate) code: Cow<'static, str>,
    /// What is wrong, and what to do.
    pub(crate) message: String,
    /// When the problem began.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub(crate) since: String,
}

/// Reads a message `status`; `None` is the status of an agent that is offline, which has no other
/// members.
///
/// # Errors
/// A member is missing or has another type.
pub(crate) fn read(status: &Value) -> serde_json::Result<Option<StatusMessage>> {
    if serde_json::from_str::<Value>(OFFLINE).is_ok_and(|offline| *status == offline) {
        return Ok(None);
    }
    StatusMessage::deserialize(status).map(Some)
}
