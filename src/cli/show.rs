//! The output of the commands: tables for people, a JSON document for programs.

use std::io::Write;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    answer::Output,
    failure::{Failure, read},
    text::{clean, clean_lines, columns, json_line},
};
use crate::{
    domain::DeviceState,
    protocol::{
        messages::{DeviceMessage, ErrorEntry, EventMessage, FaultMessage, RequestMessage},
        status::StatusMessage,
    },
};

/// Prints a message: unchanged for programs, and as `table` formats it for people. Only for people
/// it has to be readable; `what` names it.
pub(super) fn show<T: DeserializeOwned>(
    output: Output,
    what: &str,
    message: &Value,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let text = match output {
        Output::Json => json_line(message),
        Output::Table => table(&read(what, message)?),
    };
    print(&text)
}

/// Prints to standard output. A closed pipe is not an error, since nobody reads the rest.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(clean_lines(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The number of devices of each state that `status` names, sorted by the states' names. States
/// that this version does not know are left out.
pub(super) fn devices_by_state(status: &StatusMessage) -> Vec<(&'static str, u64)> {
    let of = |state: &DeviceState| Some((state.as_str(), *status.devices.get(state.as_str())?));
    let mut states: Vec<_> = DeviceState::ALL.iter().filter_map(of).collect();
    states.sort_unstable();
    states
}

/// A request as text, with its failed entries; `more` says whether the agent has others.
pub(super) fn request(request: &RequestMessage, more: bool) -> String {
    let mut lines =
        vec![format!("{} {} {}", clean(&request.operation), clean(&request.client_token), clean(&request.status))];
    for (value, what) in [
        (request.requested_by.as_deref(), "asked by"),
        (request.via.as_deref(), "via"),
        (Some(request.accepted_at.as_str()), "accepted"),
        (request.completed_at.as_deref(), "ended"),
        (request.expires_at.as_deref(), "expires"),
        (request.reason.as_deref(), "reason"),
    ] {
        if let Some(value) = value {
            lines.push(format!("  {what} {}", clean(value)));
        }
    }
    if let (Some(entries), Some(succeeded), Some(failed)) =
        (request.entry_count, request.succeeded_count, request.failed_count)
    {
        let open = entries.saturating_sub(succeeded.saturating_add(failed));
        lines.push(format!("  {entries} entries: {succeeded} succeeded, {failed} failed, {open} open"));
    }
    if let (Some(associated), Some(added), Some(removed)) =
        (request.associated_count, request.added_count, request.removed_count)
    {
        lines.push(format!("  {associated} associated, {added} added, {removed} removed"));
    }
    for waiting in request.waiting_entries.iter().flatten() {
        let name = waiting.name().unwrap_or("the request");
        lines.push(format!("  {} waits: {}: {}", clean(name), clean(&waiting.code), clean(&waiting.message)));
    }
    format!("{}\n{}", lines.join("\n"), failures(request, more))
}

/// A device as text, one member per line, with its history if there is one.
pub(super) fn device(device: &DeviceMessage, history: Option<&[EventMessage]>) -> String {
    let rows: Vec<[String; 2]> = json!(device)
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = match (value, &device.last_error) {
                (Value::Object(_), Some(FaultMessage { code, message })) => format!("{code}: {message}"),
                (Value::String(text), _) => text.clone(),
                (value, _) => value.to_string(),
            };
            [name.clone(), text]
        })
        .collect();
    let members = columns(["member", "value"], &rows);
    let Some(events) = history else { return members };
    let row = |event: &EventMessage| {
        let text = |member: &Option<String>| member.clone().unwrap_or_default();
        let why: Vec<&str> = [&event.code, &event.message].into_iter().flatten().map(String::as_str).collect();
        let via = event.via.as_deref().unwrap_or_default().to_owned();
        [event.at.clone(), event.event.to_string(), text(&event.client), via, text(&event.client_token), why.join(": ")]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    format!("{members}\n{}", columns(["at", "event", "asked by", "via", "token", "what"], &rows))
}

/// The failed entries with their errors; empty if no entry failed. `more` says whether the agent
/// has others.
pub(super) fn failures(request: &RequestMessage, more: bool) -> String {
    let entries = request.error_entries.as_deref().unwrap_or_default();
    if entries.is_empty() {
        return String::new();
    }
    let row = |entry: &ErrorEntry| [entry.name().unwrap_or_default().into(), entry.code.clone(), entry.message.clone()];
    let rows: Vec<[String; 3]> = entries.iter().map(row).collect();
    let more = if more || request.error_entries_truncated == Some(true) {
        "and more: offboard requests TOKEN --all shows them\n"
    } else {
        ""
    };
    format!("{}{more}", columns(["failed", "code", "message"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_device_moves_no_cursor_either() {
        let record = json!({"thingName": "d\n1", "state": "ON\u{1b}", "changedAt": "x", "unknown": {"to": "this version"},
            "lastError": {"code": "Denied", "message": "no\u{1b}[2J"}});
        let expected = "member     value\nchangedAt  x\nlastError  Denied: no\u{fffd}[2J\nstate      ON\u{fffd}\n\
             thingName  d\u{fffd}1\n";
        assert_eq!(device(&read("device", &record).unwrap(), None), expected);
    }

    #[test]
    fn an_entry_keeps_its_name_beside_members_that_are_not_known() {
        let record = json!({"clientToken": "t", "operation": "o", "status": "A_NEW_ONE", "acceptedAt": "x", "new": [1],
            "errorEntries": [{"thingName": "d1", "code": "Code", "message": "why", "attempts": 3}]});
        let shown = request(&read("request", &record).unwrap(), true);
        assert!(shown.contains("\nd1      Code  why\nand more"), "{shown}");
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_named_with_the_reason() {
        let broken = json!({"thingName": "d1", "state": 7, "changedAt": "x"});
        let why = read::<DeviceMessage>("device", &broken).unwrap_err().to_string();
        assert_eq!(why, "the agent's device cannot be read: invalid type: integer `7`, expected a string");
        let why = read::<DeviceMessage>("device", &json!({"thingName": "d1", "state": "s"})).unwrap_err().to_string();
        assert_eq!(why, "the agent's device cannot be read: missing field `changedAt`");
    }
}
