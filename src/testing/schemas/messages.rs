//! The schemas of what the agent sends, derived from the types that it is made from.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{commands, texts};
use crate::{
    domain::{Command, Operation, RequestStatus, Target, operations::target::Naming},
    protocol::messages::{
        Accepted, CancelResponse, ChangeResponse, DeviceMessage, DeviceResponse, DevicesResponse, PlanResponse,
        Rejected, RequestMessage, RequestResponse, RequestsResponse,
    },
    protocol::metrics::MetricsMessage,
    protocol::status::{OFFLINE, StatusMessage},
};

/// The member that names the entry; the operation decides which one it is.
pub(crate) struct EntryName;

impl JsonSchema for EntryName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EntryName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let naming = |naming: &&Naming| {
            let mut schema = texts::of(naming.kind);
            schema["description"] = json!(entries(naming));
            (naming.member.to_owned(), schema)
        };
        let members: Map<String, Value> = Target::NAMINGS.iter().map(naming).collect();
        Schema::try_from(json!({"type": "object", "properties": members})).unwrap()
    }
}

/// Which entries have that member.
fn entries(naming: &Naming) -> String {
    let has = |operation: &&Operation| target(**operation).and_then(|target| target.naming()) == Some(naming);
    let operations: Vec<&Operation> = Operation::ALL.iter().filter(has).collect();
    if operations.iter().all(|operation| operation.is_on_devices()) {
        return "Of an operation on client devices.".into();
    }
    let names: Vec<String> = operations.iter().map(|operation| format!("`{operation}`")).collect();
    format!("Of {}.", names.join(" or "))
}

/// A target of the operation's example; `None` if it has none.
fn target(operation: Operation) -> Option<Target> {
    match commands::parsed(operation, &commands::example(operation)) {
        Ok(Command::Change(change)) => change.targets.into_iter().next(),
        _ => None,
    }
}

/// All schemas of messages that the agent sends, by the names of their files.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("accepted", accepted()),
        ("rejected", of::<Rejected<'_>>("The command was rejected, and why.")),
        ("completed", completed()),
        ("status", status()),
        ("metrics", of::<MetricsMessage>("Counters, which begin with the agent, and gauges.")),
        (
            "device",
            of::<DeviceMessage>("A device. Its topic is cleared, by an empty message, when it is disassociated."),
        ),
    ]
}

/// As it is written, with all types in place.
fn of<T: JsonSchema>(description: &str) -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    close(&mut schema);
    schema["description"] = json!(description);
    schema
}

/// Makes members that are missing absent, never `null`, and forbids members that are not described.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|one| one != "null");
                if let [one] = types.as_slice() {
                    members["type"] = one.clone();
                }
            }
            if let Some(Value::Array(forms)) = members.get_mut("anyOf") {
                forms.retain(|form| form["type"] != "null");
                if let [Value::Object(one)] = forms.as_slice() {
                    let one = one.clone();
                    members.remove("anyOf");
                    let description = members.remove("description");
                    members.extend(one);
                    members.extend(description.map(|text| ("description".to_owned(), text)));
                }
            }
            // Rust's names for the widths of numbers.
            if members.get("type").is_some_and(|kind| kind == "integer") {
                members.remove("format");
                members.remove("maximum");
            }
            if members.contains_key("properties") {
                members.insert("additionalProperties".into(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn accepted() -> Value {
    const DESCRIPTION: &str = "The command is stored durably, or the response to a query.";
    let mut schema = of::<Accepted<ChangeResponse>>(DESCRIPTION);
    let others = [
        of::<Accepted<PlanResponse>>(DESCRIPTION),
        of::<Accepted<DeviceResponse>>(DESCRIPTION),
        of::<Accepted<DevicesResponse>>(DESCRIPTION),
        of::<Accepted<RequestResponse>>(DESCRIPTION),
        of::<Accepted<RequestsResponse>>(DESCRIPTION),
        of::<Accepted<CancelResponse>>(DESCRIPTION),
    ];
    // The members of all responses; the operation decides which of them a message has.
    let properties = schema["properties"].as_object_mut().unwrap();
    for other in others {
        properties.extend(other["properties"].as_object().unwrap().clone());
    }
    schema["required"] = json!(["operation"]);
    schema["title"] = json!("Accepted");
    let of_each = Operation::ALL.iter().map(|operation| {
        let forms = operation.spec().accepted.iter().map(|members| {
            let required: Vec<_> = members.iter().filter(|name| !name.ends_with('?')).collect();
            let known =
                ["clientToken", "operation"].into_iter().chain(members.iter().map(|name| name.trim_end_matches('?')));
            let known: std::collections::BTreeSet<_> = known.collect();
            json!({"required": required, "propertyNames": {"enum": known}})
        });
        let forms: Vec<Value> = forms.collect();
        let then = if let [one] = forms.as_slice() { one.clone() } else { json!({"oneOf": forms}) };
        json!({"if": {"properties": {"operation": {"const": operation.as_str()}}}, "then": then})
    });
    schema["allOf"] = of_each.collect();
    schema
}

/// A request at its end, as the `completed` message shows it to its sender.
fn completed() -> Value {
    let mut schema = of::<RequestMessage>("The outcome of a request.");
    let members = schema["properties"].as_object_mut().unwrap();
    members.remove("requestedBy");
    members.remove("via");
    let ends = RequestStatus::ALL.iter().filter(|status| **status != RequestStatus::InProgress);
    members["status"]["enum"] = ends.map(|status| status.as_str()).collect();
    let required = schema["required"].as_array_mut().unwrap();
    required.push(json!("completedAt"));
    schema["if"] = json!({"properties": {"operation": {"const": Operation::Sync.as_str()}}});
    schema["then"] = json!({"if": {"properties": {"status": {"const": RequestStatus::Succeeded.as_str()}}},
        "then": {"required": ["associatedCount", "addedCount", "removedCount"]}});
    schema["else"] = json!({"required": ["entryCount", "succeededCount", "failedCount", "errorEntries"]});
    schema
}

/// One of two: the second is also the last will.
fn status() -> Value {
    let online = of::<StatusMessage>("The agent is online.");
    let offline: Value = serde_json::from_str(OFFLINE).unwrap();
    let state =
        json!({"const": offline["state"], "description": "The agent has stopped, or the broker lost its connection."});
    let offline = json!({"type": "object", "title": "Offline", "description": "The agent is offline.",
        "properties": {"state": state}, "required": ["state"], "additionalProperties": false});
    json!({"title": "status", "description": "The status of the agent.", "oneOf": [online, offline]})
}
