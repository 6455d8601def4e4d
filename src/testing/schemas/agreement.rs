//! Schemas and parser agree: a payload that a schema takes is one that the agent takes, and the
//! other way round.
//!
//! What JSON Schema cannot express, or expresses otherwise, is left out here: `coreDeviceThingName`
//! has to be this core's; a date has to be one of the calendar; and the agent also takes a leap
//! second, and any character between date and time.

use proptest::{prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{commands, texts, validators};
use crate::domain::{
    MAX_CLIENT, MAX_THING, MAX_TOKEN, MAX_USER, Operation,
    operations::{
        site_wise::{ASSET, MAX_EXTERNAL, MONITOR},
        text_kind::{CLIENT, THING, TIME, TOKEN, VIA},
    },
};

const ID: &str = "a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f";

/// Texts of a length at which a rule may change its mind, of characters that belong to one rule or
/// another.
fn texts() -> impl Strategy<Value = String> {
    let lengths: Vec<usize> = [0, 1, 2, MAX_TOKEN, MAX_USER, MAX_THING, MAX_EXTERNAL, 256, 512]
        .into_iter()
        .flat_map(|length| [length.saturating_sub(1), length, length + 1])
        .collect();
    let fillings =
        ["a", "Z", "7", "-", "_", ".", ":", "/", "@", " ", "ü", "\u{a0}", "\u{85}", "\u{feff}", "\u{1f600}", "\n", "~"];
    let long =
        (select(vec!["", "@", "externalId:"]), select(fillings.to_vec()), select(lengths), select(fillings.to_vec()))
            .prop_map(|(head, filling, length, end)| {
                let body = filling.repeat(length.saturating_sub(1));
                format!("{head}{body}{}", if length == 0 { "" } else { end })
            });
    let known = [
        "MyCore",
        ID,
        &ID.to_uppercase(),
        "00000000-0000-0000-0000-000000000000",
        "null",
        "true",
        "IN_PROGRESS",
        "FAILED",
        "ASSOCIATED",
        "associated",
        "externalId:ab",
        "externalId:a",
        "externalId:-b",
        &format!("{ID}\n"),
        "a\n",
    ]
    .map(str::to_owned);
    let texts = prop_oneof![long, select(known.to_vec()), times(), "\\PC{0,3}", any::<String>()];
    // The name of a client is limited in bytes, which JSON Schema does not count.
    texts.prop_filter("characters of several bytes", |text| {
        text.len() <= MAX_CLIENT || text.chars().count() > MAX_CLIENT
    })
}

fn times() -> impl Strategy<Value = String> {
    let known = [
        "2026-11-21T09:00:00Z",
        "2026-11-21 09:00:00.5+01:00",
        "2026-11-21t23:59:59.123456789012z",
        "2026-11-21",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-13-21T09:00:00Z",
        "2026-11-32T09:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T09:60:00Z",
        "2026-11-21T09:00:00",
        "2026-11-21T09:00:00.Z",
        "2026-11-21T09:00:00+24:00",
        "2026-11-21T09:00:00+23:59",
        "2026-11-21T09:00:00+01",
        "2026-11-21T09:00Z",
        "+2026-11-21T09:00:00Z",
        " 2026-11-21T09:00:00Z",
    ];
    select(known.to_vec()).prop_map(str::to_owned)
}

fn values() -> impl Strategy<Value = Value> {
    let odd = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.0),
        json!(1.5),
        json!(100),
        json!(101),
        json!(31_536_000),
        json!(31_536_000.0),
        json!(31_536_001),
        json!(u64::MAX),
        json!(1e300),
        json!([]),
        json!({}),
        json!([null]),
        json!([{}]),
        json!([ID, ID]),
        json!([{"thingName": "a"}, {"thingName": "a"}]),
        json!([{"thingName": "a", "x": 1}]),
        json!([{"thingName": "a b"}]),
    ];
    prop_oneof![2 => select(odd.to_vec()), 3 => texts().prop_map(Value::String)]
}

#[derive(Clone, Debug)]
enum Change {
    Drop(usize),
    Rename(usize, String),
    Set(usize, Value),
    /// In the first of a list.
    Inside(usize, Value),
    Add(String, Value),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let members: std::collections::BTreeSet<String> = Operation::ALL
        .iter()
        .flat_map(|operation| commands::example(*operation).as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        .collect();
    let names = prop_oneof![select(members.into_iter().collect::<Vec<_>>()), texts()];
    let change = prop_oneof![
        any::<usize>().prop_map(Change::Drop),
        (any::<usize>(), texts()).prop_map(|(n, name)| Change::Rename(n, name)),
        (any::<usize>(), values()).prop_map(|(n, value)| Change::Set(n, value)),
        (any::<usize>(), values()).prop_map(|(n, value)| Change::Inside(n, value)),
        (names, values()).prop_map(|(name, value)| Change::Add(name, value)),
    ];
    proptest::collection::vec(change, 0..4)
}

fn changed(payload: Value, changes: &[Change]) -> Value {
    let Value::Object(mut members) = payload else { panic!("an object") };
    let at = |members: &Map<String, Value>, n: usize| members.keys().nth(n % members.len().max(1)).cloned();
    for change in changes {
        match change {
            Change::Drop(n) => {
                at(&members, *n).map(|name| members.remove(&name));
            }
            Change::Rename(n, name) => {
                let value = at(&members, *n).and_then(|old| members.remove(&old));
                value.map(|value| members.insert(name.clone(), value));
            }
            Change::Set(n, value) => {
                at(&members, *n).map(|name| members.insert(name, value.clone()));
            }
            Change::Inside(n, value) => match at(&members, *n).and_then(|name| members.get_mut(&name)) {
                Some(Value::Array(items)) if !items.is_empty() => match &mut items[0] {
                    Value::Object(item) => {
                        item.insert("thingName".into(), value.clone());
                    }
                    item => *item = value.clone(),
                },
                _ => {}
            },
            Change::Add(name, value) => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(members)
}

/// Whether a payload breaks a rule that a schema cannot express.
fn is_beyond(payload: &Value) -> bool {
    payload["coreDeviceThingName"].as_str().is_some_and(|name| name != "MyCore")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_schema_takes_what_the_agent_takes(operation in select(Operation::ALL), changes in changes()) {
        thread_local! {
            static VALIDATORS: std::collections::BTreeMap<String, jsonschema::Validator> = validators();
        }
        let payload = changed(commands::example(operation), &changes);
        if is_beyond(&payload) {
            return Ok(());
        }
        let valid = VALIDATORS.with(|all| all[operation.as_str()].is_valid(&payload));
        prop_assert_eq!(valid, commands::is_taken(operation, &payload), "{}: {}", operation, payload);
    }

    #[test]
    fn a_text_is_valid_to_both_or_to_neither(text in texts()) {
        thread_local! {
            static RULES: Vec<Rule> = rules();
        }
        RULES.with(|rules| {
            for (n, (rule, parse)) in rules.iter().enumerate() {
                prop_assert_eq!(rule.is_valid(&json!(text)), parse(&text).is_ok(), "rule {}, {:?}", n, text);
            }
            Ok(())
        })?;
    }
}

/// As JSON Schema has it, and as the model does.
type Rule = (jsonschema::Validator, fn(&str) -> Result<(), String>);

fn rules() -> Vec<Rule> {
    [&THING, &CLIENT, &TOKEN, &VIA, &TIME, &ASSET, &MONITOR]
        .map(|kind| (jsonschema::draft202012::new(&texts::of(kind)).unwrap(), kind.check))
        .into()
}
