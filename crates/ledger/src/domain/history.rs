//! The history of a device, as far back as it is kept: requests, responses of the cloud, and what
//! its lists showed.

use serde::{Deserialize, Serialize};

use super::{AccessEvent, ClientId, ClientToken, Fault, Operation, Timestamp};

/// Maximum length of a cloud's message in the history, in characters; the failed entry keeps the
/// whole message.
const MAX_CHARS: usize = 200;

/// An event in the history of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The kind of event, with what belongs to it.
    #[serde(rename = "k")]
    pub kind: EventKind,
}

/// The kinds of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A client requested an operation. The ledger stores this event together with the end of the
    /// request; until then the open request itself has the information.
    #[serde(rename = "R")]
    Requested(Asked),
    /// The request ended for this device, with the reason if it did not succeed.
    #[serde(rename = "E")]
    Ended {
        /// The request.
        #[serde(rename = "a")]
        asked: Asked,
        /// Why it did not succeed; `None` for a success.
        #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
    },
    /// The cloud responded for this device, and the request did not end by that.
    #[serde(rename = "A")]
    Answered(Fault),
    /// The device appeared in the cloud's list.
    #[serde(rename = "L")]
    Listed,
    /// The device disappeared from the cloud's list.
    #[serde(rename = "U")]
    Unlisted,
    /// The agent disabled or enabled the device's client in the broker, or tried to.
    #[serde(rename = "C")]
    Access(AccessEvent),
}

/// The part of a request that the history keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The request's sequence number.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The client that sent the request.
    #[serde(rename = "c")]
    pub client: ClientId,
    /// The request's token.
    #[serde(rename = "t")]
    pub token: ClientToken,
    /// The requested operation.
    #[serde(rename = "o")]
    pub operation: Operation,
    /// When the request was accepted.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// When the request was accepted, in milliseconds of the time that the agent knows to have
    /// passed. It gives the event its place, since the wall clock may step back.
    #[serde(rename = "e", default)]
    pub elapsed: u64,
}

impl EventKind {
    /// All names in messages.
    pub const NAMES: &[&str] = &[
        "REQUESTED",
        "ANSWERED",
        "SUCCEEDED",
        "FAILED",
        "LISTED",
        "UNLISTED",
        "LOCAL_ACCESS_REVOKED",
        "LOCAL_ACCESS_RESTORED",
        "LOCAL_ACCESS_FAILED",
    ];

    /// The name in messages.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Requested(_) => "REQUESTED",
            Self::Answered(_) => "ANSWERED",
            Self::Ended { fault: None, .. } => "SUCCEEDED",
            Self::Ended { fault: Some(_), .. } => "FAILED",
            Self::Listed => "LISTED",
            Self::Unlisted => "UNLISTED",
            Self::Access(AccessEvent::Revoked) => "LOCAL_ACCESS_REVOKED",
            Self::Access(AccessEvent::Restored) => "LOCAL_ACCESS_RESTORED",
            Self::Access(AccessEvent::Failed(_)) => "LOCAL_ACCESS_FAILED",
        }
    }

    /// An event for a response of the cloud, cut to the length that the history keeps.
    #[must_use]
    pub fn answered(fault: &Fault) -> Self {
        Self::Answered(cut(fault))
    }

    /// An event for the end of a request, cut to the length that the history keeps.
    #[must_use]
    pub fn ended(asked: Asked, fault: Option<&Fault>) -> Self {
        Self::Ended { asked, fault: fault.map(cut) }
    }
}

fn cut(fault: &Fault) -> Fault {
    Fault { code: fault.code.clone(), message: fault.message.chars().take(MAX_CHARS).collect() }
}
