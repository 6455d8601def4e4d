//! Credentials from Greengrass's token exchange service, and from nowhere else: a stray key,
//! profile or address in the environment would act in another's name. Only the nucleus's two
//! variables are read, which is why the SDK's own provider is not used: it prefers other variables
//! to these, and sends them the nucleus's token.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, Result, error::CredentialsError, future},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::{body::SdkBody, date_time::Format};
use http_body_util::BodyExt;
use serde::Deserialize;

use super::http::Failed;
use crate::{
    domain::Mono,
    runtime::{
        clock::Clock,
        errors::{chain, find},
    },
};

/// The variables in which the nucleus gives the service's address, and the token that the service
/// demands.
const ADDRESS: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The service may try for 30 s before it answers.
const READ: Duration = Duration::from_secs(35);

/// Credentials are used until so long before their end.
const MARGIN: Duration = Duration::from_secs(300);

/// And no longer than this, whatever their end: they last an hour as a rule, and the local clock
/// may be off.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Characters of an error's body that are shown.
const MAX_REASON: usize = 300;

/// Asks the token exchange service, and keeps what it gives for a while.
///
/// The SDK's own cache is not used: it goes by the wall clock alone, and keeps what the cloud calls
/// expired.
#[derive(Clone, Debug)]
pub(super) struct TokenExchange {
    http: SharedHttpConnector,
    clock: Clock,
    kept: Arc<Mutex<Option<(Credentials, Mono)>>>,
}

impl TokenExchange {
    /// `http` must go to this machine only, and directly: the proxies of the environment are not
    /// for the service.
    pub(super) fn new(http: SharedHttpConnector, clock: Clock) -> Self {
        Self { http, clock, kept: Arc::default() }
    }

    /// The next call asks again.
    pub(super) fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Credentials, Mono)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) -> Result {
        let now = self.clock.now();
        if let Some((credentials, until)) = &*self.kept()
            && now.mono < *until
        {
            return Ok(credentials.clone());
        }
        let service = Service::from_env().map_err(CredentialsError::not_loaded)?;
        let credentials = service.ask(&self.http).await.map_err(CredentialsError::provider_error)?;
        let wall = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.wall.0).unwrap_or_default());
        let left = credentials.expiry().and_then(|end| end.duration_since(wall).ok()).unwrap_or_default();
        let until = now.mono.after(left.saturating_sub(MARGIN).min(MAX_AGE));
        *self.kept() = Some((credentials.clone(), until));
        Ok(credentials)
    }
}

impl ProvideCredentials for TokenExchange {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

/// Where the service is, and what it demands.
struct Service {
    address: String,
    token: String,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token exchange service at {}", self.address)
    }
}

/// What the service answers (AWS SDKs and Tools Reference Guide, "Container credential provider").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

impl Service {
    fn from_env() -> std::result::Result<Self, String> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(address) = variable(ADDRESS) else {
            return Err(format!(
                "{ADDRESS} is not set; the component must depend on aws.greengrass.TokenExchangeService"
            ));
        };
        check(&address)?;
        Ok(Self { address, token: variable(TOKEN).unwrap_or_default() })
    }

    async fn ask(&self, http: &SharedHttpConnector) -> std::result::Result<Credentials, String> {
        match tokio::time::timeout(READ, self.attempt(http)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("{self} does not answer within {} s; check the nucleus's log", READ.as_secs())),
        }
    }

    async fn attempt(&self, http: &SharedHttpConnector) -> std::result::Result<Credentials, String> {
        let mut request = HttpRequest::new(SdkBody::empty());
        request.set_uri(self.address.as_str()).map_err(|error| invalid(&self.address, &error.to_string()))?;
        request.headers_mut().insert("accept", "application/json");
        if !self.token.is_empty() {
            let set = request.headers_mut().try_insert("authorization", self.token.clone());
            set.map_err(|_| format!("{TOKEN} has characters that no header can hold; restart the component"))?;
        }
        let answer = http.call(request).await.map_err(|error| {
            let why = find::<Failed>(&error).and_then(std::error::Error::source).map_or_else(|| chain(&error), chain);
            format!(
                "{self} does not answer ({why}); check that it runs, and restart the component if its port has changed"
            )
        })?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        // A redirection is an error like others: it is not followed with the token.
        if status != 200 {
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            return Err(self.refusal(status, &String::from_utf8_lossy(&body)));
        }
        let body = body.map_err(|error| format!("{self} breaks its answer off ({error})"))?.to_bytes();
        // The body is never quoted: a part of it may be a secret.
        let Answer { access_key_id, secret_access_key, token, expiration } =
            serde_json::from_slice(&body).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                format!(
                    "{self} answers with invalid JSON in place of credentials, {} bytes, wrong at line {line} column {column}; \
                     check the nucleus's log",
                    body.len()
                )
            })?;
        let end = aws_smithy_types::DateTime::from_str(&expiration, Format::DateTimeWithOffset)
            .ok()
            .and_then(|end| std::time::SystemTime::try_from(end).ok());
        let end = end.ok_or_else(|| format!("{self} gives credentials whose Expiration is not a time"))?;
        Ok(Credentials::new(access_key_id, secret_access_key, Some(token), Some(end), "TokenExchange"))
    }

    fn refusal(&self, status: u16, body: &str) -> String {
        let secret = if self.token.is_empty() { "\0" } else { &self.token };
        let reason: String = body
            .replace(secret, "(token)")
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        let reason: String = reason.chars().filter(|c| !is_invisible(*c)).take(MAX_REASON).collect();
        let reason = if reason.is_empty() { "without a reason".to_owned() } else { format!("\"{reason}\"") };
        let next = match status {
            300..400 => "a redirection is not followed: check what listens at this address",
            // The classic nucleus answers a wrong token with 403, nucleus lite with 404 or 400.
            400..500 => {
                "check the token exchange role and its role alias if it says so; else restart the component, which gives \
                 it a valid token"
            }
            _ => {
                "check the token exchange role, its role alias, the core device's certificate and policy, and the nucleus's log"
            }
        };
        format!("{self} answers HTTP status {status}, {reason}; {next}")
    }
}

/// Characters that change how a terminal shows others.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn invalid(address: &str, why: &str) -> String {
    let shown: String = address.chars().filter(|c| !c.is_control()).take(200).collect();
    format!(
        "{ADDRESS} is \"{shown}\": {why}; it must be the address that the nucleus gives, http://localhost:PORT/PATH"
    )
}

/// The service is on this machine: its token goes nowhere else. A name is looked at when it is
/// resolved.
fn check(address: &str) -> std::result::Result<(), String> {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| invalid(address, "it does not begin with http:// or https://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(invalid("(not shown, it may hold a password)", "it has an @ in it"));
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(invalid(address, "it names no host"));
    }
    match host.parse::<IpAddr>() {
        Ok(ip) if !ip.is_loopback() => Err(invalid(address, "it is not on this machine")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_on_this_machine() {
        for good in ["http://localhost:1/x", "http://127.0.0.1:1/", "https://127.9.9.9", "http://[::1]:80/x"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "http://169.254.170.2/x",
            "http://[fe80::1]/",
            "ftp://localhost",
            "localhost:1",
            "http://",
            "http://a@localhost/",
        ] {
            assert!(check(bad).is_err_and(|error| error.contains(ADDRESS)), "{bad}");
        }
    }

    #[test]
    fn a_refusal_gives_the_reason_without_the_token() {
        let service = Service { address: "http://localhost:1/x".into(), token: "hunter2".into() };
        let text = service.refusal(403, "no\n\u{1b}[31mentry\u{202e} hunter2 ");
        assert!(text.contains("status 403, \"no [31mentry (token)\""), "{text}");
        assert!(service.refusal(500, &"x".repeat(99_999)).len() < 1000);
        assert!(service.refusal(404, "").contains("404, without a reason"));
    }
}
