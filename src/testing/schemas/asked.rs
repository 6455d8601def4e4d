//! What a parser asks of a payload, noted by `Fields` while it runs, and put together as a schema:
//! the parser is the only place that says what a command may hold.

use std::{cell::RefCell, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::words;

/// One thing that was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// It was looked at.
    Member,
    /// It has to be there.
    Required,
    /// A text that is parsed into the type of that name.
    Word(&'static str),
    /// A text of so many characters at most.
    Short(usize),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// A list that has to be there and has members.
    Filled,
    /// Of an object: nothing else may be in it.
    Closed,
}

thread_local! {
    static NOTES: RefCell<Option<Vec<(String, Ask)>>> = const { RefCell::new(None) };
}

/// Notes it while [`listen`] runs; the members of a list have one path, `entries[]`.
pub(crate) fn note(path: &str, ask: Ask) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.push((path.replace("[0]", "[]"), ask));
        }
    });
}

/// What is asked while `parse` runs, by path.
pub(super) fn listen(parse: impl FnOnce()) -> BTreeMap<String, Vec<Ask>> {
    NOTES.set(Some(Vec::new()));
    parse();
    let mut asked = BTreeMap::<String, Vec<Ask>>::new();
    for (path, ask) in NOTES.take().unwrap() {
        asked.entry(path).or_default().push(ask);
    }
    asked
}

/// The schema of the object at `path`, with what `describe` says of each member.
pub(super) fn object(
    asked: &BTreeMap<String, Vec<Ask>>,
    path: &str,
    describe: &impl Fn(&str) -> &'static str,
) -> Value {
    assert!(asked[path].contains(&Ask::Closed), "{path:?} is left open: unknown members would pass");
    let (mut members, mut required) = (Map::new(), Vec::new());
    for (at, asks) in asked {
        let name = if path.is_empty() { at.as_str() } else { at.strip_prefix(&format!("{path}.")).unwrap_or_default() };
        if name.is_empty() || name.contains(['.', '[']) {
            continue;
        }
        if asks.iter().any(|ask| matches!(ask, Ask::Required | Ask::Filled)) {
            required.push(name);
        }
        let mut schema = member(asked, at, describe);
        if !required.contains(&name) {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        schema["description"] = json!(describe(at));
        members.insert(name.to_owned(), schema);
    }
    let mut schema = json!({"type": "object", "properties": members, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn member(asked: &BTreeMap<String, Vec<Ask>>, path: &str, describe: &impl Fn(&str) -> &'static str) -> Value {
    let schemas = asked[path].iter().filter_map(|ask| match ask {
        Ask::Member | Ask::Required | Ask::Closed => None,
        Ask::Word(name) => Some(words::of_type(name).unwrap_or_else(|| panic!("{path}: no rule for {name}"))),
        Ask::Short(max) => Some(json!({"type": "string", "maxLength": max})),
        Ask::Flag => Some(json!({"type": "boolean"})),
        Ask::Whole(min, max) => Some(json!({"type": "integer", "minimum": min, "maximum": max})),
        Ask::Filled => {
            let item = format!("{path}[]");
            let items = if asked[&item].contains(&Ask::Closed) {
                object(asked, &item, describe)
            } else {
                member(asked, &item, describe)
            };
            Some(json!({"type": "array", "minItems": 1, "items": items}))
        }
    });
    let schemas: Vec<Value> = schemas.collect();
    match schemas.as_slice() {
        [one] => one.clone(),
        _ => panic!("{path} is read in a way that has no schema: {:?}", asked[path]),
    }
}
