//! The proxies that the environment names, as the HTTP client reads them: which proxy a request
//! takes, and which values cannot be used. The client itself ignores a value that it does not
//! understand.

use std::{fmt, sync::Arc};

use aws_smithy_http_client::proxy::ProxyConfig;
use hyper_util::client::proxy::matcher::Matcher;

use crate::config::host_and_port;

/// The variables for a scheme, in the order in which the client reads them. The first variable that
/// is set counts.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const NONE: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The proxies of the environment.
#[derive(Clone)]
pub(super) struct Proxies {
    matcher: Arc<Matcher>,
    https: Option<Named>,
    http: Option<Named>,
    /// The hosts that calls reach without a proxy.
    none_for: String,
    /// A value cannot be used, and the client would use a part of it.
    has_fault: bool,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The SDK logs its parts at the level trace, and a proxy's address may have a password.
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

/// A variable that is set, and its value.
type Named = (&'static str, String);

impl Proxies {
    pub(super) fn from_env() -> Self {
        Self::new(&|name| std::env::var(name).ok())
    }

    fn new(env: &impl Fn(&str) -> Option<String>) -> Self {
        let usable = |names| set(names, env).filter(|(_, value)| fault(value).is_none());
        let named = |own| usable(own).or_else(|| usable(ALL));
        let (https, http) = (named(HTTPS), named(HTTP));
        let none_for = NONE.into_iter().find_map(env).unwrap_or_default();
        let value = |named: &Option<Named>| named.as_ref().map_or_else(String::new, |(_, value)| value.clone());
        let matcher = Matcher::builder().https(value(&https)).http(value(&http)).no(none_for.clone()).build();
        let has_fault = !faults(env).is_empty();
        Self { matcher: Arc::new(matcher), https, http, none_for, has_fault }
    }

    /// The configuration of the HTTP client. The client would read the environment by itself, and
    /// use a part of a value that cannot be used: what follows the first `/`, `#` or `?` of a
    /// password would be missing.
    pub(super) fn config(&self) -> ProxyConfig {
        let made = match (&self.https, &self.http) {
            _ if !self.has_fault => return ProxyConfig::from_env(),
            (Some((_, https)), Some((_, http))) if https == http => ProxyConfig::all(https.clone()),
            // The client takes one proxy, and the calls to the cloud use https.
            (Some((_, https)), _) => ProxyConfig::https(https.clone()),
            (None, Some((_, http))) => ProxyConfig::http(http.clone()),
            (None, None) => return ProxyConfig::disabled(),
        };
        made.map_or_else(|_| ProxyConfig::disabled(), |config| config.no_proxy(&self.none_for))
    }

    /// The proxy that a request to that URL takes, with the variable that names it and without its
    /// password.
    pub(super) fn of(&self, url: &str) -> Option<String> {
        let url = url.parse().ok()?;
        let proxy = self.matcher.intercept(&url)?;
        let named = if url.scheme_str() == Some("https") { &self.https } else { &self.http };
        let variable = named.as_ref().map_or("the environment", |(name, _)| name);
        let address = proxy.uri().to_string();
        Some(format!("{} (from {variable})", address.trim_end_matches('/')))
    }
}

/// What is wrong with the variables that name proxies, one sentence for each variable.
pub(crate) fn proxy_faults() -> Vec<String> {
    faults(&|name| std::env::var(name).ok())
}

fn faults(env: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let describe = |names| {
        let (name, value) = set(names, env)?;
        let why = fault(&value)?;
        // A value in which no host is found may hold a password anywhere before an @.
        let shown: String =
            value.rsplit('@').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
        Some(format!(
            "{name} is \"{shown}\", which {why}; it is not used, and calls do not use this proxy: set it to http://HOST:PORT \
             (in a password, write / as %2F, ? as %3F, # as %23 and @ as %40), or unset it"
        ))
    };
    [HTTPS, HTTP, ALL].into_iter().filter_map(describe).collect()
}

/// The first of these variables that is set, as the client reads it. An empty variable is set, and
/// means that there is no proxy.
fn set(names: [&'static str; 2], env: &impl Fn(&str) -> Option<String>) -> Option<Named> {
    let found = names.into_iter().find_map(|name| env(name).map(|value| (name, value)));
    found.filter(|(_, value)| !value.is_empty())
}

/// Why the client cannot use the value.
fn fault(value: &str) -> Option<&'static str> {
    let any = "https://a.example".parse().ok()?;
    match Matcher::builder().https(value.to_owned()).build().intercept(&any) {
        None => Some("is not the address of a proxy"),
        Some(proxy) if proxy.uri().host().is_none_or(str::is_empty) => Some("names no host"),
        Some(proxy) if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) => {
            Some("is the address of a SOCKS proxy, which is not supported")
        }
        // The client would ignore a port that is not a number, and use another port.
        Some(proxy) if proxy.uri().authority().is_none_or(|all| host_and_port(all.as_str()).is_err()) => {
            Some("has no host name or IP address, or a port that is no number from 1 to 65535")
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_http_proxies_are_of_use() {
        for good in [
            "http://proxy:3128",
            "https://proxy:3128",
            "http://user:secret@proxy",
            "proxy:3128",
            "10.0.0.1:3128",
            "http://[::1]:3128",
            "http://u:p@h:1/",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "not a url",
            "http://",
            "http://:3128",
            "socks5://proxy:1080",
            "ftp://proxy",
            "http://proxy:port",
            "/x",
            "http://[::1",
            "http://::1:3128",
            "http://[zz",
            "http://proxy:99999",
            "http://proxy:0",
            "http://pro xy",
            "http://u:p@[::1",
            "http://u:p@h:0",
        ] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
    /// The characters after which the client would take the rest of a password for something else.
    #[test]
    fn no_part_of_a_password_is_shown_or_used() {
        for password in ["Secret9/abc", "Sec#ret9", "Sec?ret9", "Sec@ret9"] {
            let value = format!("http://svc:{password}@127.0.0.1:3129");
            for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
                let env = |asked: &str| (asked == name).then(|| value.clone());
                let proxies = Proxies::new(&env);
                assert_eq!(proxies.of("https://a.example"), None, "{value}");
                assert!(proxies.config().is_disabled(), "{value}");
                let faults = faults(&env);
                assert!(faults[0].starts_with(&format!("{name} is \"127.0.0.1:3129\"")), "{faults:?}");
                assert!(!faults[0].contains("ret9"), "{faults:?}");
            }
        }
    }

    #[test]
    fn a_wrong_variable_leaves_the_others_in_use() {
        let env = |name: &str| match name {
            "HTTP_PROXY" => Some("socks5://proxy:1".to_owned()),
            "ALL_PROXY" => Some("http://u:p@proxy:3128".to_owned()),
            "NO_PROXY" => Some("b.example".to_owned()),
            _ => None,
        };
        let proxies = Proxies::new(&env);
        let (all, none) = (Some("http://proxy:3128 (from ALL_PROXY)".to_owned()), None);
        assert_eq!(proxies.of("https://a.example"), all);
        assert_eq!(proxies.of("http://a.example"), all);
        assert_eq!(proxies.of("https://b.example"), none);
        assert!(!proxies.config().is_disabled() && !proxies.config().is_from_env());
    }
}
