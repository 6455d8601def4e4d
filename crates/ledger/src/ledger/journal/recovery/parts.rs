//! Which segments and frames count, read from the files of a journal.

use super::super::{
    files::Files,
    format::{self, Kind},
    scan::{self, Scanned},
    survey::{Link, Newest, before},
};
use crate::ledger::StoreError;

/// A segment with its frames that count.
pub(in crate::ledger::journal) struct Part {
    pub(in crate::ledger::journal) link: Link,
    pub(in crate::ledger::journal) scanned: Scanned,
    /// What was before it is missing.
    pub(in crate::ledger::journal) is_after_hole: bool,
}

/// What recovery read from the segments.
pub(in crate::ledger::journal) struct Reading {
    /// The segments to be replayed, the newest one first.
    pub(in crate::ledger::journal) parts: Vec<Part>,
    /// Where recovery begins, and the last checkpoint, by a frame that may be in the page cache
    /// only.
    pub(in crate::ledger::journal) base: u64,
    pub(in crate::ledger::journal) checkpoint: u64,
    /// The same by what is durable: no segment from there on may be written to before those frames
    /// are durable.
    pub(in crate::ledger::journal) durable_base: u64,
    pub(in crate::ledger::journal) durable_checkpoint: u64,
    /// Index of the last frame of the newest segment that is known to be durable.
    pub(in crate::ledger::journal) durable: u64,
    /// The segments from `durable_base` to before those of `parts`, the newest one first.
    pub(in crate::ledger::journal) older: Vec<Link>,
}

pub(in crate::ledger::journal) fn read<F: Files>(
    files: &F,
    newest: &Newest,
    links: &[Link],
) -> Result<Reading, StoreError> {
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
