//! The section `mqtt`: how to reach the broker.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use super::{
    address::{host_and_port, scheme, shown},
    keys,
};
use crate::{
    domain::{ClientId, InvalidName, ThingName},
    protocol::json::Fields,
};

/// The connection to the broker.
#[derive(Clone)]
pub struct Mqtt {
    /// The host name, as in the broker's certificate.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether TLS is used (`mqtts://`).
    pub tls: bool,
    /// The client identifier; on Greengrass brokers, the thing name of the agent's certificate.
    pub client_id: String,
    /// The broker's certificate authority (a PEM file); the system's authorities if unset.
    pub ca_file: Option<PathBuf>,
    /// The agent's certificate chain and its key (PEM files).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The user name and the password.
    pub login: Option<(String, String)>,
    /// The keep-alive of MQTT.
    pub keep_alive: Duration,
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password must not be logged.
        let (tls, host) = (if self.tls { "s" } else { "" }, &self.host);
        // An IPv6 address is in brackets (RFC 3986, section 3.2.2).
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "mqtt{tls}://{open}{host}{close}:{} as {}", self.port, self.client_id)
    }
}

/// Reads the section. The inner `None` means that there is no broker, the outer one that the
/// section has a fault. `client` becomes the agent's client identifier, also if there is no broker.
pub(super) fn read(
    section: &mut Fields<'_, '_>,
    core: Option<&ThingName>,
    copied_authority: Option<PathBuf>,
    client: &mut Option<String>,
) -> Option<Option<Mqtt>> {
    let address = keys::URL.parsed(section, |text| match text {
        "none" => Ok(None),
        url => broker_url(url).map(Some),
    });
    let client_id = keys::CLIENT_ID.parsed(section, |text| match ClientId::new(text) {
        Ok(client) if !client.is_local() => Ok(text.to_owned()),
        _ => Err(InvalidName::CLIENT),
    });
    let client_id = client_id.or_else(|| core.map(default_client_id));
    client.clone_from(&client_id);
    let has_broker = !matches!(address, Some(None));
    if has_broker && client_id.as_ref().is_some_and(|id| id.len() > 128) {
        keys::CLIENT_ID.fault(section, "must be set: \"<coreThingName>-offboard\" has more than 128 characters");
    }
    let ca_file = keys::CA_FILE.read(section).map(PathBuf::from).or(copied_authority);
    let identity = match (keys::CERT_FILE.read(section), keys::KEY_FILE.read(section)) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (None, None) => None,
        (Some(_), None) => {
            keys::KEY_FILE.fault(section, "is required with mqtt.certFile");
            None
        }
        (None, Some(_)) => {
            keys::CERT_FILE.fault(section, "is required with mqtt.keyFile");
            None
        }
    };
    let password = keys::PASSWORD.read(section);
    let login = match (keys::USERNAME.read(section), password) {
        (Some(username), password) => Some((username, password.unwrap_or_default())),
        (None, None) => None,
        (None, Some(_)) => {
            keys::USERNAME.fault(section, "is required with mqtt.password");
            None
        }
    };
    let keep_alive = Duration::from_secs(keys::KEEP_ALIVE.read(section));
    let Some((tls, host, port)) = address? else { return Some(None) };
    Some(Some(Mqtt { host, port, tls, client_id: client_id?, ca_file, identity, login, keep_alive }))
}

/// The agent's client identifier where none is configured.
pub(crate) fn default_client_id(core: &ThingName) -> String {
    format!("{core}-offboard")
}

/// Whether TLS is used, the host and the port of a broker's address.
///
/// # Errors
/// What is wrong, with the value and what is expected; it continues the sentence "`mqtt.url` ".
pub(crate) fn broker_url(url: &str) -> Result<(bool, String, u16), String> {
    const WANTED: &str = "mqtt://HOST[:PORT], mqtts://HOST[:PORT] or none";
    if url.contains('@') {
        // The address is not shown, since it may contain a password.
        return Err(format!(
            "must be {WANTED}, without a user name or password: these are mqtt.username and mqtt.password"
        ));
    }
    let wrong =
        |why: &str| format!("is {}, and {why}; it must be {WANTED}, with an IPv6 address in brackets", shown(url));
    let (tls, rest) = match scheme(url) {
        Some((scheme, rest)) if scheme == "mqtt" => (false, rest),
        Some((scheme, rest)) if scheme == "mqtts" => (true, rest),
        _ => return Err(wrong("it does not begin with mqtt:// or mqtts://")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err(wrong("it has more than a host and a port"));
    }
    let (host, port) = host_and_port(rest).map_err(wrong)?;
    Ok((tls, host.to_owned(), port.unwrap_or(if tls { 8883 } else { 1883 })))
}

/// The warning about a password that others on the network can read.
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

/// Whether data for that host stays on this machine.
fn is_loopback(host: &str) -> bool {
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
        let warning = |mqtt: &str| {
            let text = format!(r#"{{"coreThingName":"C","region":"eu-west-1","mqtt":{mqtt}}}"#);
            let (config, _) = crate::config::parse(&text, |_| None).unwrap();
            config.mqtt.as_ref().and_then(readable_password)
        };
        let text = warning(r#"{"url":"mqtt://broker.plant:1884","username":"u","password":"hunter2"}"#).unwrap();
        assert!(text.contains("broker.plant:1884") && text.contains("mqtts://") && !text.contains("hunter2"), "{text}");
        assert_eq!(warning(r#"{"url":"mqtts://broker.plant","username":"u","password":"p"}"#), None);
        assert_eq!(warning(r#"{"url":"mqtt://localhost","username":"u","password":"p"}"#), None);
        assert_eq!(warning(r#"{"url":"mqtt://broker.plant","username":"u"}"#), None);
        assert_eq!(warning(r#"{"url":"none","username":"u","password":"p"}"#), None);
    }
}
