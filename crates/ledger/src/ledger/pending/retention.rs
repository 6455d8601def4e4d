//! Removes records whose retention has ended, measured by [`Tx::elapsed`]. If the store is nearly
//! full, it also removes finished requests before the end of their retention.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    object::{ChangeNumber, Changed, DeviceRow, Forgotten},
    tx::Tx,
};
use crate::{
    domain::{Access, ClientId, Registered, Request, Target, ThingName},
    ledger::registry::{
        rows,
        store::{Direction, StoreError},
    },
};

/// Rows that one step looks at: some milliseconds.
const STEP: usize = 500;

/// Clients whose requests are counted; those beyond it are left alone in this run.
const MAX_CLIENTS: usize = 10_000;

/// Forgets a finished request with its token.
fn forget(tx: &mut Tx<'_>, request: &Request) -> Result<(), StoreError> {
    let seq = request.seq;
    let is_stored = tx.state.request(seq).is_none_or(|kept| kept.stored);
    let bytes = if is_stored { stored_bytes(tx, request)? } else { 0 };
    let counters = &mut tx.state.counters;
    counters.registry_bytes = counters.registry_bytes.saturating_sub(bytes);
    // Also if it is not in memory: the journal may not say yet that the registry has it.
    tx.put_request(seq, None);
    if let Some(hash) = request.delivery
        && tx.state.unacknowledged().get(&hash) == Some(&seq)
    {
        tx.put_unacknowledged(hash, None);
    }
    // The registry may have rows of the request also if an incomplete checkpoint wrote them.
    tx.put_forgotten(seq, Forgotten { client: request.client.clone(), token: request.token.clone(), bytes });
    Ok(())
}

/// Bytes of a request's rows in the registry.
fn stored_bytes(tx: &Tx<'_>, request: &Request) -> Result<u64, StoreError> {
    let seq = request.seq;
    let mut rows = tx.scan((rows::request(seq), rows::request(seq + 1)), Direction::Up, 1)?;
    rows.extend(tx.scan(rows::failures(seq, 0), Direction::Up, usize::MAX)?);
    rows.extend(tx.scan(rows::names(seq), Direction::Up, usize::MAX)?);
    let bytes: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    let token = rows::token(&request.client, &request.token).len() + size_of::<u64>();
    Ok((bytes + token) as u64)
}

/// The finished requests in memory of which no message is owed, that ended before `before`.
fn finished(tx: &Tx<'_>, before: u64) -> Vec<Request> {
    let kept = tx.state.requests().values().map(|kept| &kept.request);
    let ended = kept.filter(|request| request.completed_at.is_some() && request.completed_elapsed < before);
    ended.filter(|request| !tx.state.is_owed(request.seq)).take(STEP).cloned().collect()
}

/// Forgets requests that ended before `before`, by [`Tx::elapsed`], from number `next` on; `true`
/// when all were seen. A request of which a message is owed stays.
///
/// # Errors
/// The registry failed.
pub fn forget_requests(tx: &mut Tx<'_>, before: u64, next: &mut u64) -> Result<bool, StoreError> {
    let in_memory = finished(tx, before);
    for request in &in_memory {
        forget(tx, request)?;
    }
    if in_memory.len() == STEP {
        return Ok(false);
    }
    let (_, to) = rows::all_of(b'r');
    let found = tx.scan((rows::request(*next), to), Direction::Up, STEP)?;
    let mut left = STEP;
    for (key, row) in &found {
        if left == 0 {
            return Ok(false);
        }
        let seq = rows::read_seq(key)?;
        *next = seq.saturating_add(1);
        if tx.state.request(seq).is_some() || tx.state.forgotten().contains_key(&seq) {
            continue;
        }
        let request = rows::decode_request(seq, row)?;
        if request.completed_elapsed < before {
            if !tx.state.is_owed(seq) {
                forget(tx, &request)?;
                // Its rows are read.
                let failed = request.tally.entries.saturating_sub(request.tally.succeeded);
                left = left.saturating_sub(usize::try_from(failed).unwrap_or(usize::MAX));
            }
        } else if request.accepted_elapsed >= before {
            // Those of later numbers were accepted, and so ended, later.
            return Ok(true);
        }
    }
    Ok(found.len() < STEP)
}

/// Forgets devices that were disassociated before `before`, by [`Tx::elapsed`], and events of other
/// devices from before; from the key `after` on; `true` when all were seen. A device with open
/// entries stays. Reads no row if none can be that old.
///
/// # Errors
/// The registry failed.
pub fn forget_devices(tx: &mut Tx<'_>, before: u64, after: &mut Vec<u8>) -> Result<bool, StoreError> {
    if after.is_empty() {
        if tx.state.oldest_row().is_some_and(|oldest| oldest >= before) {
            return Ok(true);
        }
        tx.state.begin_walk();
        let changed = tx.state.devices().iter();
        let names: Vec<ThingName> = changed
            .filter(|(thing, changed)| is_due(tx, thing, &changed.row, before))
            .map(|(thing, _)| thing.clone())
            .collect();
        for thing in names {
            forget_device(tx, &thing, before)?;
        }
    }
    let (mut from, to) = rows::all_of(b'd');
    if !after.is_empty() {
        from = [after.as_slice(), &[0]].concat();
    }
    let found = tx.scan((from, to), Direction::Up, STEP)?;
    for (key, row) in &found {
        after.clone_from(key);
        let Some(time) = rows::time_of(row) else { continue };
        let thing = rows::read_thing(key)?;
        if time < before {
            forget_device(tx, &thing, before)?;
        }
        tx.state.see_row(&thing, time);
    }
    crate::runtime::failpoint::pass("maintenance-forgetting");
    let done = found.len() < STEP;
    if done {
        tx.state.end_walk();
    }
    Ok(done)
}

fn has_tombstone(row: &DeviceRow) -> bool {
    row.device.as_ref().is_some_and(|device| device.registered == Registered::Disassociated)
}

fn is_due(tx: &Tx<'_>, thing: &ThingName, row: &DeviceRow, before: u64) -> bool {
    if has_tombstone(row) {
        // A client that the agent disabled is to be enabled when the device is associated again.
        let is_ours = tx.state.access().get(thing).is_some_and(Access::is_ours);
        row.changed < before && !is_ours && tx.work_of(&Target::Device(thing.clone())).is_none()
    } else {
        row.events.first().is_some_and(|(at, _)| *at < before)
    }
}

fn forget_device(tx: &mut Tx<'_>, thing: &ThingName, before: u64) -> Result<(), StoreError> {
    let old = tx.device_row(thing)?;
    if !is_due(tx, thing, &old.row, before) {
        return Ok(());
    }
    let stored = old.stored;
    if has_tombstone(&old.row) {
        tx.set_device(thing, old, None, Vec::new());
    }
    let Changed { mut row, .. } = tx.device_row(thing)?;
    Arc::make_mut(&mut row).events.retain(|(at, _)| *at >= before);
    let mut changed = Changed { row, stored, change: ChangeNumber::default() };
    if changed.row.is_empty() {
        // Counted as gone now, and deleted with the next checkpoint.
        let counters = &mut tx.state.counters;
        counters.registry_bytes = counters.registry_bytes.saturating_sub(stored);
        changed.stored = 0;
    }
    tx.put_device(thing, changed);
    Ok(())
}

/// Forgets finished requests before their retention is over, those of the client that takes most
/// room first, so that one client's flood does not make the agent forget the tokens of others.
#[derive(Clone, Debug)]
pub struct Early {
    /// Requests that ended since are kept, by [`Tx::elapsed`].
    before: u64,
    /// Bytes down to which requests are forgotten.
    goal: u64,
    /// Whether all requests are counted.
    counted: bool,
    /// The number of the next request to look at.
    next: u64,
    /// Whether this round forgot any.
    forgot: bool,
    /// The room that each client's requests take.
    clients: HashMap<ClientId, u64>,
}

/// The room that a finished request takes in the registry, in bytes as measured: its row and its
/// token, and a row for each entry without success.
fn room(request: &Request) -> u64 {
    256 + 160 * u64::from(request.tally.entries.saturating_sub(request.tally.succeeded))
}

impl Early {
    /// Keeps what ended since `before`, and stops when `goal` bytes are left.
    #[must_use]
    pub fn new(before: u64, goal: u64) -> Self {
        Self { before, goal, counted: false, next: 0, forgot: false, clients: HashMap::new() }
    }

    /// Runs one step; `true` when there is room enough, or nothing more to forget.
    ///
    /// # Errors
    /// The registry failed.
    pub fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if tx.live_bytes() <= self.goal {
            return Ok(true);
        }
        // A client whose requests are all forgotten counts no more: so the steps end, whatever the
        // state is.
        let left = self.clients.iter().filter(|(_, count)| **count > 0);
        let largest = left.max_by_key(|(client, count)| (**count, (*client).key()));
        let largest = largest.map(|(client, _)| client.clone());
        if self.counted && largest.is_none() {
            return Ok(true);
        }
        let (requests, end) = self.requests(tx)?;
        for request in requests {
            if self.counted && tx.live_bytes() <= self.goal {
                return Ok(true);
            }
            let is_old = request.completed_at.is_some() && request.completed_elapsed < self.before;
            if !is_old || tx.state.is_owed(request.seq) {
                continue;
            }
            if !self.counted {
                if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&request.client) {
                    *self.clients.entry(request.client.clone()).or_default() += room(&request);
                }
            } else if Some(&request.client) == largest.as_ref() {
                forget(tx, &request)?;
                self.forgot = true;
                if let Some(count) = self.clients.get_mut(&request.client) {
                    *count = count.saturating_sub(room(&request));
                }
            }
        }
        self.next = end.saturating_add(1);
        if end == u64::MAX {
            if let (true, false, Some(largest)) = (self.counted, self.forgot, largest) {
                self.clients.remove(&largest);
            }
            (self.counted, self.next, self.forgot) = (true, 0, false);
        }
        Ok(false)
    }

    /// The next requests by number, in memory and in the registry, and the number up to which these
    /// are all; `u64::MAX` at the end.
    fn requests(&self, tx: &Tx<'_>) -> Result<(Vec<Request>, u64), StoreError> {
        let mut end = u64::MAX;
        let mut requests: BTreeMap<u64, Request> =
            tx.state.requests().range(self.next..).take(STEP).map(|(seq, kept)| (*seq, kept.request.clone())).collect();
        if let Some((last, _)) = requests.last_key_value().filter(|_| requests.len() == STEP) {
            end = *last;
        }
        let (_, to) = rows::all_of(b'r');
        let found = tx.scan((rows::request(self.next), to), Direction::Up, STEP)?;
        if let Some((last, _)) = found.last().filter(|_| found.len() == STEP) {
            end = end.min(rows::read_seq(last)?);
        }
        for (key, row) in &found {
            let seq = rows::read_seq(key)?;
            if tx.state.request(seq).is_none() && !tx.state.forgotten().contains_key(&seq) {
                requests.insert(seq, rows::decode_request(seq, row)?);
            }
        }
        // Where one of the two was cut, the other may go on beyond it.
        requests.retain(|seq, _| *seq <= end);
        Ok((requests.into_values().collect(), end))
    }
}
