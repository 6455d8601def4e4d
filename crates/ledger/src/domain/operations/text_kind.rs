//! Kinds of texts in messages, each with its rule for the parser and for JSON Schema.

use crate::domain::{ClientId, ClientToken, InvalidName, ThingName, Timestamp, Via};

/// A kind of texts.
#[derive(Debug)]
pub struct TextKind {
    /// The rule; its error continues the sentence "`TEXT` …".
    pub check: fn(&str) -> Result<(), String>,
    /// The same rule for JSON Schema. A test compares the two.
    pub form: Form,
}

/// A rule of texts, as JSON Schema has it.
#[derive(Debug)]
pub enum Form {
    /// One of these.
    OneOf(fn() -> Vec<&'static str>),
    /// A text that a regular expression matches.
    Pattern {
        /// The regular expression.
        pattern: &'static str,
        /// The least and the largest number of characters, if the pattern does not say that.
        length: Option<(usize, usize)>,
        /// A text that is excluded.
        not: Option<&'static str>,
    },
}

/// Each kind is a static of its own.
impl PartialEq for TextKind {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for TextKind {}

/// The check for names.
fn checked<T>(name: Result<T, InvalidName>) -> Result<(), String> {
    name.map(|_| ()).map_err(|error| error.to_string())
}

/// The check for one of several texts.
pub(super) fn one_of<T>(parsed: Option<T>, all: &[&str]) -> Result<(), String> {
    parsed.map(|_| ()).ok_or_else(|| format!("must be one of {}", all.join(", ")))
}

/// The name of a thing.
pub static THING: TextKind = TextKind {
    check: |text| checked(ThingName::new(text)),
    form: Form::Pattern { pattern: "^[a-zA-Z0-9:_-]{1,128}$", length: None, not: None },
};

/// The name of a client.
pub static CLIENT: TextKind = TextKind {
    check: |text| checked(ClientId::new(text).map_err(|_| InvalidName::TARGET_CLIENT)),
    form: Form::Pattern {
        pattern: r"^([^@$/+#\u0000-\u001f\u007f-\u009f][^/+#\u0000-\u001f\u007f-\u009f]{0,127}|@[!-.0-~]{1,64})$",
        length: None,
        not: None,
    },
};

/// The token of a request: no white space of Unicode, nor a control character; spelt out, since
/// what `\s` means differs between engines.
pub static TOKEN: TextKind = TextKind {
    check: |text| checked(ClientToken::new(text)),
    form: Form::Pattern {
        pattern: r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$",
        length: Some((1, 64)),
        not: None,
    },
};

/// A transport.
pub static VIA: TextKind = TextKind { check: |text| one_of(Via::parse(text), &vias()), form: Form::OneOf(vias) };

fn vias() -> Vec<&'static str> {
    Via::ALL.iter().map(|via| via.as_str()).collect()
}

/// A time of RFC 3339.
pub static TIME: TextKind = TextKind {
    check: |text| {
        Timestamp::parse(text).map(|_| ()).ok_or_else(|| "must be a time as in RFC 3339, 2026-11-20T21:37:00Z".into())
    },
    form: Form::Pattern {
        pattern: r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
        length: None,
        not: None,
    },
};
