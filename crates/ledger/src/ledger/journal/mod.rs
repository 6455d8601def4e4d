//! The write-ahead journal: groups of jobs in preallocated segments that are used in turn.
//!
//! * A segment's header names its predecessor and its last frame that counts. Recovery starts at
//!   the newest header, and follows the predecessors back to the segment at which the last complete
//!   checkpoint began.
//! * Each frame holds the checksum of the one before and a number that only grows, so that recovery
//!   can distinguish the next frame from what an earlier use of the file, or of its pages, left
//!   there.
//! * The tail that recovery finds may be in the page cache only: after a sync that failed, Linux
//!   shows pages that are not on the disk, and the next sync succeeds. So an opening writes every
//!   group that is not known to be durable once more, in a `Restart` frame.
//! * After a sync that failed no page of the segment is trusted: [`Journal::cut`] begins another
//!   one, whose header says up to where its predecessor counts.

mod directory;
mod files;
mod format;
mod header;
mod log;
mod place;
mod reading;
mod recovery;
mod scan;
mod segments;
mod survey;

#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use directory::Directory;
pub use files::Files;
pub(crate) use files::{DEFAULT_SEGMENT, Identity};
pub(crate) use log::Journal;
pub(crate) use reading::{About, Found, read_all};
pub(crate) use recovery::{Recovered, Replay};
