//! Reads the frames of one segment: which of them count, and where some are missing.

use super::{
    files::Files,
    format::{self, FIRST, HEAD, Head, Kind, OVERHEAD, PAGE, Use},
    header::{self, Previous},
    place::Tip,
};
use crate::ledger::StoreError;

/// A frame whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) offset: u64,
    pub(super) head: Head,
    pub(super) kind: Kind,
    pub(super) crc: u32,
    /// Frames that were durable are missing before this one.
    pub(super) is_after_hole: bool,
}

impl Entry {
    pub(super) fn end(&self) -> u64 {
        self.offset + format::footprint(self.head.length.into())
    }
}

/// A segment to be read.
pub(super) struct Scan<'a, F: Files> {
    pub(super) files: &'a F,
    pub(super) number: u32,
    /// Bytes of the file, at most those that its header says.
    pub(super) length: u64,
    pub(super) used: Use,
    /// The header.
    pub(super) start: Tip,
    /// What the next segment says about this one. `None` for the newest one.
    pub(super) through: Option<&'a Previous>,
    /// The file is shorter than its header says.
    pub(super) is_cut: bool,
}

/// What is in a segment.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// The frames that count.
    pub(super) entries: Vec<Entry>,
    /// Frames that were durable are missing at the end.
    pub(super) has_hole_at_end: bool,
    /// Where frames are missing, in bytes from the start of the file.
    pub(super) holes: Vec<u64>,
    /// The largest numbers that any whole frame of this use has, whether it counts or not.
    pub(super) max_index: u64,
    pub(super) max_sequence: u64,
}

/// What the page at an offset holds.
enum Page {
    Frame(Entry),
    /// No frame of this use, or a torn one.
    Nothing,
    /// The disk reports an error. A crash does not do that.
    Unreadable,
}

impl<F: Files> Scan<'_, F> {
    /// Reads the segment from its first frame on.
    ///
    /// # Errors
    /// A newer version wrote to it.
    pub(super) fn run(&self) -> Result<Scanned, StoreError> {
        let mut scanned = Scanned::default();
        // All whole frames from the first offset on at which the next frame is missing.
        let mut later: Option<Vec<Entry>> = None;
        let mut offset = FIRST;
        loop {
            let tip = self.tip(&scanned.entries);
            if self.through.is_some_and(|through| through.through == tip.0) {
                break;
            }
            let page = self.page(offset)?;
            if let Page::Frame(entry) = page
                && self.follows(&entry, &scanned.entries)
            {
                offset = entry.end();
                accept(&mut scanned, entry);
                continue;
            }
            if later.is_none() {
                later = Some(self.frames_from(offset)?);
            }
            let later = later.as_deref().unwrap_or_default();
            let later = later.iter().filter(|entry| entry.offset >= offset && self.is_newer(entry, tip.0));
            // Frames before a `Restart` frame may be gone if that frame records that they were not
            // durable.
            let restart =
                later.clone().find(|entry| entry.kind == Kind::Restart && self.follows(entry, &scanned.entries));
            if let Some(entry) = restart {
                offset = entry.end();
                accept(&mut scanned, *entry);
                continue;
            }
            // Torn: no later frame says that one was durable which is missing here.
            let is_unreadable = matches!(page, Page::Unreadable);
            let is_missing =
                self.through.is_some() || is_unreadable || later.clone().any(|entry| entry.head.synced > tip.0);
            match later.clone().next() {
                Some(entry) if is_missing => {
                    scanned.holes.push(offset);
                    offset = entry.end();
                    accept(&mut scanned, Entry { is_after_hole: true, ..*entry });
                }
                _ => {
                    scanned.has_hole_at_end = self.through.is_some() || self.is_cut || is_unreadable;
                    scanned.holes.extend(scanned.has_hole_at_end.then_some(offset));
                    break;
                }
            }
        }
        let through =
            self.through.filter(|through| !scanned.has_hole_at_end && through.crc != self.tip(&scanned.entries).1);
        if through.is_some() {
            scanned.has_hole_at_end = true;
            scanned.holes.push(offset);
        }
        // Of the newest segment, all: a number must not be met again by a frame that is left over.
        if self.through.is_none() {
            for entry in later.unwrap_or_default() {
                scanned.max_index = scanned.max_index.max(entry.head.index);
                scanned.max_sequence = scanned.max_sequence.max(entry.head.sequence);
            }
        }
        Ok(scanned)
    }

    /// Index and checksum of the last frame that counts, or of the header.
    fn tip(&self, entries: &[Entry]) -> (u64, u32) {
        entries.last().map_or((self.start.index, self.start.crc), |entry| (entry.head.index, entry.crc))
    }

    /// Whether this frame was written directly after those that count.
    fn follows(&self, entry: &Entry, entries: &[Entry]) -> bool {
        let (mut index, mut crc) = self.tip(entries);
        if !self.is_newer(entry, index) {
            return false;
        }
        if entry.kind == Kind::Restart {
            let kept = entries.partition_point(|earlier| earlier.head.index <= entry.head.synced);
            (index, crc) = self.tip(&entries[..kept]);
            if index != entry.head.synced {
                return false;
            }
        }
        entry.head.index > index && entry.head.previous == crc
    }

    fn is_newer(&self, entry: &Entry, index: u64) -> bool {
        entry.head.index > index && self.through.is_none_or(|through| entry.head.index <= through.through)
    }

    /// All whole frames of this use from `offset` on.
    fn frames_from(&self, mut offset: u64) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        while offset < self.length {
            offset = match self.page(offset)? {
                Page::Frame(entry) => {
                    found.push(entry);
                    entry.end()
                }
                _ => offset + PAGE,
            };
        }
        Ok(found)
    }

    fn page(&self, offset: u64) -> Result<Page, StoreError> {
        if offset >= self.length {
            return Ok(Page::Nothing);
        }
        let mut bytes = vec![0; PAGE as usize];
        match self.files.read(self.number, offset, &mut bytes) {
            Ok(read) => bytes.truncate(read),
            Err(_) => return Ok(Page::Unreadable),
        }
        let Some(head) = Head::decode(&bytes).filter(|head| head.used == self.used) else { return Ok(Page::Nothing) };
        let takes = format::footprint(head.length.into());
        if takes > self.length - offset {
            return Ok(Page::Nothing);
        }
        let whole = head.length as usize + OVERHEAD;
        if whole > bytes.len() {
            let read = bytes.len();
            bytes.resize(whole, 0);
            match self.files.read(self.number, offset + read as u64, &mut bytes[read..]) {
                Ok(more) if read + more == whole => {}
                Ok(_) => return Ok(Page::Nothing),
                Err(_) => return Ok(Page::Unreadable),
            }
        }
        bytes.truncate(whole);
        let Some(crc) = format::check(&bytes) else { return Ok(Page::Nothing) };
        // The checksum is valid, so a newer version of the agent wrote this kind.
        let kind = Kind::of(head.kind).ok_or_else(|| StoreError::TooNew(u64::from(header::FORMAT) + 1))?;
        Ok(Page::Frame(Entry { offset, head, kind, crc, is_after_hole: false }))
    }
}

/// The frame counts, and frames that it declares void do not.
fn accept(scanned: &mut Scanned, entry: Entry) {
    if entry.kind == Kind::Restart {
        scanned.entries.retain(|earlier| earlier.head.index <= entry.head.synced);
    }
    scanned.max_index = scanned.max_index.max(entry.head.index);
    scanned.max_sequence = scanned.max_sequence.max(entry.head.sequence);
    scanned.entries.push(entry);
}

/// The payload of a frame that counts.
///
/// # Errors
/// It cannot be read a second time.
pub(super) fn payload<F: Files>(files: &F, number: u32, entry: &Entry) -> Result<Vec<u8>, StoreError> {
    let mut bytes = vec![0; entry.head.length as usize];
    let read = files.read(number, entry.offset + HEAD as u64, &mut bytes)?;
    if read != bytes.len() {
        let offset = entry.offset;
        return Err(StoreError::Damaged(format!(
            "segment-{number} became shorter than {offset} bytes while it was read"
        )));
    }
    Ok(bytes)
}

/// The newest use of a file whose header cannot be read, by its frames: that use, and where its
/// frames begin.
pub(super) fn salvage<F: Files>(files: &F, number: u32, length: u64) -> Result<Option<(Use, Tip)>, StoreError> {
    let mut newest: Option<(Use, Tip)> = None;
    let start = Tip { index: 0, crc: 0, sequence: 0 };
    let mut offset = FIRST;
    let mut bytes = vec![0; HEAD];
    while offset < length {
        // A page that cannot be read holds no frame.
        if files.read(number, offset, &mut bytes).is_ok_and(|read| read == HEAD)
            && let Some(head) = Head::decode(&bytes)
            && newest.is_none_or(|(newest, _)| head.used.epoch > newest.epoch)
        {
            let scan = Scan { files, number, length, used: head.used, start, through: None, is_cut: false };
            if let Page::Frame(entry) = scan.page(offset)? {
                let tip = Tip { index: head.index.saturating_sub(1), crc: entry.head.previous, ..start };
                newest = Some((head.used, tip));
            }
        }
        offset += PAGE;
    }
    Ok(newest)
}
