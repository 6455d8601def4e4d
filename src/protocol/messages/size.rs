//! Messages as bytes, and how much of a list fits into one.

use serde::Serialize;

/// Room for all members of a message but its list: texts from outside in it are limited to 128 +
/// 1024 characters.
const ROOM_BESIDE_LIST: usize = 2048;

/// How many of `rows`, from the first on, fit into a message of `max_bytes`; at least one, so that
/// a list goes on.
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

/// A message as bytes.
#[must_use]
pub fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    // Fails only for maps with keys that are no strings, or for a `Serialize` that fails; messages
    // have neither.
    serde_json::to_vec(message).unwrap_or_default()
}
