//! The output of the commands: tables for people, a JSON document for programs.

use std::io::Write;

use serde_json::Value;

use super::{
    answer::Output,
    text::{clean, clean_lines, columns, json_line, text},
    trouble::Trouble,
};
use crate::domain::{DeviceState, Target};

/// Prints a message: unchanged for programs, and as `table` formats it for people.
pub(super) fn show(output: Output, message: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Trouble> {
    let text = match output {
        Output::Json => json_line(message),
        Output::Table => table(message),
    };
    print(&text)
}

/// Prints to standard output. A closed pipe is not an error, since nobody reads the rest.
pub(super) fn print(text: &str) -> Result<(), Trouble> {
    match std::io::stdout().write_all(clean_lines(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Trouble::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The number of devices of each state that `status` names, sorted by the states' names.
pub(super) fn devices_by_state(status: &Value) -> Vec<(&'static str, u64)> {
    let of = |state: &DeviceState| Some((state.as_str(), status["devices"][state.as_str()].as_u64()?));
    let mut states: Vec<_> = DeviceState::ALL.iter().filter_map(of).collect();
    states.sort_unstable();
    states
}

/// A request as text, with its failed entries.
pub(super) fn request(request: &Value) -> String {
    let mut lines =
        vec![format!("{} {} {}", text(request, "operation"), text(request, "clientToken"), text(request, "status"))];
    for (member, what) in [
        ("requestedBy", "asked by"),
        ("via", "via"),
        ("acceptedAt", "accepted"),
        ("completedAt", "ended"),
        ("expiresAt", "expires"),
        ("reason", "reason"),
    ] {
        if request[member].is_string() {
            lines.push(format!("  {what} {}", text(request, member)));
        }
    }
    if let (Some(entries), Some(succeeded), Some(failed)) =
        (request["entryCount"].as_u64(), request["succeededCount"].as_u64(), request["failedCount"].as_u64())
    {
        lines.push(format!(
            "  {entries} entries: {succeeded} succeeded, {failed} failed, {} open",
            entries.saturating_sub(succeeded + failed)
        ));
    }
    if let (Some(associated), Some(added), Some(removed)) =
        (request["associatedCount"].as_u64(), request["addedCount"].as_u64(), request["removedCount"].as_u64())
    {
        lines.push(format!("  {associated} associated, {added} added, {removed} removed"));
    }
    for waiting in request["waitingEntries"].as_array().into_iter().flatten() {
        let name = entry_name(waiting).unwrap_or_else(|| "the request".into());
        lines.push(format!("  {name} waits: {}: {}", text(waiting, "code"), text(waiting, "message")));
    }
    format!("{}\n{}", lines.join("\n"), failures(request))
}

/// A device as text, one member per line, with its history if the message has one.
pub(super) fn device(device: &Value) -> String {
    let rows: Vec<[String; 2]> = device
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_array())
        .map(|(name, value)| match value {
            Value::Object(_) => [clean(name), format!("{}: {}", text(value, "code"), text(value, "message"))],
            _ => [clean(name), text(device, name)],
        })
        .collect();
    let members = columns(["member", "value"], &rows);
    let Some(events) = device["history"].as_array() else { return members };
    let row = |event: &Value| {
        let why = [text(event, "code"), text(event, "message")].into_iter().filter(|text| !text.is_empty());
        let why = why.collect::<Vec<_>>().join(": ");
        let at = |member| text(event, member);
        [at("at"), at("event"), at("client"), at("via"), at("clientToken"), why]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    format!("{members}\n{}", columns(["at", "event", "asked by", "via", "token", "what"], &rows))
}

/// The name of an entry in a message; `None` for that of a sync.
fn entry_name(entry: &Value) -> Option<String> {
    Target::NAMINGS.iter().map(|naming| text(entry, naming.member)).find(|name| !name.is_empty())
}

/// The failed entries with their errors; empty if no entry failed.
pub(super) fn failures(request: &Value) -> String {
    let entries = request["errorEntries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return String::new();
    }
    let rows: Vec<[String; 3]> = entries
        .iter()
        .map(|entry| [entry_name(entry).unwrap_or_default(), text(entry, "code"), text(entry, "message")])
        .collect();
    let more = match request["errorEntriesTruncated"].as_bool() {
        Some(true) => "and more: offboard requests TOKEN --all shows them\n",
        _ => "",
    };
    format!("{}{more}", columns(["failed", "code", "message"], &rows))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_error_of_a_device_moves_no_cursor_either() {
        let record = json!({"thingName": "d1", "lastError": {"code": "Denied", "message": "no\u{1b}[2J"}});
        assert_eq!(device(&record), "member     value\nlastError  Denied: no\u{fffd}[2J\nthingName  d1\n");
    }

    #[test]
    fn a_name_makes_no_line_of_its_own() {
        let forged = json!({"x\u{1b}[2J": 1, "list": {"code": "a\nb", "message": ""}, "state": "ON\u{1b}"});
        assert_eq!(device(&forged).lines().count(), 4, "{}", device(&forged));
    }
}
