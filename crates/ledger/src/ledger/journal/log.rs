//! The journal in operation: groups are appended, synced, and cut off; a checkpoint switches
//! segments.

use std::path::PathBuf;

use super::{
    files::{Files, Identity},
    format::{self, Head, Kind},
    place::{RESERVE, Segment, Tip, copy_name},
};
use crate::ledger::StoreError;

/// Bytes of the write buffer that are kept between two groups; a larger one is given back.
const KEPT_BUFFER: usize = 256 << 10;

/// The journal. One owner: its files must not be written by anybody else.
pub(crate) struct Journal<F: Files> {
    pub(super) files: F,
    pub(super) identity: Identity,
    /// Bytes of a new segment.
    pub(super) unit: u64,
    /// The segments that recovery needs, in order of their epochs. All others are free.
    pub(super) chain: Vec<Segment>,
    /// The last one of them, which is written.
    pub(super) current: Segment,
    /// Epoch of the segment at which recovery begins.
    pub(super) base: u64,
    /// The last complete checkpoint.
    pub(super) checkpoint: u64,
    /// The next checkpoint gets a number above this one.
    pub(super) passed_over: u64,
    /// Epoch of the segment that the checkpoint under way began with.
    pub(super) switching: Option<u64>,
    /// The last frame that was appended, and the last one that is durable.
    pub(super) last: Tip,
    pub(super) durable: Tip,
    /// Offset of the next frame, in bytes.
    pub(super) offset: u64,
    pub(super) next_index: u64,
    pub(super) next_epoch: u64,
    pub(super) next_sequence: u64,
    /// A sync failed, or it is unknown whether the disk has the header of a next segment.
    pub(super) must_cut: bool,
    /// Segments that an opening tried to begin: the disk may have their header, and then their
    /// first frame is needed.
    pub(super) maybe_begun: Vec<u32>,
    /// Number of the segment that was begun, or tried, last.
    pub(super) tried: u32,
    pub(super) buffer: Vec<u8>,
}

impl<F: Files> Journal<F> {
    /// Writes one group without a sync, and returns its sequence number. The group counts at
    /// recovery if it is whole, also if it was never synced: it survives a kill of the process.
    ///
    /// # Errors
    /// The write failed: the journal is as it was, and the next group is written to the same place,
    /// with another sequence number. Where that place is on a bad sector each write fails:
    /// [`Self::cut`] takes another segment. Or [`Self::cut`] is due after a failed sync. Or the
    /// group has more than [`Self::room`], which is a defect of the caller.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Result<u64, StoreError> {
        if self.must_cut {
            return Err(cut_is_due());
        }
        let (takes, room) = (Self::footprint(payload.len() as u64), self.room());
        if takes > room {
            let text =
                format!("a group of {takes} bytes does not fit into the journal's segment, which has {room} left");
            return Err(StoreError::Io(text));
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.write(Kind::Group, sequence, payload)?;
        Ok(sequence)
    }

    /// Makes what was appended durable; without a system call if it is already.
    ///
    /// # Errors
    /// The sync failed: nothing that was appended since the last success may be assumed, and
    /// nothing can be appended before [`Self::cut`] succeeded.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if self.must_cut {
            return Err(cut_is_due());
        }
        if self.last.index != self.durable.index {
            self.must_cut = true;
            self.files.sync(self.current.number)?;
            self.must_cut = false;
            self.durable = self.last;
        }
        Ok(())
    }

    /// After a failed sync, or after writes that fail again and again: begins another segment,
    /// whose synced header says that its predecessor counts up to the last group that a successful
    /// sync covered. What was appended since never counts then, whatever the disk kept of it. May
    /// be repeated until it succeeds.
    ///
    /// # Errors
    /// The files failed; it is unknown whether the groups in question count.
    pub(crate) fn cut(&mut self) -> Result<(), StoreError> {
        // What the caller decided to drop may be on the disk even if no segment can be begun.
        self.must_cut = true;
        self.begin(self.unit, None)
    }

    /// Bytes that the current segment still takes; see [`Self::footprint`]. A segment takes 16 KiB
    /// less than it is long.
    pub(crate) fn room(&self) -> u64 {
        self.current.length.saturating_sub(self.offset).saturating_sub(RESERVE)
    }

    /// Whether a segment that recovery needs was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.chain.iter().any(|segment| self.files.is_deleted(segment.number))
    }

    /// Keeps a copy of all segments for a person, if there is room for it, and returns where.
    pub(crate) fn keep_copy(&self) -> Option<PathBuf> {
        let name = copy_name(self.current.used.salt, self.durable.sequence);
        self.files.keep_copy(&name).ok()
    }

    /// Bytes of the current segment.
    pub(crate) fn length(&self) -> u64 {
        self.current.length
    }

    /// Bytes of the current segment that are used.
    pub(crate) fn used(&self) -> u64 {
        self.offset
    }

    /// Whether nothing can be appended before [`Self::cut`] succeeded.
    pub(crate) fn is_cut_due(&self) -> bool {
        self.must_cut
    }

    /// Shortens the segments that recovery does not need to `length` bytes, but to no less than the
    /// default size.
    ///
    /// # Errors
    /// The files failed; some segments stay longer.
    pub(crate) fn trim(&mut self, length: u64) -> Result<(), StoreError> {
        let length = length.max(self.unit);
        for (number, has) in self.files.list()? {
            if has > length && self.is_free(number) {
                self.files.shorten(number, length)?;
            }
        }
        Ok(())
    }

    /// Reserves at least `length` bytes on the disk for the next segment.
    ///
    /// # Errors
    /// No room, or the files failed.
    pub(crate) fn reserve(&mut self, length: u64) -> Result<(), StoreError> {
        let (number, length) = self.free_segment(length)?;
        self.files.create(number, length)
    }

    /// Bytes of a segment that a group with a payload of so many bytes takes.
    pub(crate) fn footprint(payload: u64) -> u64 {
        format::footprint(payload)
    }

    /// Sequence number of the last appended group, 0 if there was none.
    #[cfg(test)]
    pub(crate) fn appended(&self) -> u64 {
        self.last.sequence
    }

    /// Sequence number of the last group that is durable, 0 if there is none.
    #[cfg(test)]
    pub(crate) fn synced(&self) -> u64 {
        self.durable.sequence
    }

    /// Begins another segment for all that follows, of at least `length` bytes, and returns the
    /// number of the checkpoint that begins with it. The older segments stay until
    /// [`Self::complete`]. While a checkpoint is under way, it is begun anew, with the same number.
    ///
    /// # Errors
    /// Something is not synced, which is a defect of the caller; or the files failed. If
    /// [`Self::append`] asks for it after that, [`Self::cut`] is due.
    pub(crate) fn switch(&mut self, length: u64) -> Result<u64, StoreError> {
        if self.last.index != self.durable.index {
            return Err(StoreError::Io("the journal's segment is not synced, so no other one can begin".into()));
        }
        self.begin(length, None)?;
        self.switching = Some(self.current.used.epoch);
        Ok(self.checkpoint + 1)
    }

    /// Whether a checkpoint has begun and is not complete. A checkpoint does not outlive the
    /// process: after an opening the answer is no, and the caller begins it again.
    pub(crate) fn is_switching(&self) -> bool {
        self.switching.is_some()
    }

    /// The registry has all rows of the checkpoint, and all live objects were appended again since
    /// [`Self::switch`]. Appends a `Complete` frame and syncs it, with all groups before. Recovery
    /// begins at that segment then, and the older ones are free.
    ///
    /// # Errors
    /// No checkpoint is under way; [`Self::cut`] is due; or the files failed, as for
    /// [`Self::append`] and [`Self::sync`]. The checkpoint stays under way.
    pub(crate) fn complete(&mut self) -> Result<(), StoreError> {
        let Some(base) = self.switching else {
            return Err(StoreError::Io("no checkpoint of the journal is under way".into()));
        };
        let checkpoint = self.checkpoint.max(self.passed_over) + 1;
        self.write(Kind::Complete, self.last.sequence, &format::complete(base, checkpoint))?;
        self.sync()?;
        self.completed(base, checkpoint);
        Ok(())
    }

    /// The registry has checkpoints up to number `checkpoint`, of which this journal lost the last
    /// ones: the next one gets a higher number. No header says so before that one is complete.
    pub(crate) fn pass_over_checkpoints(&mut self, checkpoint: u64) {
        self.passed_over = checkpoint;
    }

    /// Records a clean stop, durably, together with all groups before: none of them can be taken
    /// for torn at the next opening.
    ///
    /// # Errors
    /// As [`Self::append`] and [`Self::sync`].
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        self.write(Kind::Close, self.last.sequence, &[])?;
        self.sync()
    }

    /// Takes over a `Complete` frame that is durable.
    pub(super) fn completed(&mut self, base: u64, checkpoint: u64) {
        (self.base, self.checkpoint, self.switching) = (base, checkpoint, None);
        self.chain.retain(|segment| segment.used.epoch >= base);
    }

    /// Writes a frame at the end.
    pub(super) fn write(&mut self, kind: Kind, sequence: u64, payload: &[u8]) -> Result<(), StoreError> {
        if self.must_cut {
            return Err(cut_is_due());
        }
        let takes = format::footprint(payload.len() as u64);
        let length = u32::try_from(payload.len()).ok();
        let (Some(length), true) = (length, self.offset.saturating_add(takes) <= self.current.length) else {
            return Err(StoreError::Io("the journal's segment is full".into()));
        };
        let index = self.next_index;
        self.next_index += 1;
        let (synced, previous) = (self.durable.index, self.last.crc);
        let head = Head { used: self.current.used, kind: kind.code(), index, synced, sequence, previous, length };
        let crc = format::encode(&head, payload, &mut self.buffer);
        let written = self.files.write(self.current.number, self.offset, &self.buffer);
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        written?;
        self.offset += takes;
        self.last = Tip { index, crc, sequence };
        Ok(())
    }
}

fn cut_is_due() -> StoreError {
    StoreError::Io("a sync of the journal failed, and no other segment could be begun yet".into())
}
