//! The text of `strace -f -yy -xx` as calls, with the place in the text where each begins and where
//! it ends.

use std::collections::HashMap;

/// A system call.
pub struct Call {
    /// The line on which it is entered; nothing of it has happened before.
    pub begin: usize,
    /// The line on which it returns; all of it has happened.
    pub end: usize,
    pub name: String,
    /// Everything after the name's parenthesis: arguments, `)`, `= result`.
    pub text: String,
}

/// All calls in the order of their ends. One that is cut off by the end of its process comes last,
/// and has no result: a caller that needs it fails.
pub fn read(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, Call> = HashMap::new();
    for (n, line) in trace.lines().enumerate() {
        let (process, rest) = line.split_once(' ').unwrap_or_else(|| panic!("line {n} of the trace: {line}"));
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(rest) = rest.strip_prefix("<... ") {
            let (name, rest) = rest.split_once(" resumed>").unwrap_or_else(|| panic!("line {n}: {line}"));
            let mut call = unfinished.remove(process).unwrap_or_else(|| panic!("line {n} resumes nothing: {line}"));
            assert_eq!(call.name, name, "line {n}");
            call.text.push_str(rest);
            call.end = n;
            calls.push(call);
            continue;
        }
        let (name, rest) = rest.split_once('(').unwrap_or_else(|| panic!("line {n} is no call: {line}"));
        let mut call = Call { begin: n, end: n, name: name.to_owned(), text: rest.to_owned() };
        if let Some(cut) = call.text.strip_suffix(" <unfinished ...>") {
            call.text.truncate(cut.len());
            unfinished.insert(process, call);
        } else {
            calls.push(call);
        }
    }
    calls.extend(unfinished.into_values().map(|call| Call { end: usize::MAX, ..call }));
    calls
}

impl Call {
    /// What it returned; `None` for an error, and if the process ended before the call returned,
    /// for which strace writes a question mark.
    pub fn result(&self) -> Option<i64> {
        let (_, result) = self.text.rsplit_once(" = ").unwrap_or_else(|| panic!("no result: {}", self.short()));
        let number = result.split([' ', '<']).next().unwrap();
        if number == "?" {
            return None;
        }
        let parsed = match number.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16),
            None => number.parse(),
        };
        let value = parsed.unwrap_or_else(|_| panic!("a result that cannot be read: {}", self.short()));
        (value >= 0).then_some(value)
    }

    /// The arguments as text, whole.
    pub fn arguments(&self) -> Vec<&str> {
        let (inside, _) = self.text.rsplit_once(" = ").unwrap_or_else(|| panic!("no result: {}", self.short()));
        let inside = inside.trim_end().strip_suffix(')').unwrap_or_else(|| panic!("no end: {}", self.short()));
        let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
        let mut arguments = Vec::new();
        for (at, byte) in inside.bytes().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'<' | b'[' | b'{' | b'(' => depth += 1,
                b'>' | b']' | b'}' | b')' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => {
                    arguments.push(inside[start..at].trim());
                    start = at + 1;
                }
                _ => {}
            }
        }
        arguments.push(inside[start..].trim());
        arguments
    }

    /// All the bytes that it shows, up to its result: what was written or read.
    pub fn data(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (n, part) in self.text.split('"').enumerate() {
            if n % 2 == 1 {
                bytes.extend(unescape(part));
            } else {
                assert!(n == 0 || !part.starts_with("..."), "the trace is cut short: {}", self.short());
            }
        }
        bytes.truncate(usize::try_from(self.result().unwrap_or(0)).unwrap());
        bytes
    }

    /// For a message.
    pub fn short(&self) -> String {
        let text: String = self.text.chars().take(400).collect();
        format!("line {}: {}({}", self.begin + 1, self.name, plain(&text))
    }
}

/// `\x41\x42` as bytes. With `-xx` nothing is written in another way.
pub fn unescape(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => panic!("not hexadecimal: {text:.100}"),
    };
    let bytes = text.as_bytes();
    assert!(bytes.len().is_multiple_of(4), "not hexadecimal: {text:.100}");
    bytes
        .chunks_exact(4)
        .map(|four| {
            assert_eq!(&four[..2], b"\\x", "not hexadecimal: {text:.100}");
            digit(four[2]) * 16 + digit(four[3])
        })
        .collect()
}

pub fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// For people: what can be read of a text with escapes.
fn plain(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if (b' '..=b'~').contains(&byte) => plain.push(char::from(byte)),
            _ => plain.push('?'),
        }
        plain.push_str(part.get(2..).unwrap_or_default());
    }
    plain
}

/// The number and the path of a descriptor, `9</data/lock>`.
pub fn descriptor(text: &str) -> Option<(i64, String)> {
    let (number, path) = text.split_once('<')?;
    let path = String::from_utf8(unescape(path.strip_suffix('>')?)).ok()?;
    Some((number.parse().ok()?, path))
}

/// A quoted path.
pub fn path(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let inner = inner.unwrap_or_else(|| panic!("a path that cannot be read: {text}"));
    String::from_utf8(unescape(inner)).unwrap()
}
