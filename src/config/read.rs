//! Reads the text of a configuration, and collects every fault.

use std::path::PathBuf;

use serde_json::{Value, value::RawValue};

use super::{
    address, keys, mqtt, sections,
    settings::{Config, ConfigError},
    shown::shown,
};
use crate::{
    domain::{FieldFault, Service, Switch, ThingName},
    protocol::{
        json::{Faults, Fields, Style},
        topics,
    },
};

/// The variables of the environment that a configuration is read from.
const VARIABLES: [&str; 6] =
    ["OFFBOARD_CONFIG", "AWS_IOT_THING_NAME", "AWS_REGION", "OFFBOARD_DATA_DIR", "BROKER_CA_FILE", "BROKER_CA_COPY"];

/// The process's environment, as [`parse`] reads it.
///
/// # Errors
/// A variable that a configuration is read from is not UTF-8. It must not count as unset: its
/// guards would be missing.
pub fn environment() -> Result<impl Fn(&str) -> Option<String>, ConfigError> {
    let is_wrong = |name: &str| matches!(std::env::var(name), Err(std::env::VarError::NotUnicode(_)));
    match VARIABLES.into_iter().find(|name| is_wrong(name)) {
        Some(name) => {
            let message = "is not UTF-8 text; write it in UTF-8, or characters such as \u{fc} as \\u00fc".to_owned();
            Err(ConfigError(vec![FieldFault { name: format!("the variable {name}"), message }]))
        }
        None => Ok(|name: &str| std::env::var(name).ok()),
    }
}

/// Reads a configuration. `env` reads a variable; an empty variable counts as unset, since nucleus
/// lite sets such variables.
///
/// The second part of the result names the unknown keys, which the caller warns of. They are not
/// faults, since an upgrade or a rollback may find the keys of another version.
///
/// # Errors
/// Every key that is missing or wrong.
pub fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<(Config, Vec<String>), ConfigError> {
    // Some editors write a byte order mark before the text.
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
            // A number beyond the range of numbers, in a key that nothing reads, shows only here.
            let given =
                serde_json::from_str(value.get()).map_err(|error| whole(&format!("cannot be read: {error}")))?;
            Ok((Config { shown: shown(given, &config, &unknown), ..config }, unknown))
        }
        _ => Err(ConfigError(faults.into_parts().0)),
    }
}

fn whole(message: &str) -> ConfigError {
    ConfigError(vec![FieldFault { name: "text".into(), message: message.into() }])
}

/// The thing name of this core device.
fn core(root: &mut Fields<'_, '_>, env: &impl Fn(&str) -> Option<String>) -> Option<ThingName> {
    match keys::CORE.read(root).or_else(|| env("AWS_IOT_THING_NAME")) {
        Some(name) => ThingName::new(&name).map_err(|error| keys::CORE.fault(root, error.to_string())).ok(),
        None => {
            keys::CORE.fault(root, "is required where AWS_IOT_THING_NAME is not set");
            None
        }
    }
}

/// The region, even if its name is not valid.
fn region(root: &mut Fields<'_, '_>, env: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let region = keys::REGION.read(root).or_else(|| env("AWS_REGION"));
    match &region {
        None => keys::REGION.fault(root, "is required where AWS_REGION is not set"),
        // The name becomes a part of host names.
        Some(name) if !is_label(name) => keys::REGION.fault(
            root,
            "must be the name of an AWS region, as eu-central-1 is (AWS_REGION counts where it is not set)",
        ),
        Some(_) => {}
    }
    region
}

/// Reads the section `name` with `read`, and notes its unknown keys.
fn section<T>(
    root: &mut Fields<'_, '_>,
    name: &str,
    unknown: &mut Vec<String>,
    read: impl FnOnce(&mut Fields<'_, '_>) -> T,
) -> T {
    let mut section = root.section(name);
    let value = read(&mut section);
    unknown.extend(section.unknown());
    value
}

fn read(
    value: &RawValue,
    env: &impl Fn(&str) -> Option<String>,
    faults: &mut Faults,
    unknown: &mut Vec<String>,
) -> Option<Config> {
    let mut fields = Fields::of(value, Style::Configuration, faults);
    let root = &mut fields;
    let core = core(root, env);
    let region = region(root, env);
    let data_dir =
        keys::DATA_DIR.read(root).or_else(|| env("OFFBOARD_DATA_DIR")).unwrap_or_else(|| "./offboard-data".into());
    let topic_prefix = keys::TOPIC_PREFIX.parsed(root, topic_prefix).unwrap_or_default();
    let publish_devices = keys::PUBLISH_DEVICES.read(root);

    let mut client = None;
    let mqtt = section(root, "mqtt", unknown, |section| {
        mqtt::read(section, core.as_ref(), copied_authority(env), &mut client)
    });
    let batch = section(root, "batch", unknown, sections::batch);
    let retry = section(root, "retry", unknown, sections::retry);
    let rate = section(root, "rate", unknown, sections::rate);
    let sync_interval = section(root, "sync", unknown, |section| sections::interval(section, &keys::SYNC_INTERVAL));
    let limits = section(root, "limits", unknown, sections::limits);
    let retention = section(root, "retention", unknown, sections::retention);
    // A client's name may have characters that a thing name may not have, such as a wildcard.
    let client = client.and_then(|client| ThingName::new(&client).ok());
    let mut guards = root.section("guard");
    let guard = sections::guard(&mut guards, core.iter().chain(&client));
    // A misspelt guard would protect nothing, so an unknown key in this section is a fault.
    guards.close();
    let has_broker = !matches!(mqtt, Some(None));
    let local_access = section(root, "localAccess", unknown, |section| sections::local_access(section, has_broker));
    let mut off = Vec::new();
    for switch in Switch::ALL {
        let is_on = section(root, switch.section, unknown, |section| section.flag(switch.key).unwrap_or(false));
        let is_behind = |service: &&Service| service.hosts().switch == Some(*switch);
        off.extend(Service::ALL.iter().filter(is_behind).filter(|_| !is_on));
    }
    let cloud = section(root, "cloud", unknown, sections::cloud);
    let metrics_interval =
        section(root, "metrics", unknown, |section| sections::interval(section, &keys::METRICS_INTERVAL));
    let log_format = section(root, "log", unknown, sections::log);
    let ipc = section(root, "ipc", unknown, sections::ipc);
    let accept_broadcast = keys::ACCEPT_BROADCAST.read(root);
    if accept_broadcast && core.as_ref().is_some_and(|core| core.as_str() == topics::ALL) {
        keys::ACCEPT_BROADCAST.fault(
            root,
            "must be false on a core device whose name is all: its own commands have the topics of broadcasts",
        );
    }
    unknown.extend(fields.unknown());

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
        off,
        cloud,
        metrics_interval,
        log_format,
        ipc,
        accept_broadcast,
        shown: Value::Null,
    })
}

/// The path of the copy of the broker's authority that the recipe's install step makes if
/// `brokerCaFile` is set.
///
/// The configuration cannot name this path: it changes with the component's version, and a runtime
/// replaces no variables in a configuration.
fn copied_authority(env: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    env("BROKER_CA_FILE").and_then(|_| env("BROKER_CA_COPY")).map(PathBuf::from)
}

/// Whether the text can be a part of a host name.
fn is_label(text: &str) -> bool {
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a region's name has the form of all AWS regions: words and a number, such as
/// `us-gov-west-1`. Another name may be accepted by a stand-in for AWS, and is not a region of AWS.
pub(crate) fn is_like_a_region(name: &str) -> bool {
    let mut words: Vec<&str> = name.split('-').collect();
    let number = words.pop().unwrap_or_default();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && words.len() >= 2
        && words.iter().all(is_word)
}

/// Checks the first level of all topics.
pub(crate) fn topic_prefix(text: &str) -> Result<String, String> {
    let valid = |c: char| !c.is_control() && !matches!(c, '+' | '#' | '/' | '$');
    if (1..=128).contains(&text.len()) && text.chars().all(valid) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "is {}; it must be one topic level of 1 to 128 bytes, without + # / $ and control characters",
            address::shown(text)
        ))
    }
}
