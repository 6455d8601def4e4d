//! The bytes of a payload as text, and the token that can be read from them, whatever else is
//! wrong.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::domain::{ClientToken, Reason, Rejection};

/// The rejection of an empty payload. It may come from a client that clears a retained command,
/// since the broker passes that message on without the retain flag (MQTT 3.1.1, section 3.3.1.3).
const EMPTY: &str = "the payload is empty, so nothing is carried out: a command has a JSON object, at least {}; an empty \
                     payload that clears a retained command needs nothing more";

/// The JSON text of a payload, without a UTF-8 byte order mark and without trailing NUL bytes,
/// which some tools add.
///
/// # Errors
/// The payload is not one JSON text in UTF-8.
pub(super) fn json(payload: &[u8]) -> Result<&RawValue, Rejection> {
    if is_utf_16(payload) {
        return Err(cannot_parse("the payload is UTF-16; send it as UTF-8"));
    }
    let text = std::str::from_utf8(trim(payload)).map_err(|error| {
        cannot_parse(format!("the payload is not UTF-8: the byte at offset {} is wrong", error.valid_up_to()))
    })?;
    if text.is_empty() {
        return Err(cannot_parse(EMPTY));
    }
    serde_json::from_str(text).map_err(|error| cannot_parse(format!("the payload is not JSON: {error}")))
}

fn cannot_parse(message: impl Into<String>) -> Rejection {
    Rejection::invalid(Reason::CannotParse, message)
}

fn trim(payload: &[u8]) -> &[u8] {
    let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &payload[..end]
}

/// Whether the payload is UTF-16, by its byte order mark or by its first character, which is an
/// ASCII character in JSON.
fn is_utf_16(payload: &[u8]) -> bool {
    matches!(payload, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || matches!(payload, [0, b, ..] | [b, 0, _, ..] if *b != 0)
}

/// The token alone, of a command that is not parsed any further. The payload may be invalid after
/// the token, and only its beginning may be there.
#[must_use]
pub fn token_of(payload: &[u8]) -> Option<ClientToken> {
    let text: Cow<'_, [u8]> = if is_utf_16(payload) {
        let big = payload[0] == 0xfe || payload[0] == 0;
        let units = payload.chunks_exact(2).map(|pair| {
            let pair = [pair[0], pair[1]];
            if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        });
        let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        Cow::Owned(text.trim_start_matches('\u{feff}').as_bytes().to_vec())
    } else {
        Cow::Borrowed(trim(payload))
    };
    let mut found = None;
    // This returns an error when the token is found, and when the text ends or is invalid before
    // it.
    let _ = serde_json::Deserializer::from_slice(&text).deserialize_map(Search(&mut found));
    ClientToken::new(&found?).ok()
}

/// Looks for the first member of that name.
struct Search<'s>(&'s mut Option<String>);

impl<'p> Visitor<'p> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'p>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(is_token)) = map.next_key()? {
            if is_token {
                *self.0 = Some(map.next_value()?);
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Whether a member's name is that of the token.
struct Name(bool);

impl<'p> Deserialize<'p> for Name {
    fn deserialize<D: Deserializer<'p>>(deserializer: D) -> Result<Self, D::Error> {
        struct Compare;
        impl Visitor<'_> for Compare {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text == "clientToken"))
            }
        }
        deserializer.deserialize_str(Compare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: impl AsRef<[u8]>) -> Option<String> {
        token_of(payload.as_ref()).map(|token| token.to_string())
    }

    fn utf_16(text: &str, big: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn the_token_is_found_whatever_else_is_wrong() {
        for payload in [
            r#"{"entries":[{"x":[1,{}]}],"clientToken":"t1","y":"z"}"#,
            r#"{"clientToken":"t1""#,
            r#"{"clientToken":"t1"} trailing"#,
            r#"{"clientToken":"t1","entries":[{"thingNa"#,
            r#"{"a":1,"clientToken":"\u0074\u0031",,,"#,
            "\u{feff}{\"clientToken\":\"t1\"}\0\0",
        ] {
            assert_eq!(token(payload).as_deref(), Some("t1"), "{payload}");
        }
        for payload in ["", "{", "[]", "{}", r#"{"clientToken":1}"#, r#"{"clientToken":"a b"}"#, r#"{"clientToken":"t"#]
        {
            assert_eq!(token(payload), None, "{payload}");
        }
        for (mark, big) in [("", true), ("", false), ("\u{feff}", true), ("\u{feff}", false)] {
            assert_eq!(token(utf_16(&format!("{mark}{{\"clientToken\":\"t1\"}}"), big)).as_deref(), Some("t1"));
        }
    }

    #[test]
    fn marks_and_padding_are_not_part_of_the_text() {
        for payload in ["\u{feff}{}", "{}\0", "\u{feff} {} \0\0\0"] {
            assert_eq!(json(payload.as_bytes()).unwrap().get(), "{}", "{payload:?}");
        }
        for payload in ["{}\0{}", "\0{}", "{}\0 \0", "\u{feff}\u{feff}{}"] {
            assert!(json(payload.as_bytes()).is_err(), "{payload:?}");
        }
    }

    #[test]
    fn an_empty_payload_is_named() {
        for payload in ["", "\u{feff}", "\0\0"] {
            let rejection = json(payload.as_bytes()).unwrap_err();
            assert!(rejection.message.starts_with("the payload is empty"), "{payload:?}: {}", rejection.message);
        }
    }

    #[test]
    fn an_encoding_is_named() {
        for (mark, big) in [("", true), ("", false), ("\u{feff}", true), ("\u{feff}", false)] {
            let rejection = json(&utf_16(&format!("{mark}{{}}"), big)).unwrap_err();
            assert!(rejection.message.contains("UTF-16"), "{}", rejection.message);
        }
        let rejection = json(b"{\"a\":\"\xff\"}").unwrap_err();
        assert!(rejection.message.contains("not UTF-8: the byte at offset 6"), "{}", rejection.message);
    }
}
