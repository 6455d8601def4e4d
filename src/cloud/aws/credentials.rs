//! Credentials from Greengrass's token exchange service, and from no other source: a stray key,
//! profile or address in the environment would act with another identity. Only the nucleus's two
//! variables are read. Therefore the SDK's own provider is not used: it prefers other variables to
//! these, and sends them the nucleus's token.

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
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
    config::host_and_port,
    domain::Mono,
    runtime::{
        clock::Clock,
        errors::{chain, find},
    },
};

/// The variables in which the nucleus gives the service's address, and the token that the service
/// requires.
const ADDRESS: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";

/// The path of the service's one resource. The slash at the end is required.
const PATH: &str = "/2016-11-01/credentialprovider/";

/// The limit on a response: the service may try for 30 s before it responds.
const READ: Duration = Duration::from_secs(35);

/// Credentials are used until this long before their end.
const MARGIN: Duration = Duration::from_secs(300);

/// The longest time for which credentials are used, whatever their end is. They are usually valid
/// for an hour, and the local clock may be wrong.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The most characters of an error's body that are shown.
const MAX_REASON: usize = 300;

/// The present port and token of the service, from another source than the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenExchangeAccess {
    /// The service's port on this machine.
    pub(crate) port: u16,
    /// The token that the service requires.
    pub(crate) token: String,
}

/// Queries the nucleus for the present port and token of the service. The error says why there is
/// no result.
///
/// The environment of this process is as old as the process. On nucleus lite the service comes back
/// on another port, and a restart of another part of the nucleus makes the token invalid.
pub(crate) type AccessSource = Arc<
    dyn Fn() -> Pin<Box<dyn Future<Output = std::result::Result<TokenExchangeAccess, String>> + Send>> + Send + Sync,
>;

/// Loads credentials from the token exchange service, and keeps them for a while.
///
/// The SDK's own cache is not used: it depends on the wall clock alone, and keeps credentials that
/// the cloud calls expired.
#[derive(Clone)]
pub(super) struct TokenExchange {
    http: SharedHttpConnector,
    clock: Clock,
    kept: Arc<Mutex<Option<(Credentials, Mono)>>>,
    source: Option<AccessSource>,
    /// The last result of the source.
    access: Arc<Mutex<Option<TokenExchangeAccess>>>,
}

impl fmt::Debug for TokenExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenExchange")
    }
}

impl TokenExchange {
    /// `http` must connect to this machine only, and directly: the proxies of the environment are
    /// not for the service.
    pub(super) fn new(http: SharedHttpConnector, clock: Clock, source: Option<AccessSource>) -> Self {
        Self { http, clock, kept: Arc::default(), source, access: Arc::default() }
    }

    /// Drops the credentials, so that the next call loads new ones.
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
        let credentials = self.ask().await?;
        let wall = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.wall.0).unwrap_or_default());
        let left = credentials.expiry().and_then(|end| end.duration_since(wall).ok()).unwrap_or_default();
        let until = now.mono.after(left.saturating_sub(MARGIN).min(MAX_AGE));
        *self.kept() = Some((credentials.clone(), until));
        Ok(credentials)
    }
}

impl TokenExchange {
    /// Loads credentials from the service. If the service has moved, or no longer knows the token,
    /// queries the source for its present port and token.
    async fn ask(&self) -> Result {
        let known = self.access.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let service = match known {
            Some(access) => Ok(Service::at(&access)),
            None => Service::from_env(),
        };
        let refusal = match &service {
            Ok(service) => match service.ask(&self.http).await {
                Ok(credentials) => return Ok(credentials),
                Err(refusal) => refusal,
            },
            Err(text) => Refusal { text: text.clone(), is_stale: true, next: "" },
        };
        let failed = |refusal: Refusal, next: &str| CredentialsError::provider_error(format!("{}{next}", refusal.text));
        let Some(source) = self.source.as_ref().filter(|_| refusal.is_stale) else {
            let next = refusal.next;
            return Err(match service {
                Ok(_) => failed(refusal, next),
                Err(text) => CredentialsError::not_loaded(text),
            });
        };
        let access = match source().await {
            Ok(access) => access,
            Err(why) => {
                let next =
                    format!("; the nucleus does not give its present address ({why}); check that the nucleus runs");
                return Err(failed(refusal, &next));
            }
        };
        let now = Service::at(&access);
        *self.access.lock().unwrap_or_else(PoisonError::into_inner) = Some(access);
        if service.as_ref().is_ok_and(|before| before.is_same(&now)) {
            let next =
                "; the nucleus confirms the address and the token: check that aws.greengrass.TokenExchangeService runs";
            return Err(failed(refusal, next));
        }
        tracing::info!(service = %now, "the token exchange service has moved, or demands another token");
        now.ask(&self.http).await.map_err(|refusal| {
            let next =
                if refusal.is_stale { "; the agent queries the nucleus for its address again" } else { refusal.next };
            failed(refusal, next)
        })
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

/// The address of the service, and the token that it requires.
struct Service {
    address: String,
    token: String,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token exchange service at {}", self.address)
    }
}

/// The response of the service (AWS SDKs and Tools Reference Guide, "Container credential
/// provider").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

/// Why the service gives no credentials.
struct Refusal {
    text: String,
    /// Whether the service may have moved, or may require another token.
    is_stale: bool,
    /// What to do if no other source gives the address.
    next: &'static str,
}

impl Refusal {
    fn new(text: String) -> Self {
        Self { text, is_stale: false, next: "" }
    }
}

impl Service {
    fn at(access: &TokenExchangeAccess) -> Self {
        Self { address: format!("http://localhost:{}{PATH}", access.port), token: access.token.clone() }
    }

    /// Whether both are at the same port and demand the same token.
    fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.token == other.token
    }

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

    async fn ask(&self, http: &SharedHttpConnector) -> std::result::Result<Credentials, Refusal> {
        match tokio::time::timeout(READ, self.attempt(http)).await {
            Ok(answer) => answer,
            Err(_) => {
                let text = format!("{self} does not answer within {} s; check the nucleus's log", READ.as_secs());
                Err(Refusal::new(text))
            }
        }
    }

    async fn attempt(&self, http: &SharedHttpConnector) -> std::result::Result<Credentials, Refusal> {
        let mut request = HttpRequest::new(SdkBody::empty());
        let set = request.set_uri(self.address.as_str());
        set.map_err(|error| Refusal::new(invalid(&self.address, &error.to_string())))?;
        request.headers_mut().insert("accept", "application/json");
        if !self.token.is_empty() {
            let set = request.headers_mut().try_insert("authorization", self.token.clone());
            set.map_err(|_| {
                Refusal::new(format!("{TOKEN} has characters that no header can hold; restart the component"))
            })?;
        }
        let answer = http.call(request).await.map_err(|error| {
            let why = find::<Failed>(&error).and_then(std::error::Error::source).map_or_else(|| chain(&error), chain);
            Refusal {
                text: format!("{self} does not answer ({why})"),
                is_stale: true,
                next: "; check that it runs, and restart the component if its port has changed",
            }
        })?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await;
        // A redirection is an error like others: the token is not sent to another address.
        if status != 200 {
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            return Err(self.refusal(status, &String::from_utf8_lossy(&body)));
        }
        let body = body.map_err(|error| Refusal::new(format!("{self} breaks its answer off ({error})")))?.to_bytes();
        // The body is never quoted, since a part of it may be a secret.
        let Answer { access_key_id, secret_access_key, token, expiration } =
            serde_json::from_slice(&body).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                Refusal::new(format!(
                    "{self} answers with invalid JSON in place of credentials, {} bytes, wrong at line {line} column {column}; \
                     check the nucleus's log",
                    body.len()
                ))
            })?;
        let end = aws_smithy_types::DateTime::from_str(&expiration, Format::DateTimeWithOffset)
            .ok()
            .and_then(|end| std::time::SystemTime::try_from(end).ok());
        let end =
            end.ok_or_else(|| Refusal::new(format!("{self} gives credentials whose Expiration is not a time")))?;
        Ok(Credentials::new(access_key_id, secret_access_key, Some(token), Some(end), "TokenExchange"))
    }

    fn refusal(&self, status: u16, body: &str) -> Refusal {
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
            300..400 => "; a redirection is not followed: check what listens at this address",
            400..500 => {
                "; check the token exchange role and its role alias if it says so; else restart the component, which gives \
                 it a valid token"
            }
            _ => {
                "; check the token exchange role, its role alias, the core device's certificate and policy, and the nucleus's \
                 log"
            }
        };
        // The classic nucleus responds to a wrong token with 403, and its tokens remain valid.
        // Nucleus lite responds to an unknown token with 404, and to a token of another length with
        // 400.
        let is_stale = matches!(status, 400 | 404);
        Refusal { text: format!("{self} answers HTTP status {status}, {reason}"), is_stale, next }
    }
}

/// Whether a character changes how a terminal shows others.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn invalid(address: &str, why: &str) -> String {
    let shown: String = address.chars().filter(|c| !c.is_control()).take(200).collect();
    format!(
        "{ADDRESS} is \"{shown}\": {why}; it must be the address that the nucleus gives, http://localhost:PORT/PATH"
    )
}

/// Checks that the address is on this machine, since the token is sent to no other machine. A host
/// name is checked when it is resolved.
fn check(address: &str) -> std::result::Result<(), String> {
    let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| invalid(address, "it does not begin with http:// or https://"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(invalid("(not shown, it may hold a password)", "it has an @ in it"));
    }
    let (host, _) = host_and_port(authority).map_err(|why| invalid(address, why))?;
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
        let text = service.refusal(403, "no\n\u{1b}[31mentry\u{202e} hunter2 ").text;
        assert!(text.contains("status 403, \"no [31mentry (token)\""), "{text}");
        assert!(service.refusal(500, &"x".repeat(99_999)).text.len() < 1000);
        assert!(service.refusal(404, "").text.contains("404, without a reason"));
    }
}
