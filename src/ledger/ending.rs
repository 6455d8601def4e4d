//! Ends that come from outside the cloud: a cancel, a deadline, and the end of what is kept.

use super::{
    schema::{self, Due},
    store::{Direction, StoreError},
    tx::Tx,
    work,
};
use crate::model::{Outcome, Request, Target, Timestamp};

/// Entries that one step looks at.
const STEP: usize = 40;

/// What a cancel came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Canceled {
    /// Entries withdrawn.
    pub canceled: u32,
    /// Entries too late to withdraw.
    pub in_flight: u32,
    next: u32,
}

/// Withdraws a request's entries that were not sent, as many as one transaction takes; `true` when all were seen.
///
/// # Errors
/// The store failed.
pub fn cancel(tx: &mut Tx<'_>, seq: u64, so_far: &mut Canceled) -> Result<bool, StoreError> {
    let rows = tx.scan(&schema::entry(seq, so_far.next), &schema::entry(seq + 1, 0), Direction::Up, STEP)?;
    let done = rows.is_empty();
    for (key, target) in rows {
        let Some((_, no)) = schema::read_place(&key) else { continue };
        so_far.next = no.saturating_add(1);
        let target = schema::read_target(&target)?;
        if tx.work_of(&target)?.is_some_and(|work| work.sent) {
            so_far.in_flight += 1;
        } else {
            so_far.canceled += 1;
            withdraw(tx, &target, (seq, no), &Outcome::Canceled)?;
        }
    }
    Ok(done)
}

/// Ends one request's share of an entry; the others keep theirs.
fn withdraw(tx: &mut Tx<'_>, target: &Target, place: (u64, u32), outcome: &Outcome) -> Result<(), StoreError> {
    tx.end_entry(target, place, outcome)?;
    if tx.scan_prefix(&schema::waiters(target), 1)?.is_empty()
        && let Some(work) = tx.work_of(target)?
    {
        work::abandon(tx, target, work)?;
    }
    Ok(())
}

/// Ends what is past its time, as much as one transaction takes; `true` when nothing is.
///
/// # Errors
/// The store failed.
pub fn expire(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    let (from, _) = schema::range(&[b'x', Due::Expiry as u8]);
    let to = schema::due(Due::Expiry, tx.now.wall.after(std::time::Duration::from_millis(1)), b"");
    let Some((key, _)) = tx.scan(&from, &to, Direction::Up, 1)?.into_iter().next() else { return Ok(true) };
    let seq = schema::read_due(&key).and_then(|(_, id)| schema::read_seq(id)).unwrap_or_default();
    let Some(request) = tx.request(seq)? else {
        tx.delete(key)?;
        return Ok(false);
    };
    if !work::is_expired(tx, &request) {
        return postpone(tx, key, request);
    }
    let rows = tx.scan(&schema::entry(seq, 0), &schema::entry(seq + 1, 0), Direction::Up, STEP)?;
    if rows.is_empty() {
        tx.delete(key)?;
    }
    for (key, target) in rows {
        let Some((_, no)) = schema::read_place(&key) else { continue };
        let target = schema::read_target(&target)?;
        let sent = tx.work_of(&target)?.is_some_and(|work| work.sent);
        let outcome = if sent { Outcome::OutcomeUnknown } else { Outcome::TimedOut };
        withdraw(tx, &target, (seq, no), &outcome)?;
    }
    Ok(false)
}

/// The wall clock jumped over the deadline: the rest of the time that was asked for counts from now.
fn postpone(tx: &mut Tx<'_>, key: Vec<u8>, mut request: Request) -> Result<bool, StoreError> {
    let passed = tx.now.mono.0.saturating_sub(request.accepted_mono);
    let rest = request.lifetime_ms.unwrap_or_default().saturating_sub(passed).max(1);
    let at = tx.now.wall.after(std::time::Duration::from_millis(rest));
    tx.delete(key)?;
    tx.put(schema::due(Due::Expiry, at, &request.seq.to_be_bytes()), Vec::new())?;
    request.expires_at = Some(at);
    tx.write(schema::request(request.seq), &request)?;
    Ok(false)
}

/// Forgets requests that ended before `before`, as much as one transaction takes; `true` when none is left.
///
/// # Errors
/// The store failed.
pub fn forget_requests(tx: &mut Tx<'_>, before: Timestamp) -> Result<bool, StoreError> {
    let (from, _) = schema::range(&[b'x', Due::Request as u8]);
    while !tx.is_full() {
        let row = tx.scan(&from, &schema::due(Due::Request, before, b""), Direction::Up, 1)?;
        let Some((key, _)) = row.into_iter().next() else { return Ok(true) };
        let seq = schema::read_due(&key).and_then(|(_, id)| schema::read_seq(id)).unwrap_or_default();
        let failures = tx.scan(&schema::failure(seq, 0), &schema::failure(seq + 1, 0), Direction::Up, STEP)?;
        let all = failures.len() < STEP;
        for (failure, _) in failures {
            tx.delete(failure)?;
        }
        if all {
            if let Some(request) = tx.request(seq)? {
                let token = schema::token(&request.client, &request.token);
                tx.delete(token)?;
                tx.delete(schema::by_client(&request.client, seq))?;
                tx.delete(schema::request(seq))?;
            }
            tx.delete(key)?;
        }
    }
    Ok(false)
}
