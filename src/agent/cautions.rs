//! Cautions: settings that work and yet need a person's attention, such as a password that others
//! on the network can read, or a proxy that is named and not used. They are found at the start,
//! without any call.

use crate::{
    cloud::proxy_faults,
    config::{Config, readable_password},
    health::Health,
};

/// The codes of these problems.
pub(crate) const CODES: [&str; 2] = ["PASSWORD_NOT_ENCRYPTED", "PROXY_INVALID"];

/// The code and the message of each caution; the message says what to do.
pub(crate) fn find(config: &Config) -> Vec<(&'static str, String)> {
    let [password, proxy] = CODES;
    let mut found: Vec<_> = config.mqtt.iter().filter_map(readable_password).map(|text| (password, text)).collect();
    let faults = proxy_faults();
    if !faults.is_empty() {
        found.push((proxy, faults.join("; ")));
    }
    found
}

/// Logs the cautions and shows them in `status` until the next start.
pub(crate) fn raise(config: &Config, health: &Health) {
    for (code, message) in find(config) {
        tracing::warn!(code, "{message}");
        health.raise(code, message);
    }
}
