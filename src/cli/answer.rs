//! An answer of the agent, whether it comes over the local socket or over the broker.

use clap::ValueEnum;
use serde_json::Value;

/// The format in which an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// Maximum number of answers to other questions that are kept while a command waits for one.
pub(super) const MAX_EARLY: usize = 4096;

/// The agent's answer to an operation.
#[derive(Debug)]
pub(super) enum Answer {
    Accepted(Value),
    Rejected(Value),
    Completed(Value),
}

impl Answer {
    pub(super) fn body(&self) -> &Value {
        match self {
            Self::Accepted(body) | Self::Rejected(body) | Self::Completed(body) => body,
        }
    }

    /// Whether this answers the command with that token. A rejection without a token may do so,
    /// too: the agent cannot echo the token of a command that it cannot read. If the operation is
    /// known, the rejection has to name it.
    pub(super) fn is_to(&self, token: &str, operation: Option<&str>) -> bool {
        match self {
            Self::Rejected(body) if body["clientToken"].is_null() => {
                operation.is_none_or(|operation| body["operation"] == operation)
            }
            _ => self.body()["clientToken"] == token,
        }
    }

    /// Creates an answer from the name of its kind.
    pub(super) fn new(kind: &str, body: Value) -> Option<Self> {
        match kind {
            "accepted" => Some(Self::Accepted(body)),
            "rejected" => Some(Self::Rejected(body)),
            "completed" => Some(Self::Completed(body)),
            _ => None,
        }
    }
}

/// Makes a random token for a question or a request that has none.
pub(super) fn fresh_token() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}
