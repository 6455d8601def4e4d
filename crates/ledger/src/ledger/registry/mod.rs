//! The registry: devices, finished requests, tokens and history, in sled.
//!
//! Only checkpoints write to the registry, in sorted batches. A checkpoint writes only changes that
//! the journal has already made durable.

mod carry;
mod checkpoint;
mod copy;
mod database;
pub(crate) mod rows;
mod sled;
mod slice;
pub mod store;
mod writer;

pub(crate) use carry::carried_bytes;
pub(crate) use checkpoint::{Checkpoint, Step};
use serde::{Deserialize, Serialize};
pub(crate) use sled::SledStore;
pub use sled::room_needed;
use store::{Direction, Store, StoreError};

/// Which journal a registry belongs to, and its last checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The journal's identity.
    pub(crate) journal: u128,
    /// Counts the registries of one journal: a damaged one is replaced.
    pub(crate) generation: u64,
    /// The last checkpoint of which the registry has all rows.
    pub(crate) checkpoint: u64,
    /// Counts the attempts to write one. An attempt that a crash ended before the journal knew of
    /// it is repeated under the same number of the checkpoint, and may have other rows.
    #[serde(default)]
    pub(crate) attempt: u64,
}

impl Binding {
    fn key() -> Vec<u8> {
        rows::meta("binding")
    }

    /// Reads it; `None` for a new registry, which has no rows at all.
    ///
    /// # Errors
    /// The registry failed, or has rows and no binding.
    pub(crate) fn read(registry: &dyn Store) -> Result<Option<Self>, StoreError> {
        match registry.get(&Self::key())? {
            Some(row) => rows::decode(&row, "the binding").map(Some),
            None if registry.scan(&[0], &[u8::MAX], Direction::Up, 1)?.is_empty() => Ok(None),
            None => {
                Err(StoreError::Damaged("there are rows, and nothing that says which journal they belong to".into()))
            }
        }
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// The registry failed.
    pub(crate) fn write(self, registry: &mut dyn Store) -> Result<(), StoreError> {
        registry.apply(&[(Self::key(), Some(rows::encode(&self)))])?;
        registry.sync()
    }
}
