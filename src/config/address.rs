//! The host and the port of an address, as far as they can be checked without a connection.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest name of the domain name system, and the longest label of one (RFC 1035, section
/// 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The most characters of a wrong address that a message shows.
const MAX_SHOWN: usize = 200;

/// Splits an address into its scheme in small letters, and what follows `://`. The letters of a
/// scheme may be of either case (RFC 3986, section 3.1).
pub(super) fn scheme(address: &str) -> Option<(String, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    Some((scheme.to_ascii_lowercase(), rest))
}

/// Splits `HOST[:PORT]`. An IPv6 address is in brackets (RFC 3986, section 3.2.2), which are not a
/// part of the returned host.
///
/// # Errors
/// What is wrong, as a sentence about "it", the address.
pub(crate) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("it has a [ without a ]")?;
            // A link-local address may have a zone (RFC 4007, section 11): an interface such as
            // eth0.100.
            let (address, zone) = host.split_once('%').unwrap_or((host, "0"));
            if address.parse::<Ipv6Addr>().is_err() || !zone.split('.').all(is_label) {
                return Err("it has no IPv6 address in its brackets");
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("it has more than a port after the ]"),
            }
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if port.is_some_and(|port| port.contains(':')) {
                return Err("it has more than one colon, and only in brackets may a host have colons: [::1]");
            }
            if host.is_empty() {
                return Err("it names no host");
            }
            if !is_host(host) {
                return Err("its host is neither a name of letters, digits, - _ and . nor an IP address");
            }
            (host, port)
        }
    };
    let port = port.map(|port| port_of(port).ok_or("its port is no number from 1 to 65535")).transpose()?;
    Ok((host, port))
}

/// A wrong address for a message, without control characters and not too long.
pub(super) fn shown(address: &str) -> String {
    let cut: String = address.chars().take(MAX_SHOWN).collect();
    let more = if cut.len() < address.len() { "..." } else { "" };
    format!("{cut:?}{more}")
}

fn port_of(text: &str) -> Option<u16> {
    // A number may have a sign, and a port has none.
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok().filter(|port| *port != 0)
}

fn is_host(host: &str) -> bool {
    // The name of a host may end with the dot of the root.
    let labels: Vec<&str> = host.strip_suffix('.').unwrap_or(host).split('.').collect();
    let is_number = |label: &&str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_like_ipv4 = labels.len() == 4 && labels.iter().all(is_number);
    host.len() <= MAX_NAME
        && labels.iter().all(|label| is_label(label))
        && (!is_like_ipv4 || host.parse::<Ipv4Addr>().is_ok())
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_ip_address() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("broker_1.plant.example.:1", "broker_1.plant.example.", Some(1)),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
            ("[::1]", "::1", None),
            ("[fe80::1%eth0]:1883", "fe80::1%eth0", Some(1883)),
            ("[fe80::1%eth0.100]", "fe80::1%eth0.100", None),
            ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", Some(80)),
        ] {
            assert_eq!(host_and_port(text), Ok((host, port)), "{text}");
        }
        let long = format!("{}a", "a.".repeat(127));
        for bad in [
            "",
            ":80",
            "h:",
            "h:0",
            "h:99999",
            "h:+80",
            "h:x",
            "h:80:90",
            "::1",
            "[::1",
            "[",
            "[]",
            "[h]",
            "[zz",
            "[::1]x",
            "[::1]:",
            "[::1%]",
            "[::1%a b]",
            "::1]",
            "a]",
            "a b",
            "a..b",
            ".",
            "10.0.0.256",
            "10.0.0.01",
            "a/b",
            "a?b",
            "a\\b",
            "u@h",
            "\u{fc}",
            "a\0",
            " h",
            "h ",
            "a%b",
            &long,
        ] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}
