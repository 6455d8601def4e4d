//! Faults: which calls fail, in which way, and how often.
//!
//! The control API takes a fault as a JSON object of `operation` (`disassociate`, `associate`,
//! `list`, `disassociateAssets`, `disassociateProjectAssets`, `listAssociatedAssets`,
//! `listProjectAssets`, `credentials`; default: any but the last), `about` (the core device, parent
//! asset or project in the path; default: any), `times` (default: until cleared) and `action`. An
//! action without members is its name, `"hang"`; the others are an object with the name, `{"delay":
//! 1.5}`, `{"date": -600}`, `{"status": {"status": 429, "code": "ThrottlingException", "message":
//! "slow down", "retryAfter": "7"}}`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::calls::Operation;

/// A fault. Faults are queued in the order of their arrival; a call meets the first fault that fits
/// it, and only that one.
///
/// A call without a valid signature is refused before any fault applies, so that no fault hides a
/// client that cannot sign.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// The operation that the fault applies to; `None`: any operation of a service, but not the
    /// credentials.
    #[serde(default)]
    pub operation: Option<Operation>,
    /// The number of calls that the fault applies to; `None`: all calls until the faults are
    /// cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// The effect of the fault.
    pub action: Action,
}

/// The effect of a fault. Unless the variant says otherwise, a call that meets the fault has no
/// effect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// An error. With a code it has AWS's format; without a code it has no body and no request id,
    /// as an error of a load balancer or a proxy.
    Status {
        /// The HTTP status, 200..=999; a value that HTTP does not allow becomes 500.
        status: u16,
        /// The exception's name, for the header `x-amzn-ErrorType`.
        #[serde(default)]
        code: Option<String>,
        /// The exception's message; the credentials endpoint sends it as text.
        #[serde(default)]
        message: String,
        /// The header `Retry-After`, unchanged: seconds, a date, or an invalid value.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// The call proceeds normally after this time and has its effect at the end, even if the client
    /// disconnected meanwhile, because a cloud does not notice that. In JSON a number of seconds.
    #[serde(deserialize_with = "delay")]
    Delay(Duration),
    /// No response. When the faults are cleared the call proceeds normally; when the client
    /// disconnects the call has no effect.
    Hang,
    /// The connection is closed before the operation is performed.
    CutBefore,
    /// The operation is performed, then the connection is closed without a response.
    CutAfter,
    /// Status 200 with an empty body and without a request id, which the AWS SDKs take for a
    /// success.
    EmptyOk,
    /// An HTML page without a request id, as a captive portal sends it.
    PortalPage {
        /// The HTTP status of the page.
        status: u16,
    },
    /// These entries fail in a response of status 200, the others succeed. Fits batches that
    /// contain one of them.
    EntryErrors {
        /// The things or assets whose entries fail.
        things: Vec<String>,
        /// The code of each error.
        code: String,
        /// The message of each error.
        message: String,
        /// Omits `thingName` from the errors, which the service model allows, or `assetId`, which
        /// it does not allow.
        #[serde(default)]
        omit_name: bool,
    },
    /// Status 400 for the whole call, with ValidationException or SiteWise's
    /// InvalidRequestException. Fits calls that have the thing among their entries.
    RejectEntry {
        /// The thing or asset that is refused.
        thing: String,
        /// If set, the exception names the entry: reason `FIELD_VALIDATION_FAILED` and a field
        /// `entries.N.thingName`, see [`Cloud::set_first_entry`](super::Cloud::set_first_entry).
        /// Otherwise the reason is `OTHER`. SiteWise names the asset in its message only if this is
        /// set.
        #[serde(default)]
        name_field: bool,
    },
    /// The header `Date` is wrong by this number of seconds; the call proceeds normally.
    Date(i64),
    /// 403 AccessDeniedException, as for a policy that lacks the action.
    Deny,
    /// The credentials are status 200 with the body `null`, as from the Greengrass nucleus lite.
    /// Fits only credentials.
    NullCredentials,
    /// A page of the list breaks off within its body. Fits only lists.
    TruncatedList,
    /// A page of the list repeats the `nextToken` of its request. Fits only lists that continue
    /// one.
    RepeatToken,
}

/// The properties of a call that decide whether a fault fits it.
#[derive(Debug)]
pub(super) struct Traits<'a> {
    pub(super) operation: Operation,
    pub(super) about: &'a str,
    pub(super) things: &'a [String],
    /// Whether the call is a list with a `nextToken`.
    pub(super) continues: bool,
}

/// A fault in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) fault: Fault,
    /// The resource in the path that the fault applies to; `None`: any.
    pub(super) about: Option<String>,
}

/// The queue of faults.
#[derive(Debug, Default)]
pub(super) struct Faults {
    queue: VecDeque<Queued>,
}

impl Faults {
    pub(super) fn inject(&mut self, queued: Queued) {
        if queued.fault.times != Some(0) {
            self.queue.push_back(queued);
        }
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The action of the first fault that fits, whose count is reduced by one.
    pub(super) fn take(&mut self, call: &Traits<'_>) -> Option<Action> {
        let index = self.queue.iter().position(|queued| queued.fits(call))?;
        let fault = &mut self.queue.get_mut(index)?.fault;
        match &mut fault.times {
            Some(times) if *times > 1 => *times -= 1,
            Some(_) => return self.queue.remove(index).map(|queued| queued.fault.action),
            None => {}
        }
        Some(fault.action.clone())
    }
}

impl Queued {
    fn fits(&self, call: &Traits<'_>) -> bool {
        self.about.as_deref().is_none_or(|about| about == call.about) && self.fault.fits(call)
    }
}

impl<'de> Deserialize<'de> for Queued {
    /// Written by hand, because serde rejects no unknown members in a flattened structure.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut members = Map::deserialize(deserializer)?;
        let about = Option::deserialize(members.remove("about").unwrap_or_default()).map_err(D::Error::custom)?;
        let fault = Fault::deserialize(Value::Object(members)).map_err(D::Error::custom)?;
        Ok(Self { fault, about })
    }
}

impl Action {
    /// The item of this entry in the list of errors, if the fault applies to it. `member` is the
    /// item's name for the entry.
    pub(super) fn entry_error(&self, member: &str, thing: &str) -> Option<Value> {
        let Self::EntryErrors { things, code, message, omit_name } = self else { return None };
        things.iter().find(|failing| *failing == thing)?;
        let mut error = Map::from_iter([("code".to_owned(), json!(code)), ("message".to_owned(), json!(message))]);
        if !omit_name {
            error.insert(member.to_owned(), json!(thing));
        }
        Some(Value::Object(error))
    }
}

impl Fault {
    fn fits(&self, call: &Traits<'_>) -> bool {
        let asked = match self.operation {
            Some(operation) => operation == call.operation,
            None => call.operation != Operation::Credentials || self.action == Action::NullCredentials,
        };
        asked
            && match &self.action {
                Action::EntryErrors { things, .. } => {
                    call.operation.is_batch() && things.iter().any(|thing| call.things.contains(thing))
                }
                Action::RejectEntry { thing, .. } => call.things.contains(thing),
                Action::NullCredentials => call.operation == Operation::Credentials,
                Action::TruncatedList => call.operation.is_list(),
                Action::RepeatToken => call.operation.is_list() && call.continues,
                _ => true,
            }
    }
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fault(json: &str) -> Fault {
        serde_json::from_str(json).unwrap()
    }

    fn queued(json: &str) -> Queued {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_json_of_the_documentation_is_understood() {
        assert_eq!(
            fault(r#"{"operation": "list", "times": 2, "action": {"delay": 1.5}}"#),
            Fault {
                operation: Some(Operation::List),
                times: Some(2),
                action: Action::Delay(Duration::from_millis(1500)),
            }
        );
        assert_eq!(fault(r#"{"action": "hang"}"#).action, Action::Hang);
        assert_eq!(fault(r#"{"action": {"date": -600}}"#).action, Action::Date(-600));
        let throttled = r#"{"action": {"status": {"status": 429, "code": "ThrottlingException", "retryAfter": "7"}}}"#;
        assert_eq!(
            fault(throttled).action,
            Action::Status {
                status: 429,
                code: Some("ThrottlingException".to_owned()),
                message: String::new(),
                retry_after: Some("7".to_owned()),
            }
        );
        assert!(serde_json::from_str::<Fault>(r#"{"action": {"delay": -1}}"#).is_err());
        assert_eq!(queued(r#"{"action": "hang", "about": "core"}"#).about.as_deref(), Some("core"));
        assert_eq!(queued(r#"{"action": "hang"}"#).about, None);
        for wrong in [r#"{"action": "hang", "time": 1}"#, r#"{"action": "hang", "about": 1}"#, r#"{"about": "core"}"#] {
            assert!(serde_json::from_str::<Queued>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_that_fits_is_used_and_used_up() {
        let mut faults = Faults::default();
        faults.inject(queued(r#"{"times": 1, "action": {"rejectEntry": {"thing": "b"}}}"#));
        faults.inject(queued(r#"{"times": 2, "action": "deny", "about": "core"}"#));
        faults.inject(queued(r#"{"action": "nullCredentials"}"#));
        let mut take_about = |about, operation, things: &[&str]| {
            let things: Vec<String> = things.iter().map(|&thing| thing.to_owned()).collect();
            let continues = false;
            faults.take(&Traits { operation, about, things: &things, continues })
        };
        let mut take = |operation, things: &[&str]| take_about("core", operation, things);
        assert_eq!(take(Operation::Disassociate, &["a"]), Some(Action::Deny));
        assert!(matches!(take(Operation::Associate, &["a", "b"]), Some(Action::RejectEntry { .. })));
        assert_eq!(take(Operation::List, &[]), Some(Action::Deny));
        assert_eq!(take(Operation::Disassociate, &["b"]), None);
        assert_eq!(take(Operation::Credentials, &[]), Some(Action::NullCredentials));
        assert_eq!(take(Operation::Credentials, &[]), Some(Action::NullCredentials));
    }
}
