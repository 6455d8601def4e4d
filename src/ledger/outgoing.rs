//! The outbox: messages that are owed, kept until the broker has acknowledged them, and devices to
//! publish anew.

use super::{
    answers, schema,
    store::{Direction, StoreError},
    tx::Tx,
};
use crate::model::{DeviceView, EntryFailure, Request, ThingName};

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

/// The messages from place `from` on, in the order in which they became due, and the last place
/// that was looked at,
/// `None` where there was none: some of them may have been forgotten with their requests. Each has
/// its first `max_failures` failures, and after as many in all it is enough.
///
/// # Errors
/// The store failed.
pub fn owed(
    tx: &mut Tx<'_>,
    from: u64,
    limit: usize,
    max_failures: usize,
) -> Result<(Vec<Owed>, Option<u64>), StoreError> {
    let mut owed = Vec::new();
    let mut last = None;
    let mut so_far = 0;
    for (key, record) in tx.scan(&schema::outgoing(from), &schema::outgoing(u64::MAX), Direction::Up, limit)? {
        let n = schema::read_number(&key)?;
        last = Some(n);
        let message: schema::Outgoing = schema::decode(&record, "the outbox")?;
        // Forgotten with its request, whose time is over.
        let Some(request) = tx.request(message.seq)? else {
            delivered(tx, n)?;
            continue;
        };
        if message.completed && request.completed_at.is_none() {
            return Err(StoreError::Damaged(format!("request {} is owed an end that it did not have", message.seq)));
        }
        let (mut failures, mut unknown) = (Vec::new(), Vec::new());
        if message.completed {
            let rows = answers::failures(tx, message.seq, None, max_failures)?.rows;
            failures.extend(rows.into_iter().map(|(_, failure)| failure));
        } else {
            unknown = answers::unknown_names(tx, &request)?;
        }
        so_far += failures.len();
        owed.push(Owed { n, request, completed: message.completed, failures, unknown });
        if so_far >= max_failures {
            break;
        }
    }
    Ok((owed, last))
}

/// The broker has it.
///
/// # Errors
/// The store failed.
pub fn delivered(tx: &mut Tx<'_>, n: u64) -> Result<(), StoreError> {
    if tx.delete(schema::outgoing(n))? {
        tx.counters.outgoing = tx.counters.outgoing.saturating_sub(1);
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
/// The store failed.
pub fn outdated(tx: &Tx<'_>, after: Option<&ThingName>, limit: usize) -> Result<Vec<Outdated>, StoreError> {
    let (mut from, to) = schema::range(&schema::outdated(""));
    if let Some(after) = after {
        from = [schema::outdated(after.as_str()).as_slice(), &[0]].concat();
    }
    let mut found = Vec::new();
    for (key, change) in tx.scan(&from, &to, Direction::Up, limit)? {
        let thing = schema::read_thing(&key[1..])?;
        let change = schema::read_seq(&change).unwrap_or_default();
        let view = answers::device(tx, &thing)?;
        found.push(Outdated { thing, change, view });
    }
    Ok(found)
}

/// The broker has a device's message as of `change`.
///
/// # Errors
/// The store failed.
pub fn published(tx: &mut Tx<'_>, thing: &ThingName, change: u64) -> Result<(), StoreError> {
    let key = schema::outdated(thing.as_str());
    if tx.get(&key)?.and_then(|bytes| schema::read_seq(&bytes)) == Some(change) {
        tx.delete(key)?;
    }
    Ok(())
}
