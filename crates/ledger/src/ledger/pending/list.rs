//! The cloud's list becomes the registry, page by page, without ever undoing an outcome that is
//! younger than it.

use std::time::Duration;

use super::{tx::Tx, waiters, work::Queue};
use crate::{
    domain::{Device, EventKind, Outcome, Registered, SyncCounts, Target, ThingName, Timestamp},
    ledger::registry::{
        rows,
        store::{Direction, StoreError},
    },
};

/// The longest assumed delay between a change in the cloud and a list that shows it. Greengrass
/// documents no value; five minutes is a generous estimate.
const LAG: Duration = Duration::from_secs(300);

/// Devices that one step looks at: some milliseconds.
const STEP: usize = 1000;

/// What was true when a list began: the list shows nothing about what changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListMark {
    /// The count of outcomes.
    pub outcome_seq: u64,
    /// The number of the next request.
    pub seq: u64,
    /// The registry's generation: a list shows nothing about a later registry, which may lack a
    /// part of the list.
    pub generation: u64,
}

/// Begins a list.
#[must_use]
pub fn begin_list(tx: &Tx<'_>) -> ListMark {
    let counters = &tx.state.counters;
    ListMark { outcome_seq: counters.outcome_seq, seq: counters.next_seq, generation: counters.generation }
}

impl ListMark {
    pub(super) fn check(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        if self.generation == tx.state.counters.generation { Ok(()) } else { Err(StoreError::Replaced) }
    }
}

/// The number of the last request for a sync that has not run.
///
/// # Errors
/// None yet.
pub fn sync_wanted(tx: &Tx<'_>) -> Result<Option<u64>, StoreError> {
    Ok(tx.work_of(&Target::Registry).and_then(|work| work.waiting().iter().map(|waiter| waiter.0.0).max()))
}

/// Takes over a page of the list, from `done` on, as much as one step takes; `true` when the whole
/// page is done.
///
/// Invariant 6: a device whose outcome is younger than the list keeps it. So does one that was
/// disassociated lately and is still listed with the very association that ended, and one that is
/// listed with an older association than before: such a list lags behind. Where that is only a
/// guess, and an entry waits for the list, the list counts: no entry is reported as a success that
/// the list does not show.
///
/// # Errors
/// The registry failed, or was replaced since the list began.
pub fn apply_page(
    tx: &mut Tx<'_>,
    list: ListMark,
    page: &[(ThingName, Option<Timestamp>)],
    done: &mut usize,
    counts: &mut SyncCounts,
) -> Result<bool, StoreError> {
    list.check(tx)?;
    let step = page.iter().skip(*done).take(STEP);
    for (thing, association) in step {
        *done += 1;
        let row = tx.device_row(thing)?;
        let old = row.row.device.clone();
        let known = old.as_ref().is_some_and(|device| device.registered == Registered::Associated);
        if known && old.as_ref().is_some_and(|device| device.association == *association) {
            continue;
        }
        if let Some(old) = &old {
            // An association of the agent's own that ended before any list named it has no time to
            // compare.
            let ended = match old.association {
                Some(_) => old.association == *association,
                None => old.associated_by_agent_at.is_some() && !is_awaited(tx, thing),
            };
            let has_gone_back = known && matches!((old.association, association), (Some(has), Some(at)) if *at < has);
            let lags =
                has_gone_back || old.registered == Registered::Disassociated && ended && is_lately(tx, old.changed_at);
            if old.outcome_seq > list.outcome_seq || lags {
                continue;
            }
        }
        counts.added += u32::from(!known);
        let associated_by_agent_at = old.as_ref().filter(|_| known).and_then(|device| {
            device
                .associated_by_agent_at
                .filter(|at| device.association.is_none() || is_lately(tx, *at) || is_of(*at, *association))
        });
        let device = Device {
            registered: Registered::Associated,
            association: *association,
            associated_by_agent_at,
            changed_at: tx.now.wall,
            ..old.unwrap_or_else(|| blank(tx.now.wall))
        };
        // The first list names all there is: nothing happened.
        let event = (!known && tx.state.counters.synced).then_some(EventKind::Listed);
        tx.set_device(thing, row, Some(device), event.into_iter().collect());
    }
    Ok(*done >= page.len())
}

/// Whether a list is to show the outcome of a call.
fn is_awaited(tx: &Tx<'_>, thing: &ThingName) -> bool {
    tx.work_of(&Target::Device(thing.clone())).is_some_and(|work| work.queue == Queue::AwaitList)
}

/// Whether a change at `at` is so recent that a list may not show it yet. If `at` is in the future,
/// the wall clock was set back, and the change does not count as recent.
fn is_lately(tx: &Tx<'_>, at: Timestamp) -> bool {
    (at..at.after(LAG)).contains(&tx.now.wall)
}

/// Whether an association's time is that of the agent's own, for all that is known of the two
/// clocks.
fn is_of(associated_by_agent_at: Timestamp, association: Option<Timestamp>) -> bool {
    association.is_some_and(|at| (associated_by_agent_at.before(LAG)..associated_by_agent_at.after(LAG)).contains(&at))
}

fn blank(now: Timestamp) -> Device {
    Device {
        registered: Registered::Disassociated,
        association: None,
        associated_by_agent_at: None,
        requested: None,
        attempts: 0,
        error: None,
        changed_at: now,
        outcome_seq: 0,
    }
}

/// After a complete list: devices that it does not name are no longer associated. Goes through the
/// registry from the name `after` on; `true` at its end.
///
/// # Errors
/// The registry failed, or was replaced since the list began.
pub fn remove_unlisted(
    tx: &mut Tx<'_>,
    list: ListMark,
    is_listed: impl Fn(&ThingName) -> bool,
    after: &mut Option<ThingName>,
    counts: &mut SyncCounts,
) -> Result<bool, StoreError> {
    list.check(tx)?;
    let names = device_names(tx, after.as_ref())?;
    let done = names.len() < STEP;
    for thing in names {
        *after = Some(thing.clone());
        if is_listed(&thing) {
            continue;
        }
        let row = tx.device_row(&thing)?;
        let old = row.row.device.clone();
        let Some(old) = old.filter(|old| old.registered == Registered::Associated) else { continue };
        // An association of the agent's own that is not listed yet.
        let lags = old.association.is_none()
            && old.associated_by_agent_at.is_some_and(|at| is_lately(tx, at))
            && !is_awaited(tx, &thing);
        if old.outcome_seq > list.outcome_seq || lags {
            continue;
        }
        counts.removed += 1;
        // Not by the agent, so a later list that names it again does not lag behind: no association
        // is kept to compare.
        let changed_at = tx.now.wall;
        let device = Device {
            registered: Registered::Disassociated,
            association: None,
            associated_by_agent_at: None,
            changed_at,
            ..old
        };
        tx.set_device(&thing, row, Some(device), vec![EventKind::Unlisted]);
    }
    Ok(done)
}

/// The next names of devices, sorted, at most as many as one step takes.
fn device_names(tx: &Tx<'_>, after: Option<&ThingName>) -> Result<Vec<ThingName>, StoreError> {
    use std::ops::Bound::{Excluded, Unbounded};
    let changed = tx.state.devices().range::<ThingName, _>((after.map_or(Unbounded, Excluded), Unbounded));
    let mut names: std::collections::BTreeSet<ThingName> = changed.map(|(thing, _)| thing.clone()).take(STEP).collect();
    let (mut from, to) = rows::all_of(b'd');
    if let Some(after) = after {
        from = [rows::device(after.as_str()).as_slice(), &[0]].concat();
    }
    for (key, _) in tx.scan((from, to), Direction::Up, STEP)? {
        names.insert(rows::read_thing(&key)?);
    }
    Ok(names.into_iter().take(STEP).collect())
}

/// After all of a complete list is taken over: ends the requests for a sync from before it began,
/// as many as one step takes; `true` when all of them have ended.
///
/// # Errors
/// The registry failed, or was replaced since the list began.
pub fn end_list(tx: &mut Tx<'_>, list: ListMark, counts: SyncCounts) -> Result<bool, StoreError> {
    list.check(tx)?;
    tx.state.counters.synced = true;
    let Some(work) = tx.work_of(&Target::Registry) else { return Ok(true) };
    let waiting: Vec<_> = work.waiters.iter().map(|waiter| waiter.0).filter(|place| place.0 < list.seq).collect();
    for place in waiting {
        tx.set_sync(place.0, counts)?;
        waiters::withdraw(tx, &Target::Registry, place, &Outcome::Succeeded)?;
    }
    Ok(true)
}
