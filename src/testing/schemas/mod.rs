//! The interface for programs: JSON Schemas of all messages, and an AsyncAPI document of their
//! topics. Tests make them from the code that reads and writes the messages, and compare the files
//! in `docs/` with them. They are compiled for tests only.

mod agreement;
mod asyncapi;
mod commands;
mod messages;
pub(crate) mod texts;

use std::{collections::BTreeMap, fs, path::PathBuf};

pub(crate) use messages::EntryName;
use serde_json::{Value, json};

use crate::domain::Operation;

/// Writes the files, in place of comparing them.
const WRITE: &str = "OFFBOARD_WRITE_DOCS";

/// Every schema by the name of its message: an operation's for its payload.
fn schemas() -> BTreeMap<String, Value> {
    let commands = Operation::ALL.iter().map(|operation| (operation.to_string(), commands::schema(*operation)));
    let messages = messages::schemas().into_iter().map(|(name, schema)| (name.to_owned(), schema));
    commands
        .chain(messages)
        .map(|(name, mut schema)| {
            schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
            schema["title"] = json!(name);
            (name, schema)
        })
        .collect()
}

/// A validator of each.
fn validators() -> BTreeMap<String, jsonschema::Validator> {
    schemas()
        .into_iter()
        .map(|(name, schema)| {
            jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            let validator = jsonschema::options().should_validate_formats(true).build(&schema);
            (name, validator.unwrap())
        })
        .collect()
}

/// The files below `docs/`, as they should be.
fn files() -> BTreeMap<PathBuf, String> {
    let mut files: BTreeMap<PathBuf, Value> =
        schemas().into_iter().map(|(name, schema)| (format!("schemas/{name}.json").into(), schema)).collect();
    files.insert("asyncapi.json".into(), asyncapi::document());
    files.into_iter().map(|(path, value)| (path, format!("{value:#}\n"))).collect()
}

#[test]
fn the_files_are_current() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs");
    let write = std::env::var_os(WRITE).is_some();
    let files = files();
    for (path, text) in &files {
        if write {
            fs::write(docs.join(path), text).unwrap();
        }
        let is_current = fs::read_to_string(docs.join(path)).is_ok_and(|found| found == *text);
        assert!(is_current, "docs/{} is not current: {WRITE}=1 cargo test --lib schemas", path.display());
    }
    for entry in fs::read_dir(docs.join("schemas")).unwrap() {
        let name = PathBuf::from("schemas").join(entry.unwrap().file_name());
        assert!(files.contains_key(&name), "docs/{} is of no message", name.display());
    }
}
