//! Opens a journal: finds its segments, replays their groups, and makes durable what is not known
//! to be.

use std::path::PathBuf;

use super::{
    files::{Files, Identity},
    format::{self, Carried, FIRST, Kind, Use},
    header::Header,
    log::Journal,
    place::{RESERVE, SEGMENTS, Segment, Tip, copy_name},
    scan::{self, Entry, Scanned},
    survey::{Link, Newest, before, survey},
};
use crate::ledger::StoreError;

/// How far sequence numbers jump after damage: past every number that a lost group can have had, so
/// that no row or token of another request is met.
const JUMP: u64 = 1 << 20;

/// What an opening found.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The journal was made by this opening.
    pub is_new: bool,
    /// As the journal's newest header says. Of a new journal: what the caller gave.
    pub identity: Identity,
    /// Number of the last checkpoint of the registry that is complete by the journal. The registry
    /// has to have this one, or the next one (a crash between the registry's last batch and
    /// [`Journal::complete`]).
    pub checkpoint: u64,
    /// Another segment had begun after that checkpoint.
    pub has_begun: bool,
    /// The largest sequence number that counts, 0 for a new journal.
    pub sequence: u64,
    /// Set if something that was durable is gone or unreadable. Reported by each opening until a
    /// checkpoint is complete.
    pub damage: Option<Damage>,
}

/// What is missing in a damaged journal.
#[derive(Debug)]
pub(crate) struct Damage {
    /// For people: which segment, which byte, what.
    pub text: String,
    /// Where a copy of the damaged journal is; `None` if none could be made.
    pub kept_as: Option<PathBuf>,
    /// Sequence number of the last group that was read before the first hole, 0 if there is none.
    pub intact_through: u64,
}

/// What recovery hands to its caller, in order.
#[derive(Debug)]
pub(crate) enum Replay<'a> {
    /// A group that counts.
    Group { sequence: u64, payload: &'a [u8] },
    /// Groups that were durable are missing here.
    Hole,
}

/// A segment with its frames that count.
pub(super) struct Part {
    pub(super) link: Link,
    pub(super) scanned: Scanned,
    /// What was before it is missing.
    pub(super) is_after_hole: bool,
}

/// What recovery read from the segments.
pub(super) struct Reading {
    /// The segments to be replayed, the newest one first.
    pub(super) parts: Vec<Part>,
    /// Where recovery begins, and the last checkpoint, by a frame that may be in the page cache
    /// only.
    pub(super) base: u64,
    pub(super) checkpoint: u64,
    /// The same by what is durable: no segment from there on may be written to before those frames
    /// are durable.
    durable_base: u64,
    durable_checkpoint: u64,
    /// Index of the last frame of the newest segment that is known to be durable.
    durable: u64,
    /// The segments from `durable_base` to before those of `parts`, the newest one first.
    older: Vec<Link>,
}

pub(super) fn read<F: Files>(files: &F, newest: &Newest, links: &[Link]) -> Result<Reading, StoreError> {
    let known = Link::of(&newest.header, newest.crc, newest.header.length);
    let last = links.last().unwrap_or(&known).clone();
    let scanned = last.scan(files, None)?;
    let durable = scanned.entries.iter().map(|entry| entry.head.synced).fold(last.start.index, u64::max);
    let (mut base, mut checkpoint) = (newest.header.base, newest.header.checkpoint);
    let (mut durable_base, mut durable_checkpoint) = (base, checkpoint);
    for entry in scanned.entries.iter().filter(|entry| [Kind::Complete, Kind::Restart].contains(&entry.kind)) {
        if let Some(found) = format::completed(&scan::payload(files, last.number, entry)?) {
            (base, checkpoint) = found;
            if entry.head.index <= durable {
                (durable_base, durable_checkpoint) = found;
            }
        }
    }
    let mut at = last.clone();
    let mut parts = vec![Part { link: last, scanned, is_after_hole: false }];
    while at.used.epoch > base {
        let (found, through) = before(&at, links);
        let is_missing = through.is_none();
        if let Some(part) = parts.last_mut() {
            part.is_after_hole = is_missing;
        }
        let Some(found) = found.filter(|found| found.used.epoch >= base) else { break };
        let scanned = found.scan(files, through)?;
        at = found.clone();
        parts.push(Part { link: at.clone(), scanned, is_after_hole: false });
    }
    let mut older = Vec::new();
    while at.used.epoch > durable_base {
        let Some(found) = before(&at, links).0 else { break };
        at = found.clone();
        older.push(at.clone());
    }
    Ok(Reading { parts, base, checkpoint, durable_base, durable_checkpoint, durable, older })
}

/// Hands out the groups, and collects what is missing.
struct Replayer<'a> {
    replay: &'a mut dyn FnMut(Replay<'_>) -> Result<(), StoreError>,
    /// The last group that was replayed, or that is in the registry.
    sequence: u64,
    /// The last call was for a hole.
    is_hole: bool,
    holes: Vec<String>,
    intact_through: Option<u64>,
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

    fn part<F: Files>(&mut self, files: &F, part: &Part) -> Result<(), StoreError> {
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
pub(super) fn contents<F: Files>(files: &F, number: u32, entry: &Entry) -> Result<Vec<Carried>, StoreError> {
    match entry.kind {
        Kind::Group => {
            let payload = scan::payload(files, number, entry)?;
            Ok(vec![Carried::Group { sequence: entry.head.sequence, payload }])
        }
        Kind::Restart => Ok(Carried::decode(&scan::payload(files, number, entry)?)),
        Kind::Complete | Kind::Close => Ok(Vec::new()),
    }
}

/// See [`Journal::open`]; `unit` are the bytes of a new segment.
pub(super) fn open<F: Files>(
    files: F,
    fresh: Identity,
    unit: u64,
    replay: &mut dyn FnMut(Replay<'_>) -> Result<(), StoreError>,
) -> Result<(Journal<F>, Recovered), StoreError> {
    let survey = survey(&files)?;
    let Some(newest) = &survey.newest else { return make(files, fresh, unit) };
    let links = survey.links(&files, newest)?;
    let reading = read(&files, newest, &links)?;
    let mut replayer = Replayer { replay, sequence: 0, is_hole: false, holes: Vec::new(), intact_through: None };
    for part in reading.parts.iter().rev() {
        replayer.part(&files, part)?;
    }
    let (sequence, holes) = (replayer.sequence, replayer.holes);
    let damage = replayer.intact_through.map(|intact_through| {
        let name = copy_name(newest.header.salt, intact_through);
        let kept_as = files.keep_copy(&name).ok();
        Damage { text: holes.join("; "), kept_as, intact_through }
    });
    let jump = if damage.is_some() { JUMP } else { 0 };
    let identity = newest.header.identity.clone();
    let mut journal = resume(files, newest, &links, &reading, unit, sequence, jump)?;
    journal.identity.schema = identity.schema.max(fresh.schema);
    let checkpoint = reading.checkpoint;
    let has_begun = reading.parts.first().is_some_and(|newest| newest.link.used.epoch > reading.base);
    journal.carry(newest, &links, &reading, sequence, fresh.schema > identity.schema)?;
    Ok((journal, Recovered { is_new: false, identity, checkpoint, has_begun, sequence, damage }))
}

/// Makes a new journal.
fn make<F: Files>(mut files: F, fresh: Identity, unit: u64) -> Result<(Journal<F>, Recovered), StoreError> {
    for number in 0..SEGMENTS {
        files.create(number, unit)?;
    }
    let none = Tip { index: 0, crc: 0, sequence: 0 };
    let nowhere = Segment { number: u32::MAX, length: 0, used: Use { salt: 0, epoch: 0 }, index: 0, previous: None };
    let mut journal = Journal {
        files,
        identity: fresh.clone(),
        unit,
        chain: Vec::new(),
        current: nowhere,
        base: 0,
        checkpoint: 0,
        switching: None,
        last: none,
        durable: none,
        offset: 0,
        next_index: 1,
        next_epoch: 1,
        next_sequence: 1,
        must_cut: true,
        maybe_begun: Vec::new(),
        tried: u32::MAX,
        buffer: Vec::new(),
    };
    journal.begin(unit, None)?;
    Ok((
        journal,
        Recovered { is_new: true, identity: fresh, checkpoint: 0, has_begun: false, sequence: 0, damage: None },
    ))
}

/// The journal, with its end at the last frame that is known to be durable.
fn resume<F: Files>(
    mut files: F,
    newest: &Newest,
    links: &[Link],
    reading: &Reading,
    unit: u64,
    sequence: u64,
    jump: u64,
) -> Result<Journal<F>, StoreError> {
    let Some(last) = reading.parts.first() else { return Err(StoreError::Damaged("no segment".into())) };
    let entry = last.scanned.entries.iter().rfind(|entry| entry.head.index <= reading.durable);
    let durable = entry.map_or(last.link.start, |entry| Tip {
        index: entry.head.index,
        crc: entry.crc,
        // A control frame names the last group before it, which may be missing.
        sequence: entry.head.sequence.min(sequence),
    });
    let read = reading.parts.iter().map(|part| &part.scanned);
    let largest = read.clone().map(|scanned| scanned.max_index).chain(links.iter().map(|link| link.start.index)).max();
    let used = read.map(|scanned| scanned.max_sequence + 1).chain([newest.header.next_sequence, sequence + 1]).max();
    let chain = reading.older.iter().rev().chain(reading.parts.iter().rev().map(|part| &part.link));
    let chain: Vec<Segment> = chain.map(Link::segment).collect();
    let all = files.list()?;
    for number in (0..SEGMENTS).filter(|number| chain.iter().all(|segment| segment.number != *number)) {
        if all.iter().all(|(other, length)| other != &number || *length < unit) {
            // A spare one: without it the journal works until a cut needs it.
            let _ = files.create(number, unit);
        }
    }
    let current = last.link.segment();
    Ok(Journal {
        files,
        identity: newest.header.identity.clone(),
        unit,
        chain,
        tried: current.number,
        current,
        base: reading.durable_base,
        checkpoint: reading.durable_checkpoint,
        switching: None,
        last: durable,
        durable,
        offset: entry.map_or(FIRST, Entry::end),
        next_index: largest.unwrap_or(0) + 1 + jump,
        next_epoch: links.last().map_or(0, |link| link.used.epoch).max(newest.header.epoch) + 1,
        next_sequence: used.unwrap_or(0) + jump,
        must_cut: false,
        maybe_begun: Vec::new(),
        buffer: Vec::new(),
    })
}

impl<F: Files> Journal<F> {
    /// The identity of the ledger in these files; `None` if there is no journal. Reads only the
    /// headers, and never writes: the journal of another core device or of a newer version has to
    /// be recognised before it is changed. A damaged header is skipped.
    ///
    /// # Errors
    /// [`StoreError::TooNew`]; [`StoreError::Damaged`] if no header can be read; the files failed.
    pub(crate) fn identify(files: &F) -> Result<Option<Identity>, StoreError> {
        Ok(survey(files)?.newest.map(|newest| newest.header.identity.clone()))
    }

    /// Opens the journal, or makes one that belongs to `fresh` if there is none. Calls `replay` for
    /// each group that counts, in order; for a group after missing ones first with
    /// [`Replay::Hole`]. Nothing is written before the last of these calls succeeded. After it all
    /// replayed groups are durable.
    ///
    /// The journal keeps the identity that it was made with, but takes `fresh.schema` if that is
    /// newer, with this opening already.
    ///
    /// # Errors
    /// As [`Self::identify`]; an error of `replay`; the files failed.
    pub(crate) fn open(
        files: F,
        fresh: Identity,
        segment: u64,
        replay: &mut dyn FnMut(Replay<'_>) -> Result<(), StoreError>,
    ) -> Result<(Self, Recovered), StoreError> {
        open(files, fresh, segment, replay)
    }

    /// Makes durable what was replayed: the frames after the last one that is known to be durable
    /// are written once more, in one frame, since they may be in the page cache only. In another
    /// segment if there is no room, or if `must_begin`, or if the header of this one is damaged, or
    /// cannot be made durable.
    fn carry(
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
