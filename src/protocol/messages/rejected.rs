//! The message `rejected`: why a command was not accepted.

use serde::Serialize;

use super::size::to_json;
use crate::domain::{Reason, Rejection};
#[cfg(test)]
use crate::{protocol::json::MAX_FAULTS, testing::schemas::words};

/// The message `rejected`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rejected<'r> {
    /// The command's token, echoed if the command had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
    client_token: Option<&'r str>,
    /// The operation's name as it was sent, even if there is no such operation.
    operation: &'r str,
    /// The kind of the rejection, named like an error of the AWS API.
    #[cfg_attr(test, schemars(schema_with = "words::rejection_code"))]
    code: &'static str,
    /// For people: what is wrong, on which thing, and what to do.
    message: &'r str,
    /// Of a `ValidationException`: what kind of fault the command has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::rejection_reason"))]
    reason: Option<&'static str>,
    /// The members that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_FAULTS)))]
    fields: Vec<Field<'r>>,
    /// Of a `ThrottlingException`: after how many seconds sending the command again may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Field<'r> {
    /// The member's path, such as `entries[3].thingName`.
    name: &'r str,
    /// What is wrong with it.
    message: &'r str,
}

/// The message `rejected`, with as many of the wrong members as fit into `max_bytes`, and only the
/// beginning of its text if not even one does.
#[must_use]
pub fn rejected(token: Option<&str>, operation: &str, rejection: &Rejection, max_bytes: usize) -> Vec<u8> {
    let mut message = Rejected {
        client_token: token,
        operation,
        code: rejection.code.as_str(),
        message: &rejection.message,
        reason: rejection.reason.map(Reason::as_str),
        fields: rejection.fields.iter().map(|f| Field { name: &f.name, message: &f.message }).collect(),
        retry_after_seconds: rejection.retry_after.map(|after| after.as_secs().max(1)),
    };
    loop {
        let json = to_json(&message);
        if json.len() <= max_bytes || (message.fields.is_empty() && message.message.is_empty()) {
            return json;
        }
        if message.fields.pop().is_none() {
            let text = message.message;
            message.message = &text[..text.floor_char_boundary(text.len() / 2)];
        }
    }
}
