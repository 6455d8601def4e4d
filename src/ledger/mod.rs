//! The ledger: what is known, what is asked for, what is owed. The only door to the store.
//!
//! The rules (`accept`, `taking`, `settling`, `turns`, `registry`, `ending`, `story`, `outgoing`, `answers`) are functions on a
//! transaction; they know neither sled nor a thread. [`Ledger`] runs them on one thread that makes them durable, group by
//! group.

mod accept;
mod answers;
mod audit;
mod commit;
mod early;
mod ending;
mod handle;
mod journal;
mod outgoing;
mod records;
mod registry;
mod schema;
mod settling;
mod sled_store;
mod stats;
mod store;
mod story;
mod taking;
mod turns;
mod tx;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod view;

#[cfg(test)]
pub(crate) use store::Disk;

#[cfg(test)]
pub(crate) use accept::PLAN_NAMES;
pub use accept::{Order, Plan, accept, acknowledged, plan};
pub use answers::{
    Rows, device, devices, failures, find_request, open_entries, request, requests, unknown_names, waiting,
};
pub use audit::audit;
pub(crate) use commit::max_file_bytes;
pub use early::Early;
pub use ending::{Canceled, cancel, disown, expire, forget_requests};
pub use handle::{Ledger, StoreHealth, Unavailable};
pub use outgoing::{Outdated, Owed, delivered, outdated, owed, published};
pub use registry::{ListMark, apply_page, begin_list, end_list, forget_devices, remove_unlisted, sync_wanted};
pub use schema::SCHEMA;
pub use schema::{Counters, Load};
pub use settling::{settle, verify};
pub(crate) use sled_store::open_regular;
pub use sled_store::{DataDir, NotHeld, Owner, SledStore, check_owner, free, of_another_core, room_needed, schema_of};
pub use stats::{COMMIT_BOUNDS, Stats};
pub use store::{Direction, Op, Row, Store, StoreError};
pub use story::{forget_stories, story};
pub use taking::{Pick, Taken, take};
pub use tx::{Ended, Group, Summary, Touched, Tx};

use crate::{
    config::{Config, Guard, Limits},
    model::{Lane, Target},
};

/// The part of the configuration that the rules follow.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is too much.
    pub limits: Limits,
    /// What is never, or not lightly, disassociated.
    pub guard: Guard,
    /// Keep the retained device messages up to date.
    pub publish_devices: bool,
    /// Lanes that nobody serves.
    pub off: Vec<Lane>,
}

impl Rules {
    /// Whether a guard keeps `target` from being sent in `lane`, with or without `force`.
    fn protects(&self, lane: Lane, target: &Target) -> bool {
        let is_protected = |name: &str| self.guard.protected.iter().any(|pattern| pattern.matches(name));
        lane.is_guarded() && target.guarded_names().into_iter().any(is_protected)
    }
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        let off = Lane::ALL.into_iter().filter(|lane| !config.serves(lane.traits().service)).collect();
        Self { limits: config.limits, guard: config.guard.clone(), publish_devices: config.publish_devices, off }
    }
}

/// Bytes of records up to which they are read and counted at each opening: most stores, in a few milliseconds. So damage
/// in them is found then, and not when a record is next needed.
const COUNTED: u64 = 1 << 20;

/// Rows that are read at a time.
const COUNT_STEP: usize = 500;

/// Reads every row; the totals tell whether any is missing, or is an old one. Returns the sum of their digests.
fn count(store: &dyn Store, counters: &Counters) -> Result<u64, StoreError> {
    let (mut from, mut bytes, mut digest) = (vec![0], 0, 0_u64);
    loop {
        let rows = store.scan(&from, &[u8::MAX], Direction::Up, COUNT_STEP)?;
        let Some((last, _)) = rows.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in rows.iter().filter(|(key, _)| key.first() != Some(&schema::META)) {
            bytes += (key.len() + value.len()) as u64;
            digest = digest.wrapping_add(schema::digest(key, value));
        }
    }
    if bytes == counters.live_bytes && counters.digest.is_none_or(|expected| expected == digest) {
        return Ok(digest);
    }
    let expected = counters.live_bytes;
    Err(StoreError::Damaged(format!("there should be {expected} bytes of records, and are {bytes}, or old ones")))
}

/// Lets a new store go on with the numbers of the one that it replaces, in the same process: what is under way knows
/// requests, messages and outcomes by them.
///
/// # Errors
/// The store failed.
pub(crate) fn follow(store: &mut dyn Store, last: &Counters, counters: Counters) -> Result<Counters, StoreError> {
    let counters = Counters {
        run: last.run + 1,
        next_seq: last.next_seq,
        first_seq: last.next_seq,
        next_outgoing: last.next_outgoing,
        mark: last.mark,
        ..counters
    };
    store.apply(&[(schema::meta("counters"), Some(schema::encode(&counters)))])?;
    store.sync()?;
    Ok(counters)
}

/// Prepares a store for this run: finishes what a crash left in the journal, checks the schema, counts the run.
///
/// # Errors
/// The store failed, or a newer version wrote it.
pub fn open(store: &mut dyn Store) -> Result<Counters, StoreError> {
    let schema_key = schema::meta("schema");
    let found = store.get(&schema_key)?;
    if let Some(version) = found.as_ref().and_then(|bytes| bytes.first()).filter(|version| **version > schema::RECORD) {
        return Err(StoreError::TooNew(u64::from(*version)));
    }
    match found.map(|bytes| schema::decode::<u64>(&bytes, "the schema")).transpose()? {
        Some(found) if found > schema::SCHEMA => return Err(StoreError::TooNew(found)),
        Some(_) => journal::recover(store)?,
        None => {
            let below = store.scan(&[0], &[schema::META], Direction::Up, 1)?;
            let above = store.scan(&[schema::META + 1], &[u8::MAX], Direction::Up, 1)?;
            if !below.is_empty() || !above.is_empty() {
                return Err(StoreError::Damaged("there are records, but no schema version".into()));
            }
            store.apply(&[(schema_key, Some(schema::encode(&schema::SCHEMA)))])?;
        }
    }
    let key = schema::meta("counters");
    let mut counters = Counters::read(store.get(&key)?.as_deref())?;
    if store.is_bare() || counters.live_bytes <= COUNTED {
        counters.digest = Some(count(store, &counters)?);
    }
    crate::failpoint::pass("open-counted");
    counters.run += 1;
    counters.first_seq = counters.next_seq;
    store.apply(&[(key, Some(schema::encode(&counters)))])?;
    store.sync()?;
    Ok(counters)
}
