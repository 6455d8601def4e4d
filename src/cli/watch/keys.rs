//! Decodes the bytes that a terminal sends for keys.

/// Starts each sequence, and is a key itself.
const ESCAPE: u8 = 0x1b;

/// Longer than any sequence of a known terminal; a longer sequence is line noise.
const MAX_SEQUENCE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Escape,
    Tab,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-L: draws the screen again after a disturbance.
    Redraw,
    Char(char),
}

/// Decodes keys. It keeps an incomplete sequence, since a serial line may deliver one byte at a
/// time.
#[derive(Default)]
pub(super) struct Keys {
    pending: Vec<u8>,
}

impl Keys {
    /// Adds bytes, and returns the keys that are complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for &byte in bytes {
            match *self.pending.as_slice() {
                [] if byte == ESCAPE => self.pending.push(byte),
                [] => keys.extend(plain(byte)),
                [_] if byte == ESCAPE => keys.push(Key::Escape),
                [_] if matches!(byte, b'[' | b'O') => self.pending.push(byte),
                [_] => {
                    self.pending.clear();
                    keys.push(Key::Escape);
                    keys.extend(plain(byte));
                }
                [..] if byte == ESCAPE => self.pending.truncate(1),
                [_, _, ref parameters @ ..] if (0x40..=0x7e).contains(&byte) => {
                    keys.extend(sequence(parameters, byte));
                    self.pending.clear();
                }
                [..] if self.pending.len() >= MAX_SEQUENCE => self.pending.clear(),
                [..] => self.pending.push(byte),
            }
        }
        keys
    }

    /// Whether an incomplete sequence waits for more bytes.
    pub(super) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends an incomplete sequence after a timeout: a single escape is the Escape key.
    pub(super) fn give_up(&mut self) -> Option<Key> {
        let alone = self.pending == [ESCAPE];
        self.pending.clear();
        alone.then_some(Key::Escape)
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        0x03 => Some(Key::Interrupt),
        b'\t' => Some(Key::Tab),
        0x0c => Some(Key::Redraw),
        b'\r' | b'\n' => Some(Key::Enter),
        b' '..=b'~' => Some(Key::Char(char::from(byte))),
        _ => None,
    }
}

fn sequence(parameters: &[u8], last: u8) -> Option<Key> {
    match (parameters, last) {
        ([], b'A') => Some(Key::Up),
        ([], b'B') => Some(Key::Down),
        ([], b'M') => Some(Key::Enter),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_comes_in_pieces_or_with_others() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"\x1b[A\x1bOBj\x1b[6~"), [Key::Up, Key::Down, Key::Char('j'), Key::PageDown]);
        for byte in b"\x1b[" {
            assert_eq!(keys.feed(&[*byte]), []);
            assert!(keys.is_waiting());
        }
        assert_eq!(keys.feed(b"B\r\t\x03"), [Key::Down, Key::Enter, Key::Tab, Key::Interrupt]);
        assert!(!keys.is_waiting());
    }

    #[test]
    fn an_escape_alone_is_a_key_and_noise_is_none() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"\x1b"), []);
        assert_eq!(keys.give_up(), Some(Key::Escape));
        assert_eq!(keys.feed(b"\x1b\x1bq"), [Key::Escape, Key::Escape, Key::Char('q')]);
        assert_eq!(keys.feed(b"\x1b[1;5Xq\x00\xff"), [Key::Char('q')]);
        assert_eq!(keys.feed(b"\x1b["), []);
        assert_eq!(keys.give_up(), None);
        keys.feed(b"\x1b[");
        keys.feed(&[b'1'; 100]);
        assert!(keys.pending.len() <= MAX_SEQUENCE);
    }
}
