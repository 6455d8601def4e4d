//! A slice of a checkpoint: settled objects whose rows the registry gets in a few batches.

use std::sync::Arc;

use super::{
    Binding, rows,
    store::{Direction, Op, Store, StoreError},
};
use crate::{
    domain::ThingName,
    ledger::pending::{DeviceRow, Forgotten, Settled, State},
};

/// Objects of one slice: some ten milliseconds of sled's time.
const OBJECTS: usize = 960;

/// Writes of one batch: sled frees nothing before a batch ends, and with 250 its thread needed 3 MB
/// more.
const BATCH: usize = 64;

/// A device whose row is written, and by which change.
#[derive(Debug)]
pub(super) struct Device {
    thing: ThingName,
    row: Arc<DeviceRow>,
    change: u64,
}

/// A slice, independent of the state that it was taken from.
#[derive(Debug)]
pub(super) enum Slice {
    Devices(Vec<Device>),
    Requests(Vec<Settled>),
    /// After the requests: a token may name a later request by now, whose row is there then.
    Forgotten(Vec<(u64, Forgotten)>),
    /// All slices are written.
    Binding(Binding),
}

/// What a slice wrote.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Devices, by which change, and the bytes of their rows.
    pub(super) devices: Vec<(ThingName, u64, u64)>,
    /// Requests, and the bytes of their rows.
    pub(super) requests: Vec<(u64, u64)>,
}

/// The objects that a checkpoint moves to the registry, and how many of each are in a slice so far.
#[derive(Debug)]
pub(super) struct Slices {
    devices: Vec<ThingName>,
    requests: Vec<u64>,
    forgotten: Vec<u64>,
    next: [usize; 3],
    binding: Option<Binding>,
}

/// The next of `all`, at most a slice of them.
fn take<'a, T>(all: &'a [T], next: &mut usize) -> &'a [T] {
    let rest = &all[*next..];
    let taken = &rest[..rest.len().min(OBJECTS)];
    *next += taken.len();
    taken
}

impl Slices {
    /// Of all that is settled now.
    pub(super) fn of(state: &State, binding: Binding) -> Self {
        let finished = state.requests().iter().filter(|(_, kept)| kept.request.completed_at.is_some() && !kept.stored);
        Self {
            devices: state.devices().keys().cloned().collect(),
            requests: finished.map(|(seq, _)| *seq).collect(),
            forgotten: state.forgotten().keys().copied().collect(),
            next: [0; 3],
            binding: Some(binding),
        }
    }

    /// The next slice; `None` after the last one, which has the binding.
    pub(super) fn next(&mut self, state: &State) -> Option<Slice> {
        let Self { devices, requests, forgotten, next, binding } = self;
        let things = take(devices, &mut next[0]);
        if !things.is_empty() {
            let row = |thing: &ThingName| {
                let changed = state.devices().get(thing)?;
                Some(Device { thing: thing.clone(), row: Arc::clone(&changed.row), change: changed.change.0 })
            };
            return Some(Slice::Devices(things.iter().filter_map(row).collect()));
        }
        let finished = take(requests, &mut next[1]);
        if !finished.is_empty() {
            let settled = |seq: &u64| state.request(*seq).map(Settled::from);
            return Some(Slice::Requests(finished.iter().filter_map(settled).collect()));
        }
        let gone = take(forgotten, &mut next[2]);
        if !gone.is_empty() {
            let named = |seq: &u64| Some((*seq, state.forgotten().get(seq)?.clone()));
            return Some(Slice::Forgotten(gone.iter().filter_map(named).collect()));
        }
        binding.take().map(Slice::Binding)
    }

    /// Requests whose rows are written, in ascending order.
    pub(super) fn finished(&self) -> &[u64] {
        &self.requests
    }

    /// Requests whose rows are deleted.
    pub(super) fn forgotten(&self) -> &[u64] {
        &self.forgotten
    }
}

impl Slice {
    /// Writes the rows.
    ///
    /// # Errors
    /// The registry failed; any part may be written.
    pub(super) fn write(self, registry: &mut dyn Store) -> Result<Written, StoreError> {
        let mut written = Written::default();
        let mut ops = Vec::new();
        match self {
            Self::Devices(devices) => {
                for Device { thing, row, change } in devices {
                    let op = rows::of_device(&thing, &row);
                    let bytes = op.1.as_ref().map_or(0, |_| size(&op));
                    written.devices.push((thing, change, bytes));
                    ops.push(op);
                    // They come in the order of their keys, so that nothing is gained by sorting
                    // more of them together.
                    if ops.len() == BATCH {
                        apply(registry, &mut ops)?;
                    }
                }
            }
            Self::Requests(requests) => {
                for settled in requests {
                    let (before, seq) = (ops.len(), settled.request.seq);
                    rows::of_request(settled, &mut ops);
                    written.requests.push((seq, ops.iter().skip(before).map(size).sum()));
                    // A request may have thousands of failed entries.
                    if ops.len() >= OBJECTS {
                        apply(registry, &mut ops)?;
                    }
                }
            }
            Self::Forgotten(forgotten) => {
                for (seq, Forgotten { client, token, .. }) in forgotten {
                    forget(registry, seq, &rows::token(&client, &token), &mut ops)?;
                    if ops.len() >= OBJECTS {
                        apply(registry, &mut ops)?;
                    }
                }
            }
            Self::Binding(binding) => {
                crate::runtime::failpoint::pass("checkpoint-written");
                binding.write(registry)?;
                crate::runtime::failpoint::pass("checkpoint-bound");
            }
        }
        apply(registry, &mut ops)?;
        Ok(written)
    }
}

/// Bytes of a row.
fn size((key, value): &Op) -> u64 {
    (key.len() + value.as_ref().map_or(0, Vec::len)) as u64
}

/// Deletes the rows of a request, of which a checkpoint that a crash cut short may have left any
/// part.
fn forget(registry: &dyn Store, seq: u64, token: &[u8], ops: &mut Vec<Op>) -> Result<(), StoreError> {
    // The token may name a later request by now.
    if registry.get(token)?.as_deref().map(rows::read_seq).transpose()? == Some(seq) {
        ops.push((token.to_vec(), None));
    }
    for (from, to) in [rows::failures(seq, 0), rows::names(seq)] {
        let rows = registry.scan(&from, &to, Direction::Up, usize::MAX)?;
        ops.extend(rows.into_iter().map(|(key, _)| (key, None)));
    }
    if registry.get(&rows::request(seq))?.is_some() {
        ops.push((rows::request(seq), None));
    }
    Ok(())
}

/// Applies the writes in sorted batches.
fn apply(registry: &mut dyn Store, ops: &mut Vec<Op>) -> Result<(), StoreError> {
    ops.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    for batch in ops.chunks(BATCH) {
        registry.apply(batch)?;
    }
    ops.clear();
    Ok(())
}
