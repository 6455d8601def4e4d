//! Ends that come from outside the cloud: a cancel, a deadline, and the end of what is kept.

use super::{
    schema::{self, Due, Place},
    store::{Direction, StoreError},
    taking::is_expired,
    turns,
    tx::Tx,
};
use crate::model::{EntryFailure, Outcome, Request, Target, Timestamp};

/// Entries that one step looks at: each makes up to eight writes, and a batch has 256.
const STEP: usize = 28;

/// What a cancel came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Canceled {
    /// Entries withdrawn.
    pub canceled: u32,
    /// Entries too late to withdraw.
    pub in_flight: u32,
    next: u32,
}

/// Withdraws a request's entries that were not sent, as many as one transaction takes; `true` when
/// all were seen.
///
/// # Errors
/// The store failed.
pub fn cancel(tx: &mut Tx<'_>, seq: u64, so_far: &mut Canceled) -> Result<bool, StoreError> {
    let (from, to) = schema::entries(seq, so_far.next);
    let rows = tx.scan(&from, &to, Direction::Up, STEP)?;
    let done = rows.is_empty();
    for (key, target) in rows {
        let (_, no) = schema::read_entry(&key)?;
        so_far.next = no.saturating_add(1);
        let target = schema::read_target(&target)?;
        let work = tx.work_of(&target)?;
        let is_off = work.is_some_and(|work| tx.rules.off.contains(&work.lane));
        match is_sent(tx, &target, (seq, no))? {
            true if !is_off => so_far.in_flight += 1,
            sent => {
                so_far.canceled += 1;
                let outcome = if sent { Outcome::OutcomeUnknown } else { Outcome::Canceled };
                withdraw(tx, &target, (seq, no), &outcome)?;
            }
        }
    }
    Ok(done)
}

/// Ends one request's share of an entry; the others keep theirs.
fn withdraw(tx: &mut Tx<'_>, target: &Target, place: Place, outcome: &Outcome) -> Result<(), StoreError> {
    tx.end_entry(target, place, outcome)?;
    turns::leave(tx, target)
}

/// Whether it was sent for that entry, and its outcome is not known.
fn is_sent(tx: &Tx<'_>, target: &Target, place: Place) -> Result<bool, StoreError> {
    Ok(tx.work_of(target)?.is_some_and(|work| work.sent && work.is_for(place)))
}

/// Looks at the next few requests that have a deadline, from `after` on, and ends those that are
/// past it; `true` at the end of a round. All of them are looked at, not only those before the wall
/// clock, which may jump either way.
///
/// # Errors
/// The store failed.
pub fn expire(tx: &mut Tx<'_>, after: &mut Vec<u8>) -> Result<bool, StoreError> {
    let (mut from, to) = schema::range(&[b'x', Due::Expiry as u8]);
    if *after >= from {
        from = [after.as_slice(), &[0]].concat();
    }
    let rows = tx.scan(&from, &to, Direction::Up, STEP)?;
    if rows.is_empty() {
        after.clear();
        return Ok(true);
    }
    for (key, _) in rows {
        let seq = schema::read_due_request(&key)?;
        let over = tx.request(seq)?.is_none_or(|request| is_expired(tx, &request));
        if over && !end_expired(tx, seq)? {
            return Ok(false);
        }
        if over {
            tx.delete(key.clone())?;
        }
        *after = key;
    }
    Ok(false)
}

/// Ends a request's open entries, as many as one step takes; `true` when there are none.
fn end_expired(tx: &mut Tx<'_>, seq: u64) -> Result<bool, StoreError> {
    let (from, to) = schema::entries(seq, 0);
    let rows = tx.scan(&from, &to, Direction::Up, STEP)?;
    for (key, target) in &rows {
        let (_, no) = schema::read_entry(key)?;
        let target = schema::read_target(target)?;
        let outcome = if is_sent(tx, &target, (seq, no))? { Outcome::OutcomeUnknown } else { Outcome::TimedOut };
        withdraw(tx, &target, (seq, no), &outcome)?;
    }
    Ok(rows.is_empty())
}

/// Forgets requests that ended before `before`, as much as one transaction takes; `true` when none
/// is left.
///
/// # Errors
/// The store failed.
pub fn forget_requests(tx: &mut Tx<'_>, before: Timestamp) -> Result<bool, StoreError> {
    let (from, _) = schema::range(&[b'x', Due::Request as u8]);
    while !tx.is_full() {
        let row = tx.scan(&from, &schema::due(Due::Request, before, b""), Direction::Up, 1)?;
        let Some((key, _)) = row.into_iter().next() else { return Ok(true) };
        let seq = schema::read_due_request(&key)?;
        let (at, _) = schema::read_due(&key)?;
        forget_request(tx, seq, at)?;
    }
    Ok(false)
}

/// Forgets the request of that number, which ended at that time, or as much of it as one step
/// takes; whether that was all.
pub(super) fn forget_request(tx: &mut Tx<'_>, seq: u64, ended_at: Timestamp) -> Result<bool, StoreError> {
    let (first, last) = schema::failures(seq, 0);
    let failures = tx.scan(&first, &last, Direction::Up, STEP)?;
    let all = failures.len() < STEP;
    for (failure, _) in failures {
        tx.delete(failure)?;
    }
    if all {
        if let Some(request) = tx.request(seq)? {
            let token = schema::token(&request.client, &request.token);
            tx.delete(token)?;
            tx.delete(schema::by_client(&request.client, seq))?;
            forget_delivery(tx, &request)?;
            forget_unknown(tx, seq)?;
            tx.delete(schema::request(seq))?;
        }
        tx.delete(schema::due(Due::Request, ended_at, &seq.to_be_bytes()))?;
    }
    Ok(all)
}

fn forget_delivery(tx: &mut Tx<'_>, request: &Request) -> Result<(), StoreError> {
    match request.delivery {
        Some(hash) => super::acknowledged(tx, &hash, request.seq),
        None => Ok(()),
    }
}

fn forget_unknown(tx: &mut Tx<'_>, seq: u64) -> Result<(), StoreError> {
    let (from, to) = schema::all_unknown(seq);
    for (key, _) in tx.scan(&from, &to, Direction::Up, usize::MAX)? {
        tx.delete(key)?;
    }
    Ok(())
}

/// Removes the requests from number `from` on without a trace: the store failed while it took them,
/// their senders were told that they are not taken, and yet they are there. One in each
/// transaction, and that one whole, or a crash would leave the rest of it to pass for the request;
/// `true` when none is left.
///
/// # Errors
/// The store failed.
pub fn disown(tx: &mut Tx<'_>, from: u64) -> Result<bool, StoreError> {
    let row = tx.scan(&schema::request(from), &schema::request(u64::MAX), Direction::Up, 1)?;
    let Some((key, _)) = row.into_iter().next() else { return Ok(true) };
    let seq = schema::read_number(&key)?;
    let request = tx.known_request(seq)?;
    let (first, last) = schema::entries(seq, 0);
    for (key, target) in tx.scan(&first, &last, Direction::Up, usize::MAX)? {
        let (_, no) = schema::read_entry(&key)?;
        let target = schema::read_target(&target)?;
        tx.drop_entry(&target, (seq, no))?;
        turns::leave(tx, &target)?;
    }
    // Entries of it that ended already, by a cancel in the same group.
    let (first, last) = schema::failures(seq, 0);
    for (failure, record) in tx.scan(&first, &last, Direction::Up, usize::MAX)? {
        let EntryFailure { target, .. } = schema::decode(&record, "a failed entry")?;
        tx.disremember(&target, seq)?;
        tx.delete(failure)?;
    }
    match request.completed_at {
        Some(at) => drop(tx.delete(schema::due(Due::Request, at, &seq.to_be_bytes()))?),
        None => tx.counters.open_requests = tx.counters.open_requests.saturating_sub(1),
    }
    if let Some(at) = request.expires_at {
        tx.delete(schema::due(Due::Expiry, at, &seq.to_be_bytes()))?;
    }
    tx.delete(schema::token(&request.client, &request.token))?;
    tx.delete(schema::by_client(&request.client, seq))?;
    forget_delivery(tx, &request)?;
    forget_unknown(tx, seq)?;
    // What is owed of it goes with it.
    tx.delete(schema::request(seq))?;
    Ok(false)
}
