//! The bytes of a segment: its frames and their checksums. Pure functions.
//!
//! A segment is a file whose first two pages hold the same header twice, since one unreadable
//! sector must not take all groups of the segment with it. Frames follow, each at a 4 KiB boundary:
//! a group of jobs, or a control frame. All integers are little-endian.
//!
//! The checksum is CRC-32 (`crc32fast`, which sled brings along, and which uses the processor's
//! instructions also where the product is compiled for size). It has to detect torn writes and
//! decayed bits, not an attacker. What 32 bits cannot do, telling a frame of an earlier use of the
//! file from one of this use, the random salt of 64 bits, the epoch and the frame number do.

/// Bytes of a page: frames start at its multiples, so that no page holds bytes of two groups.
pub(super) const PAGE: u64 = 4096;

/// Offset of the first frame, in bytes: the two copies of the header are before it.
pub(super) const FIRST: u64 = 2 * PAGE;

/// Bytes of a frame before its payload.
pub(super) const HEAD: usize = 56;

/// Bytes of a frame beside its payload. The checksum is at the end: a write that was cut short can
/// then not be whole by chance, because its last bytes equal what the page held before.
pub(super) const OVERHEAD: usize = HEAD + 4;

const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"ofgr");

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of the caller.
    Group,
    /// A checkpoint is complete: recovery begins at a later segment.
    Complete,
    /// A clean stop.
    Close,
    /// An opening: frames between the one that this frame names as synced and this frame do not
    /// count. This one has the groups of them that are whole, and the last [`Self::Complete`]. One
    /// frame, because a crash may keep any part of several.
    Restart,
}

impl Kind {
    const ALL: [(u32, Self); 4] = [(1, Self::Group), (2, Self::Complete), (3, Self::Close), (4, Self::Restart)];

    /// Its number in a frame.
    pub(super) fn code(self) -> u32 {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or(0, |(code, _)| *code)
    }

    /// `None` for a number of a newer version.
    pub(super) fn of(code: u32) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
    }
}

/// One use of a segment's file: a frame counts only within the use that it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) salt: u64,
    pub(super) epoch: u64,
}

/// A frame before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) used: Use,
    /// [`Kind`] as its number.
    pub(super) kind: u32,
    /// Counts frames and headers of the whole journal, control frames and repeated groups too.
    pub(super) index: u64,
    /// Index of the last frame that was durable when this one was written.
    pub(super) synced: u64,
    /// Sequence number of the group; of the last group before it for a control frame.
    pub(super) sequence: u64,
    /// Checksum of the frame before.
    pub(super) previous: u32,
    /// Bytes of the payload.
    pub(super) length: u32,
}

impl Head {
    /// The beginning of a frame; `None` if these bytes are none. The checksum is not checked here.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != FRAME_MAGIC {
            return None;
        }
        let kind = fields.u32()?;
        let used = Use { salt: fields.u64()?, epoch: fields.u64()? };
        let (index, synced, sequence) = (fields.u64()?, fields.u64()?, fields.u64()?);
        Some(Self { used, kind, index, synced, sequence, previous: fields.u32()?, length: fields.u32()? })
    }
}

/// Writes a whole frame to `out`, which is emptied before, and returns its checksum.
pub(super) fn encode(head: &Head, payload: &[u8], out: &mut Vec<u8>) -> u32 {
    out.clear();
    out.reserve(OVERHEAD + payload.len());
    out.extend(FRAME_MAGIC.to_le_bytes());
    out.extend(head.kind.to_le_bytes());
    for value in [head.used.salt, head.used.epoch, head.index, head.synced, head.sequence] {
        out.extend(value.to_le_bytes());
    }
    out.extend(head.previous.to_le_bytes());
    out.extend(head.length.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(out);
    out.extend(crc.to_le_bytes());
    crc
}

/// The checksum of a whole frame, `None` if it does not hold.
pub(super) fn check(frame: &[u8]) -> Option<u32> {
    let (bytes, crc) = frame.split_last_chunk::<4>()?;
    let crc = u32::from_le_bytes(*crc);
    (crc32fast::hash(bytes) == crc).then_some(crc)
}

/// Bytes that a frame with a payload of that many bytes takes in a segment.
pub(super) fn footprint(payload: u64) -> u64 {
    payload.saturating_add(OVERHEAD as u64).div_ceil(PAGE).saturating_mul(PAGE)
}

/// The payload of a [`Kind::Complete`]: the epoch at which recovery begins, and the checkpoint.
pub(super) fn complete(base: u64, checkpoint: u64) -> [u8; 16] {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&base.to_le_bytes());
    payload[8..].copy_from_slice(&checkpoint.to_le_bytes());
    payload
}

/// The reverse of [`complete`].
pub(super) fn completed(payload: &[u8]) -> Option<(u64, u64)> {
    let mut fields = Fields(payload);
    Some((fields.u64()?, fields.u64()?))
}

/// What a [`Kind::Restart`] repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    Group {
        sequence: u64,
        payload: Vec<u8>,
    },
    /// Groups that were durable are missing here.
    Hole,
}

impl Carried {
    /// Adds it to the payload of a [`Kind::Restart`], which begins with [`complete`].
    pub(super) fn encode(&self, payload: &mut Vec<u8>) {
        let (sequence, group) = match self {
            Self::Group { sequence, payload } => (*sequence, payload.as_slice()),
            // No group has this number.
            Self::Hole => (0, &[][..]),
        };
        payload.extend(sequence.to_le_bytes());
        payload.extend((group.len() as u64).to_le_bytes());
        payload.extend_from_slice(group);
    }

    /// The reverse, for a whole payload.
    pub(super) fn decode(payload: &[u8]) -> Vec<Self> {
        let mut fields = Fields(payload.get(16..).unwrap_or_default());
        let mut all = Vec::new();
        while let (Some(sequence), Some(length)) = (fields.u64(), fields.u64()) {
            let Some((group, rest)) = usize::try_from(length).ok().and_then(|length| fields.0.split_at_checked(length))
            else {
                break;
            };
            fields.0 = rest;
            all.push(if sequence == 0 { Self::Hole } else { Self::Group { sequence, payload: group.to_vec() } });
        }
        all
    }
}

/// Bytes that are read from front to back.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
