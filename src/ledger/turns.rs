//! Whose turn it is at a target. A target is in one call at a time: those who ask for the opposite of what was sent wait
//! behind it, in the order of their requests. Of two opposite requests that were not sent, the later wins.

use super::{
    schema::{self, Place, Work},
    store::{Direction, Row, StoreError},
    tx::Tx,
};
use crate::model::{Lane, Outcome, Target};

/// Those for whom the work is done, the earliest first.
pub(super) fn waiters(tx: &Tx<'_>, target: &Target, work: &Work, limit: usize) -> Result<Vec<Row>, StoreError> {
    let (from, end) = schema::range(&schema::waiters(target));
    let to = work.behind.map_or(end, |(seq, no)| schema::waiter(target, seq, no));
    tx.scan(&from, &to, Direction::Up, limit)
}

fn waiters_from(tx: &Tx<'_>, target: &Target, (seq, no): Place, limit: usize) -> Result<Vec<Row>, StoreError> {
    let (_, end) = schema::range(&schema::waiters(target));
    tx.scan(&schema::waiter(target, seq, no), &end, Direction::Up, limit)
}

/// The entry whose row it is.
pub(super) fn place(target: &Target, row: &Row) -> Result<Place, StoreError> {
    schema::read_place(&row.0, schema::waiters(target).len())
}

/// Entries of other requests that end, `limit` of them, when somebody asks for `target` in `lane`.
pub(super) fn overtaken(
    tx: &Tx<'_>,
    target: &Target,
    work: &Work,
    lane: Option<Lane>,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    match work.behind {
        Some(behind) if lane == Some(work.lane) => waiters_from(tx, target, behind, limit),
        _ if lane != Some(work.lane) && !work.sent => waiters(tx, target, work, limit),
        _ => Ok(Vec::new()),
    }
}

/// Finds a new entry its turn, before it is written as waiting. Of a command's entries each names another target.
pub(super) fn join(tx: &mut Tx<'_>, target: &Target, lane: Lane, new: Place) -> Result<(), StoreError> {
    let Some(mut work) = tx.work_of(target)? else { return tx.set_work(target, Some(&Work::new(lane, new))) };
    if work.lane == lane {
        let Some(behind) = work.behind.take() else { return Ok(()) };
        let overtaken = waiters_from(tx, target, behind, usize::MAX)?;
        oppose(tx, target, overtaken)?;
        tx.set_work(target, Some(&work))
    } else if work.sent {
        work.behind.get_or_insert(new);
        tx.set_work(target, Some(&work))
    } else {
        let overtaken = waiters(tx, target, &work, usize::MAX)?;
        oppose(tx, target, overtaken)?;
        tx.set_work(target, Some(&Work::new(lane, new)))
    }
}

/// Ends entries that a later one overtook.
pub(super) fn oppose(tx: &mut Tx<'_>, target: &Target, rows: Vec<Row>) -> Result<(), StoreError> {
    for row in rows {
        tx.end_entry(target, place(target, &row)?, &Outcome::Opposed)?;
    }
    Ok(())
}

/// The work is over: goes on with those behind it, if there are any.
pub(super) fn next(tx: &mut Tx<'_>, target: &Target, work: &Work) -> Result<(), StoreError> {
    let Some(behind) = work.behind else { return tx.set_work(target, None) };
    let first = waiters_from(tx, target, behind, 1)?;
    let opposite = work.lane.traits().devices.and_then(|devices| devices.opposite);
    let (Some(first), Some(lane)) = (first.first(), opposite) else {
        return Err(StoreError::Damaged(format!("nobody waits behind the work on {:?}", target.name())));
    };
    let work = Work::new(lane, place(target, first)?);
    tx.set_work(target, Some(&work))
}

/// After entries of a target were withdrawn or dropped. What was sent stays, though nobody may be left who waits for it: it may
/// be in a call at this moment, whose answer, or else the next look at the queue, tells what becomes of it. A lane that is off
/// has neither.
pub(super) fn leave(tx: &mut Tx<'_>, target: &Target) -> Result<(), StoreError> {
    match left(tx, target)? {
        Some(work) if !work.sent || tx.rules.off.contains(&work.lane) => {
            // A lane with nothing to do any more has nothing to tell, either.
            tx.touched.work = true;
            next(tx, target, &work)
        }
        _ => Ok(()),
    }
}

/// After entries of a target ended or were dropped: its work, if nobody is left for whom it is done.
pub(super) fn left(tx: &mut Tx<'_>, target: &Target) -> Result<Option<Work>, StoreError> {
    let Some(mut work) = tx.work_of(target)? else { return Ok(None) };
    if let Some(behind) = work.behind
        && waiters_from(tx, target, behind, 1)?.is_empty()
    {
        work.behind = None;
        tx.set_work(target, Some(&work))?;
    }
    Ok(waiters(tx, target, &work, 1)?.is_empty().then_some(work))
}
