//! The JSON that the agent sends. Each message is made within a limit of bytes: lists are cut, and say so.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{
    DeviceView, EntryFailure, Event, Fault, Happened, Operation, Reason, Rejection, Request, RequestStatus, Timestamp,
};

/// Error entries in one message, as in the API.
pub const MAX_ERROR_ENTRIES: usize = 100;

/// Room for all members of a message but its list: texts from outside in it are limited to 128 + 1024 characters.
const ROOM_BESIDE_LIST: usize = 2048;

/// `accepted`, for all operations.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The request's token, echoed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// The operation.
    pub operation: &'static str,
    /// Entries of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<u32>,
    /// When it was on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<String>,
    /// Of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanMessage>,
    /// Of `get-device`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceMessage>,
    /// Of `get-device` with `history`: the oldest event first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<EventMessage>>,
    /// Of `list-devices`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceMessage>>,
    /// Of `get-request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestMessage>,
    /// Of `list-requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<RequestMessage>>,
    /// Continues a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Of `cancel`: entries withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_count: Option<u32>,
    /// Of `cancel`: entries too late to withdraw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight_count: Option<u32>,
}

/// What a command would do.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanMessage {
    /// Distinct entries.
    pub entry_count: usize,
    /// Cloud calls, if no other request waits.
    pub cloud_call_count: usize,
    /// Devices that are not in the registry.
    pub unknown_count: usize,
    /// The first of them.
    pub unknown: Vec<String>,
    /// Devices that a guard keeps.
    pub guarded_count: usize,
    /// The first of them.
    pub guarded: Vec<String>,
}

/// A code with its text.
#[derive(Debug, Serialize)]
pub struct FaultMessage {
    code: String,
    message: String,
}

impl From<Fault> for FaultMessage {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code, message: fault.message }
    }
}

/// A device record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceMessage {
    thing_name: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    association_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<FaultMessage>,
    changed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    synced_at: Option<String>,
}

/// A device as messages show it, with the time of the last complete sync.
#[must_use]
pub fn device(view: DeviceView, synced_at: Option<Timestamp>) -> DeviceMessage {
    let (requested_by, client_token, requested_at) = match view.device.requested {
        Some((client, token, at)) => (Some(client.into()), Some(token.into()), Some(at.to_string())),
        None => (None, None, None),
    };
    DeviceMessage {
        thing_name: view.thing.into(),
        state: view.state.as_str(),
        association_timestamp: view.device.association.map(|at| at.to_string()),
        attempts: requested_by.is_some().then_some(view.device.attempts),
        requested_by,
        client_token,
        requested_at,
        last_error: view.device.error.map(Into::into),
        changed_at: view.device.changed_at.to_string(),
        synced_at: synced_at.map(|at| at.to_string()),
    }
}

/// Something that happened to a device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventMessage {
    at: String,
    event: &'static str,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_token: Option<String>,
    /// The answer's, if it was not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The answer's; of a request, what it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<Event> for EventMessage {
    fn from(Event { at, happened }: Event) -> Self {
        let event = happened.as_str();
        let (asked, fault, words) = match happened {
            Happened::Requested(asked) => {
                let words = asked.operation.as_str();
                (Some(asked), None, Some(words))
            }
            Happened::Ended { asked, fault } => (Some(asked), fault, None),
            Happened::Answered(fault) => (None, Some(fault), None),
            Happened::Listed => (None, None, Some("the cloud's list began to name it")),
            Happened::Unlisted => (None, None, Some("the cloud's list no longer names it")),
        };
        let (client, client_token) = asked.map(|asked| (asked.client.into(), asked.token.into())).unzip();
        let (code, message) = fault.map(|fault| (fault.code, fault.message)).unzip();
        Self { at: at.to_string(), event, client, client_token, code, message: message.or(words.map(Into::into)) }
    }
}

/// An entry that did not succeed, named as its operation names it.
#[derive(Debug, Serialize)]
pub struct ErrorEntry {
    /// `thingName`, say, with the name; nothing for a sync.
    #[serde(flatten)]
    name: Option<BTreeMap<&'static str, String>>,
    code: String,
    message: String,
}

impl From<EntryFailure> for ErrorEntry {
    fn from(failure: EntryFailure) -> Self {
        let EntryFailure { target, fault } = failure;
        let name = target.member().map(|member| BTreeMap::from([(member, target.name().to_owned())]));
        Self { name, code: fault.code, message: fault.message }
    }
}

/// A request: `completed`, and what `get-request` and `list-requests` show.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMessage {
    client_token: String,
    /// Who asked, where others are shown, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    operation: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    associated_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_count: Option<u32>,
    /// The entries that did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_entries: Option<Vec<ErrorEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_entries_truncated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    accepted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
}

/// A request without its failures.
#[must_use]
pub fn request_summary(request: &Request) -> RequestMessage {
    let tally = &request.tally;
    // A sync has counts of its own.
    let of_entries = |count: u32| (request.operation != Operation::Sync).then_some(count);
    RequestMessage {
        client_token: request.token.to_string(),
        requested_by: None,
        operation: request.operation.as_str(),
        status: tally.status().as_str(),
        entry_count: of_entries(tally.entries),
        succeeded_count: of_entries(tally.succeeded),
        failed_count: of_entries(tally.failed()),
        associated_count: request.sync.map(|counts| counts.associated),
        added_count: request.sync.map(|counts| counts.added),
        removed_count: request.sync.map(|counts| counts.removed),
        error_entries: None,
        error_entries_truncated: None,
        reason: request.reason.clone(),
        issued_at: request.issued_at.map(|at| at.to_string()),
        expires_at: request.expires_at.map(|at| at.to_string()),
        accepted_at: request.accepted_at.to_string(),
        completed_at: request.completed_at.map(|at| at.to_string()),
    }
}

/// `completed`, with as many of `failures` (the first of the request's) as fit in `max_bytes`.
#[must_use]
pub fn completed(request: &Request, failures: Vec<EntryFailure>, max_bytes: usize) -> Vec<u8> {
    debug_assert_ne!(request.tally.status(), RequestStatus::InProgress, "completed is final");
    let mut message = request_summary(request);
    let mut entries: Vec<ErrorEntry> = failures.into_iter().take(MAX_ERROR_ENTRIES).map(Into::into).collect();
    entries.truncate(fitting(&entries, max_bytes));
    if request.operation != Operation::Sync || !entries.is_empty() {
        if entries.len() < request.tally.failed() as usize {
            message.error_entries_truncated = Some(true);
        }
        message.error_entries = Some(entries);
    }
    to_json(&message)
}

/// `accepted` of a request, the same each time it is asked for.
#[must_use]
pub fn accepted(request: &Request) -> Vec<u8> {
    to_json(&Accepted {
        client_token: Some(request.token.to_string()),
        operation: request.operation.as_str(),
        entry_count: (request.operation != Operation::Sync).then_some(request.tally.entries),
        accepted_at: Some(request.accepted_at.to_string()),
        ..Accepted::default()
    })
}

/// How many of `rows`, from the first on, fit into a message of `max_bytes`; at least one, so that a list goes on.
#[must_use]
pub fn fitting<T: Serialize>(rows: &[T], max_bytes: usize) -> usize {
    let room = max_bytes.saturating_sub(ROOM_BESIDE_LIST);
    let mut used = 0;
    let fit = rows.iter().take_while(|row| {
        used += to_json(row).len() + 1;
        used <= room
    });
    fit.count().max(usize::from(!rows.is_empty()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rejected<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_token: Option<&'r str>,
    operation: &'r str,
    code: &'static str,
    message: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Field<'r> {
    name: &'r str,
    message: &'r str,
}

/// `rejected`.
#[must_use]
pub fn rejected(token: Option<&str>, operation: &str, rejection: &Rejection) -> Vec<u8> {
    to_json(&Rejected {
        client_token: token,
        operation,
        code: rejection.code.as_str(),
        message: &rejection.message,
        reason: rejection.reason.map(|reason| match reason {
            Reason::CannotParse => "CANNOT_PARSE",
            Reason::FieldValidationFailed => "FIELD_VALIDATION_FAILED",
            Reason::UnknownOperation => "UNKNOWN_OPERATION",
            Reason::Other => "OTHER",
        }),
        fields: rejection.fields.iter().map(|f| Field { name: &f.name, message: &f.message }).collect(),
        retry_after_seconds: rejection.retry_after.map(|after| after.as_secs().max(1)),
    })
}

/// A message as bytes.
#[must_use]
pub fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    // Fails only for maps with keys that are no strings, or for a `Serialize` that fails; messages have neither.
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::{ClientId, ClientToken, Outcome, Tally, Target, ThingName};

    fn request(entries: u32) -> Request {
        Request {
            seq: 1,
            client: ClientId::new("bench").unwrap(),
            token: ClientToken::new("t1").unwrap(),
            operation: Operation::DisassociateClientDevices,
            content: String::new(),
            tally: Tally::open(entries),
            accepted_at: Timestamp(0),
            issued_at: None,
            expires_at: None,
            lifetime_ms: None,
            delivery: None,
            completed_at: Some(Timestamp(1000)),
            reason: None,
            run: 1,
            accepted_mono: 0,
            sync: None,
        }
    }

    #[test]
    fn messages_are_those_of_the_contract() {
        let mut request = request(2);
        let expected = r#"{"clientToken":"t1","operation":"disassociate-client-devices","entryCount":2,"acceptedAt":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(String::from_utf8(accepted(&request)).unwrap(), expected);
        let fault = Fault::new("Code", "why");
        request.tally.end(&Outcome::Succeeded);
        request.tally.end(&Outcome::Failed(fault.clone()));
        let failure = EntryFailure { target: Target::Device(ThingName::new("s3").unwrap()), fault };
        let expected = r#"{"clientToken":"t1","operation":"disassociate-client-devices","status":"PARTIALLY_SUCCEEDED","entryCount":2,"succeededCount":1,"failedCount":1,"errorEntries":[{"thingName":"s3","code":"Code","message":"why"}],"acceptedAt":"1970-01-01T00:00:00.000Z","completedAt":"1970-01-01T00:00:01.000Z"}"#;
        assert_eq!(String::from_utf8(completed(&request, vec![failure], 4096)).unwrap(), expected);
    }

    #[test]
    fn a_list_of_failures_is_cut_to_the_limit_and_says_so() {
        let mut request = request(300);
        let fault = Fault::new("Code", &"\"".repeat(2000));
        let failure = EntryFailure { target: Target::Device(ThingName::new("s3").unwrap()), fault: fault.clone() };
        for _ in 0..300 {
            request.tally.end(&Outcome::Failed(fault.clone()));
        }
        for limit in [8192, 130_000] {
            let message = completed(&request, vec![failure.clone(); 100], limit);
            assert!(message.len() <= limit, "{} bytes of {limit}", message.len());
            let value: Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(value["errorEntriesTruncated"], true);
            assert!(!value["errorEntries"].as_array().unwrap().is_empty());
        }
    }

    #[test]
    fn a_rejection_names_what_is_wrong() {
        let rejection = Rejection::throttled("too much", std::time::Duration::from_millis(10));
        let expected = r#"{"clientToken":"t","operation":"sync","code":"ThrottlingException","message":"too much","retryAfterSeconds":1}"#;
        assert_eq!(String::from_utf8(rejected(Some("t"), "sync", &rejection)).unwrap(), expected);
    }
}
