//! `accepted`: the answer to a command that is taken, and to a query.

use serde::Serialize;

use super::{
    device::{DeviceMessage, EventMessage},
    request::RequestMessage,
    size::{fitting, to_json},
};
use crate::domain::{Operation, Request};
#[cfg(test)]
use crate::{domain::Page, ledger::PLAN_NAMES, testing::schemas::words};

/// `accepted`, for all operations.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The request's token, echoed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
    pub client_token: Option<String>,
    /// The operation.
    #[cfg_attr(test, schemars(schema_with = "words::operation"))]
    pub operation: &'static str,
    /// Entries of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<u32>,
    /// When it was on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    pub accepted_at: Option<String>,
    /// Of a change of devices: entries that the registry did not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_count: Option<u32>,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(default, length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
    /// Of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanMessage>,
    /// Of `get-device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceMessage>,
    /// Of `get-device` with `history`: the oldest event first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<EventMessage>>,
    /// Of `list-devices`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub devices: Option<Vec<DeviceMessage>>,
    /// Of `get-request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestMessage>,
    /// Of `list-requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub requests: Option<Vec<RequestMessage>>,
    /// Continues a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Of `cancel`: entries withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_count: Option<u32>,
    /// Of `cancel`: entries too late to withdraw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_count: Option<u32>,
}

/// What a command would do.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlanMessage {
    /// Distinct entries.
    pub entry_count: usize,
    /// Cloud calls, if no other request waits.
    pub cloud_call_count: usize,
    /// Devices that are not in the registry.
    pub unknown_count: usize,
    /// The first of them.
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
    /// Devices that a guard keeps.
    pub guarded_count: usize,
    /// The first of them.
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub guarded: Vec<String>,
    /// Whether `guard.maxFraction` would reject the command without `force`.
    pub max_fraction_exceeded: bool,
}

/// `accepted` of a request, the same each time it is asked for, with as many of the `unknown` names
/// as fit in `max_bytes`.
#[must_use]
pub fn accepted(request: &Request, mut unknown: Vec<String>, max_bytes: usize) -> Vec<u8> {
    unknown.truncate(fitting(&unknown, max_bytes));
    to_json(&Accepted {
        client_token: Some(request.token.to_string()),
        operation: request.operation.as_str(),
        entry_count: (request.operation != Operation::Sync).then_some(request.tally.entries),
        accepted_at: Some(request.accepted_at.to_string()),
        unknown_count: request.unknown,
        unknown,
        ..Accepted::default()
    })
}
