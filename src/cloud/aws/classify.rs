//! What an HTTP response means, by its error code and never by its status alone. A 404 may be an
//! unknown operation, a 400 may be throttling or an expired signature, and a 200 may come from a
//! captive portal.
//!
//! Sources of the codes: the Greengrass V2 API reference, the errors of each operation and "Common
//! Errors".

use std::time::Duration;

use crate::domain::{CallFault, Timestamp};

/// What an error response with that status means. `code` is the service's error code, or `None` if
/// the body is not one of the API.
pub(super) fn classify(status: u16, code: Option<&str>) -> CallFault {
    let Some(code) = code else {
        return match status {
            429 => CallFault::Throttled,
            500..=599 => CallFault::Server,
            _ => CallFault::NotAws,
        };
    };
    match code {
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => {
            CallFault::Throttled
        }
        "InternalServerException"
        | "InternalFailure"
        | "InternalFailureException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "RequestAborted"
        | "RequestAbortedException" => CallFault::Server,
        "ConflictException" | "ConflictingOperationException" | "RequestAlreadyInProgressException" => CallFault::Busy,
        "RequestExpired"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "AuthFailure" => CallFault::Clock,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => CallFault::Credentials,
        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "OptInRequired" => CallFault::Denied,
        "ResourceNotFoundException" => CallFault::Invalid(Vec::new()),
        "UnknownOperationException"
        | "MalformedHttpRequestException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "SerializationException" => CallFault::NotUnderstood,
        "ValidationException" | "ValidationError" | "InvalidRequestException" => CallFault::Invalid(Vec::new()),
        _ => match status {
            429 => CallFault::Throttled,
            500..=599 | 408 => CallFault::Server,
            401 | 403 => CallFault::Denied,
            409 => CallFault::Busy,
            // A quota (402, 410), or an entry that the service cannot take: the others are sent
            // without it.
            400 | 402 | 410 | 412 | 413 | 422 => CallFault::Invalid(Vec::new()),
            _ => CallFault::NotUnderstood,
        },
    }
}

/// The index of an entry in the name of a faulty member: `entries.3.thingName` or `entries[3]`. In
/// the form `entries.4.member` services count from one or from zero; the entry is then found by
/// sending less and less.
pub(super) fn entry_index(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("entries")?.trim_start_matches(['.', '[', '/']);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    digits.parse().ok().filter(|_| !rest.starts_with(".member"))
}

/// The least time to wait, from `Retry-After` headers: seconds or an HTTP date (RFC 9110, section
/// 10.2.3). If the header is repeated, the longest time counts.
pub(super) fn retry_after<'a>(headers: impl Iterator<Item = &'a str>, now: Timestamp) -> Option<Duration> {
    headers
        .filter_map(|text| {
            if let Ok(seconds) = text.trim().parse::<f64>() {
                return (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
            }
            let until = http_date(text)?;
            u64::try_from(until.0 - now.0).ok().map(Duration::from_millis)
        })
        .max()
}

/// Parses an HTTP date, `Fri, 20 Nov 2026 21:37:00 GMT`.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    use aws_smithy_types::date_time::Format;
    aws_smithy_types::DateTime::from_str(text.trim(), Format::HttpDate).ok()?.to_millis().ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, code: Option<&str>) -> CallFault {
        classify(status, code)
    }

    #[test]
    fn the_code_decides_and_not_the_status() {
        assert_eq!(fault(400, Some("ThrottlingException")), CallFault::Throttled);
        assert_eq!(fault(400, Some("RequestExpired")), CallFault::Clock);
        assert_eq!(fault(404, Some("UnknownOperationException")), CallFault::NotUnderstood);
        assert_eq!(fault(403, Some("ExpiredTokenException")), CallFault::Credentials);
        assert_eq!(fault(403, Some("AccessDeniedException")), CallFault::Denied);
        assert_eq!(fault(400, Some("ValidationException")), CallFault::Invalid(vec![]));
        assert_eq!(fault(500, Some("InternalServerException")), CallFault::Server);
        assert_eq!(fault(404, Some("ResourceNotFoundException")), CallFault::Invalid(vec![]));
        // Codes that no page of the API names.
        assert_eq!(fault(402, Some("ServiceQuotaExceededException")), CallFault::Invalid(vec![]));
        assert_eq!(fault(410, Some("LimitExceededException")), CallFault::Invalid(vec![]));
        assert_eq!(fault(409, Some("SomethingException")), CallFault::Busy);
        assert_eq!(fault(404, Some("SomethingException")), CallFault::NotUnderstood);
    }

    #[test]
    fn an_answer_without_a_code_is_not_the_apis() {
        assert_eq!(fault(200, None), CallFault::NotAws);
        assert_eq!(fault(403, None), CallFault::NotAws);
        assert_eq!(fault(407, None), CallFault::NotAws);
        assert_eq!(fault(503, None), CallFault::Server);
        assert_eq!(fault(429, None), CallFault::Throttled);
    }

    #[test]
    fn named_entries_are_found() {
        assert_eq!(entry_index("entries.3.thingName"), Some(3));
        assert_eq!(entry_index("entries[12].thingName"), Some(12));
        assert_eq!(entry_index("entries.4.member.thingName"), None);
        assert_eq!(entry_index("coreDeviceThingName"), None);
        assert_eq!(entry_index("entries"), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_the_longest_counts() {
        let now = http_date("Fri, 20 Nov 2026 21:37:00 GMT").unwrap();
        let seconds = |text: &[&str]| retry_after(text.iter().copied(), now).map(|after| after.as_secs());
        assert_eq!(seconds(&["7"]), Some(7));
        assert_eq!(seconds(&["7", "9"]), Some(9));
        assert_eq!(seconds(&["Fri, 20 Nov 2026 21:38:00 GMT"]), Some(60));
        assert_eq!(seconds(&["Fri, 20 Nov 2026 21:36:00 GMT"]), None);
        assert_eq!(seconds(&["soon"]), None);
        assert_eq!(seconds(&["1e300"]), Some(u64::MAX));
    }
}
