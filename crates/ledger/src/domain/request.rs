//! A request: an accepted command and its state.

use serde::{Deserialize, Serialize};

use super::{ClientId, ClientToken, Mono, Now, Operation, Tally, Timestamp, is_default};

/// The counts that a sync reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Devices in the cloud's list.
    pub associated: u32,
    /// Listed devices that were new to the registry.
    pub added: u32,
    /// Devices that the cloud no longer lists.
    pub removed: u32,
}

/// An accepted command as the ledger keeps it. Its size does not depend on the number of its
/// entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The position in the order of acceptance.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The client that sent the request.
    #[serde(rename = "c")]
    pub client: ClientId,
    /// The request's name within the client.
    #[serde(rename = "t")]
    pub token: ClientToken,
    /// The requested operation.
    #[serde(rename = "o")]
    pub operation: Operation,
    /// A hash of the content, to distinguish a repeated command from a conflict.
    #[serde(rename = "h")]
    pub content: String,
    /// The number of entries by outcome.
    #[serde(rename = "n")]
    pub tally: Tally,
    /// When the request was on disk.
    #[serde(rename = "a")]
    pub accepted_at: Timestamp,
    /// When the person issued the command, if the message says so.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// When the entries that have not been sent expire.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The command's `expiresInSeconds`, in milliseconds.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
    /// When the last entry ended.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The sender's reason, a text for people.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hash of the delivered message, if the command came without a token.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<[u8; 32]>,
    /// The boot of the machine in which the request was accepted. The wall clock may jump; the time
    /// since a boot does not.
    #[serde(rename = "b")]
    pub boot: u64,
    /// When the request was accepted, in milliseconds since that boot.
    #[serde(rename = "m")]
    pub accepted_mono: u64,
    /// When the request was accepted, in milliseconds of the time that the agent knows to have
    /// passed.
    #[serde(rename = "p", default)]
    pub accepted_elapsed: u64,
    /// When the last entry ended, in the same unit.
    #[serde(rename = "q", default, skip_serializing_if = "is_default")]
    pub completed_elapsed: u64,
    /// Whether the cloud had confirmed the wall clock at the acceptance.
    #[serde(rename = "k")]
    pub clock_confirmed: bool,
    /// The result of a sync.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncCounts>,
    /// The number of entries that the registry did not know when the command arrived; only for a
    /// request on devices.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u32>,
}

impl Request {
    /// When the person issued the command, by the wall clock of `now`: `issuedAt` if it is not
    /// later than the acceptance, else the acceptance. `None` if the time is unknown: the request
    /// is from an earlier boot whose clock the cloud had not confirmed.
    #[must_use]
    pub fn asked_at(&self, now: Now) -> Option<Timestamp> {
        let accepted = if self.boot == now.boot {
            // The clock may have been set since the acceptance.
            Some(now.wall.before(now.mono.since(Mono(self.accepted_mono))))
        } else {
            self.clock_confirmed.then_some(self.accepted_at)
        };
        match (self.issued_at, accepted) {
            (Some(issued), Some(accepted)) => Some(issued.min(accepted)),
            (issued, accepted) => issued.or(accepted),
        }
    }
}
