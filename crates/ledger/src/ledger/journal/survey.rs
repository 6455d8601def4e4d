//! Finds the segments of a journal by their headers, without a write.

use super::{
    files::Files,
    format::{FIRST, Kind, PAGE, Use},
    header::{Header, HeaderPage, Previous},
    place::{Segment, Tip},
    scan::{self, Entry, Scan, Scanned},
};
use crate::ledger::StoreError;

/// A file of a segment.
struct Found {
    number: u32,
    length: u64,
    header: HeaderPage,
}

/// A header and its checksum.
pub(super) struct Newest {
    pub(super) header: Header,
    pub(super) crc: u32,
}

/// The headers of all segments.
pub(super) struct Survey {
    segments: Vec<Found>,
    /// The header of the largest epoch; `None` if there is no journal.
    pub(super) newest: Option<Newest>,
}

/// Reads all headers.
///
/// # Errors
/// As [`Journal::identify`](super::Journal::identify).
pub(super) fn survey<F: Files>(files: &F) -> Result<Survey, StoreError> {
    let mut segments = Vec::new();
    let mut newest: Option<Newest> = None;
    let mut failure = None;
    for (number, length) in files.list()? {
        let mut header = HeaderPage::Blank;
        for offset in [0, PAGE] {
            let mut page = vec![0; PAGE as usize];
            let read = files.read(number, offset, &mut page);
            let copy = match read {
                Ok(read) => Header::decode(number, &page[..read])?,
                Err(error) => {
                    failure = Some(error);
                    HeaderPage::Damaged
                }
            };
            header = better(header, copy);
        }
        if let HeaderPage::Valid(found, crc) = &header
            && newest.as_ref().is_none_or(|newest| newest.header.epoch < found.epoch)
        {
            newest = Some(Newest { header: (**found).clone(), crc: *crc });
        }
        segments.push(Found { number, length, header });
    }
    let survey = Survey { segments, newest };
    if survey.newest.is_some() || survey.is_unborn(files) {
        return Ok(survey);
    }
    let text = format!("none of the journal's {} segments has a header that can be read", survey.segments.len());
    Err(failure.unwrap_or(StoreError::Damaged(text)))
}

/// The copy of a header that counts. The two differ if a crash came between them: the one of the
/// larger epoch is whole then, and the other one is of an earlier use.
fn better(one: HeaderPage, other: HeaderPage) -> HeaderPage {
    match (&one, &other) {
        (HeaderPage::Valid(first, _), HeaderPage::Valid(second, _)) if first.epoch < second.epoch => other,
        (HeaderPage::Valid(..), _) => one,
        (_, HeaderPage::Valid(..)) | (HeaderPage::Blank, _) => other,
        _ => one,
    }
}

impl Survey {
    /// Whether there are no segments, or a journal was being made when power failed: no frame was
    /// written then.
    fn is_unborn<F: Files>(&self, files: &F) -> bool {
        self.segments.iter().all(|found| {
            let mut page = vec![0; PAGE as usize];
            found.header == HeaderPage::Blank
                || files.read(found.number, FIRST, &mut page).is_ok() && page.iter().all(|byte| *byte == 0)
        })
    }

    /// The segments that belong to the journal of `newest`, in order of their epochs. A segment
    /// with a damaged header is recognised by its frames.
    pub(super) fn links<F: Files>(&self, files: &F, newest: &Newest) -> Result<Vec<Link>, StoreError> {
        let mut links = Vec::new();
        for found in &self.segments {
            let number = found.number;
            match &found.header {
                HeaderPage::Blank => {}
                HeaderPage::Valid(header, crc) => {
                    if header.identity.id == newest.header.identity.id {
                        links.push(Link::of(header, *crc, found.length));
                    }
                }
                HeaderPage::Damaged => {
                    if let Some((used, start)) = scan::salvage(files, number, found.length)? {
                        let (length, previous) = (found.length / PAGE * PAGE, None);
                        let link = Link { number, length, used, start, previous, is_salvaged: true, is_cut: false };
                        // Else its header was never whole: an opening that began it failed.
                        if link.is_begun(&link.scan(files, None)?) {
                            links.push(link);
                        }
                    }
                }
            }
        }
        links.sort_unstable_by_key(|link| link.used.epoch);
        Ok(links)
    }
}

/// A segment of the journal.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) number: u32,
    /// Bytes that can be read and written.
    pub(super) length: u64,
    pub(super) used: Use,
    /// Its header.
    pub(super) start: Tip,
    pub(super) previous: Option<Previous>,
    /// The header cannot be read.
    pub(super) is_salvaged: bool,
    /// The file is shorter than the header says.
    pub(super) is_cut: bool,
}

impl Link {
    pub(super) fn of(header: &Header, crc: u32, length: u64) -> Self {
        Self {
            number: header.number,
            length: length.min(header.length) / PAGE * PAGE,
            used: Use { salt: header.salt, epoch: header.epoch },
            start: Tip { index: header.index, crc, sequence: header.sequence },
            previous: header.previous.clone(),
            is_salvaged: false,
            is_cut: length < header.length,
        }
    }

    pub(super) fn scan<F: Files>(&self, files: &F, through: Option<&Previous>) -> Result<Scanned, StoreError> {
        let Self { number, length, used, start, is_cut, .. } = *self;
        Scan { files, number, length, used, start, through, is_cut }.run()
    }

    /// Whether a frame shows that the header was durable. An opening writes a `Restart` frame
    /// before the header; any other frame comes after it.
    pub(super) fn is_begun(&self, scanned: &Scanned) -> bool {
        let is_after = |entry: &Entry| entry.kind != Kind::Restart || entry.head.synced > self.start.index;
        scanned.entries.iter().any(is_after)
    }

    pub(super) fn segment(&self) -> Segment {
        let Self { number, length, used, .. } = *self;
        Segment { number, length, used, index: self.start.index, previous: self.previous.clone() }
    }
}

/// The predecessor, and up to where it counts. Without the latter something is missing: the segment
/// of the next smaller epoch is used instead.
pub(super) fn before<'a>(link: &'a Link, links: &'a [Link]) -> (Option<&'a Link>, Option<&'a Previous>) {
    if let Some(previous) = &link.previous {
        let is_it = |other: &&Link| other.number == previous.number && other.used.epoch == previous.epoch;
        if let Some(found) = links.iter().find(is_it) {
            return (Some(found), Some(previous));
        }
    }
    (links.iter().rev().find(|other| other.used.epoch < link.used.epoch), None)
}
