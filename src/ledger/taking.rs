//! What goes into the next call: entries are picked, and noted as sent before they are.

use super::{
    schema::{self, Call, Place, Queue, Work},
    settling::{abandon, device_of, is_overtaken, to_verify},
    store::{Direction, StoreError},
    turns,
    tx::Tx,
};
use crate::model::{Again, CallToken, Fault, Lane, Outcome, Request, Target, Window};

/// Rows that one look at the queue may pass over because they ended instead of being sent.
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
        /// Those too that wait for a repetition, or are set aside; else none of them.
        again: Option<Again>,
        /// Resources that refuse: entries about them are set aside, or stay there.
        shut: Vec<String>,
    },
    /// These, which were taken before.
    These(Vec<Target>),
}

/// Entries to be sent in one call, and how many calls failed for reasons of their own before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// In order; each is noted as sent.
    pub entries: Vec<(Target, u32)>,
    /// What the service knows the call by, if it repeats it.
    pub token: Option<CallToken>,
    /// Where the next look at those who were sent before goes on.
    pub again: Again,
    /// There is work that waits for a complete list.
    pub gated: bool,
    /// There may be more to take although there is nothing here: what was looked at ended instead.
    pub more: bool,
}

/// Picks the entries of the next call and notes them as sent, before they are. Those that expired
/// or were superseded meanwhile are ended instead. `fresh` becomes the call's token, where it needs
/// one and its content was not sent before.
///
/// # Errors
/// The store failed.
pub fn take(
    tx: &mut Tx<'_>,
    lane: Lane,
    pick: &Pick,
    clock_trusted: bool,
    fresh: &CallToken,
) -> Result<Taken, StoreError> {
    let mut taken = Taken::default();
    match pick {
        Pick::These(targets) => {
            taken.more = true;
            for target in targets {
                if tx.work_of(target)?.is_none_or(|work| work.lane != lane) {
                    continue;
                }
                if let Took::Entry(target, charged) = take_one(tx, target, Window::OPEN, clock_trusted, true)? {
                    taken.entries.push((target, charged));
                }
            }
        }
        Pick::Queue { limit, window, again, shut } => {
            let look = Look { lane, limit: *limit, window: *window, shut, clock_trusted };
            let mut kind = None;
            let allowed = [((0, 0), (window.cleared.min(window.fresh), 0)), ((window.fresh, 0), (u64::MAX, 0))];
            let key = |queue, (seq, no): Place| schema::queue(lane, queue, seq, no);
            for (from, to) in allowed {
                let range = (key(Queue::Fresh, from), key(Queue::Fresh, to));
                take_range(tx, Queue::Fresh, range, &look, &mut kind, &mut taken)?;
            }
            taken.again = again.unwrap_or_default();
            if let Some(Again { entry: cursor, resource }) = *again {
                for (from, to) in [(cursor, (u64::MAX, 0)), ((0, 0), cursor)] {
                    for (low, high) in allowed {
                        let range = (key(Queue::Retry, from.max(low)), key(Queue::Retry, to.min(high)));
                        take_range(tx, Queue::Retry, range, &look, &mut kind, &mut taken)?;
                    }
                }
                for (from, to) in [(resource, u64::MAX), (0, resource)] {
                    if taken.entries.is_empty() {
                        take_aside(tx, from, to, &look, &mut kind, &mut taken)?;
                    }
                }
            }
            for queue in [Some(Queue::Fresh), again.map(|_| Queue::Retry)].into_iter().flatten() {
                let (from, to) =
                    (schema::queue(lane, queue, window.cleared, 0), schema::queue(lane, queue, window.fresh, 0));
                taken.gated |= !tx.scan(&from, &to, Direction::Up, 1)?.is_empty();
            }
        }
    }
    if lane.traits().token {
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
    let content = schema::hash(keys.join("\n").as_bytes());
    let known = tx.work_of(first)?.and_then(|work| work.call).filter(|call| call.content == content);
    let call = known.unwrap_or_else(|| Call { token: fresh.clone(), content });
    for (target, _) in entries {
        if let Some(work) = tx.work_of(target)? {
            tx.set_work(target, Some(&Work { call: Some(call.clone()), ..work }))?;
        }
    }
    Ok(Some(call.token))
}

/// How to look at a queue.
struct Look<'l> {
    lane: Lane,
    limit: usize,
    window: Window,
    shut: &'l [String],
    clock_trusted: bool,
}

/// What may go into one call: entries about one resource; and those of a call that has to be
/// repeated, by themselves.
type Kind = (Option<String>, Option<CallToken>);

fn take_range(
    tx: &mut Tx<'_>,
    queue: Queue,
    (mut from, to): (Vec<u8>, Vec<u8>),
    look: &Look<'_>,
    kind: &mut Option<Kind>,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let (mut passed, mut ended) = (0, false);
    while taken.entries.len() < look.limit && passed < MAX_PASSED {
        let rows = tx.scan(&from, &to, Direction::Up, look.limit - taken.entries.len())?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        for (key, target) in &rows {
            let target = schema::read_target(target)?;
            let Some(mut work) = tx.work_of(&target)?.filter(|work| work.key() == *key) else {
                return Err(StoreError::Damaged(format!("there is no work at the place of {:?}", target.name())));
            };
            passed += 1;
            if queue == Queue::Fresh && look.is_shut(&target) {
                set_aside(&target, &mut work);
                tx.set_work(&target, Some(&work))?;
                ended = true;
                continue;
            }
            let place = (work.seq, work.no);
            let this = (target.scope().map(str::to_owned), work.call.map(|call| call.token));
            if kind.as_ref().is_some_and(|kind| *kind != this) {
                continue;
            }
            match take_one(tx, &target, look.window, look.clock_trusted, false)? {
                Took::Entry(target, charged) => {
                    taken.entries.push((target, charged));
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

/// Looks at what is set aside, resource by resource, and passes over those that refuse in one step
/// each.
fn take_aside(
    tx: &mut Tx<'_>,
    mut from: u64,
    to: u64,
    look: &Look<'_>,
    kind: &mut Option<Kind>,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let end = schema::aside(look.lane, to, (0, 0));
    // Beyond those that refuse there is one with entries to take, or one whose entries have ended.
    for _ in 0..=look.shut.len() + 1 {
        let first = tx.scan(&schema::aside(look.lane, from, (0, 0)), &end, Direction::Up, 1)?;
        let Some((_, target)) = first.first() else { return Ok(()) };
        let target = schema::read_target(target)?;
        let resource = schema::resource(&target);
        from = resource.saturating_add(1);
        if !look.is_shut(&target) {
            let before = taken.entries.len();
            let range = (schema::aside(look.lane, resource, (0, 0)), schema::aside(look.lane, from, (0, 0)));
            take_range(tx, Queue::Aside, range, look, kind, taken)?;
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

/// The resource of its call refuses it.
pub(super) fn set_aside(target: &Target, work: &mut Work) {
    work.queue = Queue::Aside;
    work.resource = schema::resource(target);
}

impl Look<'_> {
    fn is_shut(&self, target: &Target) -> bool {
        target.scope().is_some_and(|scope| self.shut.iter().any(|shut| shut == scope))
    }
}

/// What came of a target that was to be taken.
enum Took {
    Entry(Target, u32),
    /// It stands at the place of somebody who is gone, and those who still wait for it have to wait
    /// for a list.
    Gated,
    Nothing,
}

/// Notes a target as sent, unless nobody waits for it any more; `again` for a part of the call
/// before.
fn take_one(
    tx: &mut Tx<'_>,
    target: &Target,
    window: Window,
    clock_trusted: bool,
    again: bool,
) -> Result<Took, StoreError> {
    let Some(mut work) = tx.work_of(target)? else { return Ok(Took::Nothing) };
    let device = device_of(tx, target)?;
    let mut first = None;
    let protected = tx.rules.protects(work.lane, target);
    if protected && work.sent && work.lane.is_settled_by_list() {
        // It is not sent again; whether an earlier call did it is for the next list to show.
        let text = "protected by guard.protected since this was accepted; an earlier call was not answered, and the cloud's \
                    list does not show it done";
        work.error = Some(Fault::new("AccessDeniedException", text));
        tx.counters.mark += 1;
        to_verify(tx, &mut work);
        tx.set_work(target, Some(&work))?;
        return Ok(Took::Nothing);
    }
    for row in turns::waiters(tx, target, &work, usize::MAX)? {
        let place = turns::place(target, &row)?;
        let request = tx.known_request(place.0)?;
        let ended = if is_expired(tx, &request) {
            Some(if work.sent { Outcome::OutcomeUnknown } else { Outcome::TimedOut })
        } else if protected {
            Some(Outcome::Protected)
        } else if is_overtaken(tx.now, work.lane, device.as_ref(), &row, &request, clock_trusted) {
            Some(Outcome::Superseded)
        } else {
            None
        };
        match ended {
            Some(outcome) => tx.end_entry(target, place, &outcome)?,
            None => first = first.or(Some(place.0)),
        }
    }
    match first {
        None => {
            if let Some(work) = turns::left(tx, target)? {
                abandon(tx, target, work)?;
            }
            return Ok(Took::Nothing);
        }
        Some(first) if !window.allows(first) => return Ok(Took::Gated),
        Some(_) => {}
    }
    // Left over by a kill, or put off while a refused call was taken apart: what became of it is
    // not known.
    work.doubt |= work.sent && !again;
    work.sent = true;
    tx.ended.retried += u64::from(work.attempts > 0);
    work.attempts = work.attempts.saturating_add(1);
    let charged = work.charged;
    tx.set_work(target, Some(&work))?;
    Ok(Took::Entry(target.clone(), charged))
}

/// Whether a request's time is over. The wall clock may have jumped since: within the boot that
/// accepted it, the time that really passed counts, unless the sender named the time to count from.
pub(super) fn is_expired(tx: &Tx<'_>, request: &Request) -> bool {
    match (request.expires_at, request.lifetime_ms) {
        (Some(_), Some(lifetime)) if request.boot == tx.now.boot && request.issued_at.is_none() => {
            tx.now.mono.0.saturating_sub(request.accepted_mono) >= lifetime
        }
        (Some(at), _) => at <= tx.now.wall,
        (None, _) => false,
    }
}
