//! Picks the entries of the next call, and records them as sent before they are sent.

use std::{ops::Bound, sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::{
    object,
    settle::{abandon, await_list, is_superseded_by_list, listed},
    tx::{Tx, defect},
    work::{Call, Place, Queue, QueueKey, Waiter, Work},
};
use crate::{
    domain::{Again, CallKind, CallToken, Fault, Outcome, Request, Target, WallClock, Window},
    ledger::registry::store::StoreError,
};

/// Work that one look at the queue may pass over, and entries that it may end, instead of sending
/// them.
const MAX_PASSED: usize = 400;

/// What to take from the ledger for the next call.
#[derive(Clone, Debug)]
pub enum Pick {
    /// From the queue.
    Queue {
        /// At most so many.
        limit: usize,
        /// What may be sent.
        window: Window,
        /// If set, entries that wait for a repetition or are parked are taken, too.
        again: Option<Again>,
        /// Resources that refuse: entries about them are parked, or stay so.
        shut: Vec<String>,
    },
    /// These, which were taken before.
    These(Vec<Target>),
}

/// Entries to be sent in one call, and how many calls failed for reasons of their own before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// In order; each is recorded as sent.
    pub entries: Vec<(Target, u32)>,
    /// The token by which the service recognises a repetition of the call.
    pub token: Option<CallToken>,
    /// Where the next look at entries that were sent before continues.
    pub again: Again,
    /// There is work that waits for a complete list.
    pub gated: bool,
    /// There may be more to take although there is nothing here: what was looked at ended instead.
    pub more: bool,
}

/// Picks the entries of the next call and records them as sent, before they are. Those that expired
/// or were superseded meanwhile are ended instead. `fresh` becomes the call's token, where it needs
/// one and its content was not sent before.
///
/// # Errors
/// The registry failed.
pub fn take(
    tx: &mut Tx<'_>,
    call_kind: CallKind,
    pick: &Pick,
    clock: WallClock,
    fresh: &CallToken,
) -> Result<Taken, StoreError> {
    let mut taken = Taken::default();
    match pick {
        Pick::These(targets) => {
            taken.more = true;
            for target in targets {
                if tx.work_of(target).is_none_or(|work| work.call_kind != call_kind) {
                    continue;
                }
                if let Took::Entry(entry_errors) = take_one(tx, target, Window::OPEN, clock, true)? {
                    taken.entries.push((target.clone(), entry_errors));
                }
            }
        }
        Pick::Queue { window: Window { generation: Some(generation), .. }, again, .. }
            if *generation != tx.state.counters.generation =>
        {
            // The registry was replaced after the window was made.
            (taken.again, taken.gated) = (again.unwrap_or_default(), true);
        }
        Pick::Queue { limit, window, again, shut } => {
            let look = Look { call_kind, limit: *limit, window: *window, shut, clock };
            let mut kind = None;
            let allowed = [((0, 0), (window.cleared.min(window.fresh), 0)), ((window.fresh, 0), (u64::MAX, 0))];
            for (from, to) in allowed {
                take_range(
                    tx,
                    Queue::Fresh,
                    (look.key(Queue::Fresh, from), look.key(Queue::Fresh, to)),
                    &look,
                    &mut kind,
                    &mut taken,
                )?;
            }
            taken.again = again.unwrap_or_default();
            if let Some(Again { entry: cursor, resource }) = *again {
                for (from, to) in [(cursor, (u64::MAX, 0)), ((0, 0), cursor)] {
                    for (low, high) in allowed {
                        let range = (look.key(Queue::Retry, from.max(low)), look.key(Queue::Retry, to.min(high)));
                        take_range(tx, Queue::Retry, range, &look, &mut kind, &mut taken)?;
                    }
                }
                for (from, to) in [(resource, u64::MAX), (0, resource)] {
                    if taken.entries.is_empty() {
                        take_parked(tx, from, to, &look, &mut kind, &mut taken)?;
                    }
                }
            }
            for queue in [Some(Queue::Fresh), again.map(|_| Queue::Retry)].into_iter().flatten() {
                let (from, to) = (look.key(queue, (window.cleared, 0)), look.key(queue, (window.fresh, 0)));
                taken.gated |= from < to && tx.state.queues().range(from..to).next().is_some();
            }
        }
    }
    if call_kind.traits().token {
        taken.token = name_call(tx, &taken.entries, fresh)?;
    }
    Ok(taken)
}

/// Gives a call its token, kept with each of its entries: the one that its content was sent with
/// before, else `fresh`.
fn name_call(tx: &mut Tx<'_>, entries: &[(Target, u32)], fresh: &CallToken) -> Result<Option<CallToken>, StoreError> {
    let Some((first, _)) = entries.first() else { return Ok(None) };
    let mut keys: Vec<String> = entries.iter().map(|(target, _)| target.key()).collect();
    keys.sort_unstable();
    let content = object::hash(keys.join("\n").as_bytes());
    let known = tx.work_of(first).and_then(|work| work.details.call.clone()).filter(|call| call.content == content);
    let call = known.unwrap_or_else(|| Box::new(Call { token: fresh.clone(), content }));
    for (target, _) in entries {
        if let Some(mut work) = tx.work_of(target).cloned() {
            work.details.call = Some(call.clone());
            tx.set_work(target, Some(work))?;
        }
    }
    Ok(Some(call.token))
}

/// How to look at a queue.
struct Look<'l> {
    call_kind: CallKind,
    limit: usize,
    window: Window,
    shut: &'l [String],
    clock: WallClock,
}

impl Look<'_> {
    fn key(&self, queue: Queue, place: Place) -> QueueKey {
        QueueKey::new(self.call_kind, queue, place)
    }

    fn is_shut(&self, target: &Target) -> bool {
        target.scope().is_some_and(|scope| self.shut.iter().any(|shut| shut == scope))
    }
}

/// What may go into one call: entries about one resource; and those of a call that has to be
/// repeated, by themselves.
type Kind = (Option<String>, Option<CallToken>);

fn take_range(
    tx: &mut Tx<'_>,
    queue: Queue,
    (from, to): (QueueKey, QueueKey),
    look: &Look<'_>,
    kind: &mut Option<Kind>,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let (mut passed, mut ended) = (0, false);
    let mut from = Bound::Included(from);
    while taken.entries.len() < look.limit && passed < MAX_PASSED {
        if let Bound::Included(from) | Bound::Excluded(from) = &from
            && *from >= to
        {
            return Ok(());
        }
        let range = tx.state.queues().range((from, Bound::Excluded(to)));
        let found: Vec<(QueueKey, Target)> =
            range.take(look.limit - taken.entries.len()).map(|(key, target)| (*key, target.clone())).collect();
        let Some((last, _)) = found.last() else { return Ok(()) };
        from = Bound::Excluded(*last);
        for (key, target) in found {
            let Some(work) = tx.work_of(&target).filter(|work| QueueKey::of(&target, work) == key) else {
                return Err(defect(format!("there is no work at the place of {:?}", target.name())));
            };
            if passed >= MAX_PASSED {
                break;
            }
            passed += 1;
            if queue == Queue::Fresh && look.is_shut(&target) {
                let work = Work { queue: Queue::Parked, ..work.clone() };
                tx.set_work(&target, Some(work))?;
                ended = true;
                continue;
            }
            let place = work.place;
            let this = (target.scope().map(str::to_owned), work.details.call.as_ref().map(|call| call.token.clone()));
            if kind.as_ref().is_some_and(|kind| *kind != this) {
                continue;
            }
            let before = tx.ended.failed;
            let took = take_one(tx, &target, look.window, look.clock, false)?;
            passed += usize::try_from(tx.ended.failed - before).unwrap_or(usize::MAX);
            ended |= tx.ended.failed > before;
            match took {
                Took::Entry(entry_errors) => {
                    taken.entries.push((target, entry_errors));
                    if queue == Queue::Retry {
                        taken.again.entry = (place.0, place.1.saturating_add(1));
                    }
                    *kind = Some(this);
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

/// Looks at what is parked, resource by resource, and passes over those that refuse in one step
/// each.
fn take_parked(
    tx: &mut Tx<'_>,
    mut from: u64,
    to: u64,
    look: &Look<'_>,
    kind: &mut Option<Kind>,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let key = |resource| QueueKey::parked(look.call_kind, resource);
    // Beyond those that refuse there is one with entries to take, or one whose entries have ended.
    for _ in 0..=look.shut.len() + 1 {
        if from >= to {
            return Ok(());
        }
        let first = tx.state.queues().range(key(from)..key(to)).next();
        let Some((QueueKey { resource, .. }, target)) = first else { return Ok(()) };
        let (resource, is_shut) = (*resource, look.is_shut(target));
        from = resource.saturating_add(1);
        if !is_shut {
            let before = taken.entries.len();
            take_range(tx, Queue::Parked, (key(resource), key(from)), look, kind, taken)?;
            if taken.entries.len() > before {
                taken.again.resource = from;
                return Ok(());
            }
        }
    }
    taken.more |= taken.entries.is_empty();
    taken.again.resource = from;
    Ok(())
}

/// The result of taking a target.
enum Took {
    /// It is recorded as sent; with the number of its own errors.
    Entry(u32),
    /// Its work is at the place of an entry that has ended, and the entries that still wait for it
    /// have to wait for a list.
    Gated,
    Nothing,
}

/// Records a target as sent, unless nothing waits for it any more; `is_part` for a part of the
/// call before.
fn take_one(
    tx: &mut Tx<'_>,
    target: &Target,
    window: Window,
    clock: WallClock,
    is_part: bool,
) -> Result<Took, StoreError> {
    let Some(work) = tx.work_of(target) else { return Ok(Took::Nothing) };
    let (call_kind, sent) = (work.call_kind, work.is_sent());
    let protected = tx.rules.protected_name(call_kind, target).is_some();
    if protected && sent && call_kind.is_settled_by_list() {
        // It is not sent again; whether an earlier call did it is for the next list to show.
        let text = "protected by guard.protected since this was accepted; an earlier call was not answered, and the cloud's \
                    list does not show it done";
        let mut work = work.clone();
        work.details.error = Some(Arc::new(Fault::new("AccessDeniedException", text)));
        tx.state.counters.outcome_seq += 1;
        await_list(tx, &mut work);
        tx.set_work(target, Some(work))?;
        return Ok(Took::Nothing);
    }
    let mut work = work.clone();
    let device = listed(tx, target)?;
    let mut first = None;
    for waiter in SmallVec::<[Waiter; 1]>::from(work.waiting()) {
        let (place, known) = (waiter.0, waiter.1);
        let request = tx.open_request(place.0)?;
        // Before the cloud's first answer a clock that nothing contradicts decides, because a command
        // that comes days late must not be sent.
        let ended = if is_expired(tx, request, clock != WallClock::Wrong) {
            Some(if sent { Outcome::OutcomeUnknown } else { Outcome::TimedOut })
        } else if protected {
            Some(Outcome::Protected)
        } else if is_superseded_by_list(tx.now, call_kind, device, known, request, clock) {
            Some(Outcome::Superseded)
        } else {
            None
        };
        match ended {
            Some(outcome) => {
                tx.end_entry(target, place, &outcome)?;
                work.waiters.retain(|waiter| waiter.0 != place);
            }
            None => first = first.or(Some(place.0)),
        }
    }
    match first {
        None => {
            abandon(tx, target, work)?;
            return Ok(Took::Nothing);
        }
        Some(first) if !window.allows(first) => {
            tx.set_work(target, Some(work))?;
            return Ok(Took::Gated);
        }
        Some(_) => {}
    }
    work.note_sent(is_part);
    tx.ended.retried += u64::from(work.attempts > 0);
    work.attempts = work.attempts.saturating_add(1);
    let entry_errors = work.details.entry_errors;
    tx.set_work(target, Some(work))?;
    Ok(Took::Entry(entry_errors))
}

/// Whether a request's time is over.
///
/// The time that is known to have passed since the acceptance decides, since the wall clock may
/// have been set meanwhile. A time that the sender named, or that passed between two boots, is
/// taken from the wall clock as well if `by_wall` is set, as far as it was confirmed, too, when the
/// request was accepted.
pub(super) fn is_expired(tx: &Tx<'_>, request: &Request, by_wall: bool) -> bool {
    let Some(lifetime) = request.lifetime_ms else { return false };
    let passed = tx.elapsed().saturating_sub(request.accepted_elapsed) >= lifetime;
    let is_wall_needed = request.issued_at.is_some() || request.boot != tx.now.boot;
    passed
        || (is_wall_needed
            && by_wall
            && request.asked_at(tx.now).is_some_and(|at| at.after(Duration::from_millis(lifetime)) <= tx.now.wall))
}
