//! Reads a whole journal in order, without a write: what recovery would replay, and before that the
//! frames of earlier checkpoints that are still there.

use super::{
    files::{Files, Identity},
    format::{self, Carried, FIRST, HEAD, Head, Kind},
    recovery::{Part, contents, read},
    scan::{self, Entry},
    survey::{before, survey},
};
use crate::ledger::StoreError;

/// Something in a journal, in the order in which it was written.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A segment of that number begins. Recovery begins at the one with `is_base`.
    Segment { number: u32, is_base: bool },
    /// A group that counts, with its place.
    Group { sequence: u64, number: u32, offset: u64, payload: &'a [u8] },
    /// A checkpoint of the registry is complete, by the journal. With `is_last`, all that was open
    /// then was logged again since the last `Segment` with `is_base`.
    Complete { is_last: bool },
    /// A clean stop.
    Close,
    /// The agent was started, and logged what may not have been durable again.
    Restart,
    /// Groups that were durable are missing here, in words.
    Missing(String),
}

/// What a journal says of itself.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) identity: Identity,
    /// The last complete checkpoint.
    pub(crate) checkpoint: u64,
    /// Another segment had begun after that checkpoint.
    pub(crate) has_begun: bool,
    /// A frame at the end that does not check, in words. A crash leaves such a frame, too.
    pub(crate) torn: Option<String>,
}

/// Reads the journal in `files`; `None` if there is none.
///
/// # Errors
/// As [`Journal::identify`](super::Journal::identify); an error of `each`; the files failed.
pub(crate) fn read_all<F: Files>(
    files: &F,
    each: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<Option<About>, StoreError> {
    let survey = survey(files)?;
    let Some(newest) = &survey.newest else { return Ok(None) };
    let links = survey.links(files, newest)?;
    let reading = read(files, newest, &links)?;
    let mut parts = reading.parts;
    let counted = parts.len();
    while let Some(last) = parts.last() {
        let (Some(found), Some(through)) = before(&last.link, &links) else { break };
        let scanned = found.scan(files, Some(through))?;
        // Its file is being used again, or is damaged where recovery does not look.
        if scanned.has_hole_at_end || !scanned.holes.is_empty() {
            break;
        }
        parts.push(Part { link: found.clone(), scanned, is_after_hole: false });
    }
    let mut sequence = 0;
    for (n, part) in parts.iter().enumerate().rev() {
        let is_base = n + 1 == counted;
        report(files, part, (is_base, reading.base), &mut sequence, each)?;
    }
    let newest_part = parts.first();
    let has_begun = newest_part.is_some_and(|newest| newest.link.used.epoch > reading.base);
    let torn = newest_part.and_then(|part| torn(files, part));
    let identity = newest.header.identity.clone();
    Ok(Some(About { identity, checkpoint: reading.checkpoint, has_begun, torn }))
}

fn report<F: Files>(
    files: &F,
    part: &Part,
    (is_base, base): (bool, u64),
    sequence: &mut u64,
    each: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let Part { link, scanned, is_after_hole } = part;
    let number = link.number;
    each(Found::Segment { number, is_base })?;
    if link.is_salvaged {
        each(Found::Missing(format!("the header of segment-{number} cannot be read")))?;
    } else if *is_after_hole {
        each(Found::Missing(format!("the segment before segment-{number} is missing")))?;
    }
    *sequence = link.start.sequence.max(*sequence);
    let mut holes = scanned.holes.iter();
    let mut missing = |end: &str| {
        let at = holes.next().copied().unwrap_or(FIRST);
        format!("segment-{number} at byte {at}: groups that were durable do not check or do not follow{end}")
    };
    for entry in &scanned.entries {
        if entry.is_after_hole {
            each(Found::Missing(missing("")))?;
        }
        if entry.kind == Kind::Restart {
            each(Found::Restart)?;
        }
        for carried in contents(files, number, entry)? {
            match carried {
                Carried::Hole => {
                    each(Found::Missing(format!("segment-{number}: an earlier start found groups missing")))?;
                }
                Carried::Group { sequence: of_group, payload } if of_group > *sequence => {
                    *sequence = of_group;
                    let offset = entry.offset;
                    each(Found::Group { sequence: of_group, number, offset, payload: &payload })?;
                }
                // A group that was repeated.
                Carried::Group { .. } => {}
            }
        }
        match entry.kind {
            Kind::Complete | Kind::Restart => {
                let completed = format::completed(&scan::payload(files, number, entry)?);
                let is_last = completed.is_some_and(|(of, _)| of == base);
                if is_last || entry.kind == Kind::Complete {
                    each(Found::Complete { is_last })?;
                }
            }
            Kind::Close => each(Found::Close)?,
            Kind::Group => {}
        }
    }
    if scanned.has_hole_at_end {
        each(Found::Missing(missing(", up to the segment's end")))?;
    }
    Ok(())
}

/// The frame behind the last one that counts, if it is of this use of the file and does not check.
fn torn<F: Files>(files: &F, newest: &Part) -> Option<String> {
    let Part { link, scanned, .. } = newest;
    let (end, index) =
        scanned.entries.last().map_or((FIRST, link.start.index), |entry| (Entry::end(entry), entry.head.index));
    let mut bytes = vec![0; HEAD];
    let is_read = files.read(link.number, end, &mut bytes).is_ok_and(|read| read == HEAD);
    let head = Head::decode(&bytes).filter(|head| is_read && head.used == link.used && head.index > index)?;
    Some(format!(
        "segment-{} at byte {end}: the frame of group {} does not check or does not follow; a crash leaves such a frame \
         behind the last whole one, and so does damage",
        link.number, head.sequence
    ))
}
