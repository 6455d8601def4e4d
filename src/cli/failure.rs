//! The reasons why a command fails, and their exit statuses.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::text::{clean, complain};
use crate::protocol::messages::Rejected;

/// The command did not succeed.
pub(super) const EXIT_FAILED: u8 = 1;
/// The agent rejected the command.
pub(super) const EXIT_REJECTED: u8 = 2;
/// There is no agent, or the agent does not answer.
pub(super) const EXIT_NO_ANSWER: u8 = 3;
/// Usage and configuration errors (`EX_USAGE` of BSD's sysexits).
pub(super) const EXIT_USAGE: u8 = 64;
/// A part of the agent failed because of a defect (`EX_SOFTWARE` of BSD's sysexits).
pub(super) const EXIT_FAILED_PART: u8 = 70;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line is not valid.
    Usage(String),
    /// The command did not succeed.
    Failed(String),
    /// The command did not succeed, and its output has reported that.
    Reported,
    /// The user interrupted the wait.
    Left,
    /// The agent's `rejected` message.
    Rejected(Box<Rejected<'static>>),
    /// The agent does not answer.
    NoAnswer(String),
}

/// Reads a message of the agent; `what` names it, such as "status". Members that this version does
/// not know are ignored.
///
/// # Errors
/// [`Failure::Failed`], with the reason, if the message lacks a member or a member has another
/// type.
pub(super) fn read<T: DeserializeOwned>(what: &str, message: &Value) -> Result<T, Failure> {
    T::deserialize(message).map_err(|error| Failure::unreadable(what, &error))
}

impl Failure {
    pub(super) fn unreadable(what: &str, error: &serde_json::Error) -> Self {
        Self::Failed(clean(&format!("the agent's {what} cannot be read: {error}")))
    }

    /// The failure of a command that a message `rejected` refuses.
    pub(super) fn of_rejection(message: &Value) -> Self {
        read("rejected", message).map_or_else(|unreadable| unreadable, |rejection| Self::Rejected(Box::new(rejection)))
    }

    /// Prints the reason, and returns the exit status.
    pub(super) fn report(&self) -> u8 {
        if !matches!(self, Self::Reported | Self::Left) {
            complain(&format!("{self}\n"));
        }
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Failed(_) | Self::Reported | Self::Left => EXIT_FAILED,
            Self::Rejected(_) => EXIT_REJECTED,
            Self::NoAnswer(_) => EXIT_NO_ANSWER,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::NoAnswer(text) => f.write_str(text),
            Self::Reported => f.write_str("the command did not succeed"),
            Self::Left => f.write_str("the wait was interrupted"),
            Self::Rejected(rejection) => {
                write!(f, "rejected: {} ({})", clean(&rejection.message), clean(&rejection.code))?;
                for field in &rejection.fields {
                    write!(f, "\n  {} {}", clean(&field.name), clean(&field.message))?;
                }
                Ok(())
            }
        }
    }
}
