//! An answer of the agent, whether it comes over the local socket or over the broker.

use clap::ValueEnum;
use serde_json::Value;

use crate::domain::operations::changes::CLIENT_TOKEN;

/// The format in which an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// Maximum number of answers to other questions that are kept while a command waits for one.
pub(super) const MAX_EARLY: usize = 4096;

/// The member of an answer that names the operation.
const OPERATION: &str = "operation";

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

    /// The token of the command or query that this answers, if it is echoed.
    pub(super) fn token(&self) -> Option<&str> {
        self.body()[CLIENT_TOKEN.name].as_str()
    }

    /// The operation that this answers, if it is named.
    pub(super) fn operation(&self) -> Option<&str> {
        self.body()[OPERATION].as_str()
    }

    /// Whether this answers the command with that token. A rejection without a token may do so,
    /// too: the agent cannot echo the token of a command that it cannot read. If the operation is
    /// known, the rejection has to name it.
    pub(super) fn is_to(&self, token: &str, operation: Option<&str>) -> bool {
        match self {
            Self::Rejected(_) if self.token().is_none() => {
                operation.is_none_or(|operation| self.operation() == Some(operation))
            }
            _ => self.token() == Some(token),
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
