//! The message `accepted`: the response to a command that is accepted, and to a query.

use serde::Serialize;

use super::{
    device::{DeviceMessage, EventMessage},
    request::RequestMessage,
    size::{fitting, to_json},
};
use crate::domain::{Operation, Request};
#[cfg(test)]
use crate::{domain::Page, ledger::PLAN_NAMES, testing::schemas::words};

/// The message `accepted` of all operations.
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
    /// The number of entries of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<u32>,
    /// When the request was durable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    pub accepted_at: Option<String>,
    /// Of a change of devices: how many entries the registry did not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_count: Option<u32>,
    /// The first of the unknown entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(default, length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
    /// Of a dry run: what the command would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanMessage>,
    /// Of `get-device`: the device record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceMessage>,
    /// Of `get-device` with `history`: the events, with the oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<EventMessage>>,
    /// Of `list-devices`: the device records.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub devices: Option<Vec<DeviceMessage>>,
    /// Of `get-request`: the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestMessage>,
    /// Of `list-requests`: the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub requests: Option<Vec<RequestMessage>>,
    /// The token that continues a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Of `cancel`: how many entries were withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_count: Option<u32>,
    /// Of `cancel`: how many entries could no longer be withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_count: Option<u32>,
}

/// What a command would do.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlanMessage {
    /// How many distinct entries there are.
    pub entry_count: usize,
    /// How many cloud calls it would take if no other request waits.
    pub cloud_call_count: usize,
    /// How many devices are not in the registry.
    pub unknown_count: usize,
    /// The first of the unknown entries.
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
    /// How many devices a guard protects.
    pub guarded_count: usize,
    /// The first of the protected devices.
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub guarded: Vec<String>,
    /// Whether `guard.maxFraction` would reject the command without `force`.
    pub max_fraction_exceeded: bool,
}

/// The message `accepted` of a request, which is the same each time it is made, with as many of the
/// `unknown` names as fit into `max_bytes`.
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
