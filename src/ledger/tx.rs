//! A transaction: what a rule reads and writes before it is committed.
//!
//! Transactions run one after the other on one thread. Each sees what the earlier ones of its group wrote, and the
//! group is then made durable as one.

use std::{collections::BTreeMap, ops::Bound};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Rules, journal,
    schema::{self, Counters, Load},
    store::{Direction, Op, Row, Store, StoreError},
};
use crate::model::{Device, DeviceState, Lane, Now, Registered, Request, RequestStatus, Target};

/// What a commit may have given others to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Work to send, or a sync to run.
    pub work: bool,
    /// Messages to publish.
    pub outgoing: bool,
    /// Retained device messages to publish.
    pub devices: bool,
}

/// What ended and was sent again in a transaction, for whoever counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Requests, by their status in the order of [`RequestStatus::ALL`].
    pub requests: [u64; RequestStatus::ALL.len()],
    /// Entries that ended well.
    pub succeeded: u64,
    /// Entries that did not.
    pub failed: u64,
    /// Entries taken for a call, not for the first time.
    pub retried: u64,
}

impl Ended {
    pub(super) fn add(&mut self, more: &Self) {
        for (count, more) in self.requests.iter_mut().zip(more.requests) {
            *count += more;
        }
        self.succeeded += more.succeeded;
        self.failed += more.failed;
        self.retried += more.retried;
    }
}

/// What was written: keys with their new values, `None` where deleted.
type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What is applied atomically; small transactions share one.
#[derive(Debug, Default)]
struct Batch {
    writes: Writes,
    /// The totals at its end.
    counters: Counters,
}

/// Transactions that become durable together.
#[derive(Debug, Default)]
pub struct Group {
    batches: Vec<Batch>,
    /// The totals, once they were read.
    counters: Option<Counters>,
    /// What was touched, over all of them.
    pub touched: Touched,
    /// What ended, over all of them.
    pub ended: Ended,
}

impl Group {
    /// Applies all of it to the store; durable after its next sync.
    ///
    /// # Errors
    /// The store failed; it is to be opened again.
    pub fn apply(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        for batch in std::mem::take(&mut self.batches) {
            apply(store, batch)?;
        }
        Ok(())
    }

    /// Applies what no later transaction can join any more, which bounds the memory of a group, and what each read of it
    /// has to look through.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_full(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let full = self.batches.len().saturating_sub(1);
        self.batches.drain(..full).try_for_each(|batch| apply(store, batch))
    }

    /// Whether there is nothing to apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    fn written(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.batches.iter().rev().find_map(|batch| batch.writes.get(key))
    }
}

fn apply(store: &mut dyn Store, batch: Batch) -> Result<(), StoreError> {
    let counters = (schema::meta("counters"), Some(schema::encode(&batch.counters)));
    let ops: Vec<Op> = batch.writes.into_iter().chain([counters]).collect();
    journal::apply(store, &ops)
}

/// A transaction in a group. A rule that fails with an error takes its whole group with it; a rule that merely
/// refuses does so before it writes.
pub struct Tx<'a> {
    store: &'a dyn Store,
    group: &'a mut Group,
    writes: Writes,
    before: Counters,
    /// Totals; written with the rest.
    pub counters: Counters,
    /// The clocks, read once.
    pub now: Now,
    /// Limits and guards.
    pub rules: &'a Rules,
    pub(super) touched: Touched,
    pub(super) ended: Ended,
}

impl<'a> Tx<'a> {
    /// Begins a transaction.
    ///
    /// # Errors
    /// The totals could not be read.
    pub fn begin(store: &'a dyn Store, group: &'a mut Group, now: Now, rules: &'a Rules) -> Result<Self, StoreError> {
        let counters = match &group.counters {
            Some(counters) => counters.clone(),
            None => Counters::read(store.get(&schema::meta("counters"))?.as_deref())?,
        };
        Ok(Self {
            store,
            group,
            writes: Writes::new(),
            before: counters.clone(),
            counters,
            now,
            rules,
            touched: Touched::default(),
            ended: Ended::default(),
        })
    }

    /// Ends it: what it wrote joins the group. Tells whether there was anything.
    pub fn end(self) -> bool {
        let Self { group, writes, before, counters, touched, ended, .. } = self;
        group.ended.add(&ended);
        group.touched.work |= touched.work;
        group.touched.outgoing |= touched.outgoing;
        group.touched.devices |= touched.devices;
        if writes.is_empty() && counters == before {
            return false;
        }
        match group.batches.last_mut() {
            // With the totals.
            Some(last) if last.writes.len() + writes.len() < journal::MAX_OPS => {
                last.writes.extend(writes);
                last.counters.clone_from(&counters);
            }
            _ => group.batches.push(Batch { writes, counters: counters.clone() }),
        }
        group.counters = Some(counters);
        true
    }

    /// Writes so far: a rule with much to do stops at [`Self::FULL`] and goes on in another transaction.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.writes.len() >= Self::FULL
    }

    /// Below the store's batch by the most that one step of a rule writes.
    const FULL: usize = journal::MAX_OPS - 56;

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.writes.get(key).or_else(|| self.group.written(key)) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(key),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, key: &[u8], what: &str) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|bytes| schema::decode(&bytes, what)).transpose()
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        if let Some(old) = self.get(&key)? {
            self.uncount(&key, &old);
        }
        self.counters.live_bytes += (key.len() + value.len()) as u64;
        let digest = self.counters.digest;
        self.counters.digest = digest.map(|sum| sum.wrapping_add(schema::digest(&key, &value)));
        self.writes.insert(key, Some(value));
        Ok(())
    }

    pub(super) fn write<T: Serialize>(&mut self, key: Vec<u8>, record: &T) -> Result<(), StoreError> {
        self.put(key, schema::encode(record))
    }

    fn uncount(&mut self, key: &[u8], old: &[u8]) {
        self.counters.live_bytes = self.counters.live_bytes.saturating_sub((key.len() + old.len()) as u64);
        let digest = self.counters.digest;
        self.counters.digest = digest.map(|sum| sum.wrapping_sub(schema::digest(key, old)));
    }

    /// Deletes a row and tells whether there was one.
    pub(super) fn delete(&mut self, key: Vec<u8>) -> Result<bool, StoreError> {
        let Some(old) = self.get(&key)? else { return Ok(false) };
        self.uncount(&key, &old);
        self.writes.insert(key, None);
        Ok(true)
    }

    /// At most `limit` rows of `from..to`, with what the group wrote.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let range = (Bound::Included(from), Bound::Excluded(to));
        let earlier = self.group.batches.iter().map(|batch| &batch.writes);
        let changed = earlier.chain([&self.writes]).flat_map(|writes| writes.range::<[u8], _>(range));
        // Of several the last.
        let changed: BTreeMap<_, _> = changed.collect();
        if changed.is_empty() {
            return self.store.scan(from, to, direction, limit);
        }
        // Enough of the store's rows that `limit` are left when the deleted ones are gone.
        let rows = self.store.scan(from, to, direction, limit.saturating_add(changed.len()))?;
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
        for (key, value) in changed {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(match direction {
            Direction::Up => merged.into_iter().take(limit).collect(),
            Direction::Down => merged.into_iter().rev().take(limit).collect(),
        })
    }

    /// The first rows with `prefix`.
    pub(super) fn scan_prefix(&self, prefix: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let (from, to) = schema::range(prefix);
        self.scan(&from, &to, Direction::Up, limit)
    }

    pub(super) fn request(&self, seq: u64) -> Result<Option<Request>, StoreError> {
        let request: Option<Request> = self.read(&schema::request(seq), "a request")?;
        match request {
            Some(request) if request.seq != seq || !request.tally.is_sound() => {
                Err(StoreError::Damaged(format!("request {seq} does not add up")))
            }
            request => Ok(request),
        }
    }

    /// As [`Self::request`], where an index says that there is one.
    pub(super) fn known_request(&self, seq: u64) -> Result<Request, StoreError> {
        self.request(seq)?.ok_or_else(|| StoreError::Damaged(format!("request {seq} is missing")))
    }

    pub(super) fn device(&self, thing: &str) -> Result<Option<Device>, StoreError> {
        let read = |registered| self.read(&schema::device(registered, thing), "a device");
        match read(Registered::Associated)? {
            None => read(Registered::Disassociated),
            device => Ok(device),
        }
    }

    pub(super) fn work_of(&self, target: &Target) -> Result<Option<schema::Work>, StoreError> {
        self.read(&schema::work(target), "work")
    }

    /// Totals as `status` shows them.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.counters)
    }
}

/// What others see of the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    associated: u64,
    associating: u64,
    disassociating: u64,
    disassociated: u64,
    /// Entries that have not ended.
    pub pending_entries: u64,
    /// Requests that have not ended.
    pub open_requests: u64,
    loads: [Load; Lane::ALL.len()],
    /// Bytes of all keys and values.
    pub live_bytes: u64,
    /// The number that the next request gets.
    pub next_seq: u64,
    /// The same when this run opened the store: everything below is left over.
    pub first_seq: u64,
    /// Counts the openings.
    pub run: u64,
    /// Bytes that the store takes on its disk, looked at now and then.
    pub store_bytes: u64,
}

impl Summary {
    pub(super) fn of(counters: &Counters) -> Self {
        Self {
            associated: counters.associated,
            associating: counters.associating,
            disassociating: counters.disassociating,
            disassociated: counters.disassociated,
            pending_entries: counters.open_entries,
            open_requests: counters.open_requests,
            loads: Lane::ALL.map(|lane| counters.loads.get(&lane).copied().unwrap_or_default()),
            live_bytes: counters.live_bytes,
            next_seq: counters.next_seq,
            first_seq: counters.first_seq,
            run: counters.run,
            store_bytes: 0,
        }
    }

    /// Devices in a state.
    #[must_use]
    pub fn devices(&self, state: DeviceState) -> u64 {
        match state {
            DeviceState::Associated => self.associated,
            DeviceState::Associating => self.associating,
            DeviceState::Disassociating => self.disassociating,
            DeviceState::Disassociated => self.disassociated,
        }
    }
    /// What there is to do in a lane.
    #[must_use]
    pub fn load(&self, lane: Lane) -> Load {
        self.loads[lane.index()]
    }

    /// Work of any lane that waits for a list.
    #[must_use]
    pub fn verifying(&self) -> u64 {
        self.loads.iter().map(|load| load.verifying).sum()
    }
}
