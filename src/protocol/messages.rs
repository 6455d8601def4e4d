//! The JSON that the agent sends. Each message is made within a limit of bytes: lists are cut, and
//! say so.

use std::collections::BTreeMap;

use serde::Serialize;

#[cfg(test)]
use super::commands::MAX_REASON;
#[cfg(test)]
use crate::domain::AccessError;
use crate::domain::{
    AccessEvent, AccessView, DeviceView, EntryFailure, Event, Fault, Happened, Operation, Reason, Rejection, Request,
    RequestStatus, Timestamp,
};
#[cfg(test)]
use crate::protocol::json::MAX_FAULTS;
#[cfg(test)]
use crate::{domain::Page, ledger::PLAN_NAMES, testing::schemas::words};

/// Error entries in one message, as in the API.
pub const MAX_ERROR_ENTRIES: usize = 100;

/// Room for all members of a message but its list: texts from outside in it are limited to 128 +
/// 1024 characters.
const ROOM_BESIDE_LIST: usize = 2048;

/// `accepted`, for all operations.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The request's token, echoed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
    pub client_token: Option<String>,
    /// The operation.
    #[cfg_attr(test, schemars(schema_with = "words::operation"))]
    pub operation: &'static str,
    /// Entries of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_count: Option<u32>,
    /// When it was on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    pub accepted_at: Option<String>,
    /// Of a change of devices: entries that the registry did not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_count: Option<u32>,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(default, length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
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
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
    pub devices: Option<Vec<DeviceMessage>>,
    /// Of `get-request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestMessage>,
    /// Of `list-requests`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = Page::MAX_ROWS)))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PlanMessage {
    /// Distinct entries.
    pub entry_count: usize,
    /// Cloud calls, if no other request waits.
    pub cloud_call_count: usize,
    /// Devices that are not in the registry.
    pub unknown_count: usize,
    /// The first of them.
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub unknown: Vec<String>,
    /// Devices that a guard keeps.
    pub guarded_count: usize,
    /// The first of them.
    #[cfg_attr(test, schemars(length(max = PLAN_NAMES)))]
    pub guarded: Vec<String>,
    /// Whether `guard.maxFraction` would reject the command without `force`.
    pub max_fraction_exceeded: bool,
}

/// A code with its text.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FaultMessage {
    /// For programs: the cloud's own, or one of the agent's.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CODE)))]
    code: String,
    /// For people.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CHARS)))]
    message: String,
}

impl From<Fault> for FaultMessage {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code, message: fault.message }
    }
}

/// A device record.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DeviceMessage {
    /// The device's name.
    #[cfg_attr(test, schemars(schema_with = "words::thing_name"))]
    thing_name: String,
    /// What the cloud says of it, overlaid by what is under way.
    #[cfg_attr(test, schemars(schema_with = "words::device_state"))]
    state: &'static str,
    /// When the cloud associated it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    association_timestamp: Option<String>,
    /// Who last asked for a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::client"))]
    requested_by: Option<String>,
    /// The token of that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
    client_token: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    requested_at: Option<String>,
    /// Cloud calls that carried it, in that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// Why the last one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<FaultMessage>,
    /// The device's client in the broker, where the agent manages it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::local_access"))]
    local_access: Option<&'static str>,
    /// Why the broker did not disable or enable it, in its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = AccessError::MAX_CHARS)))]
    local_access_error: Option<String>,
    /// When this record last changed.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    changed_at: String,
    /// When the cloud's list was last read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
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
        local_access: view.access.as_ref().map(AccessView::as_str),
        local_access_error: match view.access {
            Some(AccessView::Failed(message)) => Some(message),
            _ => None,
        },
        changed_at: view.device.changed_at.to_string(),
        synced_at: synced_at.map(|at| at.to_string()),
    }
}

/// Something that happened to a device.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EventMessage {
    /// When it happened.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    at: String,
    /// What happened.
    #[cfg_attr(test, schemars(schema_with = "words::event"))]
    event: &'static str,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::client"))]
    client: Option<String>,
    /// The request's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
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
                let words = asked.operation.to_string();
                (Some(asked), None, Some(words))
            }
            Happened::Ended { asked, fault } => (Some(asked), fault, None),
            Happened::Answered(fault) => (None, Some(fault), None),
            Happened::Listed => (None, None, Some("the cloud's list began to name it".to_owned())),
            Happened::Unlisted => (None, None, Some("the cloud's list no longer names it".to_owned())),
            Happened::Access(AccessEvent::Revoked) => (None, None, Some("the broker's client is disabled".to_owned())),
            Happened::Access(AccessEvent::Restored) => (None, None, Some("the broker's client is enabled".to_owned())),
            Happened::Access(AccessEvent::Failed(message)) => (None, None, Some(message)),
        };
        let (client, client_token) = asked.map(|asked| (asked.client.into(), asked.token.into())).unzip();
        let (code, message) = fault.map(|fault| (fault.code, fault.message)).unzip();
        Self { at: at.to_string(), event, client, client_token, code, message: message.or(words) }
    }
}

/// An entry that did not succeed, named as its operation names it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ErrorEntry {
    /// `thingName`, say, with the name; nothing for a sync.
    #[serde(flatten)]
    #[cfg_attr(test, schemars(with = "crate::testing::schemas::EntryName"))]
    name: Option<BTreeMap<&'static str, String>>,
    /// For programs: the cloud's own, or `Superseded`, `Canceled` or `TimedOut`.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CODE)))]
    code: String,
    /// For people.
    #[cfg_attr(test, schemars(length(min = 1, max = Fault::MAX_CHARS)))]
    message: String,
}

impl From<EntryFailure> for ErrorEntry {
    fn from(failure: EntryFailure) -> Self {
        let EntryFailure { target, fault } = failure;
        let name = target.member().map(|member| BTreeMap::from([(member, target.name().to_owned())]));
        Self { name, code: fault.code, message: fault.message }
    }
}

/// Entries that wait which are shown with a request.
pub const MAX_WAITING_ENTRIES: usize = 10;

/// A request: `completed`, and what `get-request` and `list-requests` show.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RequestMessage {
    /// The request's token.
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
    client_token: String,
    /// Who asked, where others are shown, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::client"))]
    pub requested_by: Option<String>,
    /// What was asked.
    #[cfg_attr(test, schemars(schema_with = "words::change"))]
    operation: &'static str,
    /// Where it stands.
    #[cfg_attr(test, schemars(schema_with = "words::request_status"))]
    status: &'static str,
    /// Its distinct entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_count: Option<u32>,
    /// Those that ended well.
    #[serde(skip_serializing_if = "Option::is_none")]
    succeeded_count: Option<u32>,
    /// Those that ended otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_count: Option<u32>,
    /// Of a change of devices: entries that the registry did not know when the command arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_count: Option<u32>,
    /// Of a sync: devices that the cloud lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    associated_count: Option<u32>,
    /// Of a sync: those that were new to the registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    added_count: Option<u32>,
    /// Of a sync: devices that are no longer listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_count: Option<u32>,
    /// The entries that did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = MAX_ERROR_ENTRIES)))]
    pub error_entries: Option<Vec<ErrorEntry>>,
    /// Some of those that have not ended, with the last answer to each: why they wait. In
    /// `get-request` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_WAITING_ENTRIES)))]
    pub waiting_entries: Option<Vec<ErrorEntry>>,
    /// Not all of them are here: `get-request` has the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_entries_truncated: Option<bool>,
    /// The sender's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(max = MAX_REASON)))]
    pub reason: Option<String>,
    /// When the sender says that it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    issued_at: Option<String>,
    /// When what was not sent ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    expires_at: Option<String>,
    /// When it was on disk.
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
    accepted_at: String,
    /// When its last entry ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::time"))]
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
        unknown_count: request.unknown,
        associated_count: request.sync.map(|counts| counts.associated),
        added_count: request.sync.map(|counts| counts.added),
        removed_count: request.sync.map(|counts| counts.removed),
        error_entries: None,
        waiting_entries: None,
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

/// `accepted` of a request, the same each time it is asked for, with as many of the `unknown` names
/// as fit in `max_bytes`.
#[must_use]
pub fn accepted(request: &Request, mut unknown: Vec<String>, max_bytes: usize) -> Vec<u8> {
    unknown.truncate(fitting(&unknown, max_bytes));
    to_json(&Accepted {
        client_token: Some(request.token.to_string()),
        operation: request.operation.as_str(),
        entry_count: (request.operation != Operation::Sync).then_some(request.tally.entries),
        accepted_at: Some(request.accepted_at.to_string()),
        unknown_count: request.unknown,
        unknown,
        ..Accepted::default()
    })
}

/// How many of `rows`, from the first on, fit into a message of `max_bytes`; at least one, so that
/// a list goes on.
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

/// `rejected`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rejected<'r> {
    /// The command's token, echoed if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::token"))]
    client_token: Option<&'r str>,
    /// The operation's name as it was sent, whether there is such a one or not.
    operation: &'r str,
    /// The kind, as an error of the AWS API is called.
    #[cfg_attr(test, schemars(schema_with = "words::rejection_code"))]
    code: &'static str,
    /// For people: what is wrong, on which thing, and what to do.
    message: &'r str,
    /// Of a `ValidationException`: what was not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(schema_with = "words::rejection_reason"))]
    reason: Option<&'static str>,
    /// The members that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_FAULTS)))]
    fields: Vec<Field<'r>>,
    /// Of a `ThrottlingException`: when sending again may help.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 1)))]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Field<'r> {
    /// The member's path, `entries[3].thingName`.
    name: &'r str,
    /// What is wrong with it.
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
        reason: rejection.reason.map(Reason::as_str),
        fields: rejection.fields.iter().map(|f| Field { name: &f.name, message: &f.message }).collect(),
        retry_after_seconds: rejection.retry_after.map(|after| after.as_secs().max(1)),
    })
}

/// A message as bytes.
#[must_use]
pub fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    // Fails only for maps with keys that are no strings, or for a `Serialize` that fails; messages
    // have neither.
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::{ClientId, ClientToken, Outcome, Tally, Target, ThingName};

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
            boot: 1,
            accepted_mono: 0,
            accepted_elapsed: 0,
            completed_elapsed: 0,
            clock_confirmed: true,
            sync: None,
            unknown: Some(0),
        }
    }

    #[test]
    fn messages_are_those_of_the_contract() {
        let mut request = request(2);
        let expected = r#"{"clientToken":"t1","operation":"disassociate-client-devices","entryCount":2,"acceptedAt":"1970-01-01T00:00:00.000Z","unknownCount":0}"#;
        assert_eq!(String::from_utf8(accepted(&request, Vec::new(), 4096)).unwrap(), expected);
        let names: Vec<String> = (0..100).map(|n| format!("{n:0>128}")).collect();
        let cut = accepted(&request, names.clone(), 4096);
        assert!(
            cut.len() <= 4096 && serde_json::from_slice::<serde_json::Value>(&cut).unwrap()["unknown"][0] == names[0]
        );
        let fault = Fault::new("Code", "why");
        request.tally.end(&Outcome::Succeeded);
        request.tally.end(&Outcome::Failed(fault.clone()));
        let failure = EntryFailure { target: Target::Device(ThingName::new("s3").unwrap()), fault };
        let expected = r#"{"clientToken":"t1","operation":"disassociate-client-devices","status":"PARTIALLY_SUCCEEDED","entryCount":2,"succeededCount":1,"failedCount":1,"unknownCount":0,"errorEntries":[{"thingName":"s3","code":"Code","message":"why"}],"acceptedAt":"1970-01-01T00:00:00.000Z","completedAt":"1970-01-01T00:00:01.000Z"}"#;
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
