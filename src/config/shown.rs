//! The configuration as the agent shows it: with the values of the environment, and without
//! secrets.

use serde_json::Value;

use super::settings::Config;

/// Removes the password and the values of unknown keys, since a misspelt key may hold a secret,
/// too.
pub(super) fn shown(given: Value, config: &Config, unknown: &[String]) -> Value {
    let mut shown = if given.is_object() { given } else { Value::Object(serde_json::Map::new()) };
    let hide = |object: Option<&mut Value>, key: &str| {
        if let Some(value) = object.and_then(Value::as_object_mut).and_then(|members| members.get_mut(key)) {
            *value = Value::String("(not shown)".into());
        }
    };
    // An unset password is shown as unset, since the shown configuration is read again.
    let is_unset = |value: &Value| value.is_null() || matches!(value.as_str(), Some("" | "null"));
    let has_password = shown.pointer("/mqtt/password").is_some_and(|value| !is_unset(value));
    for path in has_password.then_some("mqtt.password").into_iter().chain(unknown.iter().map(String::as_str)) {
        // A key may contain dots, the name of a section does not.
        hide(Some(&mut shown), path);
        if let Some((section, key)) = path.split_once('.') {
            hide(shown.get_mut(section), key);
        }
    }
    shown["coreThingName"] = config.core.as_str().into();
    shown["region"] = config.region.as_str().into();
    shown["dataDir"] = config.data_dir.to_string_lossy().into();
    if let Some(path) = config.mqtt.as_ref().and_then(|mqtt| mqtt.ca_file.as_ref()) {
        // The whole section may be the empty string, which counts as unset.
        let mqtt = &mut shown["mqtt"];
        if !mqtt.is_object() {
            *mqtt = Value::Object(serde_json::Map::new());
        }
        mqtt["caFile"] = path.to_string_lossy().into();
    }
    shown
}
