//! Objects as images of the journal: set again at a replay, and read for a group or a checkpoint.

use std::borrow::Cow;

use super::{
    super::object::{Image, Key, Progress},
    State, Undo,
};

impl State {
    /// Sets an object to its image in the journal, and returns what undoes that. The part of an
    /// object that is missing, because its image comes later in the journal, is passed over.
    pub(crate) fn replay(&mut self, image: Image<'_>) -> Option<Undo> {
        Some(match image {
            Image::Counters(counters) => {
                self.counters = counters;
                return None;
            }
            Image::Request(seq, new) => {
                Undo::Request(seq, self.put_request(seq, new.map(Cow::into_owned)).map(Box::new))
            }
            Image::Progress(seq, new) => Undo::Progress(seq, self.put_progress(seq, new)?),
            Image::Slot(seq, index, new) => Undo::Slot(seq, index, self.put_slot(seq, index, new.into_owned())?),
            Image::Forgotten(seq, new) => Undo::Forgotten(seq, self.put_forgotten(seq, new.map(Cow::into_owned))),
            Image::Work(target, new) => {
                // One copy of the name for the request and its work.
                let shared = new.as_ref().and_then(|new| self.open_target(new.place)).filter(|open| **open == *target);
                let target = shared.cloned().unwrap_or_else(|| target.into_owned());
                let old = self.put_work(&target, new.map(|new| Box::new(new.into_owned())));
                Undo::Work(target, old)
            }
            Image::Owed(n, new) => Undo::Owed(n, self.put_owed(n, new)),
            Image::Unacknowledged(hash, new) => Undo::Unacknowledged(hash, self.put_unacknowledged(hash, new)),
            Image::Outdated(thing, new) => {
                let old = self.put_outdated(&thing, new);
                Undo::Outdated(thing.into_owned(), old)
            }
            Image::Device(thing, new) => {
                let old = self.put_device(&thing, new.map(Cow::into_owned)).map(Box::new);
                Undo::Device(thing.into_owned(), old)
            }
            Image::Access(thing, new) => {
                let old = self.put_access(&thing, new.map(Cow::into_owned));
                Undo::Access(thing.into_owned(), old)
            }
        })
    }

    /// The present image of an object.
    pub(crate) fn image(&self, key: &Key) -> Option<Image<'_>> {
        Some(match key {
            Key::Request(seq) => Image::Request(*seq, self.requests.get(seq).map(Cow::Borrowed)),
            Key::Progress(seq) => Image::Progress(*seq, Progress::of(&self.requests.get(seq)?.request)),
            Key::Slot(seq, index) => {
                Image::Slot(*seq, *index, Cow::Borrowed(self.requests.get(seq)?.slots.get(*index as usize)?))
            }
            Key::Forgotten(seq) => Image::Forgotten(*seq, self.forgotten.get(seq).map(Cow::Borrowed)),
            Key::Work(target) => {
                let work = self.works.get_key_value(target);
                // The target's own copy, where there is one: the image lives as long as the state.
                let target = work.map_or_else(|| Cow::Owned(target.clone()), |(target, _)| Cow::Borrowed(target));
                Image::Work(target, work.map(|(_, work)| Cow::Borrowed(&**work)))
            }
            Key::Owed(n) => Image::Owed(*n, self.owed.get(n).copied()),
            Key::Unacknowledged(hash) => Image::Unacknowledged(*hash, self.unacknowledged.get(hash).copied()),
            Key::Outdated(thing) => Image::Outdated(Cow::Owned(thing.clone()), self.outdated.get(thing).copied()),
            Key::Device(thing) => Image::Device(Cow::Owned(thing.clone()), self.devices.get(thing).map(Cow::Borrowed)),
            Key::Access(thing) => Image::Access(Cow::Owned(thing.clone()), self.access.get(thing).map(Cow::Borrowed)),
        })
    }
}
