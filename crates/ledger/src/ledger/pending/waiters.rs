//! The entries that wait for a target, and the order of opposite requests for it.
//!
//! A target is in at most one call at a time. Requests for the opposite of what was sent wait
//! behind it in the same work, in the order of their acceptance. Of two opposite requests that were
//! not sent, the later one supersedes the earlier.

use smallvec::smallvec;

use super::{
    object::Listed,
    tx::Tx,
    work::{Place, Waiter, Work},
};
use crate::{
    domain::{CallKind, ClientId, Outcome, Registered, Target},
    ledger::registry::store::StoreError,
};

/// The entries of other requests that end when `call_kind` is asked for.
pub(super) fn superseded(work: &Work, call_kind: Option<CallKind>) -> &[Waiter] {
    match call_kind {
        Some(call_kind) if call_kind == work.call_kind => work.queued_opposites(),
        _ if !work.is_sent() => work.waiting(),
        _ => &[],
    }
}

/// Whether `max` requests wait for a target, or half as many of that client while others wait, too.
pub(super) fn is_crowded(tx: &Tx<'_>, work: &Work, client: &ClientId, max: usize) -> bool {
    let waiting = work.waiters.len();
    if waiting >= max || waiting < max / 2 {
        return waiting >= max;
    }
    let is_own = |waiter: &&Waiter| tx.state.request(waiter.0.0).is_some_and(|kept| kept.request.client == *client);
    work.waiters.iter().filter(is_own).count() >= max / 2 && tx.state.has_others(client)
}

/// Adds an entry to those that wait for its target, whose device the registry has as `listed`. Of a
/// command's entries each names another target.
pub(super) fn enqueue(
    tx: &mut Tx<'_>,
    target: &Target,
    call_kind: CallKind,
    place: Place,
    listed: Option<Listed>,
) -> Result<(), StoreError> {
    let association = listed.filter(|device| device.registered == Registered::Associated);
    let new = Waiter(place, association.and_then(|device| device.association));
    let Some(work) = tx.work_of(target) else {
        let work = Work::new(call_kind, smallvec![new]);
        return tx.add_work(target, work, listed.map(|device| device.registered));
    };
    let ended = superseded(work, Some(call_kind)).to_vec();
    let mut work = work.clone();
    // A list that waits after a failure is tried again.
    tx.touched.work |= *target == Target::Registry;
    if work.call_kind == call_kind {
        let served = work.waiting().len();
        work.waiters.truncate(served);
        work.details.queued_opposite = None;
        work.waiters.push(new);
    } else if work.is_sent() {
        work.details.queued_opposite.get_or_insert(new.0);
        work.waiters.push(new);
    } else {
        work = Work::new(call_kind, smallvec![new]);
    }
    supersede(tx, target, &ended)?;
    tx.set_work(target, Some(work))
}

/// Ends entries that a later request superseded.
pub(super) fn supersede(tx: &mut Tx<'_>, target: &Target, waiters: &[Waiter]) -> Result<(), StoreError> {
    for Waiter(place, _) in waiters {
        tx.end_entry(target, *place, &Outcome::Opposed)?;
    }
    Ok(())
}

/// Ends the work, and begins the queued opposite, if there is one.
pub(super) fn next(tx: &mut Tx<'_>, target: &Target, work: &Work) -> Result<(), StoreError> {
    let waiters = work.queued_opposites();
    let opposite = work.call_kind.opposite();
    match opposite {
        Some(call_kind) if !waiters.is_empty() => tx.set_work(target, Some(Work::new(call_kind, waiters.into()))),
        _ => tx.set_work(target, None),
    }
}

/// Takes an entry that has ended out of the waiters of its target, and returns the work that is
/// left without an entry that it is done for.
pub(super) fn remove(tx: &mut Tx<'_>, target: &Target, place: Place) -> Result<Option<Work>, StoreError> {
    let Some(work) = tx.work_of(target) else { return Ok(None) };
    let mut work = work.clone();
    work.waiters.retain(|waiter| waiter.0 != place);
    if work.queued_opposites().is_empty() {
        work.details.queued_opposite = None;
    }
    if work.waiting().is_empty() {
        return Ok(Some(work));
    }
    tx.set_work(target, Some(work))?;
    Ok(None)
}

/// Ends one request's share of an entry; other requests keep theirs.
///
/// Work that was sent stays, also if nothing waits for it any more: it may be in a call at this
/// moment, whose answer, or else the next look at the queue, decides about it. A call kind that is
/// off has neither.
pub(super) fn withdraw(tx: &mut Tx<'_>, target: &Target, place: Place, outcome: &Outcome) -> Result<(), StoreError> {
    tx.end_entry(target, place, outcome)?;
    match remove(tx, target, place)? {
        Some(work) if !work.is_sent() || tx.rules.off.contains(&work.call_kind) => {
            // A call kind with nothing left to do has nothing to report, either.
            tx.touched.work = true;
            next(tx, target, &work)
        }
        Some(work) => tx.set_work(target, Some(work)),
        None => Ok(()),
    }
}
