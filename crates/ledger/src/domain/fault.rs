//! Why something failed: a code for programs and a message for people.

use serde::{Deserialize, Serialize};

/// A code and a message, from the cloud or from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The code, for programs.
    pub code: String,
    /// The message, for people.
    pub message: String,
}

impl Fault {
    /// Maximum length of a code, in characters.
    pub const MAX_CODE: usize = 128;

    /// Maximum length of a message from outside that is kept, in characters (docs/interface.md,
    /// "The completed message").
    pub const MAX_CHARS: usize = 1024;

    /// Creates a fault. Texts are cut to the maximum length, and an empty text is replaced by one
    /// of the agent's.
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
