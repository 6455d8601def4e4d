//! The message `rejected`: why a command was not accepted.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::size::to_json;
use crate::domain::{FieldFault, Rejection};
#[cfg(test)]
use crate::{protocol::json::MAX_FAULTS, testing::schemas::texts};

/// The message `rejected`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rejected<'r> {
    /// The command's token, echoed if the command had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::token"))]
    pub(crate) client_token: Option<Cow<'r, str>>,
    /// The operation's name as it was sent, even if there is no such operation.
    pub(crate) operation: Cow<'r, str>,
    /// The kind of the rejection, named like an error of the AWS API.
    #[cfg_attr(test, schemars(schema_with = "texts::rejection_code"))]
    pub(crate) code: Cow<'r, str>,
    /// For people: what is wrong, on which thing, and what to do.
    pub(crate) message: Cow<'r, str>,
    /// Of a `ValidationException`: what kind of fault the command has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::rejection_reason"))]
    pub(crate) reason: Option<Cow<'r, str>>,
    /// The members that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_FAULTS)))]
    pub(crate) fields: Vec<Field<'r>>,
    /// Of a `ThrottlingException`: after how many seconds sending the command again may succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(crate) retry_after_seconds: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Field<'r> {
    /// The member's path, such as `entries[3].thingName`.
    pub(crate) name: Cow<'r, str>,
    /// What is wrong with it.
    pub(crate) message: Cow<'r, str>,
}

impl<'r> From<&'r FieldFault> for Field<'r> {
    fn from(fault: &'r FieldFault) -> Self {
        Self { name: fault.name.as_str().into(), message: fault.message.as_str().into() }
    }
}

/// The message `rejected`, with as many of the wrong members as fit into `max_bytes`, and only the
/// beginning of its text if not even one does.
#[must_use]
pub fn rejected(token: Option<&str>, operation: &str, rejection: &Rejection, max_bytes: usize) -> Vec<u8> {
    let mut text = rejection.message.as_str();
    let mut message = Rejected {
        client_token: token.map(Cow::Borrowed),
        operation: operation.into(),
        code: rejection.code.as_str().into(),
        message: text.into(),
        reason: rejection.reason.map(|reason| reason.as_str().into()),
        fields: rejection.fields.iter().map(Field::from).collect(),
        retry_after_seconds: rejection.retry_after.map(|after| after.as_secs().max(1)),
    };
    loop {
        let json = to_json(&message);
        if json.len() <= max_bytes || (message.fields.is_empty() && text.is_empty()) {
            return json;
        }
        if message.fields.pop().is_none() {
            text = &text[..text.floor_char_boundary(text.len() / 2)];
            message.message = text.into();
        }
    }
}
