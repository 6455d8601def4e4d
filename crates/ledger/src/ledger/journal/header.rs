//! The header of a segment: its bytes. Pure functions.

use super::{
    files::Identity,
    format::{FIRST, Fields, PAGE},
};
use crate::ledger::StoreError;

/// Version of the format that this code writes, and the newest one that it reads.
pub(super) const FORMAT: u32 = 1;

/// The oldest version of this code that reads what this one writes.
const OLDEST_READER: u32 = 1;

/// Bytes of the longest owner in a header: header and all fit into a disk sector of 512 bytes,
/// which disks write whole or not at all.
pub(super) const MAX_OWNER: usize = 300;

const HEADER_MAGIC: [u8; 8] = *b"offbjrnl";

/// Offset of a header's checksum, and of what follows it. The part before the checksum is the same
/// in all versions: magic (8 bytes), version (4), oldest reader (4), length of the header (4).
const HEADER_CRC: usize = 20;
const HEADER_BODY: usize = 24;

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    /// Number of the segment's file.
    pub(super) number: u32,
    /// Bytes of the file. A shorter file was cut.
    pub(super) length: u64,
    /// Random for each use of the file.
    pub(super) salt: u64,
    /// Counts the uses of all files: the largest epoch is the current segment.
    pub(super) epoch: u64,
    /// The header's own number in the count of frames.
    pub(super) index: u64,
    /// Epoch of the segment at which recovery begins, as of this header.
    pub(super) base: u64,
    /// Number of the last complete checkpoint, as of this header.
    pub(super) checkpoint: u64,
    /// Sequence number of the last group that counts before this segment.
    pub(super) sequence: u64,
    /// The first sequence number that no group before this segment has used, not even one that does
    /// not count.
    pub(super) next_sequence: u64,
    /// The segment before this one; `None` for the first one of a journal.
    pub(super) previous: Option<Previous>,
}

/// The predecessor of a segment, and up to where it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) number: u32,
    pub(super) epoch: u64,
    /// Its last frame that counts; the index of its header if none does.
    pub(super) through: u64,
    /// The checksum of that frame, or of that header.
    pub(super) crc: u32,
}

/// What a page of a header holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderPage {
    /// Nothing was ever written to it.
    Blank,
    /// A header with its checksum.
    Valid(Box<Header>, u32),
    /// Something else: torn, decayed, or no header.
    Damaged,
}

impl Header {
    /// The header as one page, and its checksum.
    ///
    /// # Errors
    /// The owner has more than [`MAX_OWNER`] bytes.
    pub(super) fn encode(&self) -> Result<(Vec<u8>, u32), StoreError> {
        let owner = self.identity.owner.as_bytes();
        if owner.len() > MAX_OWNER {
            let text = format!("the journal's owner has {} bytes, at most {MAX_OWNER} are possible", owner.len());
            return Err(StoreError::Io(text));
        }
        let mut page = Vec::with_capacity(FIRST as usize);
        page.extend(HEADER_MAGIC);
        page.extend(FORMAT.to_le_bytes());
        page.extend(OLDEST_READER.to_le_bytes());
        // Length and checksum, which are filled in below.
        page.extend([0; 8]);
        page.extend(self.identity.id.to_le_bytes());
        page.extend(self.identity.schema.to_le_bytes());
        page.extend(self.number.to_le_bytes());
        for value in [self.length, self.salt, self.epoch, self.index, self.base, self.checkpoint] {
            page.extend(value.to_le_bytes());
        }
        page.extend(self.sequence.to_le_bytes());
        page.extend(self.next_sequence.to_le_bytes());
        let previous = self.previous.as_ref();
        page.extend(u32::from(previous.is_some()).to_le_bytes());
        page.extend(previous.map_or(0, |previous| previous.number).to_le_bytes());
        page.extend(previous.map_or(0, |previous| previous.epoch).to_le_bytes());
        page.extend(previous.map_or(0, |previous| previous.through).to_le_bytes());
        page.extend(previous.map_or(0, |previous| previous.crc).to_le_bytes());
        page.extend((owner.len() as u32).to_le_bytes());
        page.extend(owner);
        let length = page.len() as u32;
        page[HEADER_CRC - 4..HEADER_CRC].copy_from_slice(&length.to_le_bytes());
        let crc = header_crc(&page);
        page[HEADER_CRC..HEADER_BODY].copy_from_slice(&crc.to_le_bytes());
        page.resize(PAGE as usize, 0);
        Ok((page, crc))
    }

    /// Reads the header of segment `number`.
    ///
    /// # Errors
    /// A newer version wrote it, and this one cannot read it.
    pub(super) fn decode(number: u32, page: &[u8]) -> Result<HeaderPage, StoreError> {
        if page.iter().all(|byte| *byte == 0) {
            return Ok(HeaderPage::Blank);
        }
        let mut fields = Fields(page);
        let prefix = (fields.take::<8>(), fields.u32(), fields.u32(), fields.u32(), fields.u32());
        let (Some(HEADER_MAGIC), Some(version), Some(reader), Some(length), Some(crc)) = prefix else {
            return Ok(HeaderPage::Damaged);
        };
        let whole = usize::try_from(length).ok().filter(|length| *length >= HEADER_BODY);
        let Some(bytes) = whole.and_then(|length| page.get(..length)) else { return Ok(HeaderPage::Damaged) };
        if header_crc(bytes) != crc {
            return Ok(HeaderPage::Damaged);
        }
        if reader > FORMAT {
            return Err(StoreError::TooNew(version.into()));
        }
        let header = Self::fields(&mut Fields(&bytes[HEADER_BODY..]));
        Ok(match header.filter(|header| header.number == number) {
            Some(header) => HeaderPage::Valid(Box::new(header), crc),
            None => HeaderPage::Damaged,
        })
    }

    fn fields(fields: &mut Fields<'_>) -> Option<Self> {
        let (id, schema) = (u128::from_le_bytes(fields.take()?), fields.u32()?);
        let number = fields.u32()?;
        let (length, salt, epoch, index) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?);
        let (base, checkpoint) = (fields.u64()?, fields.u64()?);
        let (sequence, next_sequence) = (fields.u64()?, fields.u64()?);
        let has_previous = fields.u32()? != 0;
        let previous =
            Previous { number: fields.u32()?, epoch: fields.u64()?, through: fields.u64()?, crc: fields.u32()? };
        let owner = usize::try_from(fields.u32()?).ok()?;
        let owner = String::from_utf8(fields.0.get(..owner)?.to_vec()).ok()?;
        Some(Self {
            identity: Identity { id, schema, owner },
            number,
            length,
            salt,
            epoch,
            index,
            base,
            checkpoint,
            sequence,
            next_sequence,
            previous: has_previous.then_some(previous),
        })
    }
}

/// The checksum of a header: of all its bytes but the checksum.
fn header_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..HEADER_CRC]);
    crc.update(&bytes[HEADER_BODY..]);
    crc.finalize()
}
