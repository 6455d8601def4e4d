//! A request: an accepted command and what became of it.

use serde::{Deserialize, Serialize};

use super::{ClientId, ClientToken, Mono, Now, Operation, Target, Timestamp};

/// A code and a message, the cloud's own or the agent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Fault {
    /// Longest code, in characters.
    pub const MAX_CODE: usize = 128;

    /// Longest text that is kept of a message from outside, in characters (contract:
    /// `limits.maxPayloadBytes`).
    pub const MAX_CHARS: usize = 1024;

    /// A fault with its texts cut to what is kept, and words of our own where the cloud gave none.
    #[must_use]
    pub fn new(code: &str, message: &str) -> Self {
        let cut = |text: &str, max: usize| text.chars().take(max).collect::<String>();
        Self {
            code: if code.is_empty() { "Unknown".into() } else { cut(code, Self::MAX_CODE) },
            message: if message.is_empty() { "the cloud gave no reason".into() } else { cut(message, Self::MAX_CHARS) },
        }
    }
}

/// How one entry of a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The cloud said so, or no longer lists it.
    Succeeded,
    /// With the cloud's own code.
    Failed(Fault),
    /// A guard protects it since it was accepted; not sent.
    Protected,
    /// Associated anew after it was asked for; not sent.
    Superseded,
    /// A later request asked for the opposite before this was done.
    Opposed,
    /// Withdrawn before it was sent.
    Canceled,
    /// Not sent in time.
    TimedOut,
    /// Sent, and not known to be done in time.
    OutcomeUnknown,
}

impl Outcome {
    /// The error entry that tells it, `None` for a success.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let (code, message) = match self {
            Self::Succeeded => return None,
            Self::Failed(fault) => return Some(fault.clone()),
            Self::Protected => (
                "AccessDeniedException",
                "protected by guard.protected since this was accepted; not sent again, if it was at all",
            ),
            Self::Superseded => ("Superseded", "the device was associated again after this was asked for; not sent"),
            Self::Opposed => ("Superseded", "a later request asked for the opposite before this was done"),
            Self::Canceled => ("Canceled", "canceled before it was sent"),
            Self::TimedOut => ("TimedOut", "expired before it was sent"),
            Self::OutcomeUnknown => {
                ("TimedOut", "outcome unknown: sent, and not answered when it ended; look at what became of it")
            }
        };
        Some(Fault { code: code.into(), message: message.into() })
    }
}

/// An entry that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFailure {
    /// What it was about.
    pub target: Target,
    /// Why.
    pub fault: Fault,
}

/// How many entries of a request ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// In all.
    pub entries: u32,
    /// Not ended yet.
    pub open: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended by a cancel.
    pub canceled: u32,
    /// Ended by their time.
    pub timed_out: u32,
}

impl Tally {
    /// All of `entries` open.
    #[must_use]
    pub fn open(entries: u32) -> Self {
        Self { entries, open: entries, ..Self::default() }
    }

    /// Whether there are as many entries as ways in which they ended, or more.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self { entries, open, succeeded, canceled, timed_out } = *self;
        [open, succeeded, canceled, timed_out].into_iter().map(u64::from).sum::<u64>() <= u64::from(entries)
    }

    /// Counts one entry's end.
    pub fn end(&mut self, outcome: &Outcome) {
        self.open = self.open.saturating_sub(1);
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Canceled => self.canceled += 1,
            Outcome::TimedOut | Outcome::OutcomeUnknown => self.timed_out += 1,
            Outcome::Failed(_) | Outcome::Protected | Outcome::Superseded | Outcome::Opposed => {}
        }
    }

    /// Ended, and not well.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.entries - self.open - self.succeeded
    }

    /// The status that these counts amount to.
    #[must_use]
    pub fn status(&self) -> RequestStatus {
        if self.open > 0 {
            RequestStatus::InProgress
        } else if self.succeeded == self.entries {
            RequestStatus::Succeeded
        } else if self.succeeded > 0 {
            RequestStatus::PartiallySucceeded
        } else if self.canceled == self.entries {
            RequestStatus::Canceled
        } else if self.timed_out == self.entries {
            RequestStatus::TimedOut
        } else {
            RequestStatus::Failed
        }
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// Where a request stands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RequestStatus { $($(#[$doc])* $variant,)+ }

        impl RequestStatus {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

statuses! {
    /// Some entry has not ended.
    InProgress = "IN_PROGRESS",
    /// None failed.
    Succeeded = "SUCCEEDED",
    /// Some failed.
    PartiallySucceeded = "PARTIALLY_SUCCEEDED",
    /// All failed, not all of them in the same agent's way.
    Failed = "FAILED",
    /// All were canceled.
    Canceled = "CANCELED",
    /// All ran out of time.
    TimedOut = "TIMED_OUT",
}

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

/// Which requests may be sent, by their number: those below `cleared`, and those from `fresh` on.
/// The others wait for a complete list (contract, "Superseded").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// All below had their list.
    pub cleared: u64,
    /// None from here on needs one.
    pub fresh: u64,
}

impl Window {
    /// Everything may be sent.
    pub const OPEN: Self = Self { cleared: u64::MAX, fresh: 0 };

    /// Whether the request of that number may be sent.
    #[must_use]
    pub fn allows(self, seq: u64) -> bool {
        seq < self.cleared || seq >= self.fresh
    }
}

/// From where on those are looked at who were sent before; then come those before it, so that who
/// is refused each time holds up nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// A request's number, and that of an entry in it.
    pub entry: (u64, u32),
    /// A resource's number, of what is set aside for one that refuses.
    pub resource: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(outcomes: &[Outcome]) -> RequestStatus {
        let mut tally = Tally::open(u32::try_from(outcomes.len()).unwrap());
        for outcome in outcomes {
            assert_eq!(tally.status(), RequestStatus::InProgress);
            tally.end(outcome);
        }
        tally.status()
    }

    #[test]
    fn a_status_follows_from_the_outcomes() {
        use Outcome::{Canceled, Failed, OutcomeUnknown, Succeeded, Superseded, TimedOut};
        let failed = Failed(Fault::new("X", "y"));
        assert_eq!(status(&[Succeeded, Succeeded]), RequestStatus::Succeeded);
        assert_eq!(status(&[Succeeded, failed.clone()]), RequestStatus::PartiallySucceeded);
        assert_eq!(status(&[Succeeded, Canceled]), RequestStatus::PartiallySucceeded);
        assert_eq!(status(&[failed.clone(), failed.clone()]), RequestStatus::Failed);
        assert_eq!(status(&[Superseded]), RequestStatus::Failed);
        assert_eq!(status(&[Canceled, Canceled]), RequestStatus::Canceled);
        assert_eq!(status(&[Canceled, TimedOut]), RequestStatus::Failed);
        assert_eq!(status(&[OutcomeUnknown, TimedOut]), RequestStatus::TimedOut);
    }

    #[test]
    fn texts_from_the_cloud_are_cut_and_never_empty() {
        let fault = Fault::new("", &"ü".repeat(5000));
        assert_eq!((fault.code.as_str(), fault.message.chars().count()), ("Unknown", Fault::MAX_CHARS));
        assert!(!Fault::new("X", "").message.is_empty());
    }
}
