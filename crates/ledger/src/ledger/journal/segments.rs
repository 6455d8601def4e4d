//! Begins segments: which file is free, and what its header says.

use super::{
    files::Files,
    format::{self, FIRST, Head, Kind, PAGE, Use},
    header::{Header, Previous},
    log::Journal,
    place::{Segment, Tip},
};
use crate::ledger::StoreError;

/// Segments at most: 512 MiB of the default size. More than three are only made while syncs
/// fail, or while the agent is stopped again and again in the middle of a checkpoint. Generous,
/// because a journal at this limit cannot be checkpointed, and so never gets below it.
const MAX_SEGMENTS: usize = 256;

impl<F: Files> Journal<F> {
    /// Begins another segment after the last durable frame, of at least `length` bytes. What was
    /// appended since does not count. `carried` is the last sequence number and the payload of a
    /// [`Kind::Restart`] that the segment begins with.
    pub(super) fn begin(&mut self, length: u64, carried: Option<(u64, &[u8])>) -> Result<(), StoreError> {
        let (number, length) = self.free_segment(length)?;
        self.files.create(number, length)?;
        self.tried = number;
        // From here on the disk may keep the header, and nothing may be appended to the
        // predecessor, where it would not count.
        self.must_cut = true;
        let old = &self.current;
        // A segment without a durable frame is left out, so that attempts that fail, and starts
        // that follow each other, do not use up all segments.
        let is_empty = self.is_empty();
        let previous = if is_empty {
            old.previous.clone()
        } else {
            let (through, crc) = (self.durable.index, self.durable.crc);
            Some(Previous { number: old.number, epoch: old.used.epoch, through, crc })
        };
        let used = Use { salt: fastrand::u64(..), epoch: self.next_epoch };
        let index = self.next_index;
        (self.next_epoch, self.next_index) = (self.next_epoch + 1, self.next_index + 1);
        let replaced = |epoch: u64| if is_empty && epoch == old.used.epoch { used.epoch } else { epoch };
        let (base, switching) = (replaced(self.base), self.switching.map(replaced));
        let header = Header {
            identity: self.identity.clone(),
            number,
            length,
            salt: used.salt,
            epoch: used.epoch,
            index,
            base,
            checkpoint: self.checkpoint,
            sequence: self.durable.sequence,
            next_sequence: self.next_sequence,
            previous: previous.clone(),
        };
        let (mut pages, crc) = header.encode()?;
        pages.extend_from_within(..);
        let mut last = Tip { index, crc, sequence: self.durable.sequence };
        let mut offset = FIRST;
        if let Some((sequence, payload)) = carried {
            // Durable before the header, because without these groups the header would drop them.
            let (kind, length) = (Kind::Restart.code(), u32::try_from(payload.len()).unwrap_or(u32::MAX));
            let head = Head { used, kind, index: self.next_index, synced: index, sequence, previous: crc, length };
            self.next_index += 1;
            let crc = format::encode(&head, payload, &mut self.buffer);
            self.files.write(number, FIRST, &self.buffer)?;
            self.files.sync(number)?;
            last = Tip { index: head.index, crc, sequence };
            offset += format::footprint(payload.len() as u64);
            self.maybe_begun.push(number);
        }
        self.files.write(number, 0, &pages)?;
        self.files.sync(number)?;
        if is_empty {
            self.chain.pop();
        }
        self.current = Segment { number, length, used, index, previous };
        self.chain.push(self.current.clone());
        (self.base, self.switching) = (base, switching);
        (self.durable, self.last, self.offset) = (last, last, offset);
        self.must_cut = false;
        self.maybe_begun.clear();
        Ok(())
    }

    /// Whether no frame of the current segment is durable.
    pub(super) fn is_empty(&self) -> bool {
        self.durable.index == self.current.index
    }

    /// Whether recovery does not need that segment.
    pub(super) fn is_free(&self, number: u32) -> bool {
        !self.maybe_begun.contains(&number) && self.chain.iter().all(|segment| segment.number != number)
    }

    /// A segment that recovery does not need, with its length once it has at least `length` bytes.
    pub(super) fn free_segment(&self, length: u64) -> Result<(u32, u64), StoreError> {
        let length = length.max(self.unit).div_ceil(PAGE).saturating_mul(PAGE);
        let all = self.files.list()?;
        // Long enough before others, since a disk may be full. Then the one after the last that was
        // tried, so that a file on bad sectors is not tried again and again.
        let best = all
            .iter()
            .filter(|(number, _)| self.is_free(*number))
            .min_by_key(|(number, has)| (*has < length, *number <= self.tried, *number));
        match best {
            Some((number, has)) => Ok((*number, length.max(has / PAGE * PAGE))),
            None if all.len() < MAX_SEGMENTS => {
                let next = all.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
                Ok((next, length))
            }
            None => Err(StoreError::Io(format!(
                "all {MAX_SEGMENTS} segments of the journal are in use, because no checkpoint could be completed"
            ))),
        }
    }
}
