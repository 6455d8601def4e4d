//! Writes the slices of a checkpoint to the registry, one after the other.
//!
//! Where the store has a second handle, a thread of its own writes them: sled takes a third of the
//! time of a ledger under load, and commands would wait for it.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    slice::{Slice, Written},
    store::{Store, StoreError},
};

/// Slices that are taken from the state and not written yet: one that is written, and the next.
const DEPTH: usize = 2;

type Outcome = Result<Written, StoreError>;

/// Where the slices are written.
enum Place {
    Thread {
        slices: Option<SyncSender<Slice>>,
        outcomes: Receiver<Outcome>,
        thread: Option<JoinHandle<()>>,
    },
    /// The caller, when it asks for the outcome.
    Caller(VecDeque<Slice>),
}

/// The writer of one checkpoint. When it is dropped, nothing is being written any more.
pub(super) struct Writer {
    place: Place,
    /// Slices whose outcome is not known yet.
    waiting: usize,
}

impl Writer {
    /// With the store's second handle, if it has one.
    pub(super) fn new(store: Option<Box<dyn Store + Send>>) -> Self {
        let spawned = store.and_then(|mut store| {
            let (slices, to_write) = sync_channel::<Slice>(DEPTH);
            // As many as slices are under way, so that the thread never waits for the caller.
            let (written, outcomes) = sync_channel(DEPTH);
            let run = move || {
                for slice in to_write {
                    if written.send(slice.write(&mut *store)).is_err() {
                        break;
                    }
                }
            };
            let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(run);
            let thread = thread.inspect_err(|error| {
                let text =
                    "no thread for the rows of a checkpoint; the ledger writes them itself, and commands wait for it";
                tracing::warn!(%error, "{text}");
            });
            Some(Place::Thread { slices: Some(slices), outcomes, thread: Some(thread.ok()?) })
        });
        Self { place: spawned.unwrap_or(Place::Caller(VecDeque::new())), waiting: 0 }
    }

    /// Whether there is room for another slice.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < DEPTH
    }

    /// Whether the outcome of each slice is known.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Takes a slice over; [`Self::has_room`] holds.
    ///
    /// # Errors
    /// The thread has ended.
    pub(super) fn submit(&mut self, slice: Slice) -> Result<(), StoreError> {
        self.waiting += 1;
        match &mut self.place {
            Place::Thread { slices, .. } => match slices.as_ref().map(|slices| slices.try_send(slice)) {
                Some(Ok(())) => Ok(()),
                Some(Err(TrySendError::Full(_))) => Err(StoreError::Defect("too many slices of a checkpoint".into())),
                Some(Err(TrySendError::Disconnected(_))) | None => Err(ended()),
            },
            Place::Caller(slices) => {
                slices.push_back(slice);
                Ok(())
            }
        }
    }

    /// The outcome of the oldest slice; `None` if it is not written after `patience`.
    ///
    /// # Errors
    /// The registry failed, or the thread has ended.
    pub(super) fn outcome(
        &mut self,
        registry: &mut dyn Store,
        patience: Duration,
    ) -> Result<Option<Written>, StoreError> {
        let outcome = match &mut self.place {
            Place::Thread { outcomes, .. } => match outcomes.recv_timeout(patience) {
                Ok(outcome) => outcome,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err(ended()),
            },
            Place::Caller(slices) => match slices.pop_front() {
                Some(slice) => slice.write(registry),
                None => return Ok(None),
            },
        };
        self.waiting -= 1;
        outcome.map(Some)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Place::Thread { slices, thread, .. } = &mut self.place {
            *slices = None;
            // A panic of it was noticed as an outcome that did not come.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

fn ended() -> StoreError {
    StoreError::Defect("the thread that writes the rows of a checkpoint has ended".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::registry::{Binding, SledStore};

    fn binding(checkpoint: u64) -> Slice {
        Slice::Binding(Binding { checkpoint, ..Binding::default() })
    }

    /// Or the registry could not be opened again after a failure.
    #[test]
    fn a_writer_that_is_dropped_has_written_what_it_took_and_let_go_of_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        let mut writer = Writer::new(store.writer());
        assert!(matches!(writer.place, Place::Thread { .. }));
        for checkpoint in [1, 2] {
            assert!(writer.has_room());
            writer.submit(binding(checkpoint)).unwrap();
        }
        assert!(!writer.has_room() && !writer.is_idle());
        drop((writer, store));
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(Binding::read(&store).unwrap().map(|found| found.checkpoint), Some(2));
    }

    #[test]
    fn without_a_thread_the_caller_writes_when_it_asks_for_the_outcome() {
        let mut store = crate::ledger::testing::MemStore::default();
        let mut writer = Writer::new(store.writer());
        writer.submit(binding(1)).unwrap();
        assert_eq!(Binding::read(&store), Ok(None));
        assert!(writer.outcome(&mut store, Duration::ZERO).unwrap().is_some());
        assert_eq!(Binding::read(&store).unwrap().map(|found| found.checkpoint), Some(1));
        assert!(writer.is_idle() && writer.outcome(&mut store, Duration::ZERO).unwrap().is_none());
    }
}
