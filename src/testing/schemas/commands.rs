//! The schema and the example of each command's payload, made from the table of operations.

use serde_json::{Map, Value, json};

use super::texts;
use crate::{
    domain::{
        Command, Operation, Rejection, ThingName,
        operations::{
            changes::CLIENT_TOKEN,
            spec::{Member, Rule},
            text_kind::THING,
        },
    },
    protocol::parse_command,
};

/// All members of a payload.
fn members(operation: Operation) -> impl Iterator<Item = &'static Member> {
    std::iter::once(&CLIENT_TOKEN).chain(operation.spec().members())
}

/// A payload with every member that there is. `nextToken` is one that no list takes.
pub(super) fn example(operation: Operation) -> Value {
    let value = |member: &Member| (member.name.to_owned(), serde_json::from_str(member.example).unwrap());
    members(operation).map(value).collect::<Map<_, _>>().into()
}

/// What the agent on `MyCore` reads in it.
pub(super) fn parsed(operation: Operation, payload: &Value) -> Result<Command, Rejection> {
    let core = ThingName::new("MyCore").unwrap();
    let (_, command) = parse_command(&core, operation.as_str(), payload.to_string().as_bytes(), 100_000);
    command.map(|(_, command)| command)
}

/// Whether the agent on `MyCore` takes it.
pub(super) fn is_taken(operation: Operation, payload: &Value) -> bool {
    parsed(operation, payload).is_ok()
}

/// The schema of its payload.
pub(super) fn schema(operation: Operation) -> Value {
    let spec = operation.spec();
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for member in members(operation) {
        let mut schema = rule(&member.rule);
        if member.required {
            required.push(member.name);
        } else {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        schema["description"] = json!(member.about);
        properties.insert(member.name.to_owned(), schema);
    }
    required.sort_unstable();
    let mut schema = object(properties, &required);
    schema["description"] = json!(spec.about);
    schema["examples"] = json!([example(operation)]);
    schema
}

fn rule(rule: &Rule) -> Value {
    match rule {
        Rule::Text(kind) => texts::of(kind),
        Rule::Core => texts::of(&THING),
        Rule::Short(max) => json!({"type": "string", "maxLength": max}),
        Rule::Flag => json!({"type": "boolean"}),
        Rule::Whole(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Rule::Names(names) => {
            let mut item = texts::of(names.kind);
            if let Some((name, about)) = names.member {
                item["description"] = json!(about);
                item = object(Map::from_iter([(name.to_owned(), item)]), &[name]);
            }
            json!({"type": "array", "minItems": 1, "items": item})
        }
    }
}

/// An object of these members and no others.
fn object(properties: Map<String, Value>, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

#[test]
fn each_example_is_taken() {
    for operation in Operation::ALL {
        assert!(is_taken(*operation, &example(*operation)), "{operation}");
    }
}
