//! What happened to a device, as far back as it is kept: asked by whom, answered how, seen by whom.

use serde::{Deserialize, Serialize};

use super::{AccessEvent, ClientId, ClientToken, Fault, Operation, Timestamp};

/// Longest text of a cloud's answer in a story, in characters: the failed entry has all of it.
const MAX_CHARS: usize = 200;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub happened: Happened,
}

/// What can happen to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happened {
    /// Somebody asked for something. Kept with its end only: while it is open the request itself
    /// tells.
    #[serde(rename = "R")]
    Requested(Asked),
    /// The request's part of it ended; with why, if not well.
    #[serde(rename = "E")]
    Ended {
        /// By whom and as what it was asked for.
        asked: Asked,
        /// Why it did not succeed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Fault>,
    },
    /// The cloud answered for this device, and it was not the last word.
    #[serde(rename = "A")]
    Answered(Fault),
    /// The cloud's list began to name it.
    #[serde(rename = "L")]
    Listed,
    /// The cloud's list no longer names it.
    #[serde(rename = "U")]
    Unlisted,
    /// The device's client in the broker was disabled or enabled, or was to be.
    #[serde(rename = "C")]
    Access(AccessEvent),
}

/// A request, as far as a story tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The request's number.
    pub seq: u64,
    /// Who asked.
    pub client: ClientId,
    /// The request's token.
    pub token: ClientToken,
    /// For what.
    pub operation: Operation,
    /// When it was accepted.
    pub at: Timestamp,
}

impl Happened {
    /// The names in messages.
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

    /// An answer of the cloud, cut to what a story keeps.
    #[must_use]
    pub fn answered(fault: &Fault) -> Self {
        Self::Answered(cut(fault))
    }

    /// The end of a request's part, cut to what a story keeps.
    #[must_use]
    pub fn ended(asked: Asked, fault: Option<&Fault>) -> Self {
        Self::Ended { asked, fault: fault.map(cut) }
    }
}

fn cut(fault: &Fault) -> Fault {
    Fault { code: fault.code.clone(), message: fault.message.chars().take(MAX_CHARS).collect() }
}
