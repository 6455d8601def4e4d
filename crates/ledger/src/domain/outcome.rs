//! How an entry ended, and the status of its request that follows.

use serde::{Deserialize, Serialize};

use super::{Fault, Target, is_default, text_enum};

/// How one entry of a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The cloud reported success, or its list no longer shows the device.
    Succeeded,
    /// The cloud reported an error, with the cloud's own code.
    Failed(Fault),
    /// A guard protects the target since the request was accepted; the entry was not sent.
    Protected,
    /// The device was associated again after the request was issued; the entry was not sent.
    Superseded,
    /// A later request asked for the opposite before this entry was done.
    Opposed,
    /// The request was canceled before the entry was sent.
    Canceled,
    /// The request expired before the entry was sent.
    TimedOut,
    /// The entry was sent, and the request expired before its outcome was known.
    OutcomeUnknown,
}

impl Outcome {
    /// The error entry for this outcome; `None` for a success.
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
    /// The target of the entry.
    pub target: Target,
    /// Why it failed.
    pub fault: Fault,
}

/// The number of entries of a request by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// All entries.
    #[serde(rename = "n")]
    pub entries: u32,
    /// Entries that have not ended.
    #[serde(rename = "o", default, skip_serializing_if = "is_default")]
    pub open: u32,
    /// Entries that succeeded.
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    pub succeeded: u32,
    /// Entries that were canceled.
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    pub canceled: u32,
    /// Entries that expired.
    #[serde(rename = "t", default, skip_serializing_if = "is_default")]
    pub timed_out: u32,
}

impl Tally {
    /// A tally in which all `entries` are open.
    #[must_use]
    pub fn open(entries: u32) -> Self {
        Self { entries, open: entries, ..Self::default() }
    }

    /// Whether the counts of the outcomes do not exceed the number of entries.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self { entries, open, succeeded, canceled, timed_out } = *self;
        [open, succeeded, canceled, timed_out].into_iter().map(u64::from).sum::<u64>() <= u64::from(entries)
    }

    /// Counts the end of one entry.
    pub fn end(&mut self, outcome: &Outcome) {
        self.open = self.open.saturating_sub(1);
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Canceled => self.canceled += 1,
            Outcome::TimedOut | Outcome::OutcomeUnknown => self.timed_out += 1,
            Outcome::Failed(_) | Outcome::Protected | Outcome::Superseded | Outcome::Opposed => {}
        }
    }

    /// The number of entries that ended without success.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.entries - self.open - self.succeeded
    }

    /// The status that follows from these counts.
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

text_enum! {
    /// The status of a request.
    pub enum RequestStatus {
        /// At least one entry has not ended.
        InProgress = "IN_PROGRESS",
        /// All entries succeeded.
        Succeeded = "SUCCEEDED",
        /// Some entries succeeded, and the others did not.
        PartiallySucceeded = "PARTIALLY_SUCCEEDED",
        /// No entry succeeded, and the entries did not all end as canceled or all as timed out.
        Failed = "FAILED",
        /// All entries were canceled.
        Canceled = "CANCELED",
        /// All entries timed out.
        TimedOut = "TIMED_OUT",
    }
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
}
