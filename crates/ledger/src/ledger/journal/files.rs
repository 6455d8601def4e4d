//! The file operations that a journal needs, and the identity in the header of each segment.

use std::path::PathBuf;

use crate::ledger::StoreError;

/// Where the segments are: files that are written in place. The real one is `Directory`; tests and
/// the simulation bring others.
pub trait Files {
    /// The segments that exist: number and length in bytes.
    ///
    /// # Errors
    /// The operating system refused.
    fn list(&self) -> Result<Vec<(u32, u64)>, StoreError>;

    /// Makes segment `number` with `length` bytes of zeros, durably, name included. A file that is
    /// there keeps its bytes, and is extended with zeros if it is shorter.
    ///
    /// # Errors
    /// No room, or the operating system refused: an existing file is as long as before then.
    fn create(&mut self, number: u32, length: u64) -> Result<(), StoreError>;

    /// Shortens a segment whose content is not needed any more; it need not be durable.
    ///
    /// # Errors
    /// The operating system refused.
    fn shorten(&mut self, number: u32, length: u64) -> Result<(), StoreError>;

    /// Reads `buffer.len()` bytes at `offset`, and returns how many there were: fewer at the end of
    /// the file, none in a file that does not exist.
    ///
    /// # Errors
    /// The operating system refused.
    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError>;

    /// Writes: visible at once, durable after [`Self::sync`].
    ///
    /// # Errors
    /// The operating system refused; a part may be written.
    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes what was written to the segment durable (`fdatasync`).
    ///
    /// # Errors
    /// The operating system refused: what was written since the last success may be lost, also if a
    /// later sync succeeds.
    fn sync(&mut self, number: u32) -> Result<(), StoreError>;

    /// Whether the file has no name any more: what is written to it is lost when the process ends.
    fn is_deleted(&self, _number: u32) -> bool {
        false
    }

    /// Keeps a copy of all segments for a person, and returns where; the segments stay. With a name
    /// that has a copy already, nothing is copied.
    ///
    /// # Errors
    /// No room, or the operating system refused.
    fn keep_copy(&self, name: &str) -> Result<PathBuf, StoreError>;
}

/// Which ledger a journal belongs to; the header of each segment has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Random, for each ledger that is made.
    pub id: u128,
    /// Version of the payloads.
    pub schema: u32,
    /// Core device and region, as "core region"; at most 300 bytes.
    pub owner: String,
}

/// Bytes of a segment, if no larger one is asked for.
pub(crate) const DEFAULT_SEGMENT: u64 = 2 << 20;
