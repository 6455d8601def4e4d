//! Texts of errors for the log: the first cause of a type, all causes in one line, the text of a
//! panic, and the beginning of a text that a peer sent.

use std::{any::Any, error::Error, fmt, io};

/// The longest message that is shown, in bytes. A message of a library may quote what a peer sent.
const MAX_MESSAGE: usize = 512;

/// The first cause of that type; `error` itself counts, too.
pub fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// An error with its causes in one line, each text once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in causes(error) {
        let said = error.to_string();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
    }
    text
}

/// The causes of an error. `source` of an I/O error leaves out the error that it wraps, which is
/// often the relevant one.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// The text of a panic, cut to what fits into a message.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    text.chars().take(300).collect()
}

/// A text from a peer or from a library in a form that can be logged: cut to `MAX_MESSAGE` bytes,
/// without control characters.
pub fn cut(message: impl fmt::Display) -> String {
    let mut cut = Cut(String::new());
    let fits = fmt::write(&mut cut, format_args!("{message}")).is_ok();
    let Cut(mut text) = cut;
    if !fits {
        text.push_str("...");
    }
    text
}

/// Keeps the beginning of a text. A text that a peer sent may have megabytes, so it is not copied
/// as a whole first.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }) {
            if self.0.len() + c.len_utf8() > MAX_MESSAGE {
                return Err(fmt::Error);
            }
            self.0.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_io_error_wraps_is_found() {
        #[derive(Debug, PartialEq, thiserror::Error)]
        #[error("cannot decrypt peer's message")]
        struct Undecryptable;
        let inner = io::Error::other(Undecryptable);
        let outer = io::Error::other(inner);
        assert_eq!(find::<Undecryptable>(&outer), Some(&Undecryptable));
        assert_eq!(chain(&outer), "cannot decrypt peer's message");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(cut("\u{e4}".repeat(1000)).len(), MAX_MESSAGE + 3);
    }
}
