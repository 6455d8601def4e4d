//! Makes durable what was replayed from the page cache.

use super::{
    super::{
        files::Files,
        format::{self, Carried, FIRST, Kind},
        header::Header,
        log::Journal,
        place::{RESERVE, SEGMENTS},
        survey::{Link, Newest},
    },
    parts::Reading,
    replayer::contents,
};
use crate::ledger::StoreError;

impl<F: Files> Journal<F> {
    /// Makes durable what was replayed: the frames after the last one that is known to be durable
    /// are written once more, in one frame, since they may be in the page cache only. In another
    /// segment if there is no room, or if `must_begin`, or if the header of this one is damaged, or
    /// cannot be made durable.
    pub(super) fn carry(
        &mut self,
        newest: &Newest,
        links: &[Link],
        reading: &Reading,
        sequence: u64,
        must_begin: bool,
    ) -> Result<(), StoreError> {
        let Some(last) = reading.parts.first() else { return Ok(()) };
        let number = last.link.number;
        let tail = last.scanned.entries.iter().filter(|entry| entry.head.index > reading.durable);
        let mut end = self.offset;
        let mut carried = Vec::new();
        for entry in tail {
            // The next frame overwrites the place of the missing frames, so that only this frame
            // records that they are missing.
            carried.extend(entry.is_after_hole.then_some(Carried::Hole));
            carried.extend(contents(&self.files, number, entry)?);
            // After all of them, control frames too: they may be durable, and frames that are left
            // over behind them may say so. One of these would make a durable frame missing that was
            // overwritten.
            end = entry.end();
        }
        carried.extend(last.scanned.has_hole_at_end.then_some(Carried::Hole));
        let mut payload = format::complete(reading.base, reading.checkpoint).to_vec();
        carried.iter().for_each(|carried| carried.encode(&mut payload));
        let is_whole = end == self.offset && carried.is_empty();
        let takes = format::footprint(payload.len() as u64);
        let has_room = end.saturating_add(takes).saturating_add(RESERVE) <= self.current.length;
        let mut base = reading.base;
        let is_durable = last.link.is_begun(&last.scanned);
        let has_header = !last.link.is_salvaged && (is_durable || self.write_header(&newest.header).is_ok());
        if !has_header && !last.link.is_salvaged {
            // A crash may leave any earlier one as the newest header.
            self.chain = links.iter().map(Link::segment).collect();
        }
        let mut outcome = Err(StoreError::Full);
        if has_header && has_room && !must_begin {
            outcome = if is_whole { Ok(()) } else { self.restart(end, sequence, &payload) };
        }
        // A bad sector must not keep the agent from its start: each spare segment is tried.
        for _ in 0..SEGMENTS {
            if outcome.is_ok() {
                break;
            }
            if self.is_empty() && reading.base == self.current.used.epoch {
                // The new segment takes the place of this one.
                base = self.next_epoch;
                payload[..16].copy_from_slice(&format::complete(base, reading.checkpoint));
            }
            outcome = self.begin(takes + FIRST + RESERVE, (!is_whole).then_some((sequence, &payload)));
        }
        outcome?;
        self.completed(base, reading.checkpoint);
        Ok(())
    }

    /// Writes the header of the current segment once more, since it may be in the page cache only.
    fn write_header(&mut self, header: &Header) -> Result<(), StoreError> {
        let (mut pages, _) = header.encode()?;
        pages.extend_from_within(..);
        self.files.write(header.number, 0, &pages)?;
        self.files.sync(header.number)
    }

    fn restart(&mut self, offset: u64, sequence: u64, payload: &[u8]) -> Result<(), StoreError> {
        self.offset = offset;
        self.write(Kind::Restart, sequence, payload)?;
        self.sync()
    }
}
