//! The three operations of AWS IoT Greengrass V2 on client devices: the checks of a request, and
//! its effect on the state.

use serde_json::{Value, json};

use super::associations::Group;
use super::calls::{CallId, Operation};
use super::errors::ApiError;
use super::faults::Action;
use super::model::greengrass::{ENTRIES, MAX_RESULTS, Reason, THING_NAME};
use super::pages::{Pager, within};
use super::state::{NotAssociated, State};
use super::target::Target;

/// The thing names of a batch as far as they can be read, for the log and the faults; errors are
/// reported later.
pub(super) fn names(body: &Value) -> Vec<String> {
    let entries = body.get("entries").and_then(Value::as_array);
    let names = entries.into_iter().flatten().filter_map(|entry| entry.get("thingName")?.as_str());
    names.map(str::to_owned).collect()
}

/// Performs an operation, modified by the fault that the call met, and returns the body of the
/// response.
///
/// # Errors
/// ValidationException for what the service model does not allow, ResourceNotFoundException for a
/// core device that is not `known`; neither has an effect.
pub(super) fn perform(
    state: &mut State,
    target: &Target,
    known: Option<&str>,
    body: &[u8],
    call: CallId,
    fault: Option<&Action>,
) -> Result<Value, ApiError> {
    check_length(target.label, &target.about)?;
    if target.operation == Operation::List {
        return list(state, target, known, fault);
    }
    let entries = entries(body, state.settings.first_entry)?;
    if let Some(Action::RejectEntry { thing, name_field }) = fault {
        return Err(rejection(thing, *name_field, &entries, state.settings.first_entry));
    }
    check_known(&target.about, known)?;

    let group = Group::Core(target.about.clone());
    let mut errors = Vec::new();
    let mut effect = false;
    for thing in &entries {
        match change(state, target, &group, thing, fault) {
            Ok(changed) => effect |= changed,
            Err(error) => errors.push(error),
        }
    }
    if let Some(call) = state.calls.get_mut(call) {
        call.effect |= effect;
    }
    Ok(json!({"errorEntries": errors}))
}

/// The result of one entry: whether it changed anything, or its item of `errorEntries`.
fn change(
    state: &mut State,
    target: &Target,
    group: &Group,
    thing: &String,
    fault: Option<&Action>,
) -> Result<bool, Value> {
    if let Some(error) = fault.and_then(|fault| fault.entry_error("thingName", thing)) {
        return Err(error);
    }
    if target.operation == Operation::Associate {
        let now = state.now();
        return Ok(state.associations.add(group, [thing], now));
    }
    let taken_off = state.associations.remove_by_call(target.operation, group, thing);
    if !taken_off && state.settings.not_associated == NotAssociated::EntryError {
        let message = "the client device is not associated with the core device";
        return Err(json!({"thingName": thing, "code": "ResourceNotFoundException", "message": message}));
    }
    Ok(taken_off)
}

fn list(state: &State, target: &Target, known: Option<&str>, fault: Option<&Action>) -> Result<Value, ApiError> {
    let cap = state.settings.page_size;
    let pager = Pager::read(target, &target.about, &MAX_RESULTS, *MAX_RESULTS.end(), cap)
        .map_err(|wrong| ApiError::field(wrong.member, &wrong.message))?;
    check_known(&target.about, known)?;

    let (page, next) = pager.page(pager.members(&state.associations, &Group::Core(target.about.clone())), fault);
    let mut body = json!({"associatedClientDevices": page
        .iter()
        .map(|(thing, timestamp)| json!({"thingName": thing, "associationTimestamp": timestamp}))
        .collect::<Vec<_>>()});
    if let (Some(token), Some(members)) = (next, body.as_object_mut()) {
        members.insert("nextToken".to_owned(), Value::String(token));
    }
    Ok(body)
}

/// The checked names of a batch. A batch may be empty, because the service model does not require
/// entries.
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
