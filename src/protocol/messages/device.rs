//! A device and its history, as messages show them.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::domain::{AccessEvent, AccessView, DeviceView, Event, EventKind, Fault, Timestamp};
#[cfg(test)]
use crate::{domain::AccessError, testing::schemas::texts};

/// A code with its text.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FaultMessage {
    /// For programs: a code of the cloud, or one of the agent's.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CODE)))]
    pub code: String,
    /// For people.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CHARS)))]
    pub message: String,
}

impl From<Fault> for FaultMessage {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code, message: fault.message }
    }
}

/// A device record.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeviceMessage {
    /// The device's name.
    #[cfg_attr(test, schemars(schema_with = "texts::thing_name"))]
    pub thing_name: String,
    /// The state that the cloud's list shows, unless a change is in flight.
    #[cfg_attr(test, schemars(schema_with = "texts::device_state"))]
    pub state: Cow<'static, str>,
    /// When the cloud associated the device, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub association_timestamp: Option<String>,
    /// The client that last requested a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::client"))]
    pub requested_by: Option<String>,
    /// The token of that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::token"))]
    pub client_token: Option<String>,
    /// When the change was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub requested_at: Option<String>,
    /// How many cloud calls carried the entry of that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Why the last of these calls failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<FaultMessage>,
    /// The state of the device's client in the broker, if the agent manages it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::local_access"))]
    pub local_access: Option<Cow<'static, str>>,
    /// The broker's message on why it did not disable or enable the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = AccessError::MAX_CHARS)))]
    pub local_access_error: Option<String>,
    /// When this record last changed.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub changed_at: String,
    /// When the cloud's list was last read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub synced_at: Option<String>,
}

/// A device as messages show it, with the time of the last complete sync.
#[must_use]
pub fn device(view: DeviceView, synced_at: Option<Timestamp>) -> DeviceMessage {
    let (requested_by, client_token, requested_at) = match view.device.requested.map(|requested| *requested) {
        Some((client, token, at)) => (Some(client.to_string()), Some(token.into()), Some(at.to_string())),
        None => (None, None, None),
    };
    DeviceMessage {
        thing_name: view.thing.into(),
        state: view.state.as_str().into(),
        association_timestamp: view.device.association.map(|at| at.to_string()),
        attempts: requested_by.is_some().then_some(view.device.attempts),
        requested_by,
        client_token,
        requested_at,
        last_error: view.device.error.map(|fault| Arc::unwrap_or_clone(fault).into()),
        local_access: view.access.as_ref().map(|access| access.as_str().into()),
        local_access_error: match view.access {
            Some(AccessView::Failed(message)) => Some(message),
            _ => None,
        },
        changed_at: view.device.changed_at.to_string(),
        synced_at: synced_at.map(|at| at.to_string()),
    }
}

/// An event in the history of a device.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EventMessage {
    /// When it happened.
    #[cfg_attr(test, schemars(schema_with = "texts::time"))]
    pub at: String,
    /// What happened.
    #[cfg_attr(test, schemars(schema_with = "texts::event"))]
    pub event: Cow<'static, str>,
    /// The client that sent the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::client"))]
    pub client: Option<String>,
    /// The transport of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::via"))]
    pub via: Option<Cow<'static, str>>,
    /// The token of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "texts::token"))]
    pub client_token: Option<String>,
    /// The code of the response, if the response was an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The message of the response; for a request, what it requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl From<Event> for EventMessage {
    fn from(Event { at, kind }: Event) -> Self {
        let event = kind.as_str().into();
        let (asked, fault, words) = match kind {
            EventKind::Requested(asked) => {
                let words = asked.operation.to_string();
                (Some(asked), None, Some(words))
            }
            EventKind::Ended { asked, fault } => (Some(asked), fault, None),
            EventKind::Answered(fault) => (None, Some(fault), None),
            EventKind::Listed => (None, None, Some("the cloud's list began to name it".to_owned())),
            EventKind::Unlisted => (None, None, Some("the cloud's list no longer names it".to_owned())),
            EventKind::Access(AccessEvent::Revoked) => (None, None, Some("the broker's client is disabled".to_owned())),
            EventKind::Access(AccessEvent::Restored) => (None, None, Some("the broker's client is enabled".to_owned())),
            EventKind::Access(AccessEvent::Failed(message)) => (None, None, Some(message)),
        };
        let via = asked.as_ref().map(|asked| asked.client.via().as_str().into());
        let (client, client_token) = asked.map(|asked| (asked.client.to_string(), asked.token.into())).unzip();
        let (code, message) = fault.map(|fault| (fault.code, fault.message)).unzip();
        Self { at: at.to_string(), event, client, via, client_token, code, message: message.or(words) }
    }
}
