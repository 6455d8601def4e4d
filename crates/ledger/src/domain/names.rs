//! Names that come from outside. Each is checked once, where it enters the agent.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Via;

/// Maximum length of a thing name, in characters.
pub const MAX_THING: usize = 128;
/// Maximum length of a client's name, in bytes.
pub const MAX_CLIENT: usize = 128;
/// Maximum length of a client token, in characters.
pub const MAX_TOKEN: usize = 64;
/// Maximum length of the name of a local user, in characters.
pub const MAX_USER: usize = 64;

/// The rule that a text breaks; it completes the sentence "`TEXT` …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub(crate) &'static str);

impl InvalidName {
    /// Not a thing name.
    pub const THING: Self = Self("must be 1 to 128 characters of a-z A-Z 0-9 : _ -");
    /// Not the name of a client.
    pub const CLIENT: Self =
        Self("must be 1 to 128 bytes without / + # and control characters, and must not begin with @ or $");
    /// Not the name of a client that a command names, which may be a local user.
    pub const TARGET_CLIENT: Self = Self(
        "must be the name of a client (1 to 128 bytes without / + # and control characters, not beginning with $), or \
         @USER for a user of the core device",
    );
    /// Not a client token.
    pub const TOKEN: Self = Self("must be 1 to 64 characters, none of them white space or a control character");
    /// Not a `clientToken` for the cloud.
    pub const CALL_TOKEN: Self = Self("must be 36 to 64 visible ASCII characters");
}

/// Defines a name: its type, the rule that a text has to follow, and the fault of one that does
/// not.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $fault:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Checks a text and creates the name.
            ///
            /// # Errors
            /// The rule that it breaks.
            pub fn new(text: &str) -> Result<Self, $crate::domain::InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err($fault) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::domain::InvalidName;
            fn try_from(text: String) -> Result<Self, $crate::domain::InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().into()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use name;

/// The rule of the AWS IoT registry (`CreateThing`). It is stricter than Greengrass's own model,
/// which has no pattern.
pub(super) fn is_thing_name(text: &str) -> bool {
    (1..=MAX_THING).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-'))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_TOKEN && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// The `clientToken` of the APIs that have one: `\S{36,64}`.
fn is_call_token(text: &str) -> bool {
    (36..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// A client is one level of a topic, or `@` and the name of a local user that the kernel reports.
fn is_client(text: &str) -> bool {
    match text.strip_prefix('@') {
        None => {
            (1..=MAX_CLIENT).contains(&text.len())
                && !text.starts_with('$')
                && !text.chars().any(|c| c.is_control() || matches!(c, '/' | '+' | '#'))
        }
        Some(user) => (1..=MAX_USER).contains(&user.len()) && user.bytes().all(|b| b.is_ascii_graphic() && b != b'/'),
    }
}

name!(
    /// An AWS IoT thing: a client device or a core device. Case-sensitive.
    ThingName,
    is_thing_name,
    InvalidName::THING
);

/// The client that sent a command: its own name and its transport. Equal names on different
/// transports are different clients.
///
/// The name is the sender's thing name, or its user name on the broker, from the topic that a
/// policy ties to the sender. Over the local socket it is `@` and the name of the user.
///
/// A client on the broker or the socket is stored as its name alone, any other client as
/// `$<transport>/<name>`, which is unique because no name begins with `$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Creates a client on the broker, or from `@` and a user's name a local user.
    ///
    /// # Errors
    /// The text is not the name of a client.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if is_client(name) { Ok(Self(name.into())) } else { Err(InvalidName::CLIENT) }
    }

    /// The client of this name on another transport. A local user is returned unchanged.
    #[must_use]
    pub fn over(&self, via: Via) -> Self {
        match (self.via(), via) {
            (Via::Socket, _) | (_, Via::Socket) => self.clone(),
            (_, Via::Mqtt) => Self(self.name().into()),
            (_, Via::PubSub | Via::IotCore) => Self(format!("${via}/{}", self.name()).into()),
        }
    }

    fn from_key(key: &str) -> Result<Self, InvalidName> {
        let Some((via, name)) = key.strip_prefix('$').and_then(|rest| rest.split_once('/')) else {
            return Self::new(key);
        };
        let via = [Via::PubSub, Via::IotCore].into_iter().find(|known| known.as_str() == via);
        let sender = Self::new(name).ok().filter(|sender| !sender.is_local());
        via.zip(sender).map(|(via, sender)| sender.over(via)).ok_or(InvalidName::CLIENT)
    }

    /// The placeholder for the senders of all commands whose topic names no client. No sender can
    /// have this name, since a topic level has no slash, and no request has it.
    #[must_use]
    pub fn nobody() -> Self {
        Self("none/".into())
    }

    /// The transport over which the client's commands arrive.
    #[must_use]
    pub fn via(&self) -> Via {
        match self.0.strip_prefix('$').and_then(|rest| rest.split_once('/')) {
            Some((via, _)) if via == Via::PubSub.as_str() => Via::PubSub,
            Some(_) => Via::IotCore,
            None if self.0.starts_with('@') => Via::Socket,
            None => Via::Mqtt,
        }
    }

    /// The name alone, as topics and messages have it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.0.strip_prefix('$').and_then(|rest| rest.split_once('/')) {
            Some((_, name)) => name,
            None => &self.0,
        }
    }

    /// A text that is unique for each client: its name, with the transport if that is neither the
    /// broker nor the local socket.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// Whether this is a local user, whose results are not published on the broker.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.0.starts_with('@')
    }
}

/// Shows the name alone.
impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ClientId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ClientId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = String::deserialize(deserializer)?;
        Self::from_key(&key).map_err(de::Error::custom)
    }
}

name!(
    /// A request's name within its client, which the client chooses; 1 to 64 characters as in AWS
    /// IoT.
    ClientToken,
    is_token,
    InvalidName::TOKEN
);
name!(
    /// The `clientToken` of a call to the cloud, by which a service recognises a repeated call. The
    /// agent makes it; it is unrelated to the [`ClientToken`] of a command.
    CallToken,
    is_call_token,
    InvalidName::CALL_TOKEN
);

impl CallToken {
    /// Makes a token from 128 random bits, in the form of a UUID.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        let digits = format!("{bits:032x}");
        let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
        Self(format!("{a}-{b}-{c}-{d}-{e}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_name_follows_the_registry() {
        for good in ["a", "press-7", "A:b_c-9", &"x".repeat(128)] {
            assert!(ThingName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ü", "a/b", "a+b", "@root", &"x".repeat(129)] {
            assert_eq!(ThingName::new(bad), Err(InvalidName::THING), "{bad}");
        }
    }

    #[test]
    fn a_user_of_this_machine_is_no_thing() {
        for (text, local) in [("bench", false), ("@root", true), ("@1000", true)] {
            assert_eq!(ClientId::new(text).map(|client| client.is_local()), Ok(local), "{text}");
        }
        for good in ["operator.1", "j.doe@plant.example", "Prüfstand 7", &"x".repeat(128)] {
            assert!(ClientId::new(good).is_ok_and(|client| !client.is_local()), "{good}");
        }
        for bad in [
            "",
            "@",
            "@a/b",
            "@a b",
            "$a",
            "a/b",
            "a+",
            "#",
            "a\u{85}",
            &"ü".repeat(65),
            &format!("@{}", "x".repeat(65)),
        ] {
            assert!(ClientId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn equal_names_on_different_transports_are_different_senders_also_in_records() {
        let bench = ClientId::new("bench").unwrap();
        let senders: Vec<_> = [Via::Mqtt, Via::PubSub, Via::IotCore].map(|via| (via, bench.over(via))).into();
        for (via, sender) in &senders {
            assert_eq!((sender.via(), sender.name(), sender.to_string()), (*via, "bench", "bench".into()));
            let record = serde_json::to_string(sender).unwrap();
            assert_eq!(serde_json::from_str::<ClientId>(&record).unwrap(), *sender);
            assert_eq!(sender.over(Via::Mqtt), bench);
            assert_eq!(senders.iter().filter(|(_, other)| other == sender).count(), 1);
        }
        assert_eq!(serde_json::to_string(&bench).unwrap(), r#""bench""#, "as before there were other transports");
        let root = ClientId::new("@root").unwrap();
        assert_eq!((root.over(Via::IotCore), root.via()), (root.clone(), Via::Socket));
        for bad in ["$iot-core/bench", "$pubsub/a"] {
            assert!(ClientId::new(bad).is_err(), "no sender names itself so: {bad}");
        }
        for bad in ["$mqtt/bench", "$iot-core/@root", "$iot-core/", "$x/bench", "$"] {
            assert!(serde_json::from_value::<ClientId>(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_counts_characters_and_takes_no_white_space() {
        assert!(ClientToken::new(&"ü".repeat(64)).is_ok());
        for bad in ["", "a b", "a\u{a0}b", "a\nb", "a\0b", &"x".repeat(65)] {
            let error = ClientToken::new(bad).unwrap_err().to_string();
            assert!(error.contains("white space or a control character"), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_call_token_made_of_bits_is_one() {
        let token = CallToken::from_bits(0x0123_4567_89ab_cdef);
        assert_eq!(token.as_str(), "00000000-0000-0000-0123-456789abcdef");
        assert_eq!(CallToken::new(token.as_str()), Ok(token));
        assert!(CallToken::new("short").is_err());
    }
}
