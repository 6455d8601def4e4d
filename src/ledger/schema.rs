//! Keys and records on disk. One tree, a prefix byte a kind; numbers big-endian, so that they sort.
//!
//! | prefix | key → value | for |
//! | --- | --- | --- |
//! | `m` | name → value | identity, schema, [`Counters`] |
//! | `r` | seq → [`Request`](crate::model::Request) | requests, of constant size |
//! | `e` | seq, entry → target | entries that have not ended |
//! | `f` | seq, entry → [`EntryFailure`](crate::model::EntryFailure) | entries that ended, and not well |
//! | `t` | client, token → seq | idempotency |
//! | `l` | client, seq → | a client's requests by age |
//! | `p` | target, seq, entry → association held | who waits for a target |
//! | `k` | target → [`Work`] | what is to be done, once a target |
//! | `w` | lane, queue, (resource,) seq, entry → target | in which order |
//! | `d` | registered, thing → [`Device`](crate::model::Device) | the registry, by state |
//! | `h` | thing → [`Story`](super::story::Story) | what happened to a device |
//! | `o` | n → [`Outgoing`] | messages that the broker has not acknowledged |
//! | `q` | thing → n | devices whose retained message is out of date |
//! | `u` | hash → seq | commands without a token whose PUBACK was not sent |
//! | `x` | kind, time, id → | deadlines and retention |
//! | `j` | n → writes | the journal |
//!
//! A value is a version byte and JSON: a reader takes members that it doesn't know and defaults
//! those that it misses, so that a rollback finds its way. A change that breaks this needs a new
//! [`SCHEMA`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::store::StoreError;
use crate::model::{
    CallToken, ClientId, ClientToken, DeviceState, Fault, Lane, Registered, Target, ThingName, Timestamp,
};

/// Version of the whole layout; a store with a higher one is left untouched.
pub const SCHEMA: u64 = 1;

/// Version byte of every record so far.
pub(super) const RECORD: u8 = 1;

pub(super) const META: u8 = b'm';
pub(super) const JOURNAL: u8 = b'j';

/// Above every count that can come about: what a JSON number holds exactly, and far from overflow.
const MAX_COUNT: u64 = 1 << 53;

/// How much there is to do in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Targets with work.
    pub work: u64,
    /// Of these, the ones that wait for a repetition, for reasons of their own or of their
    /// resource.
    pub retrying: u64,
    /// And those that wait for a complete list to tell how they ended.
    pub verifying: u64,
}

impl Load {
    /// Counts one more target with work in that queue, or one less.
    pub(super) fn count(&mut self, queue: Queue, by: i64) {
        let add = |count: &mut u64| *count = count.saturating_add_signed(by);
        add(&mut self.work);
        match queue {
            Queue::Fresh => {}
            Queue::Retry | Queue::Aside => add(&mut self.retrying),
            Queue::Verify => add(&mut self.verifying),
        }
    }
}

/// Totals, so that limits and `status` need no scan. Written with every commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Number of this run of the agent; another one's monotonic times mean nothing.
    pub run: u64,
    /// The next request's number.
    pub next_seq: u64,
    /// The next request's number when this run began.
    pub first_seq: u64,
    /// The next outgoing message's number.
    pub next_outgoing: u64,
    /// Counts outcomes; see [`crate::model::Device::mark`].
    pub mark: u64,
    /// Bytes of all keys and values.
    pub live_bytes: u64,
    /// Sum of [`digest`] over all rows: none is missing, and none is an old one. Not there after a
    /// version that did not keep it has written, until the rows are counted.
    pub digest: Option<u64>,
    /// Requests that have not ended.
    pub open_requests: u64,
    /// Entries of changes that have not ended.
    pub open_entries: u64,
    /// Messages that the broker has not acknowledged.
    pub outgoing: u64,
    /// Devices that the cloud lists, or that are on their way out.
    pub known: u64,
    /// Devices on their way out: those too whose turn comes after an association.
    pub leaving: u64,
    /// Devices that are shown as `ASSOCIATED`.
    pub associated: u64,
    /// Devices that are shown as `ASSOCIATING`.
    pub associating: u64,
    /// Devices that are shown as `DISASSOCIATING`.
    pub disassociating: u64,
    /// Devices that are shown as `DISASSOCIATED`.
    pub disassociated: u64,
    /// What there is to do, by lane.
    pub loads: BTreeMap<Lane, Load>,
    /// Requests for a sync that have not ended.
    pub open_syncs: u64,
    /// Whether the registry was ever read from the cloud to its end.
    pub synced: bool,
}

impl Counters {
    /// Reads the totals; `None` before the first commit.
    pub(super) fn read(bytes: Option<&[u8]>) -> Result<Self, StoreError> {
        let counters: Self = bytes.map(|bytes| decode(bytes, "totals")).transpose()?.unwrap_or_default();
        let Self { run, next_seq, first_seq, next_outgoing, mark, live_bytes, .. } = counters;
        let Self { open_requests, open_entries, outgoing, open_syncs, .. } = counters;
        let Self { known, leaving, associated, associating, disassociating, disassociated, .. } = counters;
        let numbers = [run, next_seq, first_seq, next_outgoing, mark, live_bytes, open_requests, open_entries];
        let more = [known, leaving, outgoing, open_syncs, associated, associating, disassociating, disassociated];
        let loads = counters.loads.values().flat_map(|load| [load.work, load.retrying, load.verifying]);
        match numbers.into_iter().chain(more).chain(loads).max() {
            Some(largest) if largest > MAX_COUNT => Err(StoreError::Damaged("totals beyond belief".into())),
            _ => Ok(counters),
        }
    }

    /// How many devices are shown in a state.
    pub(super) fn devices(&mut self, state: DeviceState) -> &mut u64 {
        match state {
            DeviceState::Associated => &mut self.associated,
            DeviceState::Associating => &mut self.associating,
            DeviceState::Disassociating => &mut self.disassociating,
            DeviceState::Disassociated => &mut self.disassociated,
        }
    }
}

/// Where a piece of work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Queue {
    /// To be sent, or sent and not answered.
    #[serde(rename = "F")]
    Fresh,
    /// Answered with a passing error for this entry: sent again after a while.
    #[serde(rename = "R")]
    Retry,
    /// The resource that its call is about refused: others go first. In the order of the resources.
    #[serde(rename = "A")]
    Aside,
    /// The next complete list tells how it ended.
    #[serde(rename = "V")]
    Verify,
}

/// A request, and the number of an entry in it.
pub(super) type Place = (u64, u32);

/// The call that last carried an entry, where the service knows a repetition by its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    /// Made for this content, and for no other.
    pub token: CallToken,
    /// A hash of all its entries.
    pub content: String,
}

/// What is to be done about one target, for all the requests that wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    /// By which kind of call.
    pub lane: Lane,
    /// Where it waits.
    pub queue: Queue,
    /// Its place: the request and entry that it was made for.
    pub seq: u64,
    /// The entry's number within that request.
    pub no: u32,
    /// Sent, and the outcome is not known: not to be withdrawn.
    #[serde(default)]
    pub sent: bool,
    /// Calls that carried it.
    #[serde(default)]
    pub attempts: u32,
    /// Answers that named this entry's own passing error.
    #[serde(default)]
    pub charged: u32,
    /// The last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// Some call that carried it was never answered: until it is known, nothing makes it unsent.
    #[serde(default)]
    pub doubt: bool,
    /// The count of outcomes when it began to wait for a list: an older list doesn't count.
    #[serde(default)]
    pub mark: u64,
    /// The next request's number at that moment: who joins later has not been sent.
    #[serde(default)]
    pub joined_before: u64,
    /// The first of those who wait behind it, since they ask for the opposite of what was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Place>,
    /// The call that last carried it, until its outcome is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Which resource, as [`resource`] has it, where it is set aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resource: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Work {
    /// To be sent by that lane, for the entry at `place` and whoever joins it.
    pub(super) fn new(lane: Lane, (seq, no): Place) -> Self {
        Self {
            lane,
            queue: Queue::Fresh,
            seq,
            no,
            sent: false,
            attempts: 0,
            charged: 0,
            error: None,
            doubt: false,
            mark: 0,
            joined_before: 0,
            behind: None,
            call: None,
            resource: 0,
        }
    }

    /// Its place in the queue.
    pub(super) fn key(&self) -> Vec<u8> {
        match self.queue {
            Queue::Aside => aside(self.lane, self.resource, (self.seq, self.no)),
            queue_ => queue(self.lane, queue_, self.seq, self.no),
        }
    }

    /// Whether it is done for that entry, which waits for its target, and not for those before it.
    pub(super) fn is_for(&self, place: Place) -> bool {
        self.behind.is_none_or(|behind| place < behind)
    }
}

/// A message that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outgoing {
    /// Of which request.
    pub seq: u64,
    /// `completed`, else `accepted`.
    pub completed: bool,
}

/// A kind of deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A request's expiry.
    Expiry = b'E' as isize,
    /// A finished request's end of retention.
    Request = b'R' as isize,
    /// A disassociated device's end of retention, and its story's.
    Tombstone = b'T' as isize,
    /// The oldest event of another device's story.
    Story = b'H' as isize,
}

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(prefix);
    parts.iter().for_each(|part| key.extend_from_slice(part));
    key
}

/// A text within a key: its length keeps it apart from what follows.
fn sized(text: &[u8]) -> Vec<u8> {
    // Names have at most 128 bytes, tokens 256.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&length, text].concat()
}

pub(super) fn meta(name: &str) -> Vec<u8> {
    key(META, &[name.as_bytes()])
}
pub(super) fn journal(n: u32) -> Vec<u8> {
    key(JOURNAL, &[&n.to_be_bytes()])
}
pub(super) fn request(seq: u64) -> Vec<u8> {
    key(b'r', &[&seq.to_be_bytes()])
}
pub(super) fn entry(seq: u64, no: u32) -> Vec<u8> {
    key(b'e', &[&seq.to_be_bytes(), &no.to_be_bytes()])
}
pub(super) fn failure(seq: u64, no: u32) -> Vec<u8> {
    key(b'f', &[&seq.to_be_bytes(), &no.to_be_bytes()])
}
pub(super) fn token(client: &ClientId, token: &ClientToken) -> Vec<u8> {
    key(b't', &[&sized(client.as_str().as_bytes()), token.as_str().as_bytes()])
}
pub(super) fn by_client(client: &ClientId, seq: u64) -> Vec<u8> {
    key(b'l', &[&sized(client.as_str().as_bytes()), &seq.to_be_bytes()])
}
pub(super) fn waiter(target: &Target, seq: u64, no: u32) -> Vec<u8> {
    key(b'p', &[&sized(&target_bytes(target)), &seq.to_be_bytes(), &no.to_be_bytes()])
}
pub(super) fn waiters(target: &Target) -> Vec<u8> {
    key(b'p', &[&sized(&target_bytes(target))])
}
pub(super) fn work(target: &Target) -> Vec<u8> {
    key(b'k', &[&target_bytes(target)])
}
pub(super) fn queue(lane: Lane, queue: Queue, seq: u64, no: u32) -> Vec<u8> {
    key(b'w', &[&[lane.traits().letter, queue_byte(queue)], &seq.to_be_bytes(), &no.to_be_bytes()])
}
/// The place of what is set aside for a resource.
pub(super) fn aside(lane: Lane, resource: u64, (seq, no): Place) -> Vec<u8> {
    let place = [resource.to_be_bytes(), seq.to_be_bytes()].concat();
    key(b'w', &[&[lane.traits().letter, queue_byte(Queue::Aside)], &place, &no.to_be_bytes()])
}
/// A resource's number in [`aside`]. Two of one number would only be looked at one after the other.
pub(super) fn resource(target: &Target) -> u64 {
    digest(target.scope().unwrap_or_default().as_bytes(), b"").max(1)
}
pub(super) fn device(registered: Registered, thing: &str) -> Vec<u8> {
    let state = match registered {
        Registered::Associated => b'A',
        Registered::Disassociated => b'D',
    };
    key(b'd', &[&[state], thing.as_bytes()])
}
pub(super) fn story(thing: &str) -> Vec<u8> {
    key(b'h', &[thing.as_bytes()])
}
pub(super) fn outgoing(n: u64) -> Vec<u8> {
    key(b'o', &[&n.to_be_bytes()])
}
pub(super) fn outdated(thing: &str) -> Vec<u8> {
    key(b'q', &[thing.as_bytes()])
}
pub(super) fn redelivery(hash: &[u8; 32]) -> Vec<u8> {
    key(b'u', &[hash])
}
/// Names of a request's devices that the registry did not know, in pieces.
pub(super) fn unknown(seq: u64, piece: u32) -> Vec<u8> {
    key(b'n', &[&seq.to_be_bytes(), &piece.to_be_bytes()])
}
pub(super) fn all_unknown(seq: u64) -> (Vec<u8>, Vec<u8>) {
    range(&key(b'n', &[&seq.to_be_bytes()]))
}
pub(super) fn due(kind: Due, at: Timestamp, id: &[u8]) -> Vec<u8> {
    // Flipping the sign bit makes times before 1970 sort first.
    let at = (at.0 as u64) ^ (1 << 63);
    key(b'x', &[&[kind as u8], &at.to_be_bytes(), id])
}

/// The open entries of a request, from number `no` on.
pub(super) fn entries(seq: u64, no: u32) -> (Vec<u8>, Vec<u8>) {
    (entry(seq, no), range(&key(b'e', &[&seq.to_be_bytes()])).1)
}

/// The entries of a request that ended, and not well, from number `no` on.
pub(super) fn failures(seq: u64, no: u32) -> (Vec<u8>, Vec<u8>) {
    (failure(seq, no), range(&key(b'f', &[&seq.to_be_bytes()])).1)
}

/// A key that is not as it is written here would be passed over, deleted in vain, and found again,
/// without an end.
fn misshapen(key: &[u8]) -> StoreError {
    let prefix = key.first().map_or_else(String::new, |byte| byte.escape_ascii().to_string());
    StoreError::Damaged(format!("a key of kind {prefix:?} cannot be read"))
}

/// The time and the id in a key of [`due`].
pub(super) fn read_due(key: &[u8]) -> Result<(Timestamp, &[u8]), StoreError> {
    let (at, id) = key.get(2..).and_then(<[u8]>::split_first_chunk::<8>).ok_or_else(|| misshapen(key))?;
    Ok((Timestamp((u64::from_be_bytes(*at) ^ (1 << 63)) as i64), id))
}

/// The request in a key of [`due`].
pub(super) fn read_due_request(key: &[u8]) -> Result<u64, StoreError> {
    let (_, id) = read_due(key)?;
    id.try_into().map(u64::from_be_bytes).map_err(|_| misshapen(key))
}

/// The client's part of a key of [`by_client`].
pub(super) fn client_of(key: &[u8]) -> Result<&[u8], StoreError> {
    key.len().checked_sub(8).and_then(|end| key.get(..end)).ok_or_else(|| misshapen(key))
}

/// The request in a key of [`by_client`].
pub(super) fn seq_of(key: &[u8]) -> Result<u64, StoreError> {
    key.last_chunk::<8>().map(|seq| u64::from_be_bytes(*seq)).ok_or_else(|| misshapen(key))
}

/// A request's number as a value.
pub(super) fn read_seq(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|seq| u64::from_be_bytes(*seq))
}

/// The number that is all of a key but its first byte.
pub(super) fn read_number(key: &[u8]) -> Result<u64, StoreError> {
    key.get(1..).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes).ok_or_else(|| misshapen(key))
}

/// The request and the entry at the end of a key, after `before` bytes.
pub(super) fn read_place(key: &[u8], before: usize) -> Result<(u64, u32), StoreError> {
    let place = key.get(before..).and_then(<[u8]>::split_first_chunk::<8>);
    let (seq, no) = place.ok_or_else(|| misshapen(key))?;
    Ok((u64::from_be_bytes(*seq), no.try_into().map(u32::from_be_bytes).map_err(|_| misshapen(key))?))
}

/// The request and the entry in a key of [`entry`] or [`failure`].
pub(super) fn read_entry(key: &[u8]) -> Result<(u64, u32), StoreError> {
    read_place(key, 1)
}

fn queue_byte(queue: Queue) -> u8 {
    match queue {
        Queue::Fresh => b'F',
        Queue::Retry => b'R',
        Queue::Aside => b'A',
        Queue::Verify => b'V',
    }
}

pub(super) fn target_bytes(target: &Target) -> Vec<u8> {
    target.key().into_bytes()
}

pub(super) fn read_target(bytes: &[u8]) -> Result<Target, StoreError> {
    let target = std::str::from_utf8(bytes).ok().and_then(Target::from_key);
    target.ok_or_else(|| StoreError::Damaged("a target cannot be read".into()))
}

pub(super) fn read_thing(name: &[u8]) -> Result<ThingName, StoreError> {
    let name = std::str::from_utf8(name).ok().and_then(|name| ThingName::new(name).ok());
    name.ok_or_else(|| StoreError::Damaged("a thing name cannot be read".into()))
}

/// Tells one content from another: 128 bits of its SHA-256, as text.
pub(super) fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A row's share of the sum over all of them (FNV-1a): against damage, not against malice.
pub(super) fn digest(key: &[u8], value: &[u8]) -> u64 {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    value.iter().fold(key.iter().fold(0xcbf2_9ce4_8422_2325, hash), hash)
}

/// From the first key with `prefix` to the first beyond.
pub(super) fn range(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    (prefix.to_vec(), end)
}

pub(super) fn all_of(prefix: u8) -> (Vec<u8>, Vec<u8>) {
    range(&[prefix])
}

/// A record as bytes.
pub(super) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![RECORD];
    // Fails only for maps with keys that are no strings; records have none.
    let written = serde_json::to_writer(&mut bytes, record);
    debug_assert!(written.is_ok(), "a record is always JSON");
    bytes
}

/// Reads a record; `what` names it for the error.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&RECORD, json)) => serde_json::from_slice(json)
            .map_err(|error| StoreError::Damaged(format!("a record of {what} cannot be read: {error}"))),
        _ => Err(StoreError::Damaged(format!("a record of {what} has no known version"))),
    }
}

/// The association that was held, as a waiter keeps it.
pub(super) fn held_bytes(held: Option<Timestamp>) -> Vec<u8> {
    held.map(|at| at.0.to_be_bytes().to_vec()).unwrap_or_default()
}

pub(super) fn read_held(bytes: &[u8]) -> Option<Timestamp> {
    bytes.first_chunk::<8>().map(|at| Timestamp(i64::from_be_bytes(*at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_parts() {
        assert!(due(Due::Expiry, Timestamp(-5), b"z") < due(Due::Expiry, Timestamp(5), b"a"));
        assert_eq!(read_due(&due(Due::Request, Timestamp(-5), b"id")), Ok((Timestamp(-5), &b"id"[..])));
        assert!(entry(1, u32::MAX) < entry(2, 0));
        let of_registry = waiters(&Target::Registry).len();
        assert_eq!(read_place(&waiter(&Target::Registry, 7, 9), of_registry), Ok((7, 9)));
        let (from, to) = range(&[b'x', 255]);
        assert!(from.as_slice() <= &[b'x', 255, 255][..] && to == vec![b'y']);
    }

    #[test]
    fn no_client_reaches_into_anothers_keys() {
        let client = |name: &str| ClientId::new(name).unwrap();
        let token_ = |name: &str| ClientToken::new(name).unwrap();
        assert_ne!(token(&client("a"), &token_("bc")), token(&client("ab"), &token_("c")));
        let (from, to) = range(&key(b'l', &[&sized(b"a")]));
        let other = by_client(&client("ab"), 1);
        assert!(other < from || other >= to);
    }

    #[test]
    fn a_record_takes_members_of_another_version() {
        let bytes = [&[RECORD], &br#"{"lane":"D","queue":"F","seq":1,"no":2,"new":true}"#[..]].concat();
        let work: Work = decode(&bytes, "work").unwrap();
        assert_eq!((work.seq, work.attempts), (1, 0));
        assert!(decode::<Work>(&[2, b'{', b'}'], "work").is_err());
        assert!(decode::<Work>(&[], "work").is_err());
    }

    #[test]
    fn targets_read_back() {
        for target in [Target::Registry, Target::Device(ThingName::new("a:b").unwrap())] {
            assert_eq!(read_target(&target_bytes(&target)), Ok(target));
        }
        assert!(read_target(b"").is_err() && read_target(b"dx y").is_err());
    }
}
