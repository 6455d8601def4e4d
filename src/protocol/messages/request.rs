//! A request as messages show it: in `completed`, and in the responses to `get-request` and
//! `list-requests`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::size::{fitting, to_json};
use crate::domain::{EntryFailure, Operation, Request, RequestStatus, Target};
#[cfg(test)]
use crate::{domain::Fault, domain::operations::changes::MAX_REASON, testing::schemas::texts};

/// The most error entries in one message, as in the API.
pub const MAX_ERROR_ENTRIES: usize = 100;

/// An entry that did not succeed, named as its operation names it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorEntry {
    /// The name of the entry, such as `thingName`; a sync has none.
    #[serde(flatten)]
    #[cfg_attr(test, schemars(with = "crate::testing::schemas::EntryName"))]
    name: BTreeMap<Cow<'static, str>, Value>,
    /// For programs: a code of the cloud, or `Superseded`, `Canceled` or `TimedOut`.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CODE)))]
    pub code: String,
    /// For people.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CHARS)))]
    pub message: String,
}

impl From<EntryFailure> for ErrorEntry {
    fn from(failure: EntryFailure) -> Self {
        let EntryFailure { target, fault } = failure;
        let name = target.member().map(|member| (member.into(), target.name().into())).into_iter().collect();
        Self { name, code: fault.code, message: fault.message }
    }
}

impl ErrorEntry {
    /// The name of the entry; `None` for that of a sync.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        Target::NAMINGS.iter().find_map(|naming| self.name.get(naming.member)?.as_str())
    }
}

/// The most waiting entries that are shown with a request.
pub const MAX_WAITING_ENTRIES: usize = 10;

/// A request, as `completed`, `get-request` and `list-requests` show it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequestMessage {
    /// The request's token.
    #[cfg_attr(test, schemars(schema_with = "texts::token"))]
    pub client_token: String,
    /// The client that sent the request, where requests of other clients are shown, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::client"))]
    pub requested_by: Option<String>,
    /// The transport of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::via"))]
    pub via: Option<Cow<'static, str>>,
    /// The operation.
    #[cfg_attr(test, schemars(schema_with = "texts::change"))]
    pub operation: Cow<'static, str>,
    /// The status of the request.
    #[cfg_attr(test, schemars(schema_with = "texts::request_status"))]
    pub status: Cow<'static, str>,
    /// How many distinct entries it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<u32>,
    /// How many entries succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded_count: Option<u32>,
    /// How many entries ended without success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_count: Option<u32>,
    /// Of a change of devices: how many entries the registry did not know when the command arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_count: Option<u32>,
    /// Of a sync: how many devices the cloud lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub associated_count: Option<u32>,
    /// Of a sync: how many devices were new to the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_count: Option<u32>,
    /// Of a sync: how many devices are no longer listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_count: Option<u32>,
    /// The entries that did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = MAX_ERROR_ENTRIES)))]
    pub error_entries: Option<Vec<ErrorEntry>>,
    /// Some of the entries that have not ended, with the last response to each, which shows why
    /// they wait. In `get-request` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_WAITING_ENTRIES)))]
    pub waiting_entries: Option<Vec<ErrorEntry>>,
    /// Whether some of the error entries are left out: `get-request` has all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_entries_truncated: Option<bool>,
    /// The reason that the sender gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = MAX_REASON)))]
    pub reason: Option<String>,
    /// When the request was issued, as the sender says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub issued_at: Option<String>,
    /// When the entries that were not sent by then end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub expires_at: Option<String>,
    /// When the request was durable.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub accepted_at: String,
    /// When its last entry ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub completed_at: Option<String>,
}

/// A request without its failures.
#[must_use]
pub fn request_summary(request: &Request) -> RequestMessage {
    let tally = &request.tally;
    // A sync has counts of its own.
    let of_entries = |count: u32| (request.operation != Operation::Sync).then_some(count);
    RequestMessage {
        client_token: request.token.to_string(),
        requested_by: None,
        via: None,
        operation: request.operation.as_str().into(),
        status: tally.status().as_str().into(),
        entry_count: of_entries(tally.entries),
        succeeded_count: of_entries(tally.succeeded),
        failed_count: of_entries(tally.failed()),
        unknown_count: request.unknown,
        associated_count: request.sync.map(|counts| counts.associated),
        added_count: request.sync.map(|counts| counts.added),
        removed_count: request.sync.map(|counts| counts.removed),
        error_entries: None,
        waiting_entries: None,
        error_entries_truncated: None,
        reason: request.reason.clone(),
        issued_at: request.issued_at.map(|at| at.to_string()),
        expires_at: request.expires_at.map(|at| at.to_string()),
        accepted_at: request.accepted_at.to_string(),
        completed_at: request.completed_at.map(|at| at.to_string()),
    }
}

/// The message `completed`, with as many of `failures` (the first ones of the request) as fit into
/// `max_bytes`.
#[must_use]
pub fn completed(request: &Request, failures: Vec<EntryFailure>, max_bytes: usize) -> Vec<u8> {
    debug_assert_ne!(request.tally.status(), RequestStatus::InProgress, "completed is final");
    let mut message = request_summary(request);
    let mut entries: Vec<ErrorEntry> = failures.into_iter().take(MAX_ERROR_ENTRIES).map(Into::into).collect();
    entries.truncate(fitting(&entries, max_bytes));
    if request.operation != Operation::Sync || !entries.is_empty() {
        if entries.len() < request.tally.failed() as usize {
            message.error_entries_truncated = Some(true);
        }
        message.error_entries = Some(entries);
    }
    to_json(&message)
}
