//! What is to be sent, and what an answer means for everybody who waits for it.

use std::collections::VecDeque;

use super::{
    schema::{self, Queue, Work},
    store::{Direction, StoreError},
    tx::Tx,
};
use crate::model::{Device, Lane, Outcome, Registered, Request, Target, Verdict, Window, is_superseded};

/// Rows that one look at the queue may pass over because they ended instead of being sent.
const MAX_PASSED: usize = 400;

/// Waiters that one step ends: a target that many requests name is settled in several.
const WAITERS_A_STEP: usize = 40;

/// What to take from the ledger for the next call.
#[derive(Clone, Debug)]
pub enum Pick {
    /// From the queue.
    Queue {
        /// At most so many.
        limit: usize,
        /// What may be sent.
        window: Window,
        /// Those too that wait for a repetition.
        retries: bool,
    },
    /// These, which were taken before.
    These(Vec<Target>),
}

/// Entries to be sent in one call, and how many calls failed for reasons of their own before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// In order; each is noted as sent.
    pub entries: Vec<(Target, u32)>,
    /// There is work that waits for a complete list.
    pub gated: bool,
    /// There may be more to take although there is nothing here: what was looked at ended instead.
    pub more: bool,
}

/// Picks the entries of the next call and notes them as sent, before they are. Those that expired or were
/// superseded meanwhile are ended instead.
///
/// # Errors
/// The store failed.
pub fn take(tx: &mut Tx<'_>, lane: Lane, pick: &Pick, clock_trusted: bool) -> Result<Taken, StoreError> {
    let mut taken = Taken::default();
    match pick {
        Pick::These(targets) => {
            taken.more = true;
            for target in targets {
                if let Took::Entry(target, charged) = take_one(tx, target, Window::OPEN, clock_trusted)? {
                    taken.entries.push((target, charged));
                }
            }
        }
        Pick::Queue { limit, window, retries } => {
            let queues: &[Queue] = if *retries { &[Queue::Fresh, Queue::Retry] } else { &[Queue::Fresh] };
            for queue in queues {
                for (from, to) in [(0, window.cleared.min(window.fresh)), (window.fresh, u64::MAX)] {
                    let look = Look { from, to, limit: *limit, window: *window, clock_trusted };
                    take_range(tx, lane, *queue, &look, &mut taken)?;
                }
                let gated =
                    (schema::queue(lane, *queue, window.cleared, 0), schema::queue(lane, *queue, window.fresh, 0));
                taken.gated |= !tx.scan(&gated.0, &gated.1, Direction::Up, 1)?.is_empty();
            }
        }
    }
    Ok(taken)
}

/// Which part of a queue to look at.
struct Look {
    from: u64,
    to: u64,
    limit: usize,
    window: Window,
    clock_trusted: bool,
}

fn take_range(tx: &mut Tx<'_>, lane: Lane, queue: Queue, look: &Look, taken: &mut Taken) -> Result<(), StoreError> {
    let mut from = schema::queue(lane, queue, look.from, 0);
    let to = schema::queue(lane, queue, look.to, 0);
    let (mut passed, mut ended) = (0, false);
    while taken.entries.len() < look.limit && passed < MAX_PASSED {
        let rows = tx.scan(&from, &to, Direction::Up, look.limit - taken.entries.len())?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        for (key, target) in &rows {
            let target = schema::read_target(target)?;
            let place = |work: &Work| schema::queue(work.lane, work.queue, work.seq, work.no);
            if tx.work_of(&target)?.is_none_or(|work| place(&work) != *key) {
                return Err(StoreError::Damaged(format!("there is no work at the place of {:?}", target.name())));
            }
            passed += 1;
            match take_one(tx, &target, look.window, look.clock_trusted)? {
                Took::Entry(target, charged) => {
                    taken.entries.push((target, charged));
                    passed -= 1;
                }
                Took::Gated => taken.gated = true,
                Took::Nothing => ended = true,
            }
        }
    }
    taken.more |= passed >= MAX_PASSED && ended;
    Ok(())
}

/// What came of a target that was to be taken.
enum Took {
    Entry(Target, u32),
    /// It stands at the place of somebody who is gone, and those who still wait for it have to wait for a list.
    Gated,
    Nothing,
}

/// Notes a target as sent, unless nobody waits for it any more.
fn take_one(tx: &mut Tx<'_>, target: &Target, window: Window, clock_trusted: bool) -> Result<Took, StoreError> {
    let Some(mut work) = tx.work_of(target)? else { return Ok(Took::Nothing) };
    let listed = match target {
        Target::Device(thing) => listed(tx.device(thing.as_str())?),
        Target::Registry => None,
    };
    let mut first = None;
    let waiters = schema::waiters(target);
    for (key, held) in tx.scan_prefix(&waiters, usize::MAX)? {
        let (seq, no) = schema::read_place(&key, waiters.len())?;
        let request = tx.known_request(seq)?;
        let ended = if is_expired(tx, &request) {
            Some(if work.sent { Outcome::OutcomeUnknown } else { Outcome::TimedOut })
        } else if is_superseded(schema::read_held(&held), listed, request.asked_at(), clock_trusted) {
            Some(Outcome::Superseded)
        } else {
            None
        };
        match ended {
            Some(outcome) => tx.end_entry(target, (seq, no), &outcome)?,
            None => first = first.or(Some(seq)),
        }
    }
    match first {
        None => {
            abandon(tx, target, work)?;
            return Ok(Took::Nothing);
        }
        Some(first) if !window.allows(first) => return Ok(Took::Gated),
        Some(_) => {}
    }
    work.sent = true;
    work.attempts = work.attempts.saturating_add(1);
    let charged = work.charged;
    tx.set_work(target, Some(&work))?;
    Ok(Took::Entry(target.clone(), charged))
}

fn listed(device: Option<Device>) -> Option<crate::model::Timestamp> {
    device.filter(|device| device.registered == Registered::Associated).and_then(|device| device.association)
}

/// Whether a request's time is over. The wall clock may have jumped since: within the run that accepted it, the time
/// that really passed counts, unless the sender named the time to count from.
pub(super) fn is_expired(tx: &Tx<'_>, request: &Request) -> bool {
    match (request.expires_at, request.lifetime_ms) {
        (Some(_), Some(lifetime)) if request.run == tx.counters.run && request.issued_at.is_none() => {
            tx.now.mono.0.saturating_sub(request.accepted_mono) >= lifetime
        }
        (Some(at), _) => at <= tx.now.wall,
        (None, _) => false,
    }
}

/// Nobody waits any more. What was never sent is forgotten; of what was sent, a list has to tell what became of it.
pub(super) fn abandon(tx: &mut Tx<'_>, target: &Target, mut work: Work) -> Result<(), StoreError> {
    if !work.sent {
        return tx.set_work(target, None);
    }
    if work.queue != Queue::Verify {
        tx.counters.mark += 1;
        to_verify(tx, &mut work);
    }
    tx.set_work(target, Some(&work))
}

fn to_verify(tx: &Tx<'_>, work: &mut Work) {
    work.queue = Queue::Verify;
    work.mark = tx.counters.mark;
    work.joined_before = tx.counters.next_seq;
}

/// Writes down what an answer means, as much of it as one transaction takes; what is left in `verdicts` goes into
/// the next. Stopping in between loses nothing: what is not settled counts as sent, and is sent again.
///
/// # Errors
/// The store failed.
pub fn settle(tx: &mut Tx<'_>, verdicts: &mut VecDeque<(Target, Verdict)>) -> Result<(), StoreError> {
    tx.counters.mark += 1;
    while let Some((target, verdict)) = verdicts.front() {
        if tx.is_full() {
            return Ok(());
        }
        if settle_one(tx, target, verdict)? {
            verdicts.pop_front();
        }
    }
    Ok(())
}

/// Whether all of it is done.
fn settle_one(tx: &mut Tx<'_>, target: &Target, verdict: &Verdict) -> Result<bool, StoreError> {
    let Some(mut work) = tx.work_of(target)? else { return Ok(true) };
    let outcome = match verdict {
        Verdict::Done => Outcome::Succeeded,
        Verdict::Failed(fault) => {
            work.error = Some(fault.clone());
            Outcome::Failed(fault.clone())
        }
        Verdict::Again(fault) => {
            work.error = Some(fault.clone());
            work.charged = work.charged.saturating_add(1);
            work.queue = Queue::Retry;
            work.sent = work.doubt;
            return put_back(tx, target, work);
        }
        Verdict::Unsent(fault) => {
            work.error = Some(fault.clone());
            work.sent = work.doubt;
            return put_back(tx, target, work);
        }
        Verdict::Unknown(fault) => {
            work.error = Some(fault.clone());
            work.doubt = true;
            return put_back(tx, target, work);
        }
        Verdict::Verify(fault) => {
            work.error = Some(fault.clone());
            to_verify(tx, &mut work);
            return put_back(tx, target, work);
        }
    };
    let waiters = schema::waiters(target);
    let rows = tx.scan_prefix(&waiters, WAITERS_A_STEP)?;
    let all = rows.len() < WAITERS_A_STEP;
    if all {
        // Before the entries end: a device's message is written once, with its final state.
        finish(tx, target, &work, &outcome)?;
    }
    for (key, _) in rows {
        tx.end_entry(target, schema::read_place(&key, waiters.len())?, &outcome)?;
    }
    Ok(all)
}

fn put_back(tx: &mut Tx<'_>, target: &Target, work: Work) -> Result<bool, StoreError> {
    let nobody = tx.scan_prefix(&schema::waiters(target), 1)?.is_empty();
    if nobody {
        abandon(tx, target, work)?;
    } else {
        tx.set_work(target, Some(&work))?;
    }
    Ok(true)
}

/// The device's record after its work ended, and the end of the work.
fn finish(tx: &mut Tx<'_>, target: &Target, work: &Work, outcome: &Outcome) -> Result<(), StoreError> {
    if let Target::Device(thing) = target {
        let old = tx.device(thing.as_str())?;
        let by = tx.request(work.seq)?.map(|request| (request.client, request.token, request.accepted_at));
        let gone = *outcome == Outcome::Succeeded && work.lane == Lane::Disassociate;
        let registered = match &old {
            Some(device) if !gone => device.registered,
            _ => Registered::Disassociated,
        };
        let device = Device {
            registered,
            association: old.as_ref().and_then(|device| device.association),
            requested: by.or_else(|| old.and_then(|device| device.requested)),
            attempts: work.attempts,
            error: if gone { None } else { work.error.clone() },
            changed_at: tx.now.wall,
            mark: tx.counters.mark,
        };
        tx.set_device(target, Some(&device))?;
    }
    tx.set_work(target, None)
}

/// Settles what waits for a list, after a complete one that began at `mark`: what is not listed is done. Returns
/// `false` if there is more to do in another transaction.
///
/// # Errors
/// The store failed.
pub fn verify(
    tx: &mut Tx<'_>,
    lane: Lane,
    mark: u64,
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
        if work.mark > mark {
            continue;
        }
        let device = tx.device(target.name())?;
        if listed_at_all(device.as_ref()) {
            still_listed(tx, &target, work, listed(device), clock_trusted)?;
        } else {
            while !settle_one(tx, &target, &Verdict::Done)? {}
        }
    }
    Ok(false)
}

/// What was sent did not happen: it failed for those who asked before the answer. Who asked later has not been sent.
fn still_listed(
    tx: &mut Tx<'_>,
    target: &Target,
    mut work: Work,
    listed: Option<crate::model::Timestamp>,
    clock_trusted: bool,
) -> Result<(), StoreError> {
    let fault = match &work.error {
        Some(fault) => fault.clone(),
        None => crate::model::Fault::new("TimedOut", "outcome unknown; still associated"),
    };
    let mut later = None;
    let waiters = schema::waiters(target);
    for (key, held) in tx.scan_prefix(&waiters, usize::MAX)? {
        let (seq, no) = schema::read_place(&key, waiters.len())?;
        if seq >= work.joined_before {
            later.get_or_insert((seq, no));
            continue;
        }
        let request = tx.known_request(seq)?;
        let superseded = is_superseded(schema::read_held(&held), listed, request.asked_at(), clock_trusted);
        let outcome = if superseded { Outcome::Superseded } else { Outcome::Failed(fault.clone()) };
        tx.end_entry(target, (seq, no), &outcome)?;
    }
    match later {
        Some((seq, no)) => {
            work = Work { queue: Queue::Fresh, seq, no, sent: false, doubt: false, charged: 0, ..work };
            tx.set_work(target, Some(&work))
        }
        None => {
            work.error = Some(fault.clone());
            finish(tx, target, &work, &Outcome::Failed(fault))
        }
    }
}

fn listed_at_all(device: Option<&Device>) -> bool {
    device.is_some_and(|device| device.registered == Registered::Associated)
}
