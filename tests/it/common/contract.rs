//! Every message that crosses the broker in a test is checked against `docs/schemas`: what the
//! agent sends is valid, what it accepts is valid, and it rejects nothing valid for its members.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use super::Value;

/// Members that a schema cannot describe completely: which core this is, and which list a token
/// continues.
const BEYOND: [&str; 2] = ["coreDeviceThingName", "nextToken"];

/// More would only repeat the first.
const MAX_FAULTS: usize = 5;

fn schemas() -> &'static BTreeMap<String, jsonschema::Validator> {
    static SCHEMAS: OnceLock<BTreeMap<String, jsonschema::Validator>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas");
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let validator = |path: std::path::PathBuf| {
            let schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), validator)
        };
        files.map(validator).collect()
    })
}

/// Holds a message against the schema of that name; what is wrong with it otherwise.
pub fn check(name: &str, message: &Value) -> Result<(), String> {
    let Some(schema) = schemas().get(name) else { return Err(format!("there is no schema of {name}")) };
    if schema.is_valid(message) {
        return Ok(());
    }
    let faults = schema.iter_errors(message).take(MAX_FAULTS);
    let faults: Vec<_> = faults.map(|fault| format!("{:?}: {fault}", fault.instance_path().to_string())).collect();
    Err(format!("{name} is not as docs/schemas has it: {}", faults.join("; ")))
}

/// Which schema is the one of a topic, below any prefix and core; `None` for a topic that is not
/// the agent's.
pub fn schema_of(topic: &str) -> Option<&str> {
    let levels: Vec<&str> = topic.split('/').collect();
    match levels.as_slice() {
        [_, _, "commands", _, operation] => Some(operation),
        [_, _, "results", _, _, kind @ ("accepted" | "rejected" | "completed")] => Some(kind),
        [_, _, "status"] => Some("status"),
        [_, _, "metrics"] => Some("metrics"),
        [_, _, "devices", _] => Some("device"),
        _ => None,
    }
}

/// One end of the conversation: what it sent, and what was wrong.
#[derive(Default)]
pub struct Contract {
    /// By client, operation and token: what is wrong with it, or nothing. Without a token under an
    /// empty one, and only if none was valid.
    sent: Mutex<HashMap<(String, String), Option<String>>>,
    faults: Mutex<Vec<String>>,
}

impl Contract {
    /// A message that leaves for the broker.
    pub fn sent(&self, topic: &str, payload: &[u8]) {
        let Some((_, rest)) = topic.split_once("/commands/") else { return };
        let Some(operation) = schema_of(topic).filter(|operation| schemas().contains_key(*operation)) else { return };
        // A byte order mark and trailing NUL bytes are no part of the payload.
        let payload = payload.strip_prefix("\u{feff}".as_bytes()).unwrap_or(payload);
        let end = payload.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let (token, fault) = match serde_json::from_slice::<Value>(&payload[..end]) {
            Ok(body) => (body["clientToken"].as_str().unwrap_or_default().to_owned(), check(operation, &body).err()),
            Err(error) => (String::new(), Some(error.to_string())),
        };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sent.entry((rest.to_owned(), token)).or_insert_with(|| fault.clone());
        if fault.is_none() {
            *known = None;
        }
    }

    /// A message that came from the broker.
    pub fn received(&self, topic: &str, payload: &[u8]) {
        let Some(name) = schema_of(topic) else { return };
        // A device that is no more.
        if name == "device" && payload.is_empty() {
            return;
        }
        let fault = match serde_json::from_slice::<Value>(payload) {
            Ok(body) => check(name, &body).and_then(|()| self.answers(topic, name, &body)).err(),
            Err(error) => Some(format!("{name} is not JSON: {error}")),
        };
        if let Some(fault) = fault {
            let text = String::from_utf8_lossy(payload);
            let text: String = text.chars().take(2000).collect();
            self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{topic}: {fault}\n{text}"));
        }
    }

    /// Whether the answer is one that the command's schema leads to expect.
    fn answers(&self, topic: &str, kind: &str, body: &Value) -> Result<(), String> {
        let Some((_, rest)) = topic.split_once("/results/") else { return Ok(()) };
        let command = rest.rsplit_once('/').unwrap_or_default().0.to_owned();
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |token: &str| sent.get(&(command.clone(), token.to_owned()));
        let token = body["clientToken"].as_str().unwrap_or_default();
        let of_members = ["CANNOT_PARSE", "FIELD_VALIDATION_FAILED"].iter().any(|reason| body["reason"] == *reason);
        match (kind, find(token).or_else(|| find(""))) {
            ("accepted", Some(Some(fault))) => Err(format!("the agent accepted it, and {fault}")),
            ("rejected", Some(None)) if of_members && !token.is_empty() => {
                let mut fields = body["fields"].as_array().into_iter().flatten();
                // A member that occurs twice is one to JSON Schema.
                let is_beyond = |field: &Value| {
                    field["name"].as_str().is_some_and(|name| BEYOND.contains(&name))
                        || field["message"] == "occurs twice"
                };
                match fields.any(is_beyond) {
                    true => Ok(()),
                    false => Err("the agent rejected what the schema takes".into()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Fails with the first message that was not as it should be.
    pub fn verify(&self) {
        let faults = std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(first) = faults.first() {
            panic!("{} messages against the contract, first {first}", faults.len());
        }
    }
}
