//! The three operations of AWS IoT Greengrass V2 on client devices: which request is which, what of it is refused, and what
//! it does to the state.

use hyper::Request;
use hyper::body::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::calls::{CallId, Operation};
use super::errors::ApiError;
use super::faults::Action;
use super::model::{ENTRIES, MAX_RESULTS, PATH_PREFIX, Reason, SHAPES, THING_NAME};
use super::state::{NotAssociated, State};

/// A request that has found its operation.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) operation: Operation,
    pub(super) core: String,
    /// The parameters of the query, unescaped.
    query: Vec<(String, String)>,
}

impl Target {
    /// Finds the operation of a request.
    ///
    /// # Errors
    /// UnknownOperationException for other paths and methods, ValidationException for a core's name that is no UTF-8.
    pub(super) fn find(request: &Request<Bytes>) -> Result<Self, ApiError> {
        let path = request.uri().path().strip_prefix(PATH_PREFIX).ok_or_else(ApiError::unknown_operation)?;
        let (shape, label) = SHAPES
            .iter()
            .filter(|shape| shape.method == request.method().as_str())
            .find_map(|shape| Some((shape, path.strip_suffix(shape.suffix)?)))
            .filter(|(_, label)| !label.contains('/'))
            .ok_or_else(ApiError::unknown_operation)?;
        let core = percent_decode_str(label)
            .decode_utf8()
            .map_err(|_| ApiError::validation(Reason::CannotParse, "the core device's name is not UTF-8"))?;
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let query = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (plain(name), plain(value)))
            .collect();
        Ok(Self { operation: shape.operation, core: core.into_owned(), query })
    }

    /// The `nextToken` it was asked with.
    pub(super) fn next_token(&self) -> Option<&str> {
        self.parameter("nextToken")
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The thing names of a batch as far as they can be read, for the log and the faults; what is wrong is told later.
pub(super) fn names(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = body.get("entries").and_then(Value::as_array);
    let names = entries.into_iter().flatten().filter_map(|entry| entry.get("thingName")?.as_str());
    names.map(str::to_owned).collect()
}

/// Carries an operation out, bent by the fault that the call met, and gives the body of its answer.
///
/// # Errors
/// ValidationException for what the service model does not allow, ResourceNotFoundException for a core device that is not
/// `known`; neither has an effect.
pub(super) fn perform(
    state: &mut State,
    target: &Target,
    known: Option<&str>,
    body: &[u8],
    call: CallId,
    fault: Option<&Action>,
) -> Result<Value, ApiError> {
    check_length("coreDeviceThingName", &target.core)?;
    if target.operation == Operation::List {
        return list(state, target, known, fault);
    }
    let entries = entries(body, state.settings.first_entry)?;
    if let Some(Action::RejectEntry { thing, name_field }) = fault {
        return Err(rejection(thing, *name_field, &entries, state.settings.first_entry));
    }
    check_known(&target.core, known)?;

    let mut errors = Vec::new();
    let mut effect = false;
    for thing in &entries {
        match change(state, target, thing, fault) {
            Ok(changed) => effect |= changed,
            Err(error) => errors.push(error),
        }
    }
    if let Some(call) = state.calls.get_mut(call) {
        call.effect |= effect;
    }
    Ok(json!({"errorEntries": errors}))
}

/// One entry: whether it changed anything, or its item of `errorEntries`.
fn change(state: &mut State, target: &Target, thing: &str, fault: Option<&Action>) -> Result<bool, Value> {
    if let Some(Action::EntryErrors { things, code, message, omit_name }) = fault
        && things.iter().any(|failing| failing == thing)
    {
        let mut error = json!({"code": code, "message": message});
        if !omit_name && let Some(members) = error.as_object_mut() {
            members.insert("thingName".to_owned(), json!(thing));
        }
        return Err(error);
    }
    if target.operation == Operation::Associate {
        let now = state.now();
        return Ok(state.associate(&target.core, thing, now));
    }
    let taken_off = state.dissociate_by_call(&target.core, thing);
    if !taken_off && state.settings.not_associated == NotAssociated::EntryError {
        let message = "the client device is not associated with the core device";
        return Err(json!({"thingName": thing, "code": "ResourceNotFoundException", "message": message}));
    }
    Ok(taken_off)
}

fn list(state: &State, target: &Target, known: Option<&str>, fault: Option<&Action>) -> Result<Value, ApiError> {
    let asked = match target.parameter("maxResults").map(str::parse::<usize>) {
        None => *MAX_RESULTS.end(),
        Some(Ok(number)) if MAX_RESULTS.contains(&number) => number,
        Some(_) => return Err(ApiError::field("maxResults", &within("a number", &MAX_RESULTS))),
    };
    let after = match target.next_token() {
        None => String::new(),
        Some(token) => {
            read_token(token, &target.core).ok_or_else(|| ApiError::field("nextToken", "not a token of this list"))?
        }
    };
    check_known(&target.core, known)?;

    let limit = state.settings.page_size.map_or(asked, |cap| asked.min(cap));
    let mut rest = state.listed(&target.core).into_iter().filter(|(thing, _)| *thing > after);
    let page: Vec<(String, f64)> = rest.by_ref().take(limit).collect();
    let mut body = json!({"associatedClientDevices": page
        .iter()
        .map(|(thing, timestamp)| json!({"thingName": thing, "associationTimestamp": timestamp}))
        .collect::<Vec<_>>()});
    let next = match fault {
        Some(Action::RepeatToken) => target.next_token().map(str::to_owned),
        _ => page.last().filter(|_| rest.next().is_some()).map(|(last, _)| make_token(&target.core, last)),
    };
    if let (Some(token), Some(members)) = (next, body.as_object_mut()) {
        members.insert("nextToken".to_owned(), Value::String(token));
    }
    Ok(body)
}

/// The names of a batch, checked. No entries at all are allowed, as the service model does not require them.
fn entries(body: &[u8], first: usize) -> Result<Vec<String>, ApiError> {
    let unreadable = |message: &str| ApiError::validation(Reason::CannotParse, message);
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
    let Some(members) = body.as_object() else { return Err(unreadable("the body is not an object")) };
    let entries = match members.get("entries") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(unreadable("entries is not a list")),
    };
    if !ENTRIES.contains(&entries.len()) {
        return Err(ApiError::field("entries", &within("a list with a length", &ENTRIES)));
    }
    let mut names = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let name = field_name(first + index);
        let thing = match entry.get("thingName") {
            Some(Value::String(thing)) => thing,
            None | Some(Value::Null) => return Err(ApiError::field(&name, "must not be null")),
            Some(_) => return Err(unreadable(&format!("{name} is not a string"))),
        };
        check_length(&name, thing)?;
        names.push(thing.clone());
    }
    Ok(names)
}

fn rejection(thing: &str, name_field: bool, entries: &[String], first: usize) -> ApiError {
    match entries.iter().position(|entry| entry == thing) {
        Some(index) if name_field => ApiError::field(&field_name(first + index), "the thing name is not allowed"),
        _ => ApiError::validation(Reason::Other, "the request is not valid"),
    }
}

fn field_name(number: usize) -> String {
    format!("entries.{number}.thingName")
}

fn check_known(core: &str, known: Option<&str>) -> Result<(), ApiError> {
    match known {
        Some(known) if known != core => Err(ApiError::core_not_found(core)),
        _ => Ok(()),
    }
}

fn check_length(name: &str, thing: &str) -> Result<(), ApiError> {
    if THING_NAME.contains(&thing.chars().count()) {
        return Ok(());
    }
    Err(ApiError::field(name, &within("a string with a length", &THING_NAME)))
}

fn within(what: &str, range: &std::ops::RangeInclusive<usize>) -> String {
    format!("must be {what} between {} and {}", range.start(), range.end())
}

/// A token names the last thing of its page, so that changes between two pages neither repeat nor skip others.
fn make_token(core: &str, last: &str) -> String {
    format!("{core}\n{last}").bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_token(token: &str, core: &str) -> Option<String> {
    let digits = token.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let text = String::from_utf8(digits.collect::<Option<Vec<u8>>>()?).ok()?;
    let last = text.strip_prefix(core)?.strip_prefix('\n')?;
    Some(last.to_owned())
}
