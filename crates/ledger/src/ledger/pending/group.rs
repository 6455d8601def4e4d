//! The transactions that become durable together, and their images in the journal.

use std::collections::{BTreeSet, HashMap};

use super::{
    counters::Counters,
    object::{Changed, Image, Key},
    state::{State, Undo},
};
use crate::{
    domain::{RequestStatus, ThingName},
    ledger::registry::store::StoreError,
};

/// What a commit may have given others to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Work to send, or a sync to run.
    pub work: bool,
    /// Messages to publish.
    pub outgoing: bool,
    /// Retained device messages to publish.
    pub devices: bool,
    /// Clients of the broker to disable or enable.
    pub access: bool,
}

/// What ended and was sent again in a transaction, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Requests, by their status in the order of [`RequestStatus::ALL`].
    pub requests: [u64; RequestStatus::ALL.len()],
    /// Entries that succeeded.
    pub succeeded: u64,
    /// Entries that did not.
    pub failed: u64,
    /// Entries taken for a call, not for the first time.
    pub retried: u64,
}

impl Ended {
    pub(crate) fn add(&mut self, more: &Self) {
        for (count, more) in self.requests.iter_mut().zip(more.requests) {
            *count += more;
        }
        self.succeeded += more.succeeded;
        self.failed += more.failed;
        self.retried += more.retried;
    }
}

/// Transactions that become durable together.
#[derive(Debug, Default)]
pub struct Group {
    /// The old values, in the order of the changes.
    pub(super) undo: Vec<Undo>,
    /// The totals before the first transaction.
    pub(super) before: Option<Counters>,
    /// The objects that changed.
    pub(super) changed: BTreeSet<Key>,
    /// What was touched, over all of them.
    pub touched: Touched,
    /// What ended, over all of them.
    pub ended: Ended,
}

impl Group {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_none()
    }

    /// Whether more requests or entries are open than before.
    pub(crate) fn opens_more(&self, state: &State) -> bool {
        let open = |counters: &Counters| (counters.open_entries, counters.open_requests);
        self.before.as_ref().is_some_and(|before| {
            let ((entries, requests), now) = (open(before), open(&state.counters));
            now.0 > entries || now.1 > requests
        })
    }

    /// How many objects changed.
    pub(crate) fn len(&self) -> usize {
        self.changed.len()
    }

    /// The present images of all that changed, totals first, as they go into the journal.
    pub(crate) fn images(&self, state: &State) -> Vec<u8> {
        let mut payload = Self::totals(state);
        payload.reserve(256 * self.changed.len());
        for key in &self.changed {
            // The image of a request has its totals and entries in it.
            let whole = match key {
                Key::Progress(seq) | Key::Slot(seq, _) => Some(Key::Request(*seq)),
                _ => None,
            };
            if whole.is_none_or(|whole| !self.changed.contains(&whole))
                && let Some(image) = state.image(key)
            {
                write(&mut payload, &image);
            }
        }
        payload
    }

    /// The image of the totals alone.
    pub(crate) fn totals(state: &State) -> Vec<u8> {
        let mut payload = Vec::with_capacity(1024);
        write(&mut payload, &Image::Counters(state.counters));
        payload
    }

    /// The journal has it: what would undo it is kept in `appended` until it is durable.
    pub(crate) fn append_to(&mut self, appended: &mut Self) {
        self.changed.clear();
        if let Some(before) = self.before.take() {
            appended.before.get_or_insert(before);
        }
        appended.undo.append(&mut self.undo);
    }

    /// Puts the old values back.
    pub(crate) fn undo(&mut self, state: &mut State) {
        let Self { undo, before, .. } = std::mem::take(self);
        undo.into_iter().rev().for_each(|undo| state.undo(undo));
        if let Some(before) = before {
            // Undoing changes takes back neither the time nor the number of an opening, by which
            // others see that changes may be undone.
            let Counters { elapsed, run, .. } = state.counters;
            state.counters = Counters { elapsed, run, ..before };
            state.index();
        }
    }

    /// Sets the images of a payload again that were undone, after a checkpoint wrote the rows of
    /// the devices in `written`: the images get the bytes that the registry has of these now.
    ///
    /// # Errors
    /// None: the payload was just written.
    pub(crate) fn redo(
        &mut self,
        state: &mut State,
        payload: &mut Vec<u8>,
        written: &HashMap<ThingName, RowBytes>,
    ) -> Result<(), StoreError> {
        self.before = Some(state.counters);
        let mut corrected = Vec::with_capacity(payload.len());
        // By how much more than it thought the group makes the registry smaller.
        let mut more = 0;
        let set = read(payload, |mut image| {
            if let Image::Device(thing, Some(changed)) = &mut image
                && let Some(RowBytes { before, now }) = written.get(&**thing)
            {
                if changed.row.is_empty() {
                    more += now.wrapping_sub(*before);
                } else {
                    changed.to_mut().stored = *now;
                }
            }
            write(&mut corrected, &image);
            self.undo.extend(state.replay(image));
        });
        state.counters.registry_bytes = state.counters.registry_bytes.wrapping_sub(more);
        state.index();
        *payload = corrected;
        set.map_err(|error| StoreError::Defect(error.to_string()))
    }
}

/// Bytes of a device's row in the registry, before a checkpoint and after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowBytes {
    pub(crate) before: u64,
    pub(crate) now: u64,
}

/// The devices whose rows a payload sets, and whose rows in memory a checkpoint would write, with
/// the bytes that the registry has of each.
pub(crate) fn devices_to_write(payload: &[u8], state: &State) -> HashMap<ThingName, RowBytes> {
    let mut found = HashMap::new();
    // What cannot be read is reported when the images are set again.
    let _ = read(payload, |image| {
        if let Image::Device(thing, _) = image
            && let Some(Changed { stored, .. }) = state.devices().get(&*thing)
        {
            found.insert(thing.into_owned(), RowBytes { before: *stored, now: *stored });
        }
    });
    found
}

/// Adds an image to a payload. Each is a line of JSON.
pub(crate) fn write(payload: &mut Vec<u8>, image: &Image<'_>) {
    // Fails only for maps with keys that are no strings; no image has one.
    let written = serde_json::to_writer(&mut *payload, image);
    debug_assert!(written.is_ok(), "an image is always JSON");
    payload.push(b'\n');
}

/// Reads the images of a payload.
///
/// # Errors
/// An image cannot be read.
pub(crate) fn read(payload: &[u8], mut each: impl FnMut(Image<'_>)) -> Result<(), serde_json::Error> {
    for image in serde_json::Deserializer::from_slice(payload).into_iter::<Image<'_>>() {
        each(image?);
    }
    Ok(())
}
