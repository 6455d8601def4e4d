//! Cautions: settings that work and yet need a person's attention, such as a password that others
//! on the network can read, a proxy that is named and not used, or messages that the nucleus loses.
//! They are found at the start, without any call.

use super::ipc::ways;
use crate::{
    cloud::proxy_faults,
    config::{Config, Ipc, readable_password},
    health::Health,
    local::ipc::Environment,
};

/// The codes of these problems.
pub(crate) const CODES: [&str; 3] = ["PASSWORD_NOT_ENCRYPTED", "PROXY_INVALID", "IPC_PAYLOAD_TOO_LARGE"];

/// The code and the message of each caution; the message says what to do.
pub(crate) fn find(config: &Config) -> Vec<(&'static str, String)> {
    let [password, proxy, payload] = CODES;
    let mut found: Vec<_> = config.mqtt.iter().filter_map(readable_password).map(|text| (password, text)).collect();
    let faults = proxy_faults();
    if !faults.is_empty() {
        found.push((proxy, faults.join("; ")));
    }
    let is_lite = Environment::of_process().is_some_and(|environment| environment.is_lite());
    if is_lite && ways(config).next().is_some() && config.ipc.max_payload_bytes > Ipc::LITE_MAX_PAYLOAD {
        let (max, lite) = (config.ipc.max_payload_bytes, Ipc::LITE_MAX_PAYLOAD);
        found.push((
            payload,
            format!(
                "ipc.maxPayloadBytes is {max}, and nucleus lite loses messages above {lite} bytes, or closes the connection over \
                 them; set it to {lite}"
            ),
        ));
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
