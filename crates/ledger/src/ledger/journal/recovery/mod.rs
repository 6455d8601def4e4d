//! Opens a journal: finds its segments, replays their groups, and makes durable what is not known
//! to be.

mod carry;
mod parts;
mod replayer;

use std::path::PathBuf;

pub(crate) use self::replayer::Replay;
use self::replayer::Replayer;
pub(super) use self::{
    parts::{Part, Reading, read},
    replayer::contents,
};
use super::{
    files::{Files, Identity},
    format::{FIRST, Use},
    log::Journal,
    place::{SEGMENTS, Segment, Tip, copy_name},
    scan::Entry,
    survey::{Link, Newest, survey},
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
        passed_over: 0,
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
        passed_over: 0,
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
}
