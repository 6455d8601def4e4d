//! Patterns of names.

use super::{
    names::is_thing_name,
    operations::site_wise::{EXTERNAL_ID, MAX_EXTERNAL, is_asset},
};

/// A pattern of `guard.protected`: `*` matches any sequence of characters, and every other
/// character matches itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Creates a pattern; every text is a valid pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether the pattern can match any thing name or asset id. The characters of an asset's UUID
    /// are all valid in a thing name.
    #[must_use]
    pub fn can_match(&self) -> bool {
        let literal: String = self.0.chars().filter(|c| *c != '*').collect();
        let wild = self.0.contains('*');
        let is_thing = is_thing_name(&literal) || (wild && literal.is_empty());
        if is_thing || (!wild && is_asset(&literal)) {
            return true;
        }
        if !wild {
            return false;
        }
        // An external id: the wildcards may stand for the missing part of the prefix.
        const WORD: &str = EXTERNAL_ID;
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
        let (first, rest) = self.0.split_once('*').unwrap_or_default();
        let last = rest.rsplit('*').next().unwrap_or_default();
        let own = match first.strip_prefix(WORD) {
            Some(own) => own,
            None if WORD.starts_with(first) => "",
            None => return false,
        };
        let between = [own, rest].concat();
        between.bytes().all(|b| is_word(&b) || matches!(b, b'-' | b'.' | b':' | b'*'))
            && between.len() <= MAX_EXTERNAL
            && own.as_bytes().first().is_none_or(is_word)
            && last.as_bytes().last().is_none_or(is_word)
    }

    /// Whether the pattern matches the whole `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_can_match_nothing_is_known() {
        for good in ["*", "a*b", "press-7", "externalId:a.b", "externalId:*", "ext*.b", "*.b", "a1b2*", "*:9.*"] {
            assert!(Pattern::new(good).can_match(), "{good}");
        }
        for bad in [
            "",
            "a,b",
            "^a$",
            "a b*",
            "a.b",
            "a.b*",
            "a/*",
            "arn:aws:iot:eu-west-1:1:thing/a*",
            "externalId:.a",
            "externalId:.a*",
            "externalId:a*.",
            "ü*",
            &"x".repeat(129),
        ] {
            assert!(!Pattern::new(bad).can_match(), "{bad}");
        }
    }

    #[test]
    fn a_star_stands_for_any_run() {
        for (pattern, text, expected) in [
            ("press-*", "press-7", true),
            ("press-*", "press", false),
            ("*", "", true),
            ("*-keep", "a-keep", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab", "ab", true),
            ("ab", "abc", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
