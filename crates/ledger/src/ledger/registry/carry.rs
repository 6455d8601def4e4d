//! What is open is logged again in the new segment of the journal, in slices.

use std::ops::Bound;

use crate::{
    domain::{Target, ThingName},
    ledger::pending::{Kept, Key, State, write},
};

/// Bytes of images of one slice.
const SLICE: usize = 64 << 10;

/// What is logged again, one kind after the other, each from a cursor on. Messages come first: a
/// request that ended while the journal was repaired must not be in it without its message.
#[derive(Debug)]
pub(super) enum Carry {
    Owed(u64),
    Requests(u64),
    Works(Option<Target>),
    Unacknowledged(Option<[u8; 32]>),
    Outdated(Option<ThingName>),
    Access(Option<ThingName>),
    Done,
}

impl Carry {
    /// The images of the next objects that are open, or that ended since the checkpoint began; none
    /// at the end. The checkpoint moves the requests in `finished` to the registry, in ascending
    /// order. Of another one that ended, the new segment has only the parts that changed.
    pub(super) fn next(&mut self, state: &State, finished: &[u64]) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut log = |key: &Key| {
            if let Some(image) = state.image(key) {
                write(&mut payload, &image);
            }
            payload.len() < SLICE
        };
        *self = match &self {
            Self::Owed(from) => match state.owed().range(from..).find(|(n, _)| !log(&Key::Owed(**n))) {
                Some((n, _)) => Self::Owed(n + 1),
                None => Self::Requests(0),
            },
            Self::Requests(from) => {
                let is_kept = |seq: &u64, kept: &Kept| {
                    let is_moved = kept.stored || finished.binary_search(seq).is_ok();
                    kept.request.completed_at.is_none() || !is_moved || state.is_owed(*seq)
                };
                let mut rest = state.requests().range(from..);
                match rest.find(|(seq, kept)| is_kept(seq, kept) && !log(&Key::Request(**seq))) {
                    Some((seq, _)) => Self::Requests(seq + 1),
                    None => Self::Works(None),
                }
            }
            Self::Works(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.works().range::<Target, _>((from, Bound::Unbounded));
                match rest.find(|(target, _)| !log(&Key::Work((*target).clone()))) {
                    Some((target, _)) => Self::Works(Some(target.clone())),
                    None => Self::Unacknowledged(None),
                }
            }
            Self::Unacknowledged(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.unacknowledged().range::<[u8; 32], _>((from, Bound::Unbounded));
                match rest.find(|(hash, _)| !log(&Key::Unacknowledged(**hash))) {
                    Some((hash, _)) => Self::Unacknowledged(Some(*hash)),
                    None => Self::Outdated(None),
                }
            }
            Self::Outdated(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.outdated().range::<ThingName, _>((from, Bound::Unbounded));
                match rest.find(|(thing, _)| !log(&Key::Outdated((*thing).clone()))) {
                    Some((thing, _)) => Self::Outdated(Some(thing.clone())),
                    None => Self::Access(None),
                }
            }
            Self::Access(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.access().range::<ThingName, _>((from, Bound::Unbounded));
                match rest.find(|(thing, _)| !log(&Key::Access((*thing).clone()))) {
                    Some((thing, _)) => Self::Access(Some(thing.clone())),
                    None => Self::Done,
                }
            }
            Self::Done => Self::Done,
        };
        if payload.is_empty() && !matches!(self, Self::Done) {
            return self.next(state, finished);
        }
        payload
    }
}

/// Bytes that logging again all that is open takes, for the size of the next segment: measured with
/// names of 14 characters.
pub(crate) fn carried_bytes(state: &State) -> u64 {
    state.requests().len() as u64 * 640
        + state.slots() * 48
        + state.works().len() as u64 * 112
        + state.owed().len() as u64 * 48
        + state.outdated().len() as u64 * 48
        + state.access().len() as u64 * 64
        + state.unacknowledged().len() as u64 * 160
}
