//! A device's history: its last events, of limited size, in the row of the device.

use super::tx::{At, Tx};
use crate::{
    domain::{Asked, Event, Fault, Happened, Request, Target, ThingName},
    ledger::registry::store::StoreError,
};

/// Bytes of a history as JSON: with the device it stays below what sled keeps out of files of their
/// own. The oldest events give way.
const MAX_BYTES: usize = 5 << 9;

/// Events of a history: what a person reads at once.
const MAX_EVENTS: usize = 20;

/// What a history shows of a request.
pub(super) fn asked(request: &Request) -> Asked {
    let Request { seq, client, token, operation, accepted_at, .. } = request;
    Asked { seq: *seq, client: client.clone(), token: token.clone(), operation: *operation, at: *accepted_at }
}

/// The end of a request's part.
pub(super) fn ended(request: &Request, fault: Option<&Fault>) -> Happened {
    Happened::ended(asked(request), fault)
}

/// Adds an event.
pub(super) fn append_event(events: &mut Vec<(u64, Event)>, (elapsed, at): At, happened: Happened) {
    events.push((elapsed, Event { at, happened }));
    let too_many = events.len().saturating_sub(MAX_EVENTS);
    events.drain(..too_many);
    if events.len() > 1 {
        let sizes: Vec<usize> =
            events.iter().map(|event| serde_json::to_vec(event).map_or(0, |json| json.len())).collect();
        let mut total: usize = sizes.iter().sum();
        let mut large = 0;
        while total > MAX_BYTES && large + 1 < sizes.len() {
            total -= sizes[large];
            large += 1;
        }
        events.drain(..large);
    }
}

/// A device's history, the oldest event first, with what is asked for and has not ended.
///
/// # Errors
/// The registry failed.
pub fn history(tx: &Tx<'_>, thing: &ThingName) -> Result<Vec<Event>, StoreError> {
    let mut events = Vec::new();
    for (_, event) in tx.device_row(thing)?.row.events {
        if let Happened::Ended { asked, .. } = &event.happened {
            events.push(Event { at: asked.at, happened: Happened::Requested(asked.clone()) });
        }
        events.push(event);
    }
    let work = tx.work_of(&Target::Device(thing.clone()));
    for waiter in work.map(|work| work.waiters.as_slice()).unwrap_or_default().iter().take(MAX_EVENTS) {
        let asked = asked(tx.open_request(waiter.0.0)?);
        events.push(Event { at: asked.at, happened: Happened::Requested(asked) });
    }
    events.sort_by_key(|event| event.at);
    Ok(events)
}
