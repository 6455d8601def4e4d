//! What a device is remembered by: a record of its last events, of limited size. It goes with the device, else with its oldest
//! event.

use serde::{Deserialize, Serialize};

use super::{
    records::has_tombstone,
    schema::{self, Due},
    store::{Direction, StoreError},
    turns,
    tx::Tx,
};
use crate::model::{Asked, Event, Happened, Request, Target, ThingName, Timestamp};

/// Bytes of a story: with its key it stays below what sled keeps out of files of their own. The oldest events give way.
const MAX_BYTES: usize = 3 << 10;

/// Events of a story: what a person reads at once.
const MAX_EVENTS: usize = 20;

/// Stories that one step looks at.
const STEP: usize = 40;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Story {
    /// Its place among the deadlines, where its device has none.
    pub since: Timestamp,
    /// The oldest first.
    pub events: Vec<Event>,
}

impl Story {
    fn is_large(&self) -> bool {
        self.events.len() > MAX_EVENTS || schema::encode(self).len() > MAX_BYTES
    }
}

/// What a story tells of a request.
pub(super) fn asked(request: &Request) -> Asked {
    let Request { seq, client, token, operation, accepted_at, .. } = request;
    Asked { seq: *seq, client: client.clone(), token: token.clone(), operation: *operation, at: *accepted_at }
}

impl Tx<'_> {
    fn story_of(&self, thing: &str) -> Result<Option<Story>, StoreError> {
        self.read(&schema::story(thing), "a story")
    }

    /// Adds an event to a device's story; other targets have none.
    pub(super) fn remember(&mut self, target: &Target, happened: Happened) -> Result<(), StoreError> {
        let Target::Device(thing) = target else { return Ok(()) };
        let at = self.now.wall;
        let mut story = match self.story_of(thing.as_str())? {
            Some(story) => story,
            None => {
                if !has_tombstone(self.device(thing.as_str())?.as_ref()) {
                    self.put(schema::due(Due::Story, at, thing.as_str().as_bytes()), Vec::new())?;
                }
                Story { since: at, events: Vec::new() }
            }
        };
        story.events.push(Event { at, happened });
        while story.is_large() {
            story.events.remove(0);
        }
        self.write(schema::story(thing.as_str()), &story)
    }

    /// Leaves it to the device's tombstone when its story goes, or takes that back.
    pub(super) fn hand_over_story(&mut self, thing: &str, to_tombstone: bool) -> Result<(), StoreError> {
        let Some(story) = self.story_of(thing)? else { return Ok(()) };
        let due = schema::due(Due::Story, story.since, thing.as_bytes());
        match to_tombstone {
            true => self.delete(due).map(drop),
            false => self.put(due, Vec::new()),
        }
    }

    /// Forgets what happened before `before`, and returns when what is left began.
    pub(super) fn forget_events(&mut self, thing: &str, before: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let Some(mut story) = self.story_of(thing)? else { return Ok(None) };
        story.events.retain(|event| event.at >= before);
        let Some(oldest) = story.events.iter().map(|event| event.at).min() else {
            self.delete(schema::story(thing))?;
            return Ok(None);
        };
        story.since = oldest;
        self.write(schema::story(thing), &story)?;
        Ok(Some(oldest))
    }

    /// Takes out what a story tells of a request.
    pub(super) fn disremember(&mut self, target: &Target, seq: u64) -> Result<(), StoreError> {
        let Some(mut story) = self.story_of(target.name())? else { return Ok(()) };
        story.events.retain(|event| !matches!(&event.happened, Happened::Ended { asked, .. } if asked.seq == seq));
        if story.events.is_empty() {
            self.delete(schema::due(Due::Story, story.since, target.name().as_bytes()))?;
            self.delete(schema::story(target.name()))?;
            return Ok(());
        }
        self.write(schema::story(target.name()), &story)
    }
}

/// A device's story, the oldest event first, with what is asked for and has not ended.
///
/// # Errors
/// The store failed.
pub fn story(tx: &Tx<'_>, thing: &ThingName) -> Result<Vec<Event>, StoreError> {
    let target = Target::Device(thing.clone());
    let mut events = Vec::new();
    for event in tx.story_of(thing.as_str())?.unwrap_or_default().events {
        if let Happened::Ended { asked, .. } = &event.happened {
            events.push(Event { at: asked.at, happened: Happened::Requested(asked.clone()) });
        }
        events.push(event);
    }
    for row in tx.scan_prefix(&schema::waiters(&target), MAX_EVENTS)? {
        let (seq, _) = turns::place(&target, &row)?;
        let asked = asked(&tx.known_request(seq)?);
        events.push(Event { at: asked.at, happened: Happened::Requested(asked) });
    }
    events.sort_by_key(|event| event.at);
    Ok(events)
}

/// Forgets what happened before `before` to devices without a tombstone, as much as one transaction takes; `true` when none of
/// it is left.
///
/// # Errors
/// The store failed.
pub fn forget_stories(tx: &mut Tx<'_>, before: Timestamp) -> Result<bool, StoreError> {
    let (from, _) = schema::range(&[b'x', Due::Story as u8]);
    let rows = tx.scan(&from, &schema::due(Due::Story, before, b""), Direction::Up, STEP)?;
    let done = rows.is_empty();
    for (key, _) in rows {
        let (_, name) = schema::read_due(&key)?;
        let thing = schema::read_thing(name)?;
        if let Some(since) = tx.forget_events(thing.as_str(), before)? {
            tx.put(schema::due(Due::Story, since, thing.as_str().as_bytes()), Vec::new())?;
        }
        tx.delete(key)?;
    }
    Ok(done)
}
