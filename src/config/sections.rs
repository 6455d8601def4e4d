//! The sections other than `mqtt`, each with the function that reads it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

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
        max_entries: usize_of(section.whole("maxEntries", 1, 100).unwrap_or(100)),
        linger: Duration::from_millis(section.whole("lingerMs", 0, 60_000).unwrap_or(100)),
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
        base: Duration::from_millis(section.whole("baseMs", 1, 3_600_000).unwrap_or(1000)),
        cap: Duration::from_millis(section.whole("capMs", 1, 86_400_000).unwrap_or(300_000)),
    };
    if retry.base > retry.cap {
        section.fault("baseMs", "must not be above retry.capMs");
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
        calls_per_second: section.number("callsPerSecond", 0.001, 1000.0).unwrap_or(1.0),
        burst: u32::try_from(section.whole("burst", 1, 1000).unwrap_or(10)).unwrap_or(10),
    }
}

/// The longest wait that may be configured, one year. It keeps sums of times far from an overflow.
const YEAR: u64 = 365 * 24 * 3600;

/// The member `intervalSeconds` of the sections `sync` and `metrics`; 0 means no interval.
pub(super) fn interval(section: &mut Fields<'_, '_>, default: u64) -> Option<Duration> {
    match section.whole("intervalSeconds", 0, YEAR).unwrap_or(default) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    }
}

/// The section `limits`.
pub(super) fn limits(section: &mut Fields<'_, '_>) -> Limits {
    Limits {
        // The client library takes 1 MiB with topic and header. Below 16384 a full rejection would
        // not fit.
        max_payload_bytes: usize_of(section.whole("maxPayloadBytes", 16_384, 1_000_000).unwrap_or(130_000)),
        max_pending_entries: section.whole("maxPendingEntries", 1, 10_000_000).unwrap_or(100_000),
        max_database_bytes: section.whole("maxDatabaseBytes", 1 << 20, 1 << 40).unwrap_or(268_435_456),
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
        requests: Duration::from_secs_f64(section.number("requestsDays", 0.0, 3650.0).unwrap_or(7.0) * day),
        tombstones: Duration::from_secs_f64(section.number("tombstonesDays", 0.0, 3650.0).unwrap_or(30.0) * day),
    }
}

/// The section `guard`. `own` are the names of the agent itself.
pub(super) fn guard<'n>(section: &mut Fields<'_, '_>, own: impl Iterator<Item = &'n ThingName>) -> Guard {
    let mut protected: Vec<Pattern> = own.map(|name| Pattern::new(name.as_str())).collect();
    for (n, item) in section.list("protected").unwrap_or_default().into_iter().enumerate() {
        match item {
            Value::String(text) if text.is_empty() => section.element_fault("protected", n, "must not be empty"),
            Value::String(text) => match Pattern::new(&text) {
                pattern if pattern.can_match() => protected.push(pattern),
                _ => section.element_fault(
                    "protected",
                    n,
                    format!(
                        "can match no thing name or asset id: {text:?}; write one name for each element, with * as the \
                         only wildcard"
                    ),
                ),
            },
            _ => section.element_fault("protected", n, "must be a string"),
        }
    }
    Guard { protected, max_fraction: section.number("maxFraction", 0.0, 1.0).unwrap_or(1.0) }
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
    let username = section.parsed("username", user_name).unwrap_or_else(|| LocalAccess::THING.into());
    let is_on = section.flag("mosquittoDynamicSecurity").unwrap_or(false);
    if is_on && !has_broker {
        section.fault("mosquittoDynamicSecurity", "needs a broker, and mqtt.url is none");
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
    section
        .parsed("format", |text| match text {
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
    /// The most bytes that nucleus lite transfers between AWS IoT Core and a component. It loses
    /// larger messages without an error.
    pub const LITE_MAX_PAYLOAD: usize = 4900;

    /// The least and the largest limit, in bytes: no message of the agent is shortened below the
    /// first, and the classic nucleus transfers no more than the second.
    const MAX_PAYLOAD: (u64, u64) = (4096, 131_072);
}

/// The section `ipc`.
pub(super) fn ipc(section: &mut Fields<'_, '_>) -> Ipc {
    let (least, most) = Ipc::MAX_PAYLOAD;
    let max = section.whole("maxPayloadBytes", least, most);
    Ipc {
        iot_core: section.flag("iotCore").unwrap_or(false),
        pubsub: section.flag("pubsub").unwrap_or(false),
        max_payload_bytes: max.map_or(Ipc::LITE_MAX_PAYLOAD, usize_of),
    }
}

fn endpoint(text: &str) -> Result<String, &'static str> {
    match text.split_once("://") {
        Some(("http" | "https", host))
            if !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '@') =>
        {
            Ok(text.to_owned())
        }
        _ => Err("must be a URL that begins with https:// or http://"),
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
