//! The cloud's list becomes the registry, page by page, without ever undoing an outcome that is younger than it.

use std::time::Duration;

use super::{
    records::visible,
    schema,
    store::{Direction, StoreError},
    tx::Tx,
};
use crate::model::{Device, Happened, Outcome, Registered, SyncCounts, Target, ThingName, Timestamp};

/// How long the cloud's list may lag behind what the cloud did; Greengrass promises no time, minutes are generous.
const LAG: Duration = Duration::from_secs(300);

/// What was true when a list began: whatever changed since is not for the list to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListMark {
    /// The count of outcomes.
    pub mark: u64,
    /// The number of the next request.
    pub seq: u64,
}

/// Begins a list.
#[must_use]
pub fn begin_list(tx: &Tx<'_>) -> ListMark {
    ListMark { mark: tx.counters.mark, seq: tx.counters.next_seq }
}

/// Whether somebody asked for a sync that has not run.
///
/// # Errors
/// The store failed.
pub fn sync_wanted(tx: &Tx<'_>) -> Result<bool, StoreError> {
    Ok(tx.get(&schema::work(&Target::Registry))?.is_some())
}

/// Takes over a page of the list, from `done` on, as much as one transaction takes; `true` when all of it is done.
///
/// Invariant 6: a device whose outcome is younger than the list keeps it. So does one that was taken off lately and is
/// still listed with the very association that ended: such a list lags behind. Where that is only guessed, and somebody waits for
/// the list to tell, it is taken by its word: nobody is told of a success that it does not show.
///
/// # Errors
/// The store failed.
pub fn apply_page(
    tx: &mut Tx<'_>,
    list: ListMark,
    page: &[(ThingName, Option<Timestamp>)],
    done: &mut usize,
    counts: &mut SyncCounts,
) -> Result<bool, StoreError> {
    while let Some((thing, association)) = page.get(*done) {
        if tx.is_full() {
            return Ok(false);
        }
        *done += 1;
        let old = tx.device(thing.as_str())?;
        let known = old.as_ref().is_some_and(|device| device.registered == Registered::Associated);
        if known && old.as_ref().is_some_and(|device| device.association == *association) {
            continue;
        }
        if let Some(old) = &old {
            // What was associated by us and taken off before any list named it has no time to compare.
            let ended = match old.association {
                Some(_) => old.association == *association,
                None => old.ours.is_some() && !is_awaited(tx, thing)?,
            };
            let lags = old.registered == Registered::Disassociated && ended && is_lately(tx, old.changed_at);
            if old.mark > list.mark || lags {
                continue;
            }
        }
        counts.added += u32::from(!known);
        let ours = old.as_ref().filter(|_| known).and_then(|device| {
            device.ours.filter(|at| device.association.is_none() || is_lately(tx, *at) || is_of(*at, *association))
        });
        let device = Device {
            registered: Registered::Associated,
            association: *association,
            ours,
            changed_at: tx.now.wall,
            ..old.unwrap_or_else(|| blank(tx.now.wall))
        };
        let target = Target::Device(thing.clone());
        if !known && tx.counters.synced {
            // The first list names all there is: nothing happened.
            tx.remember(&target, Happened::Listed)?;
        }
        tx.set_device(&target, Some(&device))?;
    }
    Ok(true)
}

/// Whether a list is to tell what became of a call.
fn is_awaited(tx: &Tx<'_>, thing: &ThingName) -> Result<bool, StoreError> {
    let work = tx.work_of(&Target::Device(thing.clone()))?;
    Ok(work.is_some_and(|work| work.queue == schema::Queue::Verify))
}

/// Whether a list may not show yet what was done then. A time to come is a clock that was set back: nobody knows.
fn is_lately(tx: &Tx<'_>, at: Timestamp) -> bool {
    (at..at.after(LAG)).contains(&tx.now.wall)
}

/// Whether an association's time is that of ours, for all that is known of the two clocks.
fn is_of(ours: Timestamp, association: Option<Timestamp>) -> bool {
    association.is_some_and(|at| (ours.before(LAG)..ours.after(LAG)).contains(&at))
}

fn blank(now: Timestamp) -> Device {
    Device {
        registered: Registered::Disassociated,
        association: None,
        ours: None,
        requested: None,
        attempts: 0,
        error: None,
        changed_at: now,
        mark: 0,
    }
}

/// After a complete list: devices that it does not name are no longer associated. Goes through the registry from
/// `after` on; `true` at its end.
///
/// # Errors
/// The store failed.
pub fn remove_unlisted(
    tx: &mut Tx<'_>,
    list: ListMark,
    is_listed: impl Fn(&ThingName) -> bool,
    after: &mut Vec<u8>,
    counts: &mut SyncCounts,
) -> Result<bool, StoreError> {
    let (mut from, to) = schema::range(&schema::device(Registered::Associated, ""));
    if *after >= from {
        from = [after.as_slice(), &[0]].concat();
    }
    let rows = tx.scan(&from, &to, Direction::Up, 256)?;
    if rows.is_empty() {
        return Ok(true);
    }
    for (key, _) in rows {
        if tx.is_full() {
            return Ok(false);
        }
        let thing = schema::read_thing(&key[2..])?;
        *after = key;
        if is_listed(&thing) {
            continue;
        }
        let Some(old) = tx.device(thing.as_str())? else { continue };
        // Associated by us, and not listed yet.
        let lags =
            old.association.is_none() && old.ours.is_some_and(|at| is_lately(tx, at)) && !is_awaited(tx, &thing)?;
        if old.mark > list.mark || lags {
            continue;
        }
        counts.removed += 1;
        // Not by us, so a later list that names it again does not lag behind: no association is kept to compare.
        let changed_at = tx.now.wall;
        let device = Device { registered: Registered::Disassociated, association: None, ours: None, changed_at, ..old };
        let target = Target::Device(thing);
        tx.remember(&target, Happened::Unlisted)?;
        tx.set_device(&target, Some(&device))?;
    }
    Ok(false)
}

/// After all of a complete list is taken over: answers those who asked for a sync before it began, as many as one
/// transaction takes; `true` when all of them are.
///
/// # Errors
/// The store failed.
pub fn end_list(tx: &mut Tx<'_>, list: ListMark, counts: SyncCounts) -> Result<bool, StoreError> {
    tx.counters.synced = true;
    let waiters = schema::waiters(&Target::Registry);
    for (key, _) in tx.scan_prefix(&waiters, 40)? {
        let (seq, no) = schema::read_place(&key, waiters.len())?;
        if seq >= list.seq {
            // They come in this order, so the rest asked later, too.
            return Ok(true);
        }
        let mut request = tx.known_request(seq)?;
        request.sync = Some(counts);
        tx.write(schema::request(seq), &request)?;
        tx.end_entry(&Target::Registry, (seq, no), &Outcome::Succeeded)?;
    }
    let done = tx.scan_prefix(&waiters, 1)?.is_empty();
    if done {
        tx.set_work(&Target::Registry, None)?;
    }
    Ok(done)
}

/// Deletes records of devices that were disassociated before `before`, from the key `after` on; `true` when none is left. Those
/// that are asked for again stay until that has ended.
///
/// # Errors
/// The store failed.
pub fn forget_devices(tx: &mut Tx<'_>, before: Timestamp, after: &mut Vec<u8>) -> Result<bool, StoreError> {
    let (mut from, _) = schema::range(&[b'x', schema::Due::Tombstone as u8]);
    if *after >= from {
        from = [after.as_slice(), &[0]].concat();
    }
    let rows = tx.scan(&from, &schema::due(schema::Due::Tombstone, before, b""), Direction::Up, 40)?;
    let done = rows.is_empty();
    for (key, _) in rows {
        let (_, name) = schema::read_due(&key)?;
        let target = Target::Device(schema::read_thing(name)?);
        if visible(None, tx.work_of(&target)?.as_ref()).is_none() {
            tx.forget_events(target.name(), before)?;
            tx.set_device(&target, None)?;
            // Of a record that is not there.
            tx.delete(key.clone())?;
            crate::failpoint::pass("upkeep-forgetting");
        }
        *after = key;
    }
    Ok(done)
}
