//! Functions for text on a terminal.
//!
//! Texts come from the cloud, from clients, from files, and from a process that may pose as the
//! agent. None of them may move the terminal's cursor or change the direction of writing. All
//! output passes [`print`](super::show::print) or [`complain`], which remove such characters once
//! more; text that becomes part of a line is cleaned by [`clean`], so that it cannot begin a new
//! line.

use std::io::Write;

use serde_json::Value;

/// Prints to standard error. Errors are ignored, since there is no other place to report them.
pub(super) fn complain(text: &str) {
    let _ = std::io::stderr().write_all(clean_lines(text).as_bytes());
}

/// Formats rows in columns that are as wide as needed, below their titles. The cells are cleaned.
pub(super) fn columns<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = titles.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&titles.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", clean(cell)));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A text that is one of a set of upper-case words, such as `ONLINE`; `?` if it is not a word. A
/// newer agent may send other words, but only words.
pub(super) fn word(text: &str) -> &str {
    let is_word = text.len() <= 40 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    if is_word { text } else { "?" }
}

/// A JSON document in one line.
pub(super) fn json_line(message: &Value) -> String {
    format!("{}\n", escaped(&message.to_string()))
}

/// Escapes all characters of a JSON document that a terminal would obey. Outside of JSON strings
/// only line ends are such characters, and inside of strings each character may be written as its
/// number (RFC 8259, section 7).
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

/// Whether a terminal obeys a character instead of showing it: control characters, those that
/// change the direction of writing (UAX #9) or break lines, and invisible ones.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with U+FFFD in place of all characters that a terminal would obey.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`clean`], for text of several lines.
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
        assert_eq!((word("ON\u{1b}"), word("ONLINE")), ("?", "ONLINE"));
    }

    #[test]
    fn a_text_from_outside_moves_no_cursor() {
        let rows = [["gone\u{1b}[2J".to_owned(), "a\nb".to_owned()]];
        assert_eq!(columns(["reason", "n"], &rows), "reason    n\ngone\u{fffd}[2J  a\u{fffd}b\n");
    }
}
