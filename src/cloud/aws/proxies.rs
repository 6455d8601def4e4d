//! The proxies that the environment names, as the HTTP client reads them: which proxy a request
//! takes, and which values cannot be used. The client itself ignores a value that it does not
//! understand.

use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;

use crate::config::host_and_port;

/// The variables for a scheme, in the order in which the client reads them. The first variable that
/// is set counts.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// The proxies of the environment.
#[derive(Clone, Debug)]
pub(super) struct Proxies {
    matcher: Arc<Matcher>,
    https: Option<&'static str>,
    http: Option<&'static str>,
}

impl Proxies {
    pub(super) fn from_env() -> Self {
        let named = |own: [&'static str; 2]| {
            let usable = |names: [&'static str; 2]| set(names).filter(|(_, value)| fault(value).is_none());
            usable(own).or_else(|| usable(ALL)).map(|(name, _)| name)
        };
        Self { matcher: Arc::new(Matcher::from_env()), https: named(HTTPS), http: named(HTTP) }
    }

    /// The proxy that a request to that URL takes, with the variable that names it and without its
    /// password.
    pub(super) fn of(&self, url: &str) -> Option<String> {
        let url = url.parse().ok()?;
        let proxy = self.matcher.intercept(&url)?;
        let variable = if url.scheme_str() == Some("https") { self.https } else { self.http };
        let address = proxy.uri().to_string();
        Some(format!("{} (from {})", address.trim_end_matches('/'), variable.unwrap_or("the environment")))
    }
}

/// What is wrong with the variables that name proxies, one sentence for each variable.
pub(crate) fn proxy_faults() -> Vec<String> {
    let describe = |names| {
        let (name, value) = set(names)?;
        let why = fault(&value)?;
        // A value in which no host is found may hold a password anywhere before an @.
        let shown: String =
            value.rsplit('@').next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(100).collect();
        Some(format!(
            "{name} is \"{shown}\", which {why}; it is not used, and calls do not use this proxy: set it to http://HOST:PORT, or unset it"
        ))
    };
    [HTTPS, HTTP, ALL].into_iter().filter_map(describe).collect()
}

/// The first of these variables that is set, as the client reads it. An empty variable is set, and
/// means that there is no proxy.
fn set(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    let found = names.into_iter().find_map(|name| std::env::var(name).ok().map(|value| (name, value)));
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
}
