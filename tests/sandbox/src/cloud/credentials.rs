//! The token exchange service of a Greengrass nucleus: it returns credentials to a client that has
//! the token.

use std::time::SystemTime;

use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use time::OffsetDateTime;

use super::http::{Body, reply};
use super::state::shifted;

/// The path; its trailing slash is significant, as with the nucleus.
pub(super) const PATH: &str = "/2016-11-01/credentialprovider/";

/// Lifetime of the credentials, which is AWS's own default for a role.
const LIFETIME_SECONDS: i64 = 3600;

/// The only set of credentials of a stand-in, created at its start.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: String,
    /// The value that the token exchange service expects in `Authorization`: 16 characters, the
    /// length that nucleus lite requires.
    pub(super) authorization_token: String,
}

impl Credentials {
    pub(super) fn random() -> Self {
        Self {
            access_key_id: format!("SANDBOX{}", text(13).to_ascii_uppercase()),
            secret_access_key: text(40),
            session_token: text(120),
            authorization_token: text(16),
        }
    }

    /// The response to a request without the token; `None` if the request has it.
    pub(super) fn refusal(&self, request: &Request<Bytes>) -> Option<Response<Body>> {
        let given = request.headers().get(AUTHORIZATION);
        let right = given.is_some_and(|token| token.as_bytes() == self.authorization_token.as_bytes());
        (!right).then(refused)
    }

    /// The response with the credentials.
    pub(super) fn response(&self, now: SystemTime) -> Response<Body> {
        let body = json!({
            "AccessKeyId": self.access_key_id,
            "SecretAccessKey": self.secret_access_key,
            "Token": self.session_token,
            "Expiration": rfc3339(shifted(now, LIFETIME_SECONDS)),
        });
        reply(StatusCode::OK, "application/json", body.to_string())
    }
}

fn refused() -> Response<Body> {
    reply(StatusCode::FORBIDDEN, "text/plain", "value of Authorization header doesn't match the token\n")
}

fn text(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}

fn rfc3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (date, clock) = (time.date(), time.time());
    format!("{date}T{:02}:{:02}:{:02}Z", clock.hour(), clock.minute(), clock.second())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_no_fraction_and_end_in_z() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_789);
        assert_eq!(rfc3339(time), "2024-02-29T12:34:56Z");
    }
}
