//! The queries. Each query reads one page of the ledger. A query with a filter also passes over a
//! limited number of rows that it does not return.
//!
//! A query reads the state first, then the registry, and passes over rows of the registry that the
//! state has in a newer form.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use super::{
    history::{MAX_EVENTS, asked},
    object::{Kept, Slot},
    tx::Tx,
    work::{Work, visible},
};
use crate::{
    domain::{
        Access, Asked, ClientId, ClientToken, Device, DeviceState, DeviceView, EntryFailure, Event, EventKind,
        Registered, Request, RequestStatus, Target, ThingName,
    },
    ledger::registry::{
        rows,
        store::{Direction, StoreError},
    },
};

/// Rows that a filtered page may pass over; beyond it the page ends early, and the next page
/// continues there.
const MAX_PASSED: usize = 1000;

/// A page of rows, each with its cursor, and the cursor at which the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows<T> {
    /// The rows.
    pub rows: Vec<(String, T)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// The first names of a request's devices that the registry did not know when the command arrived.
///
/// # Errors
/// The registry failed.
pub fn unknown_names(tx: &Tx<'_>, request: &Request) -> Result<Vec<String>, StoreError> {
    if let Some(kept) = tx.state.request(request.seq) {
        return Ok(kept.unknown.clone());
    }
    let mut names = Vec::new();
    if request.unknown.is_some_and(|count| count > 0) {
        for (_, piece) in tx.scan(rows::names(request.seq), Direction::Up, usize::MAX)? {
            names.extend(rows::decode::<Vec<String>>(&piece, "names of unknown devices")?);
        }
    }
    Ok(names)
}

/// The request of that name.
///
/// # Errors
/// The registry failed.
pub fn find_request(tx: &Tx<'_>, client: &ClientId, token: &ClientToken) -> Result<Option<Request>, StoreError> {
    match tx.find(client, token)? {
        Some(seq) => tx.request(seq),
        None => Ok(None),
    }
}

/// The request of that number.
///
/// # Errors
/// The registry failed.
pub fn request(tx: &Tx<'_>, seq: u64) -> Result<Option<Request>, StoreError> {
    tx.request(seq)
}

/// The entries of a request in memory from `first` on, as far as `select` takes them.
fn entries<T>(kept: &Kept, first: u32, limit: usize, select: impl Fn(&Slot) -> Option<T>) -> Vec<(String, T)> {
    let slots = (0_u32..).zip(&kept.slots).skip(first as usize);
    slots.filter_map(|(index, slot)| Some((index.to_string(), select(slot)?))).take(limit).collect()
}

/// The index after a cursor.
fn first_after(after: Option<&str>) -> u32 {
    after.and_then(|after| after.parse::<u32>().ok()).map_or(0, |index| index.saturating_add(1))
}

/// A request's entries that did not succeed, after the cursor `after` (an entry's index).
///
/// # Errors
/// The registry failed.
pub fn failures(tx: &Tx<'_>, seq: u64, after: Option<&str>, limit: usize) -> Result<Rows<EntryFailure>, StoreError> {
    let (first, limit_) = (first_after(after), limit.saturating_add(1));
    let failed = |slot: &Slot| match slot {
        Slot::Failed(target, fault) => Some(EntryFailure { target: target.clone(), fault: (**fault).clone() }),
        _ => None,
    };
    let mut found = Vec::new();
    if let Some(kept) = tx.state.request(seq) {
        found = entries(kept, first, limit_, failed);
    } else {
        for (key, row) in tx.scan(rows::failures(seq, first), Direction::Up, limit_)? {
            found.push((rows::read_index(&key)?.to_string(), rows::decode(&row, "a failed entry")?));
        }
    }
    Ok(cut(found, limit))
}

/// A request's entries that have not ended, after the cursor `after` (an entry's index).
///
/// # Errors
/// The registry failed.
pub fn open_entries(tx: &Tx<'_>, seq: u64, after: Option<&str>, limit: usize) -> Result<Rows<Target>, StoreError> {
    let open = |slot: &Slot| match slot {
        Slot::Open(target) => Some(target.clone()),
        _ => None,
    };
    let kept = tx.state.request(seq);
    let found = kept.map(|kept| entries(kept, first_after(after), limit.saturating_add(1), open)).unwrap_or_default();
    Ok(cut(found, limit))
}

/// Why entries of a request wait: the last answer to each of those that were sent and have not
/// ended, among the first `limit` that are open.
///
/// # Errors
/// The registry failed.
pub fn waiting(tx: &Tx<'_>, seq: u64, limit: usize) -> Result<Vec<EntryFailure>, StoreError> {
    let mut waiting = Vec::new();
    for (_, target) in open_entries(tx, seq, None, limit)?.rows {
        if let Some(fault) = tx.work_of(&target).and_then(|work| work.details.error.as_deref()) {
            let fault = fault.clone();
            waiting.push(EntryFailure { target, fault });
        }
    }
    Ok(waiting)
}

/// Cuts to `limit` rows and says whether there were more.
fn cut<T>(mut rows: Vec<(String, T)>, limit: usize) -> Rows<T> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(|(cursor, _)| cursor.clone()) } else { None };
    Rows { rows, next }
}

/// A client's requests, or everybody's, newest first, before the cursor (a request's number).
///
/// # Errors
/// The registry failed.
pub fn requests(
    tx: &Tx<'_>,
    client: Option<&ClientId>,
    status: Option<RequestStatus>,
    before: Option<&str>,
    limit: usize,
) -> Result<Rows<Request>, StoreError> {
    let mut before: u64 = before.and_then(|before| before.parse().ok()).unwrap_or(u64::MAX);
    let is_wanted = |request: &Request| {
        client.is_none_or(|client| *client == request.client)
            && status.is_none_or(|status| status == request.tally.status())
    };
    let (mut found, mut passed) = (Vec::new(), 0);
    loop {
        let page = requests_before(tx, before, limit.saturating_add(1))?;
        let ended = page.len() <= limit;
        for request in page {
            before = request.seq;
            if is_wanted(&request) {
                found.push((request.seq.to_string(), request));
                if found.len() > limit {
                    return Ok(cut(found, limit));
                }
            } else {
                passed += 1;
                if passed == MAX_PASSED {
                    return Ok(Rows { rows: found, next: Some(before.to_string()) });
                }
            }
        }
        if ended {
            return Ok(cut(found, limit));
        }
    }
}

/// The last `limit` requests before a number, newest first.
fn requests_before(tx: &Tx<'_>, before: u64, limit: usize) -> Result<Vec<Request>, StoreError> {
    let in_memory = tx.state.requests().range(..before).rev().take(limit);
    let mut requests: BTreeMap<u64, Request> = in_memory.map(|(seq, kept)| (*seq, kept.request.clone())).collect();
    let mut to = rows::request(before);
    let (from, _) = rows::all_of(b'r');
    // Rows that are in memory, or forgotten, do not count.
    loop {
        let page = tx.scan((from.clone(), to.clone()), Direction::Down, limit)?;
        let mut last = before;
        for (key, row) in &page {
            last = rows::read_seq(key)?;
            to.clone_from(key);
            if tx.state.request(last).is_none() && !tx.state.forgotten().contains_key(&last) {
                requests.insert(last, rows::decode_request(last, row)?);
            }
        }
        // Rows that are not read yet come before requests in memory with smaller numbers.
        if page.len() < limit || requests.range(last..).count() >= limit {
            break;
        }
    }
    Ok(requests.into_values().rev().take(limit).collect())
}

/// A device that is in the registry or in an open request.
///
/// # Errors
/// The registry failed.
pub fn device(tx: &Tx<'_>, thing: &ThingName) -> Result<Option<DeviceView>, StoreError> {
    let record = tx.device(thing)?;
    let work = tx.work_of(&Target::Device(thing.clone()));
    let registered = record.as_ref().map(|device| device.registered);
    let Some(state) = visible(registered, work) else { return Ok(None) };
    let device = match (record, work) {
        (record, Some(work)) => under_way(tx, record, work)?,
        (Some(record), None) => record,
        (None, None) => return Ok(None),
    };
    let access = tx.state.access().get(thing).and_then(Access::view);
    Ok(Some(DeviceView { thing: thing.clone(), state, device, access }))
}

/// A record in which the open work replaces the last request.
fn under_way(tx: &Tx<'_>, record: Option<Device>, work: &Work) -> Result<Device, StoreError> {
    let request = tx.request(work.place.0)?;
    let accepted_at = request.as_ref().map(|request| request.accepted_at);
    let changed_at = accepted_at.max(record.as_ref().map(|device| device.changed_at)).unwrap_or_default();
    Ok(Device {
        registered: record.as_ref().map_or(Registered::Disassociated, |device| device.registered),
        association: record.as_ref().and_then(|device| device.association),
        associated_by_agent_at: record.as_ref().and_then(|device| device.associated_by_agent_at),
        requested: request.map(|request| Box::new((request.client, request.token, request.accepted_at))),
        attempts: work.attempts,
        error: work.details.error.clone(),
        changed_at,
        outcome_seq: record.map_or(0, |device| device.outcome_seq),
    })
}

/// The devices by name, after the cursor (a name).
///
/// # Errors
/// The registry failed.
pub fn devices(
    tx: &Tx<'_>,
    state: Option<DeviceState>,
    after: Option<&str>,
    limit: usize,
) -> Result<Rows<DeviceView>, StoreError> {
    let mut cursor = after.map(str::to_owned);
    let (mut found, mut passed) = (Vec::new(), 0);
    loop {
        let names = names_after(tx, state, cursor.as_deref(), limit.saturating_add(1))?;
        let ended = names.len() <= limit;
        for name in names {
            cursor = Some(name.to_string());
            match device(tx, &name)? {
                Some(view) if state.is_none_or(|state| state == view.state) => found.push((name.to_string(), view)),
                _ => passed += 1,
            }
            if found.len() > limit {
                return Ok(cut(found, limit));
            }
            if passed == MAX_PASSED {
                return Ok(Rows { rows: found, next: cursor });
            }
        }
        if ended {
            return Ok(cut(found, limit));
        }
    }
}

/// Names of devices that may be in a state, sorted: from the registry, from what it does not have
/// yet, and from the work. Work alone makes a device `ASSOCIATING` or `DISASSOCIATING`.
fn names_after(
    tx: &Tx<'_>,
    state: Option<DeviceState>,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<ThingName>, StoreError> {
    let mut names = std::collections::BTreeSet::new();
    let after = after.and_then(|after| ThingName::new(after).ok());
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let work_from = after.clone().map_or(Bound::Unbounded, |after| Bound::Excluded(Target::Device(after)));
    let work = tx.state.works().range((work_from, Bound::Unbounded)).map_while(|(target, _)| match target {
        Target::Device(thing) => Some(thing.clone()),
        _ => None,
    });
    names.extend(work.take(limit));
    if !matches!(state, Some(DeviceState::Associating | DeviceState::Disassociating)) {
        let changed = tx.state.devices().range::<ThingName, _>((from, Bound::Unbounded));
        names.extend(changed.map(|(thing, _)| thing.clone()).take(limit));
        let (mut from, to) = rows::all_of(b'd');
        if let Some(after) = &after {
            from = [rows::device(after.as_str()).as_slice(), &[0]].concat();
        }
        for (key, _) in tx.scan((from, to), Direction::Up, limit)? {
            names.insert(rows::read_thing(&key)?);
        }
    }
    Ok(names.into_iter().take(limit).collect())
}

/// A device's history, the oldest event first, with what is asked for and has not ended. The order
/// is that of the time that the agent knows to have passed: after a step of the wall clock an event
/// may have an earlier time than the event before it.
///
/// # Errors
/// The registry failed.
pub fn history(tx: &Tx<'_>, thing: &ThingName) -> Result<Vec<Event>, StoreError> {
    let requested = |asked: Asked| (asked.elapsed, Event { at: asked.at, kind: EventKind::Requested(asked) });
    let mut events = Vec::new();
    for (elapsed, event) in Arc::unwrap_or_clone(tx.device_row(thing)?.row).events {
        if let EventKind::Ended { asked, .. } = &event.kind {
            events.push(requested(asked.clone()));
        }
        events.push((elapsed, event));
    }
    let work = tx.work_of(&Target::Device(thing.clone()));
    for waiter in work.map(|work| work.waiters.as_slice()).unwrap_or_default().iter().take(MAX_EVENTS) {
        events.push(requested(asked(tx.open_request(waiter.0.0)?)));
    }
    events.sort_by_key(|(elapsed, _)| *elapsed);
    // An event that is kept may be shown as two.
    events.drain(..events.len().saturating_sub(MAX_EVENTS));
    Ok(events.into_iter().map(|(_, event)| event).collect())
}
