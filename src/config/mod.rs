//! The configuration: JSON text in, a typed [`Config`] or every fault at once.

use std::{fmt, path::PathBuf, time::Duration};

use serde_json::{Value, value::RawValue};

use crate::{
    domain::{ClientId, FieldFault, InvalidName, Pattern, Service, ThingName},
    protocol::json::{Faults, Fields, Style},
};

/// Everything that `offboard run` is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// This core device.
    pub core: ThingName,
    /// The AWS region.
    pub region: String,
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// The broker; `None` where there is none (`mqtt.url` is `none`).
    pub mqtt: Option<Mqtt>,
    /// First level of every topic.
    pub topic_prefix: String,
    /// How entries are gathered into calls.
    pub batch: Batch,
    /// How long to wait after a failed call.
    pub retry: Retry,
    /// How many calls.
    pub rate: Rate,
    /// Time between syncs; `None` for no periodic sync.
    pub sync_interval: Option<Duration>,
    /// What is too much.
    pub limits: Limits,
    /// How long what is finished is kept.
    pub retention: Retention,
    /// What is never, or not lightly, disassociated.
    pub guard: Guard,
    /// A retained message for each device.
    pub publish_devices: bool,
    /// Disable the broker's client of a disassociated device; `None` where that is off.
    pub local_access: Option<LocalAccess>,
    /// Accept the SiteWise operations.
    pub site_wise: bool,
    /// Where the cloud is, if not where AWS says.
    pub cloud: Endpoints,
    /// Time between two messages with metrics; none where unset.
    pub metrics_interval: Option<Duration>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The configuration as it was given, with what the environment added, and without secrets.
    pub shown: Value,
}

impl Config {
    /// Whether operations are accepted that need that service.
    #[must_use]
    pub fn serves(&self, service: Service) -> bool {
        match service {
            Service::Greengrass => true,
            Service::SiteWise => self.site_wise,
        }
    }
}

/// How to reach the broker.
#[derive(Clone)]
pub struct Mqtt {
    /// Host name, as the broker's certificate has it.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, by `mqtts://`.
    pub tls: bool,
    /// The client identifier, on Greengrass brokers the thing name of our certificate.
    pub client_id: String,
    /// The broker's authority, PEM; the system's own where unset.
    pub ca_file: Option<PathBuf>,
    /// Our certificate chain and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// MQTT keep alive.
    pub keep_alive: Duration,
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of every log.
        write!(f, "mqtt{}://{}:{} as {}", if self.tls { "s" } else { "" }, self.host, self.port, self.client_id)
    }
}

/// `batch.*`
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Entries a call, 1..100 (the API's limit).
    pub max_entries: usize,
    /// Longest wait of an entry for company in its call.
    pub linger: Duration,
}

/// `retry.*`
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The first wait is random below this.
    pub base: Duration,
    /// No wait is longer, but for the cloud's own Retry-After.
    pub cap: Duration,
}

/// `rate.*`: the account's quota is shared by all its cores.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Cloud calls a second in the long run.
    pub calls_per_second: f64,
    /// Calls that may come at once after a quiet time.
    pub burst: u32,
}

/// `limits.*`
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One message's payload in bytes, in either direction.
    pub max_payload_bytes: usize,
    /// Entries that are not ended.
    pub max_pending_entries: u64,
    /// Live bytes in the store.
    pub max_database_bytes: u64,
}

/// `retention.*`
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Finished requests, with their tokens.
    pub requests: Duration,
    /// Records of disassociated devices.
    pub tombstones: Duration,
}

/// `guard.*`
#[derive(Clone, Debug)]
pub struct Guard {
    /// Never disassociated; the core's own name and the MQTT client's are among them.
    pub protected: Vec<Pattern>,
    /// Largest share of the known devices that may go without `force`, 0..1.
    pub max_fraction: f64,
}

/// `cloud.*Endpoint`
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// Greengrass V2.
    pub greengrass: Option<String>,
    /// SiteWise.
    pub site_wise: Option<String>,
    /// SiteWise Monitor.
    pub site_wise_monitor: Option<String>,
}

/// `localAccess.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAccess {
    /// The client's user name, with [`LocalAccess::THING`] in the place of the device's name.
    username: String,
}

impl LocalAccess {
    /// Stands for the device's name.
    pub const THING: &str = "{thingName}";

    /// The user name of a device's client.
    #[must_use]
    pub fn username(&self, thing: &ThingName) -> String {
        self.username.replace(Self::THING, thing.as_str())
    }
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Every fault of a configuration, one a line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<FieldFault>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}configuration: {} {}", fault.name, fault.message)?;
        }
        Ok(())
    }
}

/// Reads a configuration. `env` looks a variable up; an empty one is unset (nucleus lite sets
/// such).
///
/// The second part of the answer names the keys that are not known, to be warned of: an upgrade or
/// a rollback may find those of another version.
///
/// # Errors
/// Every key that is missing or wrong.
pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<(Config, Vec<String>), ConfigError> {
    // Some editors put a byte order mark before a file.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: &RawValue = match serde_json::from_str(if text.trim().is_empty() { "{}" } else { text }) {
        Ok(value) => value,
        Err(_) if text.trim().starts_with("{configuration:") => {
            return Err(whole(
                "is still the recipe's placeholder: the component's configuration has no \"agent\" object",
            ));
        }
        Err(error) => return Err(whole(&format!("is not JSON: {error}"))),
    };
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let mut faults = Faults::limited(usize::MAX);
    let mut unknown = Vec::new();
    let config = read(value, &env, &mut faults, &mut unknown);
    match config {
        Some(config) if faults.is_empty() => {
            let given = serde_json::from_str(value.get()).unwrap_or_default();
            Ok((Config { shown: shown(given, &config, &unknown), ..config }, unknown))
        }
        _ => Err(ConfigError(faults.into_parts().0)),
    }
}

/// Without the password, and without what stands under unknown keys: a misspelt one may hold a
/// secret, too.
fn shown(given: Value, config: &Config, unknown: &[String]) -> Value {
    let mut shown = if given.is_object() { given } else { Value::Object(serde_json::Map::new()) };
    let hide = |object: Option<&mut Value>, key: &str| {
        if let Some(value) = object.and_then(Value::as_object_mut).and_then(|members| members.get_mut(key)) {
            *value = Value::String("(not shown)".into());
        }
    };
    // One that is unset is shown as that: what is shown is read again.
    let is_unset = |value: &Value| value.is_null() || matches!(value.as_str(), Some("" | "null"));
    let has_password = shown.pointer("/mqtt/password").is_some_and(|value| !is_unset(value));
    for path in has_password.then_some("mqtt.password").into_iter().chain(unknown.iter().map(String::as_str)) {
        // A key may have dots in it, a section has none.
        hide(Some(&mut shown), path);
        if let Some((section, key)) = path.split_once('.') {
            hide(shown.get_mut(section), key);
        }
    }
    shown["coreThingName"] = config.core.as_str().into();
    shown["region"] = config.region.as_str().into();
    shown["dataDir"] = config.data_dir.to_string_lossy().into();
    if let Some(path) = config.mqtt.as_ref().and_then(|mqtt| mqtt.ca_file.as_ref()) {
        // The whole section may be the empty string, which is unset.
        let mqtt = &mut shown["mqtt"];
        if !mqtt.is_object() {
            *mqtt = Value::Object(serde_json::Map::new());
        }
        mqtt["caFile"] = path.to_string_lossy().into();
    }
    shown
}

fn whole(message: &str) -> ConfigError {
    ConfigError(vec![FieldFault { name: "text".into(), message: message.into() }])
}

/// Longest wait that may be configured, a year: keeps sums of times far from overflow.
const YEAR: u64 = 365 * 24 * 3600;

fn read(
    value: &RawValue,
    env: &impl Fn(&str) -> Option<String>,
    faults: &mut Faults,
    unknown: &mut Vec<String>,
) -> Option<Config> {
    let mut root = Fields::of(value, Style::Configuration, faults);
    let core = match root.text("coreThingName").or_else(|| env("AWS_IOT_THING_NAME")) {
        Some(name) => ThingName::new(&name).map_err(|error| root.fault("coreThingName", error.to_string())).ok(),
        None => {
            root.fault("coreThingName", "is required where AWS_IOT_THING_NAME is not set");
            None
        }
    };
    let region = root.text("region").or_else(|| env("AWS_REGION"));
    match &region {
        None => root.fault("region", "is required where AWS_REGION is not set"),
        // It becomes a part of host names.
        Some(name) if !is_label(name) => root.fault(
            "region",
            "must be the name of an AWS region, as eu-central-1 is (AWS_REGION counts where it is not set)",
        ),
        Some(_) => {}
    }
    let data_dir =
        root.text("dataDir").or_else(|| env("OFFBOARD_DATA_DIR")).unwrap_or_else(|| "./offboard-data".into());
    let topic_prefix = root.parsed("topicPrefix", prefix).unwrap_or_else(|| "offboard".into());
    let publish_devices = root.flag("publishDevices").unwrap_or(false);

    let mut section = root.section("mqtt");
    let mqtt = read_mqtt(&mut section, core.as_ref(), copied_authority(env));
    unknown.extend(section.unknown());

    let mut section = root.section("batch");
    let batch = Batch {
        max_entries: usize_of(section.whole("maxEntries", 1, 100).unwrap_or(100)),
        linger: Duration::from_millis(section.whole("lingerMs", 0, 60_000).unwrap_or(100)),
    };
    unknown.extend(section.unknown());

    let mut section = root.section("retry");
    let retry = Retry {
        base: Duration::from_millis(section.whole("baseMs", 1, 3_600_000).unwrap_or(1000)),
        cap: Duration::from_millis(section.whole("capMs", 1, 86_400_000).unwrap_or(300_000)),
    };
    if retry.base > retry.cap {
        section.fault("baseMs", "must not be above retry.capMs");
    }
    unknown.extend(section.unknown());

    let mut section = root.section("rate");
    let rate = Rate {
        calls_per_second: section.number("callsPerSecond", 0.001, 1000.0).unwrap_or(1.0),
        burst: u32::try_from(section.whole("burst", 1, 1000).unwrap_or(10)).unwrap_or(10),
    };
    unknown.extend(section.unknown());

    let mut section = root.section("sync");
    let sync_interval = match section.whole("intervalSeconds", 0, YEAR).unwrap_or(3600) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    };
    unknown.extend(section.unknown());

    let mut section = root.section("limits");
    let limits = Limits {
        // The client library takes 1 MiB with topic and header; below 16384 a full rejection would
        // not fit.
        max_payload_bytes: usize_of(section.whole("maxPayloadBytes", 16_384, 1_000_000).unwrap_or(130_000)),
        max_pending_entries: section.whole("maxPendingEntries", 1, 10_000_000).unwrap_or(100_000),
        max_database_bytes: section.whole("maxDatabaseBytes", 1 << 20, 1 << 40).unwrap_or(268_435_456),
    };
    unknown.extend(section.unknown());

    let mut section = root.section("retention");
    let day = 86_400.0;
    let retention = Retention {
        requests: Duration::from_secs_f64(section.number("requestsDays", 0.0, 3650.0).unwrap_or(7.0) * day),
        tombstones: Duration::from_secs_f64(section.number("tombstonesDays", 0.0, 3650.0).unwrap_or(30.0) * day),
    };
    unknown.extend(section.unknown());

    let mut section = root.section("guard");
    let mut protected: Vec<Pattern> = core.iter().map(|name| Pattern::new(name.as_str())).collect();
    // A client's name may have characters that a thing's name has not, a wildcard among them.
    let client = mqtt.iter().flatten().filter_map(|mqtt| ThingName::new(&mqtt.client_id).ok());
    protected.extend(client.map(|name| Pattern::new(name.as_str())));
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
    let guard = Guard { protected, max_fraction: section.number("maxFraction", 0.0, 1.0).unwrap_or(1.0) };
    // A misspelt guard would protect nothing.
    section.close();

    let mut section = root.section("localAccess");
    let username = section.parsed("username", user_name).unwrap_or_else(|| LocalAccess::THING.into());
    let local_access = section.flag("mosquittoDynamicSecurity").unwrap_or(false).then_some(LocalAccess { username });
    if local_access.is_some() && matches!(mqtt, Some(None)) {
        section.fault("mosquittoDynamicSecurity", "needs a broker, and mqtt.url is none");
    }
    unknown.extend(section.unknown());

    let mut section = root.section("siteWise");
    let site_wise = section.flag("enabled").unwrap_or(false);
    unknown.extend(section.unknown());

    let mut section = root.section("cloud");
    let site_wise_endpoint = section.parsed("siteWiseEndpoint", endpoint);
    let cloud = Endpoints {
        greengrass: section.parsed("greengrassEndpoint", endpoint),
        site_wise_monitor: section.parsed("siteWiseMonitorEndpoint", endpoint).or_else(|| site_wise_endpoint.clone()),
        site_wise: site_wise_endpoint,
    };
    unknown.extend(section.unknown());

    let mut section = root.section("metrics");
    let metrics_interval = match section.whole("intervalSeconds", 0, YEAR).unwrap_or(0) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    };
    unknown.extend(section.unknown());

    let mut section = root.section("log");
    let log_format = section
        .parsed("format", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be \"text\" or \"json\""),
        })
        .unwrap_or_default();
    unknown.extend(section.unknown());
    unknown.extend(root.unknown());

    Some(Config {
        core: core?,
        region: region?,
        data_dir: data_dir.into(),
        mqtt: mqtt?,
        topic_prefix,
        batch,
        retry,
        rate,
        sync_interval,
        limits,
        retention,
        guard,
        publish_devices,
        local_access,
        site_wise,
        cloud,
        metrics_interval,
        log_format,
        shown: Value::Null,
    })
}

/// The copy of the broker's authority that the recipe's install step makes where `brokerCaFile` is
/// set.
///
/// The path changes with the component's version, and a runtime replaces no variables in a
/// configuration, so the configuration cannot name it.
fn copied_authority(env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("BROKER_CA_FILE").and_then(|_| env("BROKER_CA_COPY")).map(PathBuf::from)
}

fn read_mqtt(
    section: &mut Fields<'_, '_>,
    core: Option<&ThingName>,
    copied_authority: Option<PathBuf>,
) -> Option<Option<Mqtt>> {
    let address = match section.text("url").as_deref() {
        Some("none") => Some(None),
        url => match broker_url(url.unwrap_or("mqtts://localhost:8883")) {
            Ok(address) => Some(Some(address)),
            Err(message) => {
                section.fault("url", message);
                None
            }
        },
    };
    let client_id = section.parsed("clientId", |text| match ClientId::new(text) {
        Ok(client) if !client.is_local() => Ok(text.to_owned()),
        _ => Err(InvalidName::Client),
    });
    let client_id = client_id.or_else(|| core.map(|name| format!("{name}-offboard")));
    if client_id.as_ref().is_some_and(|id| id.len() > 128) {
        section.fault("clientId", "must be set: \"<coreThingName>-offboard\" has more than 128 characters");
    }
    let ca_file = section.text("caFile").map(PathBuf::from).or(copied_authority);
    let identity = match (section.text("certFile"), section.text("keyFile")) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (None, None) => None,
        (Some(_), None) => {
            section.fault("keyFile", "is required with mqtt.certFile");
            None
        }
        (None, Some(_)) => {
            section.fault("certFile", "is required with mqtt.keyFile");
            None
        }
    };
    let password = section.text("password");
    let login = match (section.text("username"), password) {
        (Some(username), password) => Some((username, password.unwrap_or_default())),
        (None, None) => None,
        (None, Some(_)) => {
            section.fault("username", "is required with mqtt.password");
            None
        }
    };
    let keep_alive = Duration::from_secs(section.whole("keepAliveSeconds", 5, 65_535).unwrap_or(30));
    let Some((tls, host, port)) = address? else { return Some(None) };
    Some(Some(Mqtt { host, port, tls, client_id: client_id?, ca_file, identity, login, keep_alive }))
}

/// TLS or not, host and port of a broker's address.
pub(crate) fn broker_url(url: &str) -> Result<(bool, String, u16), &'static str> {
    const WANTED: &str = "must be mqtt://HOST[:PORT], mqtts://HOST[:PORT] or none";
    if url.contains('@') {
        // Not shown, since it may hold a password.
        return Err(
            "must be mqtt://HOST[:PORT], mqtts://HOST[:PORT] or none, without a user name or password: these are \
                    mqtt.username and mqtt.password",
        );
    }
    let (tls, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        _ => return Err(WANTED),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        // A colon inside of brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| WANTED)?),
        _ => (rest, if tls { 8883 } else { 1883 }),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '@', '?', ' ']) || port == 0 {
        return Err(WANTED);
    }
    Ok((tls, host.to_owned(), port))
}

/// A part of a host name.
fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a region's name has the form that all of them have: words and a number, `us-gov-west-1`.
/// One without it may be anything that a stand-in takes, and is no region of AWS.
pub(crate) fn is_like_a_region(name: &str) -> bool {
    let mut words: Vec<&str> = name.split('-').collect();
    let number = words.pop().unwrap_or_default();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && words.len() >= 2
        && words.iter().all(is_word)
}

fn prefix(text: &str) -> Result<String, &'static str> {
    let valid = |c: char| !c.is_control() && !matches!(c, '+' | '#' | '/' | '$');
    if text.len() <= 128 && text.chars().all(valid) {
        Ok(text.to_owned())
    } else {
        Err("must be one topic level of at most 128 bytes, without + # / $")
    }
}

/// Without the device's name all devices would have one client.
fn user_name(text: &str) -> Result<String, &'static str> {
    if text.contains(LocalAccess::THING) && text.len() <= 256 && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must be a text of at most 256 bytes with {thingName} in it, which stands for the name of the device")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "AWS_IOT_THING_NAME" => Some("MyCore".into()),
            "AWS_REGION" => Some("eu-west-1".into()),
            "OFFBOARD_DATA_DIR" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let text = r#"{"mqtt":{"username":"u","password":"hunter2","pasword":"hunter3"},"token":"hunter4","a.b":"hunter5",
            "mqtt.password":"hunter7","rate":{"pass.word":"hunter8"},"x":{"y":"hunter6"},"batch":{"lingerMs":5}}"#;
        let env = |name: &str| (name != "OFFBOARD_DATA_DIR").then(|| "fromEnvironment".to_owned());
        let shown = parse(text, env).unwrap().0.shown;
        assert!(!shown.to_string().contains("hunter"), "{shown}");
        assert_eq!((&shown["region"], &shown["batch"]["lingerMs"]), (&"fromEnvironment".into(), &5.into()));
        assert_eq!(shown["mqtt"]["username"], "u");
    }

    #[test]
    fn nothing_but_the_environment_is_enough() {
        let (config, unknown) = parse("", env).unwrap();
        let mqtt = config.mqtt.unwrap();
        assert_eq!((mqtt.host.as_str(), mqtt.port, mqtt.tls), ("localhost", 8883, true));
        assert_eq!(mqtt.client_id, "MyCore-offboard");
        assert_eq!(config.data_dir, PathBuf::from("./offboard-data"));
        assert_eq!((config.batch.max_entries, config.rate.burst), (100, 10));
        assert_eq!(config.sync_interval, Some(Duration::from_secs(3600)));
        assert!(config.guard.protected.iter().any(|p| p.matches("MyCore")));
        assert!(config.guard.protected.iter().any(|p| p.matches("MyCore-offboard")));
        assert!(unknown.is_empty());
    }

    #[test]
    fn the_copy_of_the_brokers_authority_is_used_where_there_is_to_be_one() {
        let ca_file = |source: &str, text: &str| {
            let set = |name: &str| match name {
                "BROKER_CA_FILE" => Some(source.to_owned()),
                "BROKER_CA_COPY" => Some("/artifacts/broker-ca.pem".into()),
                _ => env(name),
            };
            let (config, _) = parse(text, set).unwrap();
            let file = config.mqtt.unwrap().ca_file;
            // `check` reads it from the running agent, in an environment of its own.
            let again = parse(&config.shown.to_string(), env).unwrap().0;
            assert_eq!(again.mqtt.unwrap().ca_file, file);
            file
        };
        assert_eq!(ca_file("/etc/ca.pem", "{}"), Some("/artifacts/broker-ca.pem".into()));
        assert_eq!(ca_file("/etc/ca.pem", r#"{"mqtt":{"caFile":""}}"#), Some("/artifacts/broker-ca.pem".into()));
        assert_eq!(ca_file("/etc/ca.pem", r#"{"mqtt":""}"#), Some("/artifacts/broker-ca.pem".into()));
        assert_eq!(ca_file("/etc/ca.pem", r#"{"mqtt":{"caFile":"own.pem"}}"#), Some("own.pem".into()));
        assert_eq!(ca_file("", "{}"), None, "without brokerCaFile no copy is made");
    }

    #[test]
    fn every_bad_key_is_told_in_one_go() {
        let text = r#"{"coreThingName":"a b","mqtt":{"url":"http://x","keepAliveSeconds":1,"certFile":"c"},
            "batch":{"maxEntries":101},"rate":{"burst":"many"},"sync":{"intervalSeconds":-1},"guard":{"maxFraction":2,
            "protected":["a",7]},"publishDevices":"maybe","cloud":{"greengrassEndpoint":"localhost"},
            "log":{"format":"xml"},"retry":{"baseMs":5000,"capMs":1000},"topicPrefix":"a/b"}"#;
        let ConfigError(faults) = parse(text, |_| None).unwrap_err();
        let mut names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
        names.sort_unstable();
        let expected = [
            "batch.maxEntries",
            "cloud.greengrassEndpoint",
            "coreThingName",
            "guard.maxFraction",
            "guard.protected[1]",
            "log.format",
            "mqtt.keepAliveSeconds",
            "mqtt.keyFile",
            "mqtt.url",
            "publishDevices",
            "rate.burst",
            "region",
            "retry.baseMs",
            "sync.intervalSeconds",
            "topicPrefix",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_is_shown_of_the_recipes_defaults_is_read_again() {
        for (url, password) in [("", ""), ("", "null"), ("none", "")] {
            let text = format!(r#"{{"mqtt":{{"url":"{url}","username":"","password":"{password}"}}}}"#);
            let shown = parse(&text, env).unwrap().0.shown.to_string();
            assert!(parse(&shown, |_| None).is_ok(), "{shown}");
        }
        let text = r#"{"mqtt":{"url":"none","username":"u","password":"hunter2"}}"#;
        assert!(!parse(text, env).unwrap().0.shown.to_string().contains("hunter2"));
    }

    #[test]
    fn a_user_in_the_brokers_address_is_pointed_to_the_keys_for_it() {
        let ConfigError(faults) = parse(r#"{"mqtt":{"url":"mqtt://user:hunter2@broker"}}"#, env).unwrap_err();
        let text = ConfigError(faults).to_string();
        assert!(text.contains("mqtt.username and mqtt.password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_region_is_a_part_of_a_host_name() {
        for bad in ["eu central 1", "x.example", "x/", "-x", "eu-central-1#", "\u{e9}u-west-1"] {
            let ConfigError(faults) = parse(&format!(r#"{{"region":"{bad}"}}"#), env).unwrap_err();
            assert_eq!(faults[0].name, "region", "{bad}");
        }
        for region in ["eu-central-1", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1", "ap-southeast-12"] {
            assert!(is_like_a_region(region), "{region}");
        }
        for other in ["eu-central1", "eu-central", "Frankfurt", "eu-central-l", "EU-CENTRAL-1", "1", ""] {
            assert!(!is_like_a_region(other), "{other}");
        }
    }

    #[test]
    fn unknown_keys_are_named_and_do_no_harm() {
        let (_, unknown) = parse(r#"{"colour":"red","mqtt":{"qos":2}}"#, env).unwrap();
        assert_eq!(unknown, ["mqtt.qos", "colour"]);
    }

    #[test]
    fn a_guard_that_protects_nothing_is_a_fault() {
        for bad in [
            r#"["device-0001,device-0002"]"#,
            r#"["^device-0003$"]"#,
            r#"["arn:aws:iot:eu-west-1:123456789012:thing/device-0001"]"#,
            r#"["device-?"]"#,
            r#"["device-0001 "]"#,
            r#"[""]"#,
            r#"[7]"#,
        ] {
            let ConfigError(faults) = parse(&format!("{{\"guard\":{{\"protected\":{bad}}}}}"), env).unwrap_err();
            assert_eq!(faults.len(), 1, "{bad}");
            assert_eq!(faults[0].name, "guard.protected[0]", "{bad}");
        }
        let error = parse(r#"{"guard":{"protected":["^a$"]}}"#, env).unwrap_err().to_string();
        assert!(error.contains("guard.protected[0] can match no thing name or asset id"), "{error}");
        let ConfigError(faults) = parse(r#"{"guard":{"protect":["a"]}}"#, env).unwrap_err();
        assert_eq!(faults[0].name, "guard.protect");
    }

    #[test]
    fn a_key_that_occurs_twice_is_a_fault_at_any_depth() {
        let text = r#"{"x":{"y":{"z":1,"z":2}},
            "guard":{"protected":["a"],"protected":[]},"mqtt":{},"region":"x","mqtt":{"url":"none"}}"#;
        let ConfigError(faults) = parse(text, env).unwrap_err();
        let names: Vec<_> = faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(names, ["mqtt", "guard.protected", "x.y.z"]);
    }

    /// Else the guard behind it would be lost without a word.
    #[test]
    fn a_key_that_is_no_text_is_a_fault() {
        for text in [r#"{"\ud800":1,"guard":{"protected":["a"]}}"#, r#"{"guard":{"\ud800":1,"protected":["a"]}}"#] {
            let error = parse(text, env).unwrap_err().to_string();
            assert!(error.contains("not Unicode"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_fault() {
        assert!(parse("\u{feff}{\"region\":\"eu-west-1\"}", env).is_ok());
    }

    #[test]
    fn a_recipe_without_configuration_is_recognised() {
        let error = parse("{configuration:/agent}", env).unwrap_err().to_string();
        assert!(error.contains("placeholder"), "{error}");
    }

    #[test]
    fn broker_urls() {
        assert_eq!(broker_url("mqtt://h"), Ok((false, "h".into(), 1883)));
        assert_eq!(broker_url("mqtts://[::1]:9/"), Ok((true, "::1".into(), 9)));
        for bad in ["h:1883", "mqtt://", "mqtt://h:x", "mqtt://u@h", "mqtt://h/path", "ws://h", "mqtt://h:0"] {
            assert!(broker_url(bad).is_err(), "{bad}");
        }
        let (config, _) = parse(r#"{"mqtt":{"url":"none"}}"#, env).unwrap();
        assert!(config.mqtt.is_none());
    }

    #[test]
    fn a_password_is_not_shown() {
        let (config, _) = parse(r#"{"mqtt":{"username":"u","password":"hush"}}"#, env).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
