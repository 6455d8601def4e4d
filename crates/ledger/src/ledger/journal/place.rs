//! Positions in the journal: its end, a segment, and the reserved room of a segment.

use super::{
    format::{PAGE, Use},
    header::Previous,
};
use crate::ledger::files::DAMAGED_JOURNAL;

/// Segments of a new journal: one that is written, one that a checkpoint frees, and one for a cut
/// in between.
pub(super) const SEGMENTS: u32 = 3;

/// Bytes of each segment that groups leave free: a page for a `Complete` frame, and one for a
/// `Close` frame.
pub(super) const RESERVE: u64 = 2 * PAGE;

/// An end of the journal: a frame, or the header of a segment without one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tip {
    pub(super) index: u64,
    /// The checksum of that frame or header.
    pub(super) crc: u32,
    /// The last group up to there.
    pub(super) sequence: u64,
}

/// A segment that recovery needs.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) length: u64,
    pub(super) used: Use,
    /// Index of its header.
    pub(super) index: u64,
    pub(super) previous: Option<Previous>,
}

/// The name of a copy of a damaged journal.
pub(super) fn copy_name(salt: u64, intact_through: u64) -> String {
    format!("{DAMAGED_JOURNAL}{salt:016x}-{intact_through}")
}
