//! A checkpoint: what is settled is moved from memory to the registry, and what is open is logged
//! again in the new segment of the journal, so that the old one becomes free.
//!
//! It runs in steps between the groups of other jobs, and only while everything in memory is
//! durable: the registry never has what the journal may lose. A step takes copies of what is
//! settled; the writer's thread writes them.

use std::time::Duration;

use super::{
    Binding,
    carry::Carry,
    slice::{Slices, Written},
    store::{Store, StoreError},
    writer::Writer,
};
use crate::ledger::pending::{Key, State};

/// A checkpoint that has begun.
pub(crate) struct Checkpoint {
    slices: Slices,
    writer: Writer,
    written: Written,
    carry: Carry,
}

/// What a step of a checkpoint leaves to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Images for the journal, and more steps.
    Log(Vec<u8>),
    /// More steps.
    More,
    /// More steps, when rows that are being written are written.
    Busy,
    /// Nothing: the caller completes the checkpoint in the journal.
    Done,
}

impl Checkpoint {
    /// Begins one, right after a sync of the journal.
    pub(crate) fn begin(state: &State, binding: Binding, registry: &dyn Store) -> Self {
        Self {
            slices: Slices::of(state, binding),
            writer: Writer::new(registry.writer()),
            written: Written::default(),
            carry: Carry::Owed(0),
        }
    }

    /// Runs one step, and waits for rows that are being written for no longer than `patience`.
    /// Everything in memory has to be durable.
    ///
    /// # Errors
    /// The registry failed; the checkpoint is to begin anew.
    pub(crate) fn step(
        &mut self,
        state: &State,
        registry: &mut dyn Store,
        patience: Duration,
    ) -> Result<Step, StoreError> {
        let images = self.carry.next(state, self.slices.finished());
        if !images.is_empty() {
            return Ok(Step::Log(images));
        }
        if self.writer.has_room()
            && let Some(slice) = self.slices.next(state)
        {
            self.writer.submit(slice)?;
            return Ok(Step::More);
        }
        if self.writer.is_idle() {
            return Ok(Step::Done);
        }
        let Some(Written { devices, requests }) = self.writer.outcome(registry, patience)? else {
            return Ok(Step::Busy);
        };
        self.written.devices.extend(devices);
        self.written.requests.extend(requests);
        Ok(Step::More)
    }

    /// Removes the objects that the registry now has from memory. Returns those that the journal
    /// would bring back at the next start as they were before: those that stay in memory, and those
    /// whose images are in its present segment.
    pub(crate) fn complete(&self, state: &mut State) -> Vec<Key> {
        let Self { slices, written, .. } = self;
        let mut bytes = state.counters.registry_bytes;
        let mut moved = Vec::new();
        for (thing, change, now) in &written.devices {
            if let Some(stored) = state.device_is_stored(thing, *change, *now) {
                bytes = bytes.saturating_sub(stored).saturating_add(*now);
            }
            if state.is_in_segment(*change) || state.devices().contains_key(thing) {
                moved.push(Key::Device(thing.clone()));
            }
        }
        for (seq, grown) in &written.requests {
            // Forgotten since: the next checkpoint deletes the rows, and they count no more.
            if state.forgotten_has_rows(*seq, *grown) {
                continue;
            }
            bytes = bytes.saturating_add(*grown);
            let change = state.request(*seq).map_or(0, |kept| kept.change.0);
            state.request_is_stored(*seq, *grown);
            if state.is_in_segment(change) || state.request(*seq).is_some() {
                moved.push(Key::Request(*seq));
            }
        }
        for seq in slices.forgotten() {
            state.forgotten_is_stored(*seq);
        }
        state.counters.registry_bytes = bytes;
        moved
    }

    /// All objects that it wrote.
    pub(crate) fn written(&self) -> impl Iterator<Item = Key> {
        let devices = self.written.devices.iter().map(|(thing, ..)| Key::Device(thing.clone()));
        devices.chain(self.written.requests.iter().map(|(seq, _)| Key::Request(*seq)))
    }
}
