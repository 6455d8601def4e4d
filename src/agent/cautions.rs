//! What works as it is configured, and yet is worth a person's attention: a password that anybody
//! on the way can read, a proxy that is named and not used. Found at the start, without any call.

use crate::{
    cloud::proxy_faults,
    config::{Config, readable_password},
    health::Health,
};

/// The codes of these problems.
pub(crate) const CODES: [&str; 2] = ["PASSWORD_NOT_ENCRYPTED", "PROXY_INVALID"];

/// Code and message of each; the message says what to do.
pub(crate) fn find(config: &Config) -> Vec<(&'static str, String)> {
    let [password, proxy] = CODES;
    let mut found: Vec<_> = config.mqtt.iter().filter_map(readable_password).map(|text| (password, text)).collect();
    let faults = proxy_faults();
    if !faults.is_empty() {
        found.push((proxy, faults.join("; ")));
    }
    found
}

/// Logs them and shows them in `status`, until the next start.
pub(crate) fn raise(config: &Config, health: &Health) {
    for (code, message) in find(config) {
        tracing::warn!(code, "{message}");
        health.raise(code, message);
    }
}
