//! What an answer means for everybody who waits for it, and what a list does.

use std::collections::VecDeque;

use super::{
    registry::ListMark,
    schema::{self, Queue, Work},
    store::{Direction, Row, StoreError},
    taking::set_aside,
    turns,
    tx::Tx,
};
use crate::model::{Device, Happened, Lane, Now, Outcome, Registered, Request, Target, Verdict, is_superseded};

/// Waiters that one step ends: a target that many requests name is settled in several.
const WAITERS_A_STEP: usize = 40;

pub(super) fn device_of(tx: &Tx<'_>, target: &Target) -> Result<Option<Device>, StoreError> {
    match target {
        Target::Device(thing) => tx.device(thing.as_str()),
        _ => Ok(None),
    }
}

/// Whether somebody else associated the device after that request to take it off.
pub(super) fn is_overtaken(
    now: Now,
    lane: Lane,
    device: Option<&Device>,
    waiter: &Row,
    request: &Request,
    clock_trusted: bool,
) -> bool {
    let device = device.filter(|device| device.registered == Registered::Associated && device.ours.is_none());
    let listed = device.and_then(|device| device.association);
    lane.takes_off() && is_superseded(schema::read_held(&waiter.1), listed, request.asked_at(now), clock_trusted)
}

/// Nobody waits for it any more. What was never sent is forgotten; of what was sent, a list has to tell what became of
/// it, and those behind it wait for that. Where no list tells, nothing depends on it.
pub(super) fn abandon(tx: &mut Tx<'_>, target: &Target, mut work: Work) -> Result<(), StoreError> {
    if !work.sent || !work.lane.is_settled_by_list() {
        return turns::next(tx, target, &work);
    }
    if work.queue != Queue::Verify {
        tx.counters.mark += 1;
        to_verify(tx, &mut work);
    }
    tx.set_work(target, Some(&work))
}

/// Has the next complete list show what became of it.
pub(super) fn to_verify(tx: &Tx<'_>, work: &mut Work) {
    work.queue = Queue::Verify;
    work.mark = tx.counters.mark;
    work.joined_before = tx.counters.next_seq;
}

/// Writes down what an answer means, as much of it as one transaction takes; what is left in `verdicts` goes into
/// the next. Stopping in between loses nothing: what is not settled counts as sent, and is sent again.
///
/// # Errors
/// The store failed.
pub fn settle(tx: &mut Tx<'_>, lane: Lane, verdicts: &mut VecDeque<(Target, Verdict)>) -> Result<(), StoreError> {
    tx.counters.mark += 1;
    while let Some((target, verdict)) = verdicts.front() {
        if tx.is_full() {
            return Ok(());
        }
        if settle_one(tx, lane, target, verdict)? {
            verdicts.pop_front();
        }
    }
    Ok(())
}

/// Whether all of it is done.
fn settle_one(tx: &mut Tx<'_>, lane: Lane, target: &Target, verdict: &Verdict) -> Result<bool, StoreError> {
    // The store may be another one by now, where the same target is asked for anew: that was not sent.
    let Some(mut work) = tx.work_of(target)?.filter(|work| work.lane == lane && work.sent) else { return Ok(true) };
    let outcome = match verdict {
        Verdict::Done => Outcome::Succeeded,
        Verdict::Failed(fault) => {
            let mut fault = fault.clone();
            if work.doubt && !lane.is_settled_by_list() {
                fault.message.push_str(" (an earlier call was not answered, and may have done it)");
            }
            work.error = Some(fault.clone());
            Outcome::Failed(fault)
        }
        Verdict::Again(fault) => {
            tx.remember(target, Happened::answered(fault))?;
            work.error = Some(fault.clone());
            work.charged = work.charged.saturating_add(1);
            work.queue = Queue::Retry;
            work.sent = work.doubt;
            // The call's outcome is known: a repetition is another call.
            work.call = None;
            return put_back(tx, target, work);
        }
        Verdict::Unsent(fault) | Verdict::Aside(fault) => {
            work.error = Some(fault.clone());
            work.sent = work.doubt;
            if let Verdict::Aside(_) = verdict {
                set_aside(target, &mut work);
            }
            return put_back(tx, target, work);
        }
        Verdict::Unknown(fault) => {
            work.error = Some(fault.clone());
            work.doubt = true;
            return put_back(tx, target, work);
        }
        Verdict::Verify(fault) => {
            tx.remember(target, Happened::answered(fault))?;
            work.error = Some(fault.clone());
            to_verify(tx, &mut work);
            return put_back(tx, target, work);
        }
    };
    let rows = turns::waiters(tx, target, &work, WAITERS_A_STEP)?;
    let all = rows.len() < WAITERS_A_STEP;
    if all {
        // Before the entries end: a device's message is written once, with its final state.
        finish(tx, target, &work, &outcome)?;
    }
    for row in rows {
        tx.end_entry(target, turns::place(target, &row)?, &outcome)?;
    }
    Ok(all)
}

fn put_back(tx: &mut Tx<'_>, target: &Target, work: Work) -> Result<bool, StoreError> {
    if !work.sent && work.behind.is_some() {
        return give_way(tx, target, &work);
    }
    if turns::waiters(tx, target, &work, 1)?.is_empty() {
        abandon(tx, target, work)?;
    } else {
        tx.set_work(target, Some(&work))?;
    }
    Ok(true)
}

/// It turned out not to be sent, and those behind it ask for the opposite: the later wins. Whether all of it is done.
fn give_way(tx: &mut Tx<'_>, target: &Target, work: &Work) -> Result<bool, StoreError> {
    let rows = turns::waiters(tx, target, work, WAITERS_A_STEP)?;
    let all = rows.len() < WAITERS_A_STEP;
    if all {
        turns::next(tx, target, work)?;
    }
    turns::oppose(tx, target, rows)?;
    Ok(all)
}

/// The device's record after its work ended, and the end of the work.
fn finish(tx: &mut Tx<'_>, target: &Target, work: &Work, outcome: &Outcome) -> Result<(), StoreError> {
    if let (Target::Device(thing), Some(devices)) = (target, work.lane.traits().devices) {
        let old = tx.device(thing.as_str())?;
        let by = tx.request(work.seq)?.map(|request| (request.client, request.token, request.accepted_at));
        let done = *outcome == Outcome::Succeeded;
        let registered = match &old {
            Some(device) if !done => device.registered,
            None if !done => Registered::Disassociated,
            _ => devices.goal,
        };
        let associated_now = done && devices.goal == Registered::Associated;
        let device = Device {
            registered,
            // The next list tells when; a list that told us of it has told that, too.
            association: old
                .as_ref()
                .and_then(|old| old.association)
                .filter(|_| !associated_now || work.queue == Queue::Verify),
            ours: if associated_now { Some(tx.now.wall) } else { old.as_ref().and_then(|old| old.ours) },
            requested: by.or_else(|| old.and_then(|device| device.requested)),
            attempts: work.attempts,
            error: if done { None } else { work.error.clone() },
            changed_at: tx.now.wall,
            mark: tx.counters.mark,
        };
        tx.set_device(target, Some(&device))?;
    }
    turns::next(tx, target, work)
}

/// Settles what waits for a list, after a complete one: it tells whether what was sent is done. Returns `false` if there is
/// more to do in another transaction.
///
/// # Errors
/// The store failed.
pub fn verify(
    tx: &mut Tx<'_>,
    lane: Lane,
    list: ListMark,
    clock_trusted: bool,
    after: &mut Vec<u8>,
) -> Result<bool, StoreError> {
    let (mut from, to) = schema::range(&schema::queue(lane, Queue::Verify, 0, 0)[..3]);
    if *after >= from {
        from = [after.as_slice(), &[0]].concat();
    }
    let rows = tx.scan(&from, &to, Direction::Up, 20)?;
    if rows.is_empty() {
        return Ok(true);
    }
    tx.counters.mark += 1;
    for (key, target) in rows {
        if tx.is_full() {
            return Ok(false);
        }
        let target = schema::read_target(&target)?;
        *after = key;
        let Some(work) = tx.work_of(&target)? else { continue };
        if work.mark <= list.mark {
            settle_by_list(tx, &target, work, list, clock_trusted)?;
        }
    }
    Ok(false)
}

/// Done for those who asked before the list began. If it is not done, it failed for those who asked before the answer that
/// left it open. Whoever asked later is sent.
fn settle_by_list(
    tx: &mut Tx<'_>,
    target: &Target,
    mut work: Work,
    list: ListMark,
    clock_trusted: bool,
) -> Result<(), StoreError> {
    let device = device_of(tx, target)?;
    let shown = device.as_ref().map_or(Registered::Disassociated, |device| device.registered);
    let (result, asked_before) = if work.lane.traits().devices.is_some_and(|devices| devices.goal == shown) {
        (Outcome::Succeeded, list.seq)
    } else {
        let unknown =
            || crate::model::Fault::new("TimedOut", "outcome unknown; the cloud's list does not show it done");
        let fault = work.error.get_or_insert_with(unknown);
        (Outcome::Failed(fault.clone()), work.joined_before)
    };
    let mut later = Vec::new();
    for row in turns::waiters(tx, target, &work, usize::MAX)? {
        let place = turns::place(target, &row)?;
        if place.0 >= asked_before {
            later.push(row);
            continue;
        }
        let request = tx.known_request(place.0)?;
        let overtaken = result != Outcome::Succeeded
            && is_overtaken(tx.now, work.lane, device.as_ref(), &row, &request, clock_trusted);
        let outcome = if overtaken { Outcome::Superseded } else { result.clone() };
        tx.end_entry(target, place, &outcome)?;
    }
    match later.first() {
        Some(first) if work.behind.is_none() => {
            let (seq, no) = turns::place(target, first)?;
            let work = Work { queue: Queue::Fresh, seq, no, sent: false, doubt: false, charged: 0, ..work };
            tx.set_work(target, Some(&work))
        }
        _ => {
            turns::oppose(tx, target, later)?;
            finish(tx, target, &work, &result)
        }
    }
}
