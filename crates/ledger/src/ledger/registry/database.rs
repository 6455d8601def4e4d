//! Calls into sled: how it is opened, and what its errors and panics mean.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use super::store::StoreError;
use crate::ledger::files::io_error;

/// Bytes of sled's page cache; its default of 1 GiB is no size for a gateway.
const CACHE: u64 = 1 << 20;

/// Bytes of sled's segments: twice what it takes by itself, so that twice as much may go between
/// two syncs. Chosen for good, since sled opens no store that was made with another.
const SEGMENT: usize = 1 << 20;

/// Writes of one batch: larger ones take memory out of all proportion.
pub(super) const MAX_OPS: usize = 256;

/// Opens or makes a database.
///
/// # Errors
/// The operating system refused, or the database is damaged.
pub(super) fn open_sled(dir: &Path) -> Result<::sled::Db, StoreError> {
    let config = ::sled::Config::new().path(dir).segment_size(SEGMENT).cache_capacity(CACHE).flush_every_ms(None);
    guarded_at(&dir.display().to_string(), || config.open())
}

fn sled_error(what: &str, error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(error) => match error.kind() {
            // sled's own files are none, or shorter than what they say that they hold.
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged(error.to_string())
            }
            _ => io_error(what, &error),
        },
        // Each of these means that sled read something that it did not write.
        ::sled::Error::Corruption { .. } | ::sled::Error::ReportableBug(_) | ::sled::Error::Unsupported(_) => {
            StoreError::Damaged(error.to_string())
        }
        ::sled::Error::CollectionNotFound(_) => StoreError::Damaged(error.to_string()),
    }
}

/// Runs a call into sled, which panics on some damage, at the opening and at any later read.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, StoreError> {
    guarded_at("the store", call)
}

fn guarded_at<T>(what: &str, call: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| sled_error(what, error)),
        Err(panic) => Err(StoreError::Damaged(crate::runtime::errors::panic_text(&*panic))),
    }
}
