//! An answer of the agent, by whichever way it came.

use clap::ValueEnum;
use serde_json::Value;

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// Answers to other questions that are kept while one is waited for.
pub(super) const MAX_EARLY: usize = 4096;

/// The agent's word on a question.
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

    /// Whether it answers the command with that token. A rejection without a token does, too: what
    /// cannot be read of a command cannot be echoed; where the operation is known it has to be that
    /// one.
    pub(super) fn is_to(&self, token: &str, operation: Option<&str>) -> bool {
        match self {
            Self::Rejected(body) if body["clientToken"].is_null() => {
                operation.is_none_or(|operation| body["operation"] == operation)
            }
            _ => self.body()["clientToken"] == token,
        }
    }

    /// An answer by the name of its kind.
    pub(super) fn new(kind: &str, body: Value) -> Option<Self> {
        match kind {
            "accepted" => Some(Self::Accepted(body)),
            "rejected" => Some(Self::Rejected(body)),
            "completed" => Some(Self::Completed(body)),
            _ => None,
        }
    }
}

/// A name for a question or a request that was given none.
pub(super) fn fresh_token() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}
