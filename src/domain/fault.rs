//! Why something failed: a code for programs and a message for people.

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_the_cloud_are_cut_and_never_empty() {
        let fault = Fault::new("", &"ü".repeat(5000));
        assert_eq!((fault.code.as_str(), fault.message.chars().count()), ("Unknown", Fault::MAX_CHARS));
        assert!(!Fault::new("X", "").message.is_empty());
    }
}
