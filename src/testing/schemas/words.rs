//! The rules of texts and the lists of words, as JSON Schema. The numbers and the words are the
//! model's own; that a rule here takes what the model's takes is tested in `agreement.rs`.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::{
    domain::{
        AccessView, AssetId, ClientId, ClientToken, CloudState, DeviceState, Happened, MAX_CLIENT, MAX_EXTERNAL,
        MAX_THING, MAX_TOKEN, MAX_USER, MonitorId, Operation, Reason, RejectionCode, RequestStatus, ThingName,
        Timestamp, Via,
    },
    protocol::metrics::METRICS,
    protocol::status::HEALTH,
};

/// A character of a thing's name.
const THING: &str = "[a-zA-Z0-9:_-]";
/// As the model has it: a UUID in lower case.
const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
/// No white space of Unicode, nor a control character; spelt out, since what `\s` means differs
/// between engines.
const SOLID: &str = r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";
const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// The schema of a text that is parsed into the type of that name.
pub(super) fn of_type(name: &str) -> Option<Value> {
    use std::any::type_name;
    let rules = [
        (type_name::<ThingName>(), thing_name_()),
        (type_name::<ClientId>(), client_()),
        (type_name::<Via>(), one_of(Via::ALL, Via::as_str)),
        (type_name::<ClientToken>(), token_()),
        (type_name::<AssetId>(), asset_()),
        (type_name::<MonitorId>(), monitor_()),
        (type_name::<Timestamp>(), asked_time()),
        (type_name::<RequestStatus>(), one_of(RequestStatus::ALL, RequestStatus::as_str)),
        (type_name::<DeviceState>(), one_of(DeviceState::ALL, DeviceState::as_str)),
    ];
    rules.into_iter().find(|(known, _)| *known == name).map(|(_, rule)| rule)
}

fn one_of<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Value {
    json!({"type": "string", "enum": all.iter().map(|one| name(*one)).collect::<Vec<_>>()})
}

fn thing_name_() -> Value {
    json!({"type": "string", "pattern": format!("^{THING}{{1,{MAX_THING}}}$")})
}

fn client_() -> Value {
    let control = r"\u0000-\u001f\u007f-\u009f";
    let level = format!("[^@$/+#{control}][^/+#{control}]{{0,{}}}", MAX_CLIENT - 1);
    json!({"type": "string", "pattern": format!("^({level}|@[!-.0-~]{{1,{MAX_USER}}})$")})
}

fn token_() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": MAX_TOKEN, "pattern": format!("^{SOLID}*$")})
}

fn monitor_() -> Value {
    json!({"type": "string", "pattern": format!("^{UUID}$"), "not": {"const": NO_UUID}})
}

fn asset_() -> Value {
    // Its first and its last character are of another kind than those between.
    let between = MAX_EXTERNAL - 2;
    let external = format!("externalId:[a-zA-Z0-9_][a-zA-Z0-9_.:-]{{0,{between}}}[a-zA-Z0-9_]");
    json!({"type": "string", "pattern": format!("^({UUID}|{external})$"), "not": {"const": NO_UUID}})
}

/// RFC 3339 as the agent takes it.
fn asked_time() -> Value {
    let date = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])";
    let time = r"([01][0-9]|2[0-3]):[0-5][0-9]";
    json!({"type": "string", "pattern": format!(r"^{date}[Tt ]{time}:[0-5][0-9](\.[0-9]+)?([Zz]|[+-]{time})$")})
}

macro_rules! members {
    ($($name:ident => $schema:expr;)+) => {
        $(pub(crate) fn $name(_: &mut SchemaGenerator) -> Schema {
            Schema::try_from($schema).unwrap()
        })+
    };
}

members! {
    thing_name => thing_name_();
    client => client_();
    via => one_of(Via::ALL, Via::as_str);
    token => token_();
    asset => asset_();
    monitor => monitor_();
    // As the agent writes it.
    time => json!({
        "type": "string",
        "format": "date-time",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
    });
    operation => one_of(Operation::ALL, Operation::as_str);
    change => {
        let changes: Vec<_> = Operation::ALL.iter().copied().filter(|operation| operation.lane().is_some()).collect();
        one_of(&changes, Operation::as_str)
    };
    request_status => one_of(RequestStatus::ALL, RequestStatus::as_str);
    device_state => one_of(DeviceState::ALL, DeviceState::as_str);
    cloud_state => one_of(CloudState::ALL, CloudState::as_str);
    rejection_code => one_of(RejectionCode::ALL, RejectionCode::as_str);
    rejection_reason => one_of(Reason::ALL, Reason::as_str);
    health => one_of(&HEALTH, |word| word);
    local_access => one_of(AccessView::NAMES, |word| word);
    event => one_of(Happened::NAMES, |word| word);
    metric => {
        let names = METRICS.iter().flat_map(|(name, kind, _)| match *kind {
            "histogram" => ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).to_vec(),
            _ => vec![(*name).to_owned()],
        });
        json!({"type": "string", "enum": names.collect::<Vec<_>>()})
    };
    online => json!({"const": "ONLINE"});
    problem_code => json!({"type": "string", "pattern": "^[A-Z]+(_[A-Z]+)*$"});
    device_counts => {
        let states: Vec<_> = DeviceState::ALL.iter().map(|state| state.as_str()).collect();
        let count = json!({"type": "integer", "minimum": 0});
        let members: serde_json::Map<_, _> = states.iter().map(|state| ((*state).to_owned(), count.clone())).collect();
        json!({"type": "object", "properties": members, "required": states})
    };
}
