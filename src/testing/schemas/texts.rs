//! The rules of texts, and the lists of allowed texts, as JSON Schema. `agreement.rs` tests that each
//! rule here accepts what the parser's rule accepts.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::{
    domain::{
        AccessView, CloudState, DeviceState, EventKind, Operation, Reason, RejectionCode, RequestStatus,
        operations::text_kind::{CLIENT, Form, THING, TOKEN, TextKind, VIA},
    },
    protocol::metrics::METRICS,
    protocol::status::HEALTH,
};

/// The schema of a text.
pub(super) fn of(kind: &TextKind) -> Value {
    match kind.form {
        Form::OneOf(texts) => json!({"type": "string", "enum": texts()}),
        Form::Pattern { pattern, length, not } => {
            let mut schema = json!({"type": "string", "pattern": pattern});
            if let Some((min, max)) = length {
                schema["minLength"] = json!(min);
                schema["maxLength"] = json!(max);
            }
            if let Some(text) = not {
                schema["not"] = json!({"const": text});
            }
            schema
        }
    }
}

fn one_of<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Value {
    json!({"type": "string", "enum": all.iter().map(|one| name(*one)).collect::<Vec<_>>()})
}

macro_rules! members {
    ($($name:ident => $schema:expr;)+) => {
        $(pub(crate) fn $name(_: &mut SchemaGenerator) -> Schema {
            Schema::try_from($schema).unwrap()
        })+
    };
}

members! {
    thing_name => of(&THING);
    client => of(&CLIENT);
    via => of(&VIA);
    token => of(&TOKEN);
    // As the agent writes it.
    time => json!({
        "type": "string",
        "format": "date-time",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
    });
    operation => one_of(Operation::ALL, Operation::as_str);
    change => {
        let changes: Vec<_> = Operation::ALL.iter().copied().filter(|operation| operation.call_kind().is_some()).collect();
        one_of(&changes, Operation::as_str)
    };
    request_status => one_of(RequestStatus::ALL, RequestStatus::as_str);
    device_state => one_of(DeviceState::ALL, DeviceState::as_str);
    cloud_state => one_of(CloudState::ALL, CloudState::as_str);
    rejection_code => one_of(RejectionCode::ALL, RejectionCode::as_str);
    rejection_reason => one_of(Reason::ALL, Reason::as_str);
    health => one_of(&HEALTH, |word| word);
    local_access => one_of(AccessView::NAMES, |word| word);
    event => one_of(EventKind::NAMES, |word| word);
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
