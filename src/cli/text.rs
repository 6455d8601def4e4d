//! Texts for a terminal.
//!
//! Texts come from the cloud, from whoever sent a command, from files, and from whoever stands in
//! the agent's place: nothing of theirs moves the terminal's cursor or turns its writing. All that
//! is printed passes [`print`](super::show::print) or [`complain`], which see to that once more;
//! what becomes part of a line is cleaned by [`clean`], so that it makes no lines of its own.

use std::io::Write;

use serde_json::Value;

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
pub(super) fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && is_obeyed(c) { '\u{fffd}' } else { c }).collect()
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
    fn no_text_turns_the_direction_of_writing_and_json_keeps_it() {
        let turned = "a\u{202e}b\u{2066}c\u{200f}d\u{61c}e\u{85}f\u{7f}g\u{2028}h\u{e0041}";
        assert!(!clean(turned).chars().any(is_obeyed) && clean(turned).starts_with("a\u{fffd}b"));
        let message = json!({"name": turned, "other": "é\n"});
        let line = json_line(&message);
        assert!(line.contains("a\\u202eb") && line.contains("\\udb40\\udc41") && line.contains('é'), "{line}");
        assert!(!line.trim_end().chars().any(is_obeyed));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), message);
        let forged = json!({"state": "ON\u{1b}"});
        assert_eq!(word(&forged, "state"), "?");
    }

    #[test]
    fn a_text_from_outside_moves_no_cursor() {
        let message = json!({"reason": "gone\u{1b}[2J", "attempts": 2});
        assert_eq!(text(&message, "reason"), "gone\u{fffd}[2J");
        assert_eq!((text(&message, "attempts").as_str(), text(&message, "nothing").as_str()), ("2", ""));
    }
}
