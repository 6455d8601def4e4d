//! Ends entries for reasons that do not come from the cloud: a cancel, and a deadline.

use super::{object::Slot, take::is_expired, tx::Tx, waiters, work::Place};
use crate::{
    domain::{Outcome, Target, WallClock},
    ledger::registry::store::StoreError,
};

/// Entries that one step ends: some ten milliseconds.
const STEP: usize = 2000;

/// Requests with a deadline that one step looks at.
const DEADLINES: usize = 20_000;

/// The result of a cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Canceled {
    /// Entries withdrawn.
    pub canceled: u32,
    /// Entries too late to withdraw.
    pub in_flight: u32,
    next: u32,
}

/// The open entries of a request from `index` on, at most as many as one step ends.
fn open_entries(tx: &Tx<'_>, seq: u64, index: u32) -> Vec<(u32, Target)> {
    let Some(kept) = tx.state.request(seq) else { return Vec::new() };
    let open = |(index, slot): (u32, &Slot)| match slot {
        Slot::Open(target) => Some((index, target.clone())),
        _ => None,
    };
    (0..).zip(&kept.slots).skip(index as usize).filter_map(open).take(STEP).collect()
}

/// Withdraws a request's entries that were not sent, as many as one step takes; `true` when all
/// were seen.
///
/// # Errors
/// The registry failed.
pub fn cancel(tx: &mut Tx<'_>, seq: u64, so_far: &mut Canceled) -> Result<bool, StoreError> {
    let entries = open_entries(tx, seq, so_far.next);
    let done = entries.len() < STEP;
    for (index, target) in entries {
        so_far.next = index.saturating_add(1);
        let is_off = tx.work_of(&target).is_some_and(|work| tx.rules.off.contains(&work.call_kind));
        match is_sent(tx, &target, (seq, index)) {
            true => {
                so_far.in_flight += 1;
                if is_off {
                    waiters::withdraw(tx, &target, (seq, index), &Outcome::OutcomeUnknown)?;
                }
            }
            false => {
                so_far.canceled += 1;
                waiters::withdraw(tx, &target, (seq, index), &Outcome::Canceled)?;
            }
        }
    }
    Ok(done)
}

/// Whether the target was sent for that entry, and its outcome is not known.
fn is_sent(tx: &Tx<'_>, target: &Target, place: Place) -> bool {
    tx.work_of(target).is_some_and(|work| work.is_sent() && work.is_for(place))
}

/// Ends the requests that are past their deadline, from number `next` on, as many as one step
/// takes; `true` at the end of a round. All with a deadline are looked at, in the order of their
/// acceptance.
///
/// # Errors
/// The registry failed.
pub fn expire(tx: &mut Tx<'_>, clock: WallClock, next: &mut u64) -> Result<bool, StoreError> {
    let deadlines: Vec<u64> = tx.state.deadlines().range(*next..).take(DEADLINES).copied().collect();
    let mut left = STEP;
    for seq in &deadlines {
        *next = *seq;
        if !is_expired(tx, tx.open_request(*seq)?, clock == WallClock::Confirmed) {
            continue;
        }
        let entries = open_entries(tx, *seq, 0);
        let ends = entries.len().min(left);
        for (index, target) in entries.into_iter().take(ends) {
            let outcome = if is_sent(tx, &target, (*seq, index)) { Outcome::OutcomeUnknown } else { Outcome::TimedOut };
            waiters::withdraw(tx, &target, (*seq, index), &outcome)?;
        }
        left -= ends;
        if left == 0 {
            return Ok(false);
        }
    }
    let done = deadlines.len() < DEADLINES;
    *next = if done { 0 } else { next.saturating_add(1) };
    Ok(done)
}
