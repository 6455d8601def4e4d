//! AWS Signature Version 4, as the AWS documentation "Create a signed AWS API request" specifies
//! it: verified on the server's side, and created for tests that write their own requests.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use time::{Date, Month, OffsetDateTime, Time};

use super::credentials::Credentials;
use super::errors::ApiError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const DATE_HEADER: &str = "x-amz-date";
const TOKEN_HEADER: &str = "x-amz-security-token";

/// Maximum difference between a request's time and the server's.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The characters that are escaped in a name or value: all but the unreserved characters of RFC
/// 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same for a path.
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// The parts of a request that a signature covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signable<'a> {
    pub(super) method: &'a str,
    /// The path of the request line, escaped once.
    pub(super) path: &'a str,
    /// The query of the request line, without the question mark.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// The parts of the header `Authorization`.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Verifies a request as AWS does.
///
/// # Errors
/// The error of AWS: MissingAuthenticationTokenException, IncompleteSignature,
/// UnrecognizedClientException or InvalidSignatureException, all with status 403.
pub(super) fn verify(
    request: Signable<'_>,
    credentials: &Credentials,
    service: &str,
    now: SystemTime,
) -> Result<(), ApiError> {
    let header = |name| request.headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let Some(authorization) = header(AUTHORIZATION.as_str()) else {
        return Err(refusal("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let authorization = Authorization::parse(authorization).ok_or_else(|| {
        refusal("IncompleteSignature", "Authorization header requires Credential, SignedHeaders and Signature")
    })?;
    if authorization.access_key_id != credentials.access_key_id
        || header(TOKEN_HEADER) != Some(credentials.session_token.as_str())
    {
        let message = "The security token included in the request is invalid.";
        return Err(refusal("UnrecognizedClientException", message));
    }
    let invalid = |message: String| refusal("InvalidSignatureException", message);
    if authorization.service != service {
        return Err(invalid(format!("Credential should be scoped to correct service: '{service}'.")));
    }
    for name in ["host", DATE_HEADER, TOKEN_HEADER] {
        if !authorization.signed_headers.contains(&name) {
            return Err(invalid(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
    }
    let amz_date = header(DATE_HEADER).unwrap_or_default();
    check_time(amz_date, authorization.date, now).map_err(invalid)?;

    let canonical = canonical_request(request, &authorization.signed_headers);
    let scope = [authorization.date, authorization.region, authorization.service];
    if signature(&credentials.secret_access_key, amz_date, scope, &canonical) != authorization.signature {
        return Err(invalid(format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for \
             this request should have been\n'{canonical}'\n"
        )));
    }
    Ok(())
}

/// The value of `Authorization` for a request that has all its other headers, including
/// `x-amz-date`. `scope` is the region and the service.
pub(super) fn sign(request: Signable<'_>, credentials: &Credentials, amz_date: &str, scope: [&str; 2]) -> String {
    let [region, service] = scope;
    let mut names: Vec<&str> = request.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let date = amz_date.get(..8).unwrap_or_default();
    let canonical = canonical_request(request, &names);
    let scope = [date, region, service];
    let signature = signature(&credentials.secret_access_key, amz_date, scope, &canonical);
    format!(
        "{ALGORITHM} Credential={}/{date}/{region}/{service}/{TERMINATOR}, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        names.join(";"),
    )
}

/// Formats a time for signatures, `20150830T123600Z`.
pub(super) fn amz_date(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in header.strip_prefix(ALGORITHM)?.split(',') {
            match part.trim().split_once('=')? {
                ("Credential", value) => credential = Some(value),
                ("SignedHeaders", value) => signed_headers = Some(value),
                ("Signature", value) => signature = Some(value),
                _ => {}
            }
        }
        let mut scope = credential?.split('/');
        let [access_key_id, date, region, service] = [scope.next()?, scope.next()?, scope.next()?, scope.next()?];
        let complete = scope.next() == Some(TERMINATOR) && scope.next().is_none();
        complete.then_some(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers: signed_headers?.split(';').collect(),
            signature: signature?,
        })
    }
}

fn refusal(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, code, message)
}

fn check_time(amz_date: &str, scope_date: &str, now: SystemTime) -> Result<(), String> {
    let Some(signed) = parse_amz_date(amz_date) else {
        return Err("Date must be in ISO-8601 'basic format'.".to_owned());
    };
    if !amz_date.starts_with(scope_date) {
        return Err(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: {amz_date}"
        ));
    }
    let clock = self::amz_date(now);
    let now = OffsetDateTime::from(now);
    if signed < now - TOLERANCE {
        let bound = self::amz_date((now - TOLERANCE).into());
        return Err(format!("Signature expired: {amz_date} is now earlier than {bound} ({clock} - 5 min.)"));
    }
    if signed > now + TOLERANCE {
        let bound = self::amz_date((now + TOLERANCE).into());
        return Err(format!("Signature not yet current: {amz_date} is still later than {bound} ({clock} + 5 min.)"));
    }
    Ok(())
}

fn parse_amz_date(text: &str) -> Option<OffsetDateTime> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<u16>().ok();
    let small = |range| digits(range).and_then(|number| u8::try_from(number).ok());
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let month = Month::try_from(small(4..6)?).ok()?;
    let date = Date::from_calendar_date(digits(0..4)?.into(), month, small(6..8)?).ok()?;
    let time = Time::from_hms(small(9..11)?, small(11..13)?, small(13..15)?).ok()?;
    Some(OffsetDateTime::new_utc(date, time))
}

fn canonical_request(request: Signable<'_>, signed_headers: &[&str]) -> String {
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        // The path is escaped once in the request line; all services but S3 escape it again for the
        // signature.
        utf8_percent_encode(request.path, ESCAPED_IN_PATH),
        canonical_query(request.query),
    );
    for name in signed_headers {
        let values: Vec<String> = request.headers.get_all(*name).iter().map(|value| spaced(value.as_bytes())).collect();
        canonical += &format!("{name}:{}\n", values.join(","));
    }
    canonical + &format!("\n{}\n{}", signed_headers.join(";"), hex(&Sha256::digest(request.body)))
}

fn canonical_query(query: &str) -> String {
    let escaped = |text: &str| {
        let plain: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&plain, ESCAPED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (escaped(name), escaped(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A header's value without surrounding white space, and with single spaces inside.
fn spaced(value: &[u8]) -> String {
    String::from_utf8_lossy(value).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The signature; `scope` is date, region and service.
fn signature(secret: &str, amz_date: &str, scope: [&str; 3], canonical: &str) -> String {
    let [date, region, service] = scope;
    let key = [date, region, service, TERMINATOR]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part.as_bytes()));
    let digest = hex(&Sha256::digest(canonical));
    let text = format!("{ALGORITHM}\n{amz_date}\n{date}/{region}/{service}/{TERMINATOR}\n{digest}");
    hex(&mac(&key, text.as_bytes()))
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "RFC 2104 takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
