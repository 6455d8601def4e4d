//! Configurations: every faulty key is reported at once, an accepted value is within its limits,
//! and a password is never shown.

#![no_main]

use std::{collections::BTreeSet, time::Duration};

use libfuzzer_sys::fuzz_target;
use offboard::{
    config::{self, Config},
    domain::{Pattern, ThingName},
};
use serde_json::{Map, Value, json};

const COPIED_AUTHORITY: &str = "/component/broker-ca.pem";

fn env(name: &str) -> Option<String> {
    match name {
        "AWS_IOT_THING_NAME" => Some("MyCore".into()),
        "AWS_REGION" => Some("eu-central-1".into()),
        // The variables as the recipe sets them, with the path of the copy that its install step
        // creates.
        "BROKER_CA_FILE" => Some("/greengrass/broker.pem".into()),
        "BROKER_CA_COPY" => Some(COPIED_AUTHORITY.into()),
        _ => None,
    }
}

fuzz_target!(|text: &str| {
    let result = config::parse(text, env);
    let value = serde_json::from_str::<Value>(text).ok();
    let shown = match &result {
        Ok((config, unknown)) => {
            check_limits(config);
            check_shown(config);
            assert!(unknown.iter().all(|key| !key.is_empty()) || text.contains("\"\""));
            format!("{config:?}")
        }
        Err(error) => {
            assert!(!error.0.is_empty());
            assert_eq!(error.to_string().lines().next().map(|line| line.starts_with("configuration: ")), Some(true));
            error.to_string()
        }
    };
    let Some(value) = value else { return };
    if let Some(password) = value.pointer("/mqtt/password").and_then(Value::as_str)
        && password.len() >= 8
        && text.matches(password).count() == 1
    {
        assert!(!shown.contains(password), "a password is shown");
    }
    let Value::Object(members) = value else { return };
    // The agent uses no value of a member that occurs twice, and `Value` uses the last.
    if result.as_ref().is_err_and(|error| error.0.iter().any(|fault| fault.message == "occurs twice")) {
        return;
    }

    // The faults of each section are reported even if other sections have faults.
    let reported = faults(&result);
    let mut alone = BTreeSet::new();
    for (key, member) in &members {
        let one = Map::from_iter([(key.clone(), member.clone())]);
        alone.extend(faults(&config::parse(&Value::Object(one).to_string(), env)));
    }
    assert_eq!(reported, alone);

    // A nucleus may convert numbers and booleans to strings.
    if let Ok((config, mut unknown)) = result {
        let (again, mut still) = config::parse(&as_texts(Value::Object(members)).to_string(), env).expect("as texts");
        // The shown configuration equals the given one. Unknown keys come in the order of the text,
        // which differs from the order of `Value`.
        unknown.sort();
        still.sort();
        let read = |config| format!("{:?}", Config { shown: Value::Null, ..config });
        assert_eq!((read(config), unknown), (read(again), still));
    }
});

fn faults<T>(result: &Result<T, config::ConfigError>) -> BTreeSet<String> {
    let all = result.as_ref().err().map(|error| error.0.as_slice()).unwrap_or_default();
    // The default of the first key depends on another section, and the fault of the second one on
    // the name of the core device.
    let own = |fault: &&offboard::domain::FieldFault| {
        let is_of_two = fault.message.starts_with("must be set") || fault.message.starts_with("must be false");
        !is_of_two || !["mqtt.clientId", "acceptBroadcast"].contains(&fault.name.as_str())
    };
    all.iter().filter(own).map(|fault| format!("{} {}", fault.name, fault.message)).collect()
}

fn as_texts(value: Value) -> Value {
    match value {
        Value::Number(number) => json!(number.to_string()),
        Value::Bool(flag) => json!(flag.to_string()),
        Value::Array(items) => items.into_iter().map(as_texts).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, as_texts(value))).collect(),
        Value::Null | Value::String(_) => value,
    }
}

fn check_limits(config: &Config) {
    let Config { core, region, topic_prefix, batch, retry, rate, limits, retention, guard, mqtt, .. } = config;
    assert!(!region.is_empty() && (1..=128).contains(&core.as_str().len()));
    assert!(!topic_prefix.is_empty() && topic_prefix.len() <= 128 && !topic_prefix.contains(['/', '+', '#', '$']));
    assert!((1..=100).contains(&batch.max_entries) && batch.linger <= Duration::from_secs(60));
    assert!(retry.base <= retry.cap && retry.cap <= Duration::from_secs(86_400) && !retry.base.is_zero());
    assert!((0.001..=1000.0).contains(&rate.calls_per_second) && (1..=1000).contains(&rate.burst));
    assert!((16_384..=1_000_000).contains(&limits.max_payload_bytes));
    assert!((1..=10_000_000).contains(&limits.max_pending_entries));
    assert!((1 << 20..=1 << 40).contains(&limits.max_database_bytes));
    let ten_years = Duration::from_secs(3650 * 86_400);
    assert!(retention.requests <= ten_years && retention.tombstones <= ten_years);
    assert!((0.0..=1.0).contains(&guard.max_fraction));
    assert!(guard.protected.iter().any(|pattern| pattern.matches(core.as_str())), "the core is not guarded");
    if let Some(mqtt) = mqtt {
        assert!(!mqtt.host.is_empty() && mqtt.port > 0 && (1..=128).contains(&mqtt.client_id.len()));
        // A client identifier may be longer, or have other characters, than a thing name, and then
        // does not name a device.
        if ThingName::new(&mqtt.client_id).is_ok() {
            assert!(guard.protected.iter().any(|pattern| pattern.matches(&mqtt.client_id)), "the agent is not guarded");
        }
        assert!((5..=65_535).contains(&mqtt.keep_alive.as_secs()));
        assert!(mqtt.ca_file.is_some(), "the copied authority is not used");
    }
    assert!(guard.protected.iter().all(Pattern::can_match), "a guard protects nothing");
}

/// The shown configuration is a valid configuration with the same meaning.
fn check_shown(config: &Config) {
    let (again, _) = config::parse(&config.shown.to_string(), env).expect("what is shown");
    let read = |config: Config| format!("{:?}", Config { shown: Value::Null, ..config });
    assert_eq!(read(config.clone()), read(again));
}
