//! The result of one check.

use std::collections::BTreeMap;

use crate::{agent::cautions, config::Config};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Ok,
    Warning,
    Error,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The result of one check, and what to do about it.
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) state: State,
    pub(super) message: String,
}

pub(super) fn ok(what: &'static str, message: impl Into<String>) -> Finding {
    Finding { what, state: State::Ok, message: message.into() }
}

pub(super) fn warning(what: &'static str, message: impl Into<String>) -> Finding {
    Finding { what, state: State::Warning, message: message.into() }
}

pub(super) fn error(what: &'static str, message: impl Into<String>) -> Finding {
    Finding { what, state: State::Error, message: message.into() }
}

/// The problems of `status`, by their codes.
pub(super) type Problems = BTreeMap<String, String>;

/// The problems whose codes begin with one of `kinds`, in one text.
pub(super) fn all(problems: &Problems, kinds: &[&str]) -> Option<String> {
    let of_kind = |code: &str| kinds.iter().any(|kind| code.starts_with(kind));
    let found: Vec<&str> =
        problems.iter().filter(|(code, _)| of_kind(code)).map(|(_, message)| message.as_str()).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

pub(super) const CREDENTIALS: &[&str] = &["NO_CREDENTIALS"];
pub(super) const CLOCK: &[&str] = &["CLOCK_"];
pub(super) const QUOTA: &[&str] = &["THROTTLED"];
pub(super) const CLOUD: &[&str] = &["ACCESS_DENIED", "REFUSED", "CLOUD_"];

/// The findings on the cloud, from its known problems. `answered` describes the result of a
/// successful list call.
pub(super) fn cloud_findings(problems: &Problems, answered: Option<String>, skew: Option<f64>) -> Vec<Finding> {
    let credentials = all(problems, CREDENTIALS);
    let clock = all(problems, CLOCK);
    let cloud = all(problems, CLOUD);
    let unknown = |what| warning(what, "not known: no call was answered; see cloud");
    vec![
        match &credentials {
            Some(message) => error("credentials", message),
            None if answered.is_some()
                || all(problems, &["ACCESS_DENIED", "REFUSED", "THROTTLED", "LIST_"]).is_some() =>
            {
                ok("credentials", "the token exchange service provides them, and the cloud accepts them")
            }
            None => unknown("credentials"),
        },
        match (cloud, answered) {
            (Some(message), _) => error("cloud", message),
            (None, Some(text)) => ok("cloud", text),
            (None, None) if credentials.is_some() => warning("cloud", "not known: there are no credentials"),
            (None, None) if clock.is_some() => warning("cloud", "not known: the cloud refuses the clock's time"),
            (None, None) if all(problems, QUOTA).is_some() => warning("cloud", "the list call was throttled"),
            (None, None) => warning("cloud", "not known: the list call did not get through in time; see --timeout"),
        },
        match (clock, skew) {
            (Some(message), _) => error("clock", message),
            (None, Some(seconds)) => ok("clock", format!("{:.0} s from the cloud's", seconds.abs())),
            (None, None) => unknown("clock"),
        },
        match all(problems, QUOTA) {
            Some(message) => warning("quota", message),
            None => ok("quota", "no call was throttled lately"),
        },
    ]
}

/// The finding on local access if the plugin answers. A broker that takes names from certificates
/// does not consult the plugin when a client connects.
pub(super) fn local_access_works(config: &Config, text: String) -> Finding {
    const WHAT: &str = "local access";
    match &config.mqtt {
        Some(mqtt) if mqtt.login.is_none() && mqtt.identity.is_some() => warning(
            WHAT,
            format!(
                "{text}, and mqtt.username is not set: where the broker takes names from certificates (use_identity_as_username), \
                 a disabled client is cut and can come back; give the clients passwords (docs/greengrass.md, section 9)"
            ),
        ),
        _ => ok(WHAT, text),
    }
}

/// A warning about something that works but needs attention.
pub(super) fn caution(code: &str, message: String) -> Finding {
    let [password, proxy, _] = cautions::CODES;
    let what = match code {
        code if code == password => "password",
        code if code == proxy => "proxy",
        _ => "ipc",
    };
    warning(what, message)
}
