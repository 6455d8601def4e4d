//! How an entry ended, and the status that its request has by that.

use serde::{Deserialize, Serialize};

use super::{Fault, Target};

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
