//! The registry's rows: what is settled, by keys that sort.
//!
//! | prefix | key → value | for |
//! | --- | --- | --- |
//! | `m` | name → value | which journal the registry belongs to, and up to which checkpoint |
//! | `r` | seq → time, [`Request`] | finished requests |
//! | `f` | seq, index → [`EntryFailure`](crate::domain::EntryFailure) | their entries without success |
//! | `n` | seq, piece → names | devices that were unknown at their acceptance |
//! | `t` | client, token → seq | idempotency |
//! | `d` | thing → time, [`DeviceRow`] | devices with their history |
//!
//! A value is a version byte and JSON. The times, in milliseconds by `Elapsed`, are before the
//! JSON, so that retention reads no more than that.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::store::{Op, StoreError};
use crate::{
    domain::{ClientId, ClientToken, Registered, Request, ThingName},
    ledger::pending::{DeviceRow, Listed, Settled},
};

/// Version byte of every value so far.
const VERSION: u8 = 1;

/// Names of unknown devices in one row, which has to stay below 4 KiB.
const NAMES_IN_ROW: usize = 25;

/// The time of a row of which nothing is ever forgotten.
pub(crate) const NEVER: u64 = u64::MAX;

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(prefix);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

pub(crate) fn meta(name: &str) -> Vec<u8> {
    key(b'm', &[name.as_bytes()])
}

pub(crate) fn request(seq: u64) -> Vec<u8> {
    key(b'r', &[&seq.to_be_bytes()])
}

pub(crate) fn failure(seq: u64, index: u32) -> Vec<u8> {
    key(b'f', &[&seq.to_be_bytes(), &index.to_be_bytes()])
}

/// The failed entries of a request, from `index` on.
pub(crate) fn failures(seq: u64, index: u32) -> (Vec<u8>, Vec<u8>) {
    (failure(seq, index), range(&key(b'f', &[&seq.to_be_bytes()])).1)
}

fn name_piece(seq: u64, piece: u32) -> Vec<u8> {
    key(b'n', &[&seq.to_be_bytes(), &piece.to_be_bytes()])
}

/// The names of a request's unknown devices, in pieces.
pub(crate) fn names(seq: u64) -> (Vec<u8>, Vec<u8>) {
    range(&key(b'n', &[&seq.to_be_bytes()]))
}

pub(crate) fn token(client: &ClientId, token: &ClientToken) -> Vec<u8> {
    let client = client.key().as_bytes();
    // The length keeps the client apart from the token. A name has at most 128 bytes.
    let length = u16::try_from(client.len()).unwrap_or(u16::MAX).to_be_bytes();
    key(b't', &[&length, client, token.as_str().as_bytes()])
}

pub(crate) fn device(thing: &str) -> Vec<u8> {
    key(b'd', &[thing.as_bytes()])
}

/// All rows with that prefix.
pub(crate) fn all_of(prefix: u8) -> (Vec<u8>, Vec<u8>) {
    range(&[prefix])
}

/// From the first key with `prefix` to the first beyond.
fn range(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    (prefix.to_vec(), end)
}

fn misshapen(key: &[u8]) -> StoreError {
    let prefix = key.first().map_or_else(String::new, |byte| byte.escape_ascii().to_string());
    StoreError::Damaged(format!("a key of kind {prefix:?} cannot be read"))
}

/// The request's number in a key of [`request`], or as a value of [`token`].
pub(crate) fn read_seq(bytes: &[u8]) -> Result<u64, StoreError> {
    let seq = match bytes.len() {
        9 => bytes.get(1..),
        _ => Some(bytes),
    };
    seq.and_then(|seq| seq.try_into().ok()).map(u64::from_be_bytes).ok_or_else(|| misshapen(bytes))
}

/// The index in a key of [`failure`].
pub(crate) fn read_index(key: &[u8]) -> Result<u32, StoreError> {
    key.get(9..).and_then(|index| index.try_into().ok()).map(u32::from_be_bytes).ok_or_else(|| misshapen(key))
}

/// The name in a key of [`device`].
pub(crate) fn read_thing(key: &[u8]) -> Result<ThingName, StoreError> {
    let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(|name| ThingName::new(name).ok()).ok_or_else(|| misshapen(key))
}

/// A value as bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    write(vec![VERSION], value)
}

fn write<T: Serialize>(mut bytes: Vec<u8>, value: &T) -> Vec<u8> {
    // Fails only for maps with keys that are no strings; no value has one.
    let written = serde_json::to_writer(&mut bytes, value);
    debug_assert!(written.is_ok(), "a value is always JSON");
    bytes
}

/// Reads a value; `what` names it in the error.
///
/// # Errors
/// The value is damaged.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => read(json, what),
        _ => Err(unknown_version(what)),
    }
}

fn read<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T, StoreError> {
    serde_json::from_slice(json)
        .map_err(|error| StoreError::Damaged(format!("the row of {what} cannot be read: {error}")))
}

fn unknown_version(what: &str) -> StoreError {
    StoreError::Damaged(format!("the row of {what} has no known version"))
}

fn encode_timed<T: Serialize>(time: u64, value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(640);
    bytes.push(VERSION);
    bytes.extend_from_slice(&time.to_be_bytes());
    write(bytes, value)
}

fn decode_timed<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) if rest.len() > 8 => read(&rest[8..], what),
        _ => Err(unknown_version(what)),
    }
}

/// The time of a value that has one, by which it is forgotten; `None` for never.
pub(crate) fn time_of(bytes: &[u8]) -> Option<u64> {
    let time = bytes.get(1..).and_then(<[u8]>::first_chunk::<8>).map(|time| u64::from_be_bytes(*time))?;
    (time != NEVER).then_some(time)
}

/// Reads a request, which has to be that of the key's number.
///
/// # Errors
/// The row is damaged.
pub(crate) fn decode_request(seq: u64, bytes: &[u8]) -> Result<Request, StoreError> {
    let request: Request = decode_timed(bytes, "a request")?;
    if request.seq == seq && request.tally.is_sound() {
        Ok(request)
    } else {
        Err(StoreError::Damaged(format!("request {seq} does not add up")))
    }
}

/// Reads a device with its history.
///
/// # Errors
/// The row is damaged.
pub(crate) fn decode_device(bytes: &[u8]) -> Result<DeviceRow, StoreError> {
    decode_timed(bytes, "a device")
}

/// Whether the cloud lists a device; the rest of its row is passed over.
///
/// # Errors
/// The row is damaged.
pub(crate) fn decode_listed(bytes: &[u8]) -> Result<Option<Listed>, StoreError> {
    #[derive(Deserialize)]
    struct Row {
        #[serde(default)]
        d: Option<Listed>,
    }

    let row: Row = decode_timed(bytes, "a device")?;
    Ok(row.d)
}

/// The rows of a finished request.
pub(crate) fn of_request(settled: Settled, ops: &mut Vec<Op>) {
    let Settled { request: header, failures, unknown } = settled;
    let seq = header.seq;
    ops.push((request(seq), Some(encode_timed(header.completed_elapsed, &header))));
    ops.push((token(&header.client, &header.token), Some(seq.to_be_bytes().to_vec())));
    ops.extend(failures.iter().map(|(index, failed)| (failure(seq, *index), Some(encode(failed)))));
    for (piece, names) in (0..).zip(unknown.chunks(NAMES_IN_ROW)) {
        ops.push((name_piece(seq, piece), Some(encode(&names))));
    }
}

/// The time by which something of a device's row is forgotten: that of its tombstone, else that of
/// its oldest event.
pub(crate) fn since(row: &DeviceRow) -> u64 {
    let is_tombstone = row.device.as_ref().is_some_and(|device| device.registered == Registered::Disassociated);
    match row.events.first() {
        _ if is_tombstone => row.changed,
        Some((at, _)) => *at,
        None => NEVER,
    }
}

/// The row of a device, `None` to delete it.
pub(crate) fn of_device(thing: &ThingName, row: &DeviceRow) -> Op {
    (device(thing.as_str()), (!row.is_empty()).then(|| encode_timed(since(row), row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_reaches_into_anothers_tokens() {
        let client = |name: &str| ClientId::new(name).unwrap();
        let token_ = |name: &str| ClientToken::new(name).unwrap();
        assert_ne!(token(&client("a"), &token_("bc")), token(&client("ab"), &token_("c")));
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        assert_eq!(read_seq(&request(7)), Ok(7));
        assert_eq!(read_seq(&7_u64.to_be_bytes()), Ok(7));
        assert_eq!(read_index(&failure(7, 9)), Ok(9));
        assert!(failure(1, u32::MAX) < failure(2, 0));
        assert!(read_seq(b"r1").is_err() && read_index(b"f").is_err() && read_thing(b"d ").is_err());
    }

    #[test]
    fn a_value_of_another_version_is_not_guessed_at() {
        assert!(decode::<u64>(&[2, b'1'], "a test").is_err() && decode::<u64>(&[], "a test").is_err());
        assert!(decode_device(&[VERSION, 0, 0]).is_err());
        let row = encode_timed(5, &DeviceRow::default());
        assert_eq!((time_of(&row), decode_device(&row)), (Some(5), Ok(DeviceRow::default())));
        assert_eq!(time_of(&encode_timed(NEVER, &1)), None);
    }
}
