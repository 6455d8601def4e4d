//! Settles the entries that wait for a response, and those whose outcome a list has to show.

use std::{collections::VecDeque, sync::Arc};

use smallvec::SmallVec;

use super::{
    list::ListMark,
    object::Listed,
    tx::Tx,
    waiters,
    work::{CallState, Queue, QueueKey, Waiter, WaitsSince, Work},
};
use crate::{
    domain::{
        CallKind, Device, EventKind, Fault, Now, Outcome, Registered, Request, RequestedBy, Target, Timestamp, Verdict,
        WallClock, is_superseded,
    },
    ledger::registry::store::StoreError,
};

/// Entries that one step settles, or looks at after a list: a few milliseconds.
const STEP: usize = 500;

pub(super) fn listed(tx: &Tx<'_>, target: &Target) -> Result<Option<Listed>, StoreError> {
    match target {
        Target::Device(thing) => tx.listed(thing),
        _ => Ok(None),
    }
}

/// Whether somebody else associated the device after that request for its disassociation.
pub(super) fn is_superseded_by_list(
    now: Now,
    call_kind: CallKind,
    device: Option<Listed>,
    known: Option<Timestamp>,
    request: &Request,
    clock: WallClock,
) -> bool {
    let device =
        device.filter(|device| device.registered == Registered::Associated && device.associated_by_agent_at.is_none());
    let listed = device.and_then(|device| device.association);
    call_kind.takes_off() && is_superseded(known, listed, request.asked_at(now), clock != WallClock::Wrong)
}

/// Gives up work that no entry waits for any more. Work that was never sent is removed. Of work
/// that was sent, a list has to show the outcome, and a queued opposite waits for that. Where no
/// list shows it, nothing depends on it.
pub(super) fn abandon(tx: &mut Tx<'_>, target: &Target, mut work: Work) -> Result<(), StoreError> {
    if !work.is_sent() || !work.call_kind.is_settled_by_list() {
        return waiters::next(tx, target, &work);
    }
    if work.queue != Queue::AwaitList {
        tx.state.counters.outcome_seq += 1;
        await_list(tx, &mut work);
    }
    tx.set_work(target, Some(work))
}

/// Has the next complete list show the outcome.
pub(super) fn await_list(tx: &Tx<'_>, work: &mut Work) {
    let counters = &tx.state.counters;
    work.queue = Queue::AwaitList;
    work.details.since = WaitsSince { outcome_seq: counters.outcome_seq, joined_before: counters.next_seq };
}

/// Entries that wait for a target, and 1 for the target itself if there are none: what settling it
/// takes of a step.
fn waiting(tx: &Tx<'_>, target: &Target) -> usize {
    tx.work_of(target).map_or(1, |work| work.waiters.len().max(1))
}

/// Settles as many verdicts of a response as one step takes; those that are left in `verdicts` are
/// for the next step. A stop in between loses nothing: entries that are not settled count as sent,
/// and are sent again.
///
/// # Errors
/// The registry failed.
pub fn settle(
    tx: &mut Tx<'_>,
    call_kind: CallKind,
    verdicts: &mut VecDeque<(Target, Verdict)>,
) -> Result<(), StoreError> {
    tx.state.counters.outcome_seq += 1;
    let mut left = STEP;
    while let Some((target, verdict)) = verdicts.front() {
        let entries = waiting(tx, target);
        if left < STEP && entries > left {
            return Ok(());
        }
        left = left.saturating_sub(entries);
        settle_one(tx, call_kind, target, verdict)?;
        verdicts.pop_front();
    }
    Ok(())
}

fn settle_one(tx: &mut Tx<'_>, call_kind: CallKind, target: &Target, verdict: &Verdict) -> Result<(), StoreError> {
    // The store may have been replaced during the call, and a new request may name the same target.
    // The work of that request was not sent.
    let Some(work) = tx.work_of(target).filter(|work| work.call_kind == call_kind && work.is_sent()) else {
        return Ok(());
    };
    let mut work = work.clone();
    let outcome = match verdict {
        Verdict::Done => Outcome::Succeeded,
        Verdict::Failed(fault) => {
            let mut fault = fault.clone();
            if work.is_outcome_unknown() && !call_kind.is_settled_by_list() {
                fault.message.push_str(" (an earlier call was not answered, and may have done it)");
            }
            work.details.error = Some(Arc::new(fault.clone()));
            Outcome::Failed(fault)
        }
        Verdict::Again(fault) => {
            tx.append_event(target, EventKind::answered(fault))?;
            work.details.error = Some(Arc::new(fault.clone()));
            work.details.entry_errors = work.details.entry_errors.saturating_add(1);
            work.queue = Queue::Retry;
            work.had_no_effect();
            // The call's outcome is known: a repetition is another call.
            work.details.call = None;
            return put_back(tx, target, work);
        }
        Verdict::Unsent(fault) | Verdict::Parked(fault) => {
            work.details.error = Some(Arc::new(fault.clone()));
            work.had_no_effect();
            if let Verdict::Parked(_) = verdict {
                work.queue = Queue::Parked;
            }
            return put_back(tx, target, work);
        }
        Verdict::Unknown(fault) => {
            work.details.error = Some(Arc::new(fault.clone()));
            work.call_state = CallState::OutcomeUnknown;
            return put_back(tx, target, work);
        }
        Verdict::AwaitList(fault) => {
            tx.append_event(target, EventKind::answered(fault))?;
            work.details.error = Some(Arc::new(fault.clone()));
            await_list(tx, &mut work);
            return put_back(tx, target, work);
        }
    };
    let fault = outcome.fault().map(Arc::new);
    let ended = |waiter: &Waiter| Ok(super::history::ended(tx.open_request(waiter.0.0)?, fault.as_deref()));
    let ended = work.waiting().iter().map(ended).collect::<Result<_, StoreError>>()?;
    // Before the entries end: a device's message is published with its final state.
    finish(tx, target, &work, &outcome, ended)?;
    for Waiter(place, _) in work.waiting() {
        tx.end_recorded(target, *place, &outcome, fault.as_ref())?;
    }
    Ok(())
}

fn put_back(tx: &mut Tx<'_>, target: &Target, work: Work) -> Result<(), StoreError> {
    if !work.is_sent() && work.details.queued_opposite.is_some() {
        // The entry turned out not to be sent, so the later request for the opposite supersedes it.
        waiters::next(tx, target, &work)?;
        return waiters::supersede(tx, target, work.waiting());
    }
    if work.waiting().is_empty() {
        return abandon(tx, target, work);
    }
    tx.set_work(target, Some(work))
}

/// The device's record after its work ended, with events for its history, and the end of the work.
fn finish(
    tx: &mut Tx<'_>,
    target: &Target,
    work: &Work,
    outcome: &Outcome,
    events: Vec<EventKind>,
) -> Result<(), StoreError> {
    if let (Target::Device(thing), Some(devices)) = (target, work.call_kind.traits().devices) {
        let row = tx.device_row(thing)?;
        let old = row.row.device.as_ref();
        let by = requested(tx, work.place.0)?;
        let done = *outcome == Outcome::Succeeded;
        let registered = match old {
            Some(device) if !done => device.registered,
            None if !done => Registered::Disassociated,
            _ => devices.goal,
        };
        let associated_now = done && devices.goal == Registered::Associated;
        let device = Device {
            registered,
            // The next list shows when. A list that showed the outcome has shown that, too.
            association: old
                .and_then(|old| old.association)
                .filter(|_| !associated_now || work.queue == Queue::AwaitList),
            associated_by_agent_at: if associated_now {
                Some(tx.now.wall)
            } else {
                old.and_then(|old| old.associated_by_agent_at)
            },
            requested: by.or_else(|| old.and_then(|device| device.requested.clone())),
            attempts: work.attempts,
            error: if done { None } else { work.details.error.clone() },
            changed_at: tx.now.wall,
            outcome_seq: tx.state.counters.outcome_seq,
        };
        tx.set_device(thing, row, Some(device), events);
    }
    waiters::next(tx, target, work)
}

/// Who asked for a request, with which token, and when it was accepted.
fn requested(tx: &Tx<'_>, seq: u64) -> Result<Option<Box<RequestedBy>>, StoreError> {
    let by = |request: &Request| Box::new((request.client.clone(), request.token.clone(), request.accepted_at));
    match tx.state.request(seq) {
        Some(kept) => Ok(Some(by(&kept.request))),
        None => Ok(tx.request(seq)?.as_ref().map(by)),
    }
}

/// Settles the work that waits for a list, after a complete list was read: the list shows whether
/// the entries that were sent are done. Returns `false` if another step has to continue after the
/// target `after`.
///
/// # Errors
/// The registry failed.
pub fn settle_by_list(
    tx: &mut Tx<'_>,
    call_kind: CallKind,
    list: ListMark,
    clock: WallClock,
    after: &mut (u64, u32),
) -> Result<bool, StoreError> {
    list.check(tx)?;
    let key = |place| QueueKey::new(call_kind, Queue::AwaitList, place);
    let queue = tx.state.queues().range(key(*after)..key((u64::MAX, 0)));
    let found: Vec<(QueueKey, Target)> = queue.take(STEP).map(|(key, target)| (*key, target.clone())).collect();
    if found.is_empty() {
        return Ok(true);
    }
    tx.state.counters.outcome_seq += 1;
    let mut left = STEP;
    for (key, target) in found {
        let entries = waiting(tx, &target);
        if left < STEP && entries > left {
            break;
        }
        left = left.saturating_sub(entries);
        *after = key.next_place();
        if let Some(work) = tx.work_of(&target)
            && work.queue == Queue::AwaitList
            && work.details.since.outcome_seq <= list.outcome_seq
        {
            let work = work.clone();
            settle_work(tx, &target, work, list, clock)?;
        }
    }
    Ok(false)
}

/// Settles one piece of work by a complete list. If the list shows the work as done, the entries of
/// requests from before the list succeed. Otherwise the entries from before the response that left
/// the outcome unknown fail, and later entries are sent.
fn settle_work(
    tx: &mut Tx<'_>,
    target: &Target,
    mut work: Work,
    list: ListMark,
    clock: WallClock,
) -> Result<(), StoreError> {
    let device = listed(tx, target)?;
    let shown = device.map_or(Registered::Disassociated, |device| device.registered);
    let (result, asked_before) = if work.call_kind.traits().devices.is_some_and(|devices| devices.goal == shown) {
        (Outcome::Succeeded, list.seq)
    } else {
        let unknown = || Arc::new(Fault::new("TimedOut", "outcome unknown; the cloud's list does not show it done"));
        let fault = work.details.error.get_or_insert_with(unknown);
        (Outcome::Failed((**fault).clone()), work.details.since.joined_before)
    };
    let mut later = SmallVec::<[Waiter; 1]>::new();
    for waiter in work.waiting() {
        let Waiter(place, known) = *waiter;
        if place.0 >= asked_before {
            later.push(*waiter);
            continue;
        }
        let request = tx.open_request(place.0)?;
        let superseded = result != Outcome::Succeeded
            && is_superseded_by_list(tx.now, work.call_kind, device, known, request, clock);
        let outcome = if superseded { Outcome::Superseded } else { result.clone() };
        tx.end_entry(target, place, &outcome)?;
    }
    match later.first() {
        Some(first) if work.details.queued_opposite.is_none() => {
            let place = first.0;
            work.details.entry_errors = 0;
            work.details.since = WaitsSince::default();
            let (queue, call_state) = (Queue::Fresh, CallState::Unsent);
            let work = Work { queue, call_state, place, waiters: later, ..work };
            tx.set_work(target, Some(work))
        }
        _ => {
            waiters::supersede(tx, target, &later)?;
            finish(tx, target, &work, &result, Vec::new())
        }
    }
}
