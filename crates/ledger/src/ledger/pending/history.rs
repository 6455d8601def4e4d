//! A device's history: its last events, of limited size, in the row of the device.

use crate::domain::{Asked, Event, EventKind, Fault, Request, Timestamp};

/// Both times of an event.
pub(super) type At = (u64, Timestamp);

/// Bytes of a history as JSON: with the device it stays below what sled keeps out of files of their
/// own. The oldest events are dropped.
const MAX_BYTES: usize = 5 << 9;

/// Events of a history: what a person reads at once.
pub(super) const MAX_EVENTS: usize = 20;

/// What a history shows of a request.
pub(super) fn asked(request: &Request) -> Asked {
    let Request { seq, client, token, operation, accepted_at, accepted_elapsed, .. } = request;
    Asked {
        seq: *seq,
        client: client.clone(),
        token: token.clone(),
        operation: *operation,
        at: *accepted_at,
        elapsed: *accepted_elapsed,
    }
}

/// The event for the end of an entry of a request.
pub(super) fn ended(request: &Request, fault: Option<&Fault>) -> EventKind {
    EventKind::ended(asked(request), fault)
}

/// Adds an event.
pub(super) fn append_event(events: &mut Vec<(u64, Event)>, (elapsed, at): At, kind: EventKind) {
    // Most devices get one event in their life, and up to a hundred thousand rows are in memory.
    events.reserve_exact(1);
    events.push((elapsed, Event { at, kind }));
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
