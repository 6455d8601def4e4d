//! Messages as bytes, and how much of a list fits into a message.

use serde::Serialize;

/// Room for all members of a message except its list. The texts from outside in these members are
/// limited to 128 + 1024 characters.
const ROOM_BESIDE_LIST: usize = 2048;

/// How many of `rows`, from the first row on, fit into a message of `max_bytes`. It is at least
/// one, so that a list makes progress.
#[must_use]
pub fn fitting<T: Serialize>(rows: &[T], max_bytes: usize) -> usize {
    let room = max_bytes.saturating_sub(ROOM_BESIDE_LIST);
    let mut used = 0;
    let fit = rows.iter().take_while(|row| {
        used += to_json(row).len() + 1;
        used <= room
    });
    fit.count().max(usize::from(!rows.is_empty()))
}

/// Serializes a message.
#[must_use]
pub fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    // Serialization fails only for maps whose keys are not strings, or for a `Serialize` that
    // fails. Messages have neither.
    serde_json::to_vec(message).unwrap_or_default()
}
