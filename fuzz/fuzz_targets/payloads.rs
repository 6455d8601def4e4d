//! Payloads: no payload ends the process, an accepted command is within its limits and means the
//! same however it is written, and a rejection is small.

#![no_main]

use std::{collections::HashSet, time::Duration};

use libfuzzer_sys::fuzz_target;
use offboard::{
    domain::{Cancel, Change, Command, Operation, Page, Query, RejectionCode, Target, ThingName},
    protocol::{messages, parse_command},
};
use serde_json::Value;

/// The minimum of `limits.maxPayloadBytes`: every rejection has to fit.
const SMALLEST_MESSAGE: usize = 16_384;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

// The first line is the operation, the rest the payload.
fuzz_target!(|data: &[u8]| {
    let Ok(core) = ThingName::new("MyCore") else { return };
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let Ok(operation) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    // Longer texts are not an operation in a topic of a command.
    if operation.is_empty() || operation.len() > 128 || operation.contains('/') {
        return;
    }
    let payload = parts.next().unwrap_or_default();

    let (token, result) = parse_command(&core, operation, payload, 100_000);
    if let Some(token) = &token {
        let text = token.as_str();
        assert!((1..=64).contains(&text.chars().count()) && !text.contains(char::is_whitespace));
    }
    match &result {
        Ok((parsed, command)) => {
            assert_eq!(parsed.as_str(), operation);
            check_command(*parsed, command);
        }
        Err(rejection) => {
            assert_eq!(rejection.code, RejectionCode::ValidationException);
            let token = token.as_ref().map(offboard::domain::ClientToken::as_str);
            let message = messages::rejected(token, operation, rejection, usize::MAX);
            assert!(message.len() <= SMALLEST_MESSAGE, "a rejection of {} bytes", message.len());
            let read: Value = serde_json::from_slice(&message).expect("a message is JSON");
            assert_eq!(read["code"], "ValidationException");
            assert!(read["message"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }

    // White space, escapes and the order of members are not part of the content. The agent rejects
    // a member that occurs twice, and the library does not.
    if result.is_ok()
        && let Ok(value) = serde_json::from_slice::<Value>(payload)
    {
        let again = parse_command(&core, operation, value.to_string().as_bytes(), 100_000);
        assert_eq!((&token, result.as_ref().ok()), (&again.0, again.1.as_ref().ok()));
        let rotated = parse_command(&core, operation, rotate(value).to_string().as_bytes(), 100_000);
        match (&result, rotated.1) {
            (Ok((_, Command::Change(one))), Ok((_, Command::Change(other)))) => {
                assert_eq!(one.content(), other.content(), "the order of entries changes the content");
            }
            (one, other) => assert_eq!(one.is_ok(), other.is_ok()),
        }
    }
});

fn rotate(mut value: Value) -> Value {
    if let Some(entries) = value.get_mut("entries").and_then(Value::as_array_mut)
        && !entries.is_empty()
    {
        entries.rotate_left(1);
    }
    value
}

fn check_command(operation: Operation, command: &Command) {
    match command {
        Command::Change(change) => {
            let Change { operation: inner, targets, expires_in, reason, .. } = change;
            assert_eq!(*inner, operation);
            assert!(!targets.is_empty());
            assert_eq!(targets.iter().collect::<HashSet<_>>().len(), targets.len(), "an entry twice");
            let registry = targets.iter().any(|target| *target == Target::Registry);
            assert_eq!(registry, operation == Operation::Sync);
            assert!(expires_in.is_none_or(|time| time >= Duration::from_secs(1) && time <= YEAR));
            assert!(reason.as_ref().is_none_or(|text| text.chars().count() <= 256));
        }
        Command::Cancel(Cancel { .. }) => assert_eq!(operation, Operation::Cancel),
        Command::Query(query) => match query {
            Query::Request { page, .. } | Query::Requests { page, .. } | Query::Devices { page, .. } => {
                let Page { next_token, max_results } = page;
                assert!(next_token.as_ref().is_none_or(|text| text.len() <= 512));
                assert!(max_results.is_none_or(|count| (1..=100).contains(&count)));
            }
            Query::Device { .. } => {}
        },
    }
}
