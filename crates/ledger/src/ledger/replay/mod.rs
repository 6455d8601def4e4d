//! Replays a recording from the field. A recording is a copy of a journal and a registry. The
//! replay reads both, event by event, and compares them. The agent does not use this module. The
//! product contains only [`copy`], with which `offboard support-bundle --with-journal` makes a
//! recording.
//!
//! A replay starts at the oldest frame that is still there. From the last checkpoint on it does
//! what recovery does, and holds the state after each group against the totals in the journal;
//! before that it collects what the registry must have.

mod copying;
mod description;
mod registry;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub use self::copying::{Copied, copy};
use self::{
    description::Description,
    registry::{Expected, Stored},
};
use super::{
    StoreError,
    journal::{Directory, Found, read_all},
    pending::{self, Image, State, all_devices, audit},
};
use crate::domain::{DeviceState, Registered, Request, ThingName, Timestamp};

/// The largest number of objects for which the replay compares the state with its totals after each
/// group. Above this number it compares them after every hundredth group, and the reported place of
/// a fault is less exact by as many groups.
const MANY: usize = 5000;

/// A group of the journal: what became durable at once.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number in the journal.
    pub sequence: u64,
    /// The segment and the offset in it.
    pub place: String,
    /// When it was written, by the last wall clock that the cloud confirmed.
    pub at: Option<Timestamp>,
    /// The time that the agent knew to have passed, in milliseconds since its first start.
    pub elapsed: u64,
    /// Why, as far as the changes show it.
    pub causes: Vec<&'static str>,
    /// What changed, in words.
    pub changes: Vec<String>,
    /// How many objects were logged again without a change, as a checkpoint does.
    pub repeated: usize,
}

/// What a replay comes across, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// A group.
    Step(Step),
    /// A segment, a checkpoint, a start or a stop, in words.
    Mark(String),
    /// The state does not follow from the files here, in words: after the last step.
    Fault(String),
}

/// The state at the end of a recording.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The core device and the region, as the journal has them.
    pub owner: String,
    /// The groups.
    pub groups: u64,
    /// Where the state does not follow from the files.
    pub faults: u64,
    /// The devices, as `list-devices` shows them.
    pub devices: BTreeMap<ThingName, DeviceState>,
    /// The requests that are kept, by number.
    pub requests: BTreeMap<u64, Request>,
}

/// Replays the recording in `dir`, which has `journal` and `store` as a data directory has them.
/// `dir` has to be a copy that nothing else uses: opening a registry writes to it.
///
/// # Errors
/// The files cannot be read, or are of a newer version.
pub fn replay(dir: &Path, each: &mut dyn FnMut(Event)) -> Result<Outcome, StoreError> {
    let files = Directory::open(&dir.join("journal"))?;
    let mut replay = Replay::new(each);
    let stored = match Stored::read(dir) {
        Ok((stored, faults)) => {
            faults.into_iter().for_each(|fault| replay.fault(fault));
            Some(stored)
        }
        Err(error) => {
            replay.fault(format!("the registry cannot be read: {error}"));
            None
        }
    };
    replay.devices = stored.as_ref().map(Stored::registered);
    let Some(about) = read_all(&files, &mut |found| {
        replay.found(found);
        Ok(())
    })?
    else {
        return Err(StoreError::Damaged("there is no journal".into()));
    };
    replay.is_whole = true;
    replay.audit(true);
    if let Some(torn) = &about.torn {
        replay.mark(torn.clone());
    }
    if let Some(stored) = &stored {
        let faults = stored.check(&about, &replay.state, &replay.expected);
        faults.into_iter().for_each(|fault| replay.fault(fault));
    }
    Ok(replay.outcome(about.identity.owner, stored.unwrap_or_default()))
}

struct Replay<'e> {
    each: &'e mut dyn FnMut(Event),
    /// What recovery makes of the journal.
    state: State,
    /// The same from the first frame that is there, to see what changes.
    seen: State,
    /// Whether recovery has begun, and whether it has all that was open at its beginning.
    is_recovered: bool,
    is_whole: bool,
    /// The devices of the registry; `None` without one.
    devices: Option<BTreeMap<ThingName, Registered>>,
    expected: Expected,
    groups: u64,
    faults: u64,
    unchecked: u32,
    /// What was found wrong, so that it is reported once.
    known: BTreeSet<String>,
}

impl<'e> Replay<'e> {
    fn new(each: &'e mut dyn FnMut(Event)) -> Self {
        Self {
            each,
            state: State::default(),
            seen: State::default(),
            is_recovered: false,
            is_whole: false,
            devices: None,
            expected: Expected::default(),
            groups: 0,
            faults: 0,
            unchecked: 0,
            known: BTreeSet::new(),
        }
    }

    fn mark(&mut self, text: String) {
        (self.each)(Event::Mark(text));
    }

    fn fault(&mut self, text: String) {
        // The counts differ from one group to the next while the fault is the same.
        let name = match text.split_once(" by the totals") {
            Some((begin, _)) => begin.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(),
            None => text.clone(),
        };
        if self.known.insert(name) {
            self.faults += 1;
            (self.each)(Event::Fault(text));
        }
    }

    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Segment { number, is_base } => {
                if is_base {
                    self.is_recovered = true;
                    self.expected.begin(&self.seen);
                }
                let which = if is_base { "; recovery begins here" } else { "" };
                self.mark(format!("segment-{number} begins{which}"));
            }
            Found::Group { sequence, number, offset, payload } => {
                self.group(sequence, format!("segment-{number}:{offset}"), payload);
            }
            Found::Complete { is_last } => {
                self.is_whole |= is_last;
                self.mark("a checkpoint is complete: the registry has what was settled".into());
            }
            Found::Close => self.mark("the agent stopped in order".into()),
            Found::Restart => self.mark("the agent started on this journal".into()),
            Found::Missing(text) => {
                self.expected.forget_all();
                self.fault(text);
            }
        }
    }

    fn group(&mut self, sequence: u64, place: String, payload: &[u8]) {
        self.groups += 1;
        let mut words = Description::default();
        let mut wrong = Vec::new();
        let generation = self.seen.counters.generation;
        let read = pending::read(payload, |image| {
            words.image(&self.seen, &image);
            if self.is_recovered {
                if self.is_whole {
                    wrong.extend(contradiction(&self.state, &image));
                }
                let _ = self.state.replay(image.clone());
            }
            let _ = self.seen.replay(image.clone());
            self.expected.note(sequence, &image);
        });
        if self.seen.counters.generation != generation {
            // A registry was replaced: the new one has nothing of before.
            self.expected.forget_all();
        }
        let elapsed = self.seen.counters.elapsed;
        let (causes, changes, repeated) = words.finish();
        (self.each)(Event::Step(Step {
            sequence,
            place: place.clone(),
            at: elapsed.wall(),
            elapsed: elapsed.millis,
            causes,
            changes,
            repeated,
        }));
        if let Err(error) = read {
            self.fault(format!("group {sequence} ({place}): an image cannot be read: {error}"));
        }
        wrong.into_iter().for_each(|text| self.fault(format!("group {sequence} ({place}): {text}")));
        self.audit(false);
    }

    /// Holds the state against the totals, if it is whole and if it is time to.
    fn audit(&mut self, is_last: bool) {
        let Some(devices) = self.devices.as_ref().filter(|_| self.is_recovered && self.is_whole) else { return };
        self.unchecked += 1;
        let objects = devices.len() + self.state.requests().len() + self.state.works().len();
        if objects > MANY && self.unchecked < 100 && !is_last {
            return;
        }
        self.unchecked = 0;
        self.state.index();
        let wrong = audit(&self.state, devices);
        wrong.into_iter().for_each(|text| self.fault(text));
    }

    fn outcome(self, owner: String, stored: Stored) -> Outcome {
        let Self { state, groups, faults, devices, .. } = self;
        let all = all_devices(&state, &devices.unwrap_or_default());
        let shown = |(thing, (registered, work))| Some((thing, pending::visible(registered, work)?));
        let devices = all.into_iter().filter_map(shown).collect();
        let mut requests = stored.requests;
        requests.retain(|seq, _| !state.forgotten().contains_key(seq));
        requests.extend(state.requests().iter().map(|(seq, kept)| (*seq, kept.request.clone())));
        Outcome { owner, groups, faults, devices, requests }
    }
}

/// Why an image cannot follow on a state that is whole; `None` if it can.
fn contradiction(state: &State, image: &Image<'_>) -> Option<String> {
    use pending::Slot;
    let missing = |seq: &u64| format!("it changes request {seq}, which is not open");
    match image {
        Image::Progress(seq, new) => match state.request(*seq) {
            None => Some(missing(seq)),
            Some(kept) if new.tally.entries != kept.request.tally.entries => {
                Some(format!("it changes the number of entries of request {seq}"))
            }
            Some(_) => None,
        },
        Image::Slot(seq, index, new) => match state.request(*seq).map(|kept| kept.slots.get(*index as usize)) {
            None => Some(missing(seq)),
            Some(None) => Some(format!("it changes entry {index} of request {seq}, which has none of that number")),
            Some(Some(old)) if !matches!(old, Slot::Open(_)) && *old != **new => {
                Some(format!("it changes entry {index} of request {seq}, which had ended"))
            }
            Some(Some(_)) => None,
        },
        Image::Request(seq, Some(new)) if new.request.seq != *seq => {
            Some(format!("request {seq} says that it is request {}", new.request.seq))
        }
        Image::Owed(_, Some(owed)) if owed.seq >= state.counters.next_seq => {
            Some(format!("it owes a message of request {}, which is still to come", owed.seq))
        }
        Image::Counters(new) if new.next_seq < state.counters.next_seq => {
            Some(format!("the next request's number falls from {} to {}", state.counters.next_seq, new.next_seq))
        }
        _ => None,
    }
}
