//! What the commands print: tables for people, a JSON document for programs.
//!
//! Texts come from the cloud, from whoever sent a command, from files, and from whoever stands in
//! the agent's place: nothing of theirs moves the terminal's cursor or turns its writing. All that
//! is printed passes [`print`] or [`complain`], which see to that once more; what becomes part of a
//! line is cleaned by [`clean`], so that it makes no lines of its own.

use std::io::Write;

use serde_json::Value;

use super::{Trouble, agent::Output};
use crate::domain::DeviceState;

/// Prints a message as it is for programs, and as `table` makes it for people.
pub(super) fn show(output: Output, message: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Trouble> {
    let text = match output {
        Output::Json => json_line(message),
        Output::Table => table(message),
    };
    print(&text)
}

/// A JSON document in a line.
pub(super) fn json_line(message: &Value) -> String {
    format!("{}\n", escaped(&message.to_string()))
}

/// JSON with escapes for all that a terminal would obey. Outside of its texts there is none of that
/// but line ends, and in them each character may be written as its number (RFC 8259, section 7).
pub(super) fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_obeyed(c) {
            escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// To standard output, whose end may be gone: then nobody wants to know.
pub(super) fn print(text: &str) -> Result<(), Trouble> {
    match std::io::stdout().write_all(clean_lines(text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Trouble::Failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// To standard error, where whoever waits reads it; if that is gone nobody does.
pub(super) fn complain(text: &str) {
    let _ = std::io::stderr().write_all(clean_lines(text).as_bytes());
}

/// Rows in columns that are as wide as they have to be, below their titles.
pub(super) fn columns<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = titles.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&titles.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A member as text; nothing for what is not there.
pub(super) fn text(message: &Value, member: &str) -> String {
    match &message[member] {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

/// A member that is one of a set of words, `ONLINE` for instance: an agent may have new ones, but
/// they are words.
pub(super) fn word(message: &Value, member: &str) -> String {
    let is_word = |text: &&str| text.len() <= 40 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    message[member].as_str().filter(is_word).unwrap_or("?").to_owned()
}

/// How many devices there are of each state that is named, in the order of the states' names.
pub(super) fn devices_by_state(status: &Value) -> Vec<(&'static str, u64)> {
    let of = |state: &DeviceState| Some((state.as_str(), status["devices"][state.as_str()].as_u64()?));
    let mut states: Vec<_> = DeviceState::ALL.iter().filter_map(of).collect();
    states.sort_unstable();
    states
}

/// Whether a terminal obeys it instead of showing it: control characters, those that turn the
/// direction of writing (UAX #9) or break lines, and those that are not seen at all.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text that is to be shown, with U+FFFD for all that a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// The same for whole lines.
fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// A request in one paragraph, with what failed.
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
        let name = ["thingName", "childAssetId", "assetId"].into_iter().find(|name| waiting[*name].is_string());
        let name = name.map_or_else(|| "the request".into(), |name| text(waiting, name));
        lines.push(format!("  {name} waits: {}: {}", text(waiting, "code"), text(waiting, "message")));
    }
    format!("{}\n{}", lines.join("\n"), failures(request))
}

/// A device member by member, with its story if it has come along.
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

/// What failed, and why; nothing if nothing did.
pub(super) fn failures(request: &Value) -> String {
    let entries = request["errorEntries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return String::new();
    }
    let name = |entry: &Value| {
        ["thingName", "childAssetId", "assetId"].iter().map(|member| text(entry, member)).find(|name| !name.is_empty())
    };
    let rows: Vec<[String; 3]> = entries
        .iter()
        .map(|entry| [name(entry).unwrap_or_default(), text(entry, "code"), text(entry, "message")])
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
    fn columns_are_as_wide_as_they_have_to_be() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), "2".to_owned()]];
        assert_eq!(columns(["name", "n"], &rows), "name    n\na       1\nlonger  2\n");
    }

    #[test]
    fn the_last_error_of_a_device_moves_no_cursor_either() {
        let record = json!({"thingName": "d1", "lastError": {"code": "Denied", "message": "no\u{1b}[2J"}});
        assert_eq!(device(&record), "member     value\nlastError  Denied: no\u{fffd}[2J\nthingName  d1\n");
    }

    #[test]
    fn no_text_turns_the_direction_of_writing_and_json_keeps_it() {
        let turned = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{85}f\u{7f}g\u{2028}h\u{e0041}";
        assert!(!clean(turned).chars().any(is_obeyed) && clean(turned).starts_with("a\u{fffd}b"));
        let message = json!({"name": turned, "other": "é\n"});
        let line = json_line(&message);
        assert!(line.contains("a\\u202eb") && line.contains("\\udb40\\udc41") && line.contains('é'), "{line}");
        assert!(!line.trim_end().chars().any(is_obeyed));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), message);
        let forged = json!({"x\u{1b}[2J": 1, "list": {"code": "a\nb", "message": ""}, "state": "ON\u{1b}"});
        assert_eq!(device(&forged).lines().count(), 4, "{}", device(&forged));
        assert_eq!(word(&forged, "state"), "?");
    }

    #[test]
    fn a_text_from_outside_moves_no_cursor() {
        let message = json!({"reason": "gone\u{1b}[2J", "attempts": 2});
        assert_eq!(text(&message, "reason"), "gone\u{fffd}[2J");
        assert_eq!((text(&message, "attempts").as_str(), text(&message, "nothing").as_str()), ("2", ""));
    }
}
