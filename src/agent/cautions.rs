//! What works as it is configured, and yet is worth a person's attention: a password that anybody
//! on the way can read, a proxy that is named and not used, messages that the nucleus loses. Found at the start, without any call.

use std::net::IpAddr;

use super::ways;
use crate::{
    cloud::proxy_faults,
    config::{Config, Ipc, Mqtt},
    health::Conditions,
    local::ipc::Environment,
};

/// The codes of these problems.
pub(crate) const CODES: [&str; 3] = ["PASSWORD_NOT_ENCRYPTED", "PROXY_INVALID", "IPC_PAYLOAD_TOO_LARGE"];

/// Code and message of each; the message says what to do.
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

/// Logs them and shows them in `status`, until the next start.
pub(crate) fn raise(config: &Config, conditions: &Conditions) {
    for (code, message) in find(config) {
        tracing::warn!(code, "{message}");
        conditions.raise(code, message);
    }
}

/// What to say of a password that anybody on the way to the broker can read.
pub(crate) fn readable_password(mqtt: &Mqtt) -> Option<String> {
    let has_password = mqtt.login.as_ref().is_some_and(|(_, password)| !password.is_empty());
    (has_password && !mqtt.tls && !is_loopback(&mqtt.host)).then(|| {
        format!(
            "mqtt.password crosses the network to {}:{} in clear text, and so do all commands; use mqtts:// in mqtt.url, with \
             mqtt.caFile, and change the password",
            mqtt.host, mqtt.port
        )
    })
}

/// Whether what is sent to that host stays on this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => ip.to_canonical().is_loopback(),
        Ok(ip) => ip.is_loopback(),
        // RFC 6761, section 6.3.
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in
            ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["broker", "10.0.0.1", "notlocalhost", "localhost.example", "fe80::1", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_password_is_warned_of_where_the_network_can_read_it() {
        let told = |mqtt: &str| {
            let text = format!(r#"{{"coreThingName":"C","region":"eu-west-1","mqtt":{mqtt}}}"#);
            let (config, _) = crate::config::parse(&text, |_| None).unwrap();
            config.mqtt.as_ref().and_then(readable_password)
        };
        let text = told(r#"{"url":"mqtt://broker.plant:1884","username":"u","password":"hunter2"}"#).unwrap();
        assert!(text.contains("broker.plant:1884") && text.contains("mqtts://") && !text.contains("hunter2"), "{text}");
        assert_eq!(told(r#"{"url":"mqtts://broker.plant","username":"u","password":"p"}"#), None);
        assert_eq!(told(r#"{"url":"mqtt://localhost","username":"u","password":"p"}"#), None);
        assert_eq!(told(r#"{"url":"mqtt://broker.plant","username":"u"}"#), None);
        assert_eq!(told(r#"{"url":"none","username":"u","password":"p"}"#), None);
    }
}
