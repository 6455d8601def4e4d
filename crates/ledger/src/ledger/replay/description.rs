//! What an image changes, in words, and why, as far as the change shows it.

use crate::{
    domain::{Access, AccessView, Registered, Request, Target},
    ledger::pending::{DeviceRow, Image, Kept, Key, Slot, State, Work},
};

/// Changes of one group that are put into words; the others are counted.
const MAX_CHANGES: usize = 200;

/// The words about one group.
#[derive(Default)]
pub(super) struct Description {
    causes: Vec<&'static str>,
    changes: Vec<String>,
    left_out: usize,
    repeated: usize,
}

impl Description {
    /// Notes what `image` changes of `state`, which does not have it yet.
    pub(super) fn image(&mut self, state: &State, image: &Image<'_>) {
        if let Image::Counters(_) = image {
            self.counters(state, image);
            return;
        }
        let old = key(image).and_then(|key| state.image(&key));
        if old.as_ref() == Some(image) {
            self.repeated += 1;
            return;
        }
        match image {
            Image::Counters(_) => {}
            Image::Request(seq, Some(new)) => self.request(*seq, state.request(*seq), new),
            Image::Request(seq, None) => self.change(format!("request {seq} is no longer in memory")),
            Image::Progress(seq, new) => {
                let has_ended = new.completed_at.is_some();
                if has_ended {
                    self.cause("a request ended");
                }
                let tally = &new.tally;
                let status = tally.status().as_str();
                self.change(format!("request {seq}: {status}, {} of {} entries open", tally.open, tally.entries));
            }
            Image::Slot(seq, index, new) => self.slot(state, *seq, *index, new),
            Image::Forgotten(seq, _) => self.note("retention", format!("request {seq} is forgotten")),
            Image::Work(target, new) => self.work(state, target, new.as_deref()),
            Image::Owed(n, Some(owed)) => {
                let kind = if owed.completed { "completed" } else { "accepted" };
                self.change(format!("message {n}: {kind} of request {} is to be published", owed.seq));
            }
            Image::Owed(n, None) => self.note("a message was delivered", format!("message {n} is delivered")),
            Image::Unacknowledged(_, Some(seq)) => {
                self.change(format!("request {seq}: its command has no token, and is not acknowledged yet"));
            }
            Image::Unacknowledged(_, None) => {
                self.note("a command was acknowledged", "a command is acknowledged".into())
            }
            Image::Outdated(thing, new) => {
                let what = if new.is_some() { "is out of date" } else { "is published" };
                self.change(format!("device {}: its retained message {what}", thing.as_str()));
            }
            Image::Device(thing, new) => {
                let old = state.device(thing).and_then(|row| row.device.as_ref()).map(|device| device.registered);
                match new {
                    Some(new) => self.device(thing.as_str(), old, &new.row),
                    None => self.change(format!("device {thing}: its row is no longer in memory")),
                }
            }
            Image::Access(thing, new) => {
                let what = access(new.as_deref());
                self.note("the broker's client of a device", format!("device {}: its client {what}", thing.as_str()));
            }
        }
    }

    /// The causes, the changes, and how many objects were logged again without a change.
    pub(super) fn finish(mut self) -> (Vec<&'static str>, Vec<String>, usize) {
        if self.left_out > 0 {
            self.changes.push(format!("and {} more", self.left_out));
        }
        if self.causes.is_empty() {
            self.causes.push(if self.repeated > 0 { "a checkpoint logs again what is open" } else { "totals" });
        }
        (self.causes, self.changes, self.repeated)
    }

    fn cause(&mut self, cause: &'static str) {
        if !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
    }

    fn change(&mut self, text: String) {
        if self.changes.len() < MAX_CHANGES {
            self.changes.push(text);
        } else {
            self.left_out += 1;
        }
    }

    fn note(&mut self, cause: &'static str, text: String) {
        self.cause(cause);
        self.change(text);
    }

    fn counters(&mut self, state: &State, image: &Image<'_>) {
        let Image::Counters(new) = image else { return };
        let old = state.counters;
        if new.run != old.run {
            self.note("the agent started", format!("run {}", new.run));
        }
        if new.generation != old.generation {
            self.note("the registry was replaced", format!("registry {} of this journal", new.generation));
        }
        if new.synced && !old.synced {
            self.note("the cloud's list was read to its end", "the registry is in sync for the first time".into());
        }
    }

    fn request(&mut self, seq: u64, old: Option<&Kept>, new: &Kept) {
        let Request { client, token, operation, tally, unknown, .. } = &new.request;
        if old.is_some() {
            self.change(format!("request {seq}: {}", tally.status().as_str()));
            return;
        }
        let via = client.via();
        let known = match unknown {
            Some(unknown) if *unknown > 0 => format!(", {unknown} not known here"),
            _ => String::new(),
        };
        let text = format!(
            "request {seq}: {operation} by {client} via {via}, token {token}, {} entries{known}",
            tally.entries
        );
        if tally.open == tally.entries {
            self.cause("a command was accepted");
        }
        self.change(text);
    }

    fn slot(&mut self, state: &State, seq: u64, index: u32, new: &Slot) {
        let target = state.open_target((seq, index)).map_or_else(String::new, |target| format!(" ({})", target.name()));
        let what = match new {
            Slot::Open(_) => "is open".to_owned(),
            Slot::Succeeded => "succeeded".to_owned(),
            Slot::Failed(_, fault) => format!("failed: {}: {}", fault.code, fault.message),
        };
        self.note("entries ended", format!("request {seq}, entry {index}{target} {what}"));
    }

    fn work(&mut self, state: &State, target: &Target, new: Option<&Work>) {
        let (old, name) = (state.work(target), target.name());
        let Some(new) = new else {
            self.change(format!("{name}: nothing is left to do"));
            return;
        };
        let call = new.call_kind.traits().action;
        let why = new
            .details
            .error
            .as_deref()
            .map_or_else(String::new, |fault| format!(": {}: {}", fault.code, fault.message));
        match old {
            None => self.change(format!("{name}: waits for {call}")),
            Some(old) if new.is_sent() && (!old.is_sent() || old.attempts != new.attempts) => {
                self.note("a call is made", format!("{name}: is sent by {call}, attempt {}", new.attempts));
            }
            Some(old) if new.is_outcome_unknown() && !old.is_outcome_unknown() => {
                self.note("a call was not answered", format!("{name}: the outcome of {call} is not known{why}"));
            }
            Some(old) if new.queue != old.queue || new.is_sent() != old.is_sent() => {
                self.note("a call was answered", format!("{name}: waits again ({:?}){why}", new.queue));
            }
            Some(_) => self.change(format!("{name}: {} entries wait{why}", new.waiters.len())),
        }
    }

    fn device(&mut self, name: &str, old: Option<Registered>, row: &DeviceRow) {
        let shown = |registered: Option<Registered>| match registered {
            Some(Registered::Associated) => "associated",
            Some(Registered::Disassociated) => "disassociated",
            None => "not in memory",
        };
        let new = row.device.as_ref().map(|device| device.registered);
        let text = match new {
            None => format!("device {name}: its row is removed"),
            Some(_) if new == old => format!("device {name}: stays {}, its row changes", shown(new)),
            Some(_) => format!("device {name}: {} (was {})", shown(new), shown(old)),
        };
        self.change(text);
    }
}

/// The key of an image; `None` for the totals.
fn key(image: &Image<'_>) -> Option<Key> {
    Some(match image {
        Image::Counters(_) => return None,
        Image::Request(seq, _) => Key::Request(*seq),
        Image::Progress(seq, _) => Key::Progress(*seq),
        Image::Slot(seq, index, _) => Key::Slot(*seq, *index),
        Image::Forgotten(seq, _) => Key::Forgotten(*seq),
        Image::Work(target, _) => Key::Work(target.clone().into_owned()),
        Image::Owed(n, _) => Key::Owed(*n),
        Image::Unacknowledged(hash, _) => Key::Unacknowledged(*hash),
        Image::Outdated(thing, _) => Key::Outdated(thing.clone().into_owned()),
        Image::Device(thing, _) => Key::Device(thing.clone().into_owned()),
        Image::Access(thing, _) => Key::Access(thing.clone().into_owned()),
    })
}

fn access(access: Option<&Access>) -> String {
    match access.and_then(Access::view) {
        Some(AccessView::Revoked) => "is disabled".into(),
        Some(AccessView::Pending) => "is to be disabled or enabled".into(),
        Some(AccessView::Failed(_)) => "could not be disabled or enabled".into(),
        None => "is not managed".into(),
    }
}
