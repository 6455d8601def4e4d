//! Decodes a list's bytes into lines.

use super::faults::Faults;

/// The text without a byte order mark, and with `\n` at the end of each line.
pub(super) fn decoded(bytes: &[u8]) -> Result<String, Faults> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(encoding) = wide(bytes) {
        return Err(Faults::one(None, format!("it is {encoding}; save it as UTF-8")));
    }
    let line = |at: usize| Some(bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1);
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Faults::one(line(at), "there is a NUL byte; a list of names is a text in UTF-8"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.replace("\r\n", "\n").replace('\r', "\n")),
        Err(error) => {
            let at = error.valid_up_to();
            Err(Faults::one(line(at), format!("the byte 0x{:02x} is not UTF-8; save the list as UTF-8", bytes[at])))
        }
    }
}

/// The encoding of a text whose units have more than one byte, recognised by its byte order mark or
/// by the positions of the zeros in its first characters.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    const LITTLE: &str = "UTF-16 (little-endian), as spreadsheets' \"Unicode text\" and PowerShell write it";
    const BIG: &str = "UTF-16 (big-endian)";
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some("UTF-32"),
        [0xff, 0xfe, ..] => return Some(LITTLE),
        [0xfe, 0xff, ..] => return Some(BIG),
        _ => {}
    }
    let begin = &bytes[..bytes.len().min(64) & !1];
    let zeros = |odd: usize| begin.iter().skip(odd).step_by(2).all(|byte| *byte == 0);
    let texts = |odd: usize| begin.iter().skip(odd).step_by(2).all(|byte| *byte != 0);
    match () {
        () if begin.is_empty() => None,
        () if texts(0) && zeros(1) => Some(LITTLE),
        () if zeros(0) && texts(1) => Some(BIG),
        () => None,
    }
}

/// The significant lines with their numbers.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // A list that was joined from several files has byte order marks inside, too.
    let trimmed = text.lines().map(|line| line.trim_start_matches('\u{feff}').trim());
    (1..).zip(trimmed).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}
