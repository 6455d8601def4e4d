//! Passes the groups of a journal to the caller in order, each once, and names what is missing.

use super::{
    super::{
        files::Files,
        format::{Carried, FIRST, Kind},
        scan::{self, Entry},
    },
    parts::Part,
};
use crate::ledger::StoreError;

/// What recovery hands to its caller, in order.
#[derive(Debug)]
pub(crate) enum Replay<'a> {
    /// A group that counts.
    Group { sequence: u64, payload: &'a [u8] },
    /// Groups that were durable are missing here.
    Hole,
}

/// Hands out the groups, and collects what is missing.
pub(super) struct Replayer<'a> {
    pub(super) replay: &'a mut dyn FnMut(Replay<'_>) -> Result<(), StoreError>,
    /// The last group that was replayed, or that is in the registry.
    pub(super) sequence: u64,
    /// The last call was for a hole.
    pub(super) is_hole: bool,
    pub(super) holes: Vec<String>,
    pub(super) intact_through: Option<u64>,
}

impl Replayer<'_> {
    fn hole(&mut self, text: String) -> Result<(), StoreError> {
        self.holes.push(text);
        self.intact_through.get_or_insert(self.sequence);
        if !std::mem::replace(&mut self.is_hole, true) {
            (self.replay)(Replay::Hole)?;
        }
        Ok(())
    }

    fn group(&mut self, sequence: u64, payload: &[u8]) -> Result<(), StoreError> {
        // A repeated group, read without the `Restart` frame that voids its first copy.
        if sequence <= self.sequence {
            return Ok(());
        }
        (self.sequence, self.is_hole) = (sequence, false);
        (self.replay)(Replay::Group { sequence, payload })
    }

    pub(super) fn part<F: Files>(&mut self, files: &F, part: &Part) -> Result<(), StoreError> {
        let Part { link, scanned, is_after_hole } = part;
        let number = link.number;
        if link.is_salvaged {
            self.hole(format!("the header of segment-{number} cannot be read"))?;
        } else if *is_after_hole {
            self.hole(format!("the segment before segment-{number} is missing"))?;
        }
        self.sequence = self.sequence.max(link.start.sequence);
        let mut holes = scanned.holes.iter();
        let mut missing = |end: &str| {
            let at = holes.next().copied().unwrap_or(FIRST);
            let cut = if link.is_cut { ", and the file is shorter than it was made" } else { "" };
            format!("segment-{number} at byte {at}: groups that were durable cannot be read{end}{cut}")
        };
        for entry in &scanned.entries {
            if entry.is_after_hole {
                self.hole(missing(""))?;
            }
            for carried in contents(files, number, entry)? {
                match carried {
                    Carried::Group { sequence, payload } => self.group(sequence, &payload)?,
                    Carried::Hole => self.hole(format!("segment-{number}: an earlier start found groups missing"))?,
                }
            }
        }
        if scanned.has_hole_at_end {
            self.hole(missing(", up to the segment's end"))?;
        }
        Ok(())
    }
}

/// The groups in a frame: one, none in another control frame, any number in a [`Kind::Restart`].
pub(in crate::ledger::journal) fn contents<F: Files>(
    files: &F,
    number: u32,
    entry: &Entry,
) -> Result<Vec<Carried>, StoreError> {
    match entry.kind {
        Kind::Group => {
            let payload = scan::payload(files, number, entry)?;
            Ok(vec![Carried::Group { sequence: entry.head.sequence, payload }])
        }
        Kind::Restart => Ok(Carried::decode(&scan::payload(files, number, entry)?)),
        Kind::Complete | Kind::Close => Ok(Vec::new()),
    }
}
