//! A checkpoint: what is settled is moved from memory to the registry, and what is open is logged
//! again in the new segment of the journal, so that the old one becomes free.
//!
//! It runs in steps between the groups of other jobs, each of a few milliseconds, and only while
//! everything in memory is durable: the registry never has what the journal may lose.

use std::ops::Bound;

use super::{
    Binding, rows,
    store::{Direction, Op, Store, StoreError},
};
use crate::{
    domain::{Target, ThingName},
    ledger::pending::{Key, State, write},
};

/// Rows that one step writes, about: one batch.
const STEP: usize = 240;

/// Writes between two syncs of the registry. More, and sled's log could grow by a segment between
/// them, which a power cut takes for complete (see `sled.rs`).
const BATCH: usize = 250;

/// Bytes of images that one step logs again.
const SLICE: usize = 64 << 10;

/// What is logged again, one kind after the other, each from a cursor on.
#[derive(Debug)]
enum Carry {
    Requests(u64),
    Works(Option<Target>),
    Owed(u64),
    Unacknowledged(Option<[u8; 32]>),
    Outdated(Option<ThingName>),
    Access(Option<ThingName>),
    Done,
}

/// A device whose row was written: by which change, and its size.
#[derive(Debug)]
struct Written {
    thing: ThingName,
    change: u64,
    bytes: u64,
}

/// A checkpoint that has begun.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    binding: Binding,
    devices: Vec<ThingName>,
    requests: Vec<u64>,
    forgotten: Vec<u64>,
    /// How many of each are written.
    next: [usize; 3],
    written: Vec<Written>,
    /// Bytes of the rows of requests.
    grown: u64,
    carry: Carry,
}

/// What a step of a checkpoint leaves to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Images for the journal, and more steps.
    Log(Vec<u8>),
    /// More steps.
    More,
    /// Nothing: the caller completes the checkpoint in the journal.
    Done,
}

impl Checkpoint {
    /// Begins one, right after a sync of the journal.
    pub(crate) fn begin(state: &State, binding: Binding) -> Self {
        let finished = state.requests().iter().filter(|(_, kept)| kept.request.completed_at.is_some() && !kept.stored);
        Self {
            binding,
            devices: state.devices().keys().cloned().collect(),
            requests: finished.map(|(seq, _)| *seq).collect(),
            forgotten: state.forgotten().keys().copied().collect(),
            next: [0; 3],
            written: Vec::new(),
            grown: 0,
            carry: Carry::Requests(0),
        }
    }

    /// Runs one step. Everything in memory has to be durable.
    ///
    /// # Errors
    /// The registry failed; the checkpoint is to begin anew.
    pub(crate) fn step(&mut self, state: &State, registry: &mut dyn Store) -> Result<Step, StoreError> {
        if let Carry::Done = self.carry {
        } else {
            let images = self.carry(state);
            if !images.is_empty() {
                return Ok(Step::Log(images));
            }
        }
        let mut ops = Vec::new();
        self.devices(state, &mut ops);
        if ops.is_empty() {
            self.requests(state, registry, &mut ops)?;
        }
        if !ops.is_empty() {
            ops.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            for batch in ops.chunks(BATCH) {
                registry.apply(batch)?;
            }
            return Ok(Step::More);
        }
        crate::runtime::failpoint::pass("checkpoint-written");
        self.binding.write(registry)?;
        crate::runtime::failpoint::pass("checkpoint-bound");
        Ok(Step::Done)
    }

    fn devices(&mut self, state: &State, ops: &mut Vec<Op>) {
        let names = &self.devices[self.next[0]..];
        let names = &names[..names.len().min(STEP)];
        for thing in names {
            if let Some(changed) = state.devices().get(thing) {
                let op = rows::of_device(thing, &changed.row);
                let bytes = op.1.as_ref().map_or(0, |value| op.0.len() + value.len()) as u64;
                self.written.push(Written { thing: thing.clone(), change: changed.change, bytes });
                ops.push(op);
            }
        }
        self.next[0] += names.len();
    }

    fn requests(&mut self, state: &State, registry: &dyn Store, ops: &mut Vec<Op>) -> Result<(), StoreError> {
        // A request may have thousands of failed entries.
        while self.next[1] < self.requests.len() && ops.len() < STEP {
            let seq = self.requests[self.next[1]];
            self.next[1] += 1;
            if let Some(kept) = state.request(seq) {
                rows::of_request(kept, ops);
            }
        }
        self.grown +=
            ops.iter().map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64).sum::<u64>();
        while self.next[2] < self.forgotten.len() && ops.len() < STEP {
            let seq = self.forgotten[self.next[2]];
            self.next[2] += 1;
            let Some(forgotten) = state.forgotten().get(&seq) else { continue };
            let (from, to) = (rows::request(seq), rows::request(seq + 1));
            let is_there = !registry.scan(&from, &to, Direction::Up, 1)?.is_empty();
            if !is_there {
                continue;
            }
            let token = rows::token(&forgotten.client, &forgotten.token);
            // The token may name a later request by now.
            if registry.get(&token)?.as_deref().map(rows::read_seq).transpose()? == Some(seq) {
                ops.push((token, None));
            }
            for (from, to) in [rows::failures(seq, 0), rows::names(seq)] {
                let rows = registry.scan(&from, &to, Direction::Up, usize::MAX)?;
                ops.extend(rows.into_iter().map(|(key, _)| (key, None)));
            }
            ops.push((from, None));
        }
        Ok(())
    }

    /// The images of the next open objects.
    fn carry(&mut self, state: &State) -> Vec<u8> {
        let mut payload = Vec::new();
        let mut log = |key: &Key| {
            if let Some(image) = state.image(key) {
                write(&mut payload, &image);
            }
            payload.len() < SLICE
        };
        self.carry = match &self.carry {
            Carry::Requests(from) => {
                let open = |seq: &u64, is_over: bool| !is_over || state.is_owed(*seq);
                let mut rest = state.requests().range(from..);
                match rest
                    .find(|(seq, kept)| open(seq, kept.request.completed_at.is_some()) && !log(&Key::Request(**seq)))
                {
                    Some((seq, _)) => Carry::Requests(seq + 1),
                    None => Carry::Works(None),
                }
            }
            Carry::Works(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.works().range::<Target, _>((from, Bound::Unbounded));
                match rest.find(|(target, _)| !log(&Key::Work((*target).clone()))) {
                    Some((target, _)) => Carry::Works(Some(target.clone())),
                    None => Carry::Owed(0),
                }
            }
            Carry::Owed(from) => match state.owed().range(from..).find(|(n, _)| !log(&Key::Owed(**n))) {
                Some((n, _)) => Carry::Owed(n + 1),
                None => Carry::Unacknowledged(None),
            },
            Carry::Unacknowledged(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.unacknowledged().range::<[u8; 32], _>((from, Bound::Unbounded));
                match rest.find(|(hash, _)| !log(&Key::Unacknowledged(**hash))) {
                    Some((hash, _)) => Carry::Unacknowledged(Some(*hash)),
                    None => Carry::Outdated(None),
                }
            }
            Carry::Outdated(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.outdated().range::<ThingName, _>((from, Bound::Unbounded));
                match rest.find(|(thing, _)| !log(&Key::Outdated((*thing).clone()))) {
                    Some((thing, _)) => Carry::Outdated(Some(thing.clone())),
                    None => Carry::Access(None),
                }
            }
            Carry::Access(after) => {
                let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                let mut rest = state.access().range::<ThingName, _>((from, Bound::Unbounded));
                match rest.find(|(thing, _)| !log(&Key::Access((*thing).clone()))) {
                    Some((thing, _)) => Carry::Access(Some(thing.clone())),
                    None => Carry::Done,
                }
            }
            Carry::Done => Carry::Done,
        };
        if payload.is_empty() && !matches!(self.carry, Carry::Done) {
            return self.carry(state);
        }
        payload
    }

    /// The journal says that the checkpoint is complete: what the registry has leaves the memory.
    pub(crate) fn complete(self, state: &mut State) {
        let mut bytes = state.counters.registry_bytes.saturating_add(self.grown);
        for Written { thing, change, bytes: now } in self.written {
            if let Some(stored) = state.device_is_stored(&thing, change, now) {
                bytes = bytes.saturating_sub(stored).saturating_add(now);
            }
        }
        for seq in self.requests {
            state.request_is_stored(seq);
        }
        for seq in self.forgotten {
            state.forgotten_is_stored(seq);
        }
        state.counters.registry_bytes = bytes;
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
