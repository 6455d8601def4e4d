//! The message `accepted`: the response to a command that is accepted, and to a query.

use serde::{Deserialize, Serialize};

use super::{
    device::{DeviceMessage, EventMessage},
    request::RequestMessage,
    size::{fitting, to_json},
};
use crate::domain::{ClientToken, Operation, Request};
#[cfg(test)]
use crate::{domain::Page, ledger::PLAN_NAMES, testing::schemas::texts};

/// The message `accepted`: the members that it has for each operation, and those of `R`, the type
/// of the response to one kind of operation.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Accepted<R> {
    /// The request's token, echoed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::token"))]
    client_token: Option<String>,
    /// The operation.
    #[cfg_attr(test, schemars(schema_with = "texts::operation"))]
    operation: &'static str,
    #[serde(flatten)]
    response: R,
}

impl<R> Accepted<R> {
    /// The response to the operation; `token` is that of the command, if it has one.
    pub fn new(operation: Operation, token: Option<&ClientToken>, response: R) -> Self {
        Self { client_token: token.map(ToString::to_string), operation: operation.as_str(), response }
    }
}

/// The response to a change or a sync, which is now a request.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChangeResponse {
    /// The number of entries of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<u32>,
    /// When the request was durable.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub accepted_at: String,
    /// Of a change of devices: how many entries the registry did not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_count: Option<u32>,
    /// The first of the unknown entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
}

/// The response to a dry run.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlanResponse {
    /// Of a dry run: what the command would do.
    pub plan: PlanMessage,
}

/// The response to `get-device`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceResponse {
    /// Of `get-device`: the device record.
    pub device: DeviceMessage,
    /// Of `get-device` with `history`: the events, with the oldest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<EventMessage>>,
}

/// The response to `list-devices`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DevicesResponse {
    /// Of `list-devices`: the device records.
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub devices: Vec<DeviceMessage>,
    /// The token that continues a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// The response to `get-request`, with one page of the failed entries.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequestResponse {
    /// Of `get-request`: the request.
    pub request: RequestMessage,
    /// The token that continues a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// The response to `list-requests`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequestsResponse {
    /// Of `list-requests`: the requests.
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub requests: Vec<RequestMessage>,
    /// The token that continues a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// The response to `cancel`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CancelResponse {
    /// Of `cancel`: how many entries were withdrawn.
    pub canceled_count: u32,
    /// Of `cancel`: how many entries could no longer be withdrawn.
    pub in_flight_count: u32,
}

/// What a command would do.
#[derive(Debug, Default, Serialize, Deserialize)]
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
    /// The first of the protected devices and assets. A protected parent is named in the place of
    /// its child asset.
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
    let response = ChangeResponse {
        entry_count: (request.operation != Operation::Sync).then_some(request.tally.entries),
        accepted_at: request.accepted_at.to_string(),
        unknown_count: request.unknown,
        unknown,
    };
    to_json(&Accepted::new(request.operation, Some(&request.token), response))
}
