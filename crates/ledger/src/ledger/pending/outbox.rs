//! The outbox: messages that are owed, kept until the broker has acknowledged them, and devices
//! whose retained message is to be published anew.

use std::ops::Bound;

use super::{queries, tx::Tx};
use crate::{
    domain::{DeviceView, EntryFailure, Request, ThingName, Via},
    ledger::registry::store::StoreError,
};

/// A message that is owed, with what it is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its place in the outbox.
    pub n: u64,
    /// Of which request.
    pub request: Request,
    /// `completed`, else `accepted`.
    pub completed: bool,
    /// The first of the entries that did not succeed.
    pub failures: Vec<EntryFailure>,
    /// Of `accepted`: the first names that the registry did not know.
    pub unknown: Vec<String>,
}

/// Messages of other transports that are passed over in one step.
const MAX_PASSED: usize = 1000;

/// Returns the messages to clients of one transport from place `from` on, in the order in which
/// they became due, and the last place that was examined, or `None` if there was none. Each message
/// has at most `max_failures` failures, and the read ends after as many failures in total.
///
/// # Errors
/// The registry failed.
pub fn owed(
    tx: &mut Tx<'_>,
    via: Via,
    from: u64,
    limit: usize,
    max_failures: usize,
) -> Result<(Vec<Owed>, Option<u64>), StoreError> {
    let (mut owed, mut last, mut so_far) = (Vec::new(), None, 0);
    let enough = MAX_PASSED.min(limit.saturating_mul(4));
    let messages: Vec<_> = tx.state.owed().range(from..).take(enough).map(|(n, message)| (*n, *message)).collect();
    for (n, message) in messages {
        if owed.len() >= limit {
            break;
        }
        last = Some(n);
        // Most requests are in memory, and are skipped without a copy.
        if tx.state.request(message.seq).is_some_and(|kept| kept.request.client.via() != via) {
            continue;
        }
        // Lost with the registry: only a repeated answer is owed of a request that is not in
        // memory.
        let Some(request) = tx.request(message.seq)? else {
            delivered(tx, n)?;
            continue;
        };
        if request.client.via() != via {
            continue;
        }
        let (mut failures, mut unknown) = (Vec::new(), Vec::new());
        if message.completed {
            let rows = queries::failures(tx, message.seq, None, max_failures)?.rows;
            failures.extend(rows.into_iter().map(|(_, failure)| failure));
        } else {
            unknown = queries::unknown_names(tx, &request)?;
        }
        so_far += failures.len();
        owed.push(Owed { n, request, completed: message.completed, failures, unknown });
        if so_far >= max_failures {
            break;
        }
    }
    Ok((owed, last))
}

/// Removes a message that the broker has acknowledged.
///
/// # Errors
/// None yet.
pub fn delivered(tx: &mut Tx<'_>, n: u64) -> Result<(), StoreError> {
    let Some(message) = tx.state.owed().get(&n).copied() else { return Ok(()) };
    tx.put_owed(n, None);
    tx.state.counters.outgoing = tx.state.counters.outgoing.saturating_sub(1);
    // The registry has it, and nothing needs it in memory any more.
    if !tx.state.is_owed(message.seq) && tx.state.request(message.seq).is_some_and(|kept| kept.stored) {
        tx.put_request(message.seq, None);
    }
    Ok(())
}

/// A device whose retained message is out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// Its name.
    pub thing: ThingName,
    /// Which change; a later one makes it out of date again.
    pub change: u64,
    /// What to publish; `None` to clear the message.
    pub view: Option<DeviceView>,
}

/// Devices whose retained message is out of date, by name, after the given one.
///
/// # Errors
/// The registry failed.
pub fn outdated(tx: &Tx<'_>, after: Option<&ThingName>, limit: usize) -> Result<Vec<Outdated>, StoreError> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let outdated = tx.state.outdated().range::<ThingName, _>((from, Bound::Unbounded)).take(limit);
    let view = |(thing, change): (&ThingName, &u64)| {
        Ok(Outdated { thing: thing.clone(), change: *change, view: queries::device(tx, thing)? })
    };
    outdated.map(view).collect()
}

/// Notes that the broker has acknowledged a device's message as of `change`.
///
/// # Errors
/// None yet.
pub fn published(tx: &mut Tx<'_>, thing: &ThingName, change: u64) -> Result<(), StoreError> {
    if tx.state.outdated().get(thing) == Some(&change) {
        tx.put_outdated(thing, None);
    }
    Ok(())
}
