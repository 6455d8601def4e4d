//! What the ledger asks of the registry: read, scan a range, apply a batch atomically, make what
//! was applied durable.
//!
//! `SledStore` implements it with sled; tests and the simulation bring other implementations, so
//! that every rule runs under both.

/// One write: a key with its new value, `None` to delete it.
pub type Op = (Vec<u8>, Option<Vec<u8>>);

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Which end a scan starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key.
    Up,
    /// From the largest key.
    Down,
}

/// Why an operation of the store failed. After any of these errors the store is to be dropped and
/// opened again: sled stays failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file system has no room.
    #[error("no space left on the device of the data directory; make room, the agent goes on by itself")]
    Full,
    /// The operating system refused.
    #[error("{0}")]
    Io(String),
    /// What is stored is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// Written by a version of the agent that this one does not understand.
    #[error("the store was written by a newer version (schema {0}); install that version, this one touches nothing")]
    TooNew(u64),
    /// The journal has something whole that this version does not understand.
    #[error("the store was written by a newer version ({0}); install that version, this one touches nothing")]
    Unread(String),
    /// The registry that the operation concerns was replaced meanwhile.
    #[error("the registry was replaced meanwhile")]
    Replaced,
    /// The ledger's own state does not fit together: a defect, and no damage.
    #[error("an internal error; please report it: {0}")]
    Defect(String),
}

/// A sorted map of bytes.
pub trait Store {
    /// The value at `key`.
    ///
    /// # Errors
    /// The store failed.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` rows with `from <= key < to`.
    ///
    /// # Errors
    /// The store failed.
    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Applies all of `ops` or none. At once visible, durable only after [`Self::sync`], and then
    /// in the order of the calls: a crash leaves a prefix of them.
    ///
    /// # Errors
    /// The store failed; nothing of `ops` may be assumed.
    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError>;

    /// Makes all that was applied durable.
    ///
    /// # Errors
    /// The store failed; what was applied since the last success may be lost.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// A second handle, with which another thread writes while this one reads; `None` where there is
    /// none. It counts the writes between two syncs by itself, and is to be dropped before the store
    /// is opened again.
    fn writer(&self) -> Option<Box<dyn Store + Send>> {
        None
    }

    /// Bytes that the store takes on its disk.
    fn size(&self) -> u64 {
        0
    }

    /// Copies what is live to a fresh store, which takes this one's place when it is opened again:
    /// to be dropped after that, and after an error, too. `false` if there is no room for a copy;
    /// nothing was done then.
    ///
    /// # Errors
    /// The store failed, or its copy did, which may be taken all the same.
    fn rewrite(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
