//! What a device is remembered by: a record of its last events, of limited size, that goes with its oldest one.

use serde::{Deserialize, Serialize};

use super::{
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
    /// When it is looked at for events that are too old; its place among the deadlines.
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
                self.put(schema::due(Due::Story, at, thing.as_str().as_bytes()), Vec::new())?;
                Story { since: at, events: Vec::new() }
            }
        };
        story.events.push(Event { at, happened });
        while story.is_large() {
            story.events.remove(0);
        }
        self.write(schema::story(thing.as_str()), &story)
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

/// Forgets what happened before `before`, as much as one transaction takes; `true` when none of it is left.
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
        let mut story = tx.story_of(thing.as_str())?.unwrap_or_default();
        story.events.retain(|event| event.at >= before);
        match story.events.iter().map(|event| event.at).min() {
            Some(oldest) => {
                story.since = oldest;
                tx.put(schema::due(Due::Story, oldest, thing.as_str().as_bytes()), Vec::new())?;
                tx.write(schema::story(thing.as_str()), &story)?;
            }
            None => drop(tx.delete(schema::story(thing.as_str()))?),
        }
        tx.delete(key)?;
    }
    Ok(done)
}
