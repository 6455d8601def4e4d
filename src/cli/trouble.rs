//! Why a command did not end well, and its exit status.

use std::fmt;

use serde_json::Value;

use super::text::{complain, text};

/// What was asked did not come about.
pub(super) const EXIT_FAILED: u8 = 1;
/// The agent did not take it.
pub(super) const EXIT_REJECTED: u8 = 2;
/// There is no agent, or it does not answer.
pub(super) const EXIT_NO_ANSWER: u8 = 3;
/// Usage and configuration errors (`EX_USAGE` of BSD's sysexits).
pub(super) const EXIT_USAGE: u8 = 64;
/// A part of the agent failed, which is a defect (EX_SOFTWARE of sysexits.h).
pub(super) const EXIT_FAILED_PART: u8 = 70;

/// Why a command did not end well.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The command line makes no sense.
    Usage(String),
    /// It did not come about.
    Failed(String),
    /// The same, and it was told already.
    Told,
    /// A person did not want to wait.
    Left,
    /// The agent's `rejected`.
    Rejected(Value),
    /// Nobody answers.
    NoAnswer(String),
}

impl Trouble {
    /// Tells it, and gives the exit status.
    pub(super) fn tell(&self) -> u8 {
        if !matches!(self, Self::Told | Self::Left) {
            complain(&format!("{self}\n"));
        }
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Failed(_) | Self::Told | Self::Left => EXIT_FAILED,
            Self::Rejected(_) => EXIT_REJECTED,
            Self::NoAnswer(_) => EXIT_NO_ANSWER,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::NoAnswer(text) => f.write_str(text),
            Self::Told => f.write_str("it did not come about, as was told"),
            Self::Left => f.write_str("not waited for"),
            Self::Rejected(rejection) => {
                write!(f, "rejected: {} ({})", text(rejection, "message"), text(rejection, "code"))?;
                for field in rejection["fields"].as_array().into_iter().flatten() {
                    write!(f, "\n  {} {}", text(field, "name"), text(field, "message"))?;
                }
                Ok(())
            }
        }
    }
}
