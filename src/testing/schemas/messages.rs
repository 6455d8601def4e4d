//! The schemas of what the agent sends, derived from the types that it is made from.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::words;
use crate::{
    domain::{Operation, RequestStatus},
    protocol::messages::{Accepted, DeviceMessage, Rejected, RequestMessage},
    protocol::metrics::MetricsMessage,
    protocol::status::{OFFLINE, StatusMessage},
};

/// The member that names the entry; the operation decides which one it is.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[expect(dead_code, reason = "stands for a map that has one of these members")]
pub(crate) struct EntryName {
    /// Of an operation on client devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::thing_name")]
    thing_name: Option<String>,
    /// Of `disassociate-assets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::asset")]
    child_asset_id: Option<String>,
    /// Of `disassociate-project-assets`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "words::monitor")]
    asset_id: Option<String>,
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

/// Members beside `clientToken` and `operation`, in each form that the answer to an operation has;
/// `?` where one may be missing.
fn answers(operation: Operation) -> &'static [&'static [&'static str]] {
    match operation {
        Operation::DisassociateClientDevices | Operation::AssociateClientDevices => {
            &[&["acceptedAt", "clientToken", "entryCount", "unknownCount", "unknown?"], &["plan"]]
        }
        Operation::DisassociateAssets | Operation::DisassociateProjectAssets => {
            &[&["acceptedAt", "clientToken", "entryCount"], &["plan"]]
        }
        Operation::Sync => &[&["acceptedAt", "clientToken"]],
        Operation::Cancel => &[&["canceledCount", "inFlightCount"]],
        Operation::GetRequest => &[&["request", "nextToken?"]],
        Operation::ListRequests => &[&["requests", "nextToken?"]],
        Operation::GetDevice => &[&["device", "history?"]],
        Operation::ListDevices => &[&["devices", "nextToken?"]],
    }
}

fn accepted() -> Value {
    let mut schema = of::<Accepted>("The command is stored durably, or the response to a query.");
    let of_each = Operation::ALL.iter().map(|operation| {
        let forms = answers(*operation).iter().map(|members| {
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

#[test]
fn an_entry_is_named_as_the_model_names_it() {
    use crate::domain::{AssetId, MonitorId, Target, ThingName};
    let id = "a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f";
    let (asset, monitor) = (AssetId::new(id).unwrap(), MonitorId::new(id).unwrap());
    let mut members: Vec<_> = [
        Target::Device(ThingName::new("sensor-7").unwrap()),
        Target::child(asset.clone(), asset.clone(), asset),
        Target::project_asset(monitor.clone(), monitor),
        Target::Registry,
    ]
    .iter()
    .filter_map(Target::member)
    .collect();
    members.sort_unstable();
    let schema = of::<EntryName>("");
    assert_eq!(schema["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), members);
}
