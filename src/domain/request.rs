//! A request: an accepted command and what became of it.

use serde::{Deserialize, Serialize};

use super::{ClientId, ClientToken, Mono, Now, Operation, Tally, Timestamp};

/// What a sync found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Devices that the cloud lists.
    pub associated: u32,
    /// Of those, new to the registry.
    pub added: u32,
    /// No longer listed.
    pub removed: u32,
}

/// An accepted command as the ledger keeps it: of constant size, whatever the number of its
/// entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its place in the order of acceptance.
    pub seq: u64,
    /// Who asked.
    pub client: ClientId,
    /// Its name within the client.
    pub token: ClientToken,
    /// What was asked.
    pub operation: Operation,
    /// A hash of the content, to tell a repetition from a conflict.
    pub content: String,
    /// What became of the entries.
    pub tally: Tally,
    /// When it was on disk.
    pub accepted_at: Timestamp,
    /// When the person asked, if told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// When what is not sent ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What was asked for as `expiresInSeconds`, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
    /// When the last entry ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// The sender's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hash of its delivery, if it came without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<[u8; 32]>,
    /// The boot of the machine in which it was accepted: the wall clock may jump, the time since a
    /// boot does not.
    pub boot: u64,
    /// When it was accepted, in milliseconds since that boot.
    pub accepted_mono: u64,
    /// When it was accepted, in milliseconds of the time that the agent knows to have passed.
    #[serde(default)]
    pub accepted_elapsed: u64,
    /// When the last entry ended, by the same measure.
    #[serde(default)]
    pub completed_elapsed: u64,
    /// Whether the cloud had confirmed the wall clock by then.
    pub clock_confirmed: bool,
    /// What a sync found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncCounts>,
    /// Entries that the registry did not know when the command arrived; of a request on devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<u32>,
}

impl Request {
    /// When the person asked, by the wall clock of `now`: `issuedAt`, if that is not later than the
    /// acceptance, else the acceptance. `None` where that is not known: the request is from an
    /// earlier boot, whose clock nobody confirmed.
    #[must_use]
    pub fn asked_at(&self, now: Now) -> Option<Timestamp> {
        let accepted = if self.boot == now.boot {
            // The clock may have been set since.
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
