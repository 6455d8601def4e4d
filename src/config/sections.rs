//! The sections other than `mqtt`, each with the function that reads it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    address::{host_and_port, scheme, shown},
    keys::{self, Key, Whole},
};
use crate::{
    domain::{Guard, Limits, Pattern, Service, ThingName},
    protocol::json::Fields,
};

/// `batch.*`
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The most entries in a call, 1..100 (the API's limit).
    pub max_entries: usize,
    /// The longest time that an entry waits for its batch.
    pub linger: Duration,
}

/// The section `batch`.
pub(super) fn batch(section: &mut Fields<'_, '_>) -> Batch {
    Batch {
        max_entries: usize_of(keys::MAX_ENTRIES.read(section)),
        linger: Duration::from_millis(keys::LINGER.read(section)),
    }
}

/// `retry.*`
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The first wait is random and below this.
    pub base: Duration,
    /// No wait is longer than this, except for the cloud's own Retry-After.
    pub cap: Duration,
}

/// The section `retry`.
pub(super) fn retry(section: &mut Fields<'_, '_>) -> Retry {
    let retry = Retry {
        base: Duration::from_millis(keys::RETRY_BASE.read(section)),
        cap: Duration::from_millis(keys::RETRY_CAP.read(section)),
    };
    if retry.base > retry.cap {
        keys::RETRY_BASE.fault(section, "must not be above retry.capMs");
    }
    retry
}

/// `rate.*`: the account's quota is shared by all its cores.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The average number of cloud calls per second.
    pub calls_per_second: f64,
    /// How many calls may be made at once after a quiet time.
    pub burst: u32,
}

/// The section `rate`.
pub(super) fn rate(section: &mut Fields<'_, '_>) -> Rate {
    Rate {
        calls_per_second: keys::CALLS_PER_SECOND.read(section),
        burst: u32::try_from(keys::BURST.read(section)).unwrap_or(u32::MAX),
    }
}

/// The interval at `key`; 0 means no interval.
pub(super) fn interval(section: &mut Fields<'_, '_>, key: &Key<Whole>) -> Option<Duration> {
    match key.read(section) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    }
}

/// The section `limits`.
pub(super) fn limits(section: &mut Fields<'_, '_>) -> Limits {
    Limits {
        max_payload_bytes: usize_of(keys::MAX_PAYLOAD.read(section)),
        max_pending_entries: keys::MAX_PENDING_ENTRIES.read(section),
        max_database_bytes: keys::MAX_DATABASE.read(section),
    }
}

/// `retention.*`
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How long finished requests are kept, with their tokens.
    pub requests: Duration,
    /// How long records of disassociated devices are kept.
    pub tombstones: Duration,
}

/// The section `retention`.
pub(super) fn retention(section: &mut Fields<'_, '_>) -> Retention {
    let day = 86_400.0;
    Retention {
        requests: Duration::from_secs_f64(keys::REQUESTS_DAYS.read(section) * day),
        tombstones: Duration::from_secs_f64(keys::TOMBSTONES_DAYS.read(section) * day),
    }
}

/// The section `guard`. `own` are the names of the agent itself.
pub(super) fn guard<'n>(section: &mut Fields<'_, '_>, own: impl Iterator<Item = &'n ThingName>) -> Guard {
    let mut protected: Vec<Pattern> = own.map(|name| Pattern::new(name.as_str())).collect();
    for (n, item) in keys::PROTECTED.read(section).into_iter().enumerate() {
        match item {
            Value::String(text) if text.is_empty() => {
                section.element_fault(keys::PROTECTED.name(), n, "must not be empty")
            }
            Value::String(text) => match Pattern::new(&text) {
                pattern if pattern.can_match() => protected.push(pattern),
                _ => section.element_fault(
                    keys::PROTECTED.name(),
                    n,
                    format!(
                        "can match no thing name or asset id: {text:?}; write one name for each element, with * as the \
                         only wildcard"
                    ),
                ),
            },
            _ => section.element_fault(keys::PROTECTED.name(), n, "must be a string"),
        }
    }
    Guard { protected, max_fraction: keys::MAX_FRACTION.read(section) }
}

/// `cloud.*Endpoint`
#[derive(Clone, Debug, Default)]
pub struct Endpoints(BTreeMap<Service, String>);

impl Endpoints {
    /// The configured endpoint of a service; `None` for that of AWS.
    #[must_use]
    pub fn of(&self, service: Service) -> Option<&str> {
        let other = || service.hosts().endpoint_of.and_then(|other| self.0.get(&other));
        self.0.get(&service).or_else(other).map(String::as_str)
    }
}

/// The section `cloud`.
pub(super) fn cloud(section: &mut Fields<'_, '_>) -> Endpoints {
    let given = |service: &Service| Some((*service, section.parsed(service.hosts().endpoint, endpoint)?));
    Endpoints(Service::ALL.iter().filter_map(given).collect())
}

/// `localAccess.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAccess {
    /// The client's user name, with [`LocalAccess::THING`] in place of the device's name.
    username: String,
}

impl LocalAccess {
    /// The placeholder for the device's name.
    pub const THING: &str = "{thingName}";

    /// The user name of a device's client.
    #[must_use]
    pub fn username(&self, thing: &ThingName) -> String {
        self.username.replace(Self::THING, thing.as_str())
    }
}

/// The section `localAccess`; `None` if it is off.
pub(super) fn local_access(section: &mut Fields<'_, '_>, has_broker: bool) -> Option<LocalAccess> {
    let username = keys::ACCESS_USERNAME.parsed(section, user_name).unwrap_or_else(|| LocalAccess::THING.into());
    let is_on = keys::DYNAMIC_SECURITY.read(section);
    if is_on && !has_broker {
        keys::DYNAMIC_SECURITY.fault(section, "needs a broker, and mqtt.url is none");
    }
    is_on.then_some(LocalAccess { username })
}

/// Without the device's name all devices would have the same client.
fn user_name(text: &str) -> Result<String, &'static str> {
    if text.contains(LocalAccess::THING) && text.len() <= 256 && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must be a text of at most 256 bytes with {thingName} in it, which stands for the name of the device")
    }
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object for each line.
    Json,
}

/// The section `log`.
pub(super) fn log(section: &mut Fields<'_, '_>) -> LogFormat {
    keys::LOG_FORMAT
        .parsed(section, |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be \"text\" or \"json\""),
        })
        .unwrap_or_default()
}

/// `ipc.*`
#[derive(Clone, Copy, Debug)]
pub struct Ipc {
    /// Whether commands from AWS IoT Core are accepted.
    pub iot_core: bool,
    /// Whether commands from other components are accepted.
    pub pubsub: bool,
    /// The most bytes of one message's payload, in either direction.
    pub max_payload_bytes: usize,
}

impl Ipc {
    /// The most bytes of a payload that nucleus lite transfers.
    pub const LITE_MAX_PAYLOAD: usize = keys::LITE_MAX_PAYLOAD as usize;
}

/// The section `ipc`.
pub(super) fn ipc(section: &mut Fields<'_, '_>) -> Ipc {
    Ipc {
        iot_core: keys::IPC_IOT_CORE.read(section),
        pubsub: keys::IPC_PUBSUB.read(section),
        max_payload_bytes: usize_of(keys::IPC_MAX_PAYLOAD.read(section)),
    }
}

/// Checks an endpoint. It may have a path, below which a stand-in or a gateway serves the API.
fn endpoint(text: &str) -> Result<String, String> {
    const WANTED: &str = "https://HOST[:PORT][/PATH] or http://HOST[:PORT][/PATH]";
    if text.contains('@') {
        // The value is not shown, since it may contain a password.
        return Err(format!("must be {WANTED}, without a user name or password"));
    }
    let wrong =
        |why: &str| format!("is {}, and {why}; it must be {WANTED}, with an IPv6 address in brackets", shown(text));
    let Some((scheme, rest)) = scheme(text).filter(|(scheme, _)| ["http", "https"].contains(&scheme.as_str())) else {
        return Err(wrong("it does not begin with https:// or http://"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let path = &rest[authority.len()..];
    host_and_port(authority).map_err(wrong)?;
    if authority.contains('%') {
        return Err(wrong("the zone of an IPv6 address has no place in a URL"));
    }
    if path.contains(['?', '#']) {
        return Err(wrong("it has a query or a fragment"));
    }
    // The other characters have to be escaped (RFC 3986, section 2).
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err(wrong("its path has white space or another character that a URL cannot have"));
    }
    Ok(format!("{scheme}://{rest}"))
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
