//! A transaction: what a rule reads and writes before it is committed.
//!
//! Transactions run one after the other on one thread. Each sees what the earlier ones of its group wrote, and the
//! group is then made durable as one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Rules, journal,
    schema::{self, Counters, Load},
    store::{Direction, Op, Row, Store, StoreError},
};
use crate::model::{Device, DeviceState, Lane, Now, Request, RequestStatus, Target};

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

/// Transactions that become durable together.
#[derive(Debug, Default)]
pub struct Group {
    overlay: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Each is applied atomically; small transactions share one.
    batches: Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    /// What was touched, over all of them.
    pub touched: Touched,
    /// What ended, over all of them.
    pub ended: Ended,
}

impl Group {
    /// Writes that wait.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.batches.iter().map(BTreeMap::len).sum()
    }

    /// Applies all of it to the store; durable after its next sync.
    ///
    /// # Errors
    /// The store failed; it is to be opened again.
    pub fn apply(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        for batch in std::mem::take(&mut self.batches) {
            let ops: Vec<Op> = batch.into_iter().collect();
            journal::apply(store, &ops)?;
        }
        self.overlay.clear();
        Ok(())
    }
}

/// A transaction in a group. A rule that fails with an error takes its whole group with it; a rule that merely
/// refuses does so before it writes.
pub struct Tx<'a> {
    store: &'a dyn Store,
    group: &'a mut Group,
    written: BTreeSet<Vec<u8>>,
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
        let key = schema::meta("counters");
        let bytes = match group.overlay.get(&key) {
            Some(value) => value.clone(),
            None => store.get(&key)?,
        };
        let counters = Counters::read(bytes.as_deref())?;
        Ok(Self {
            store,
            group,
            written: BTreeSet::new(),
            before: counters.clone(),
            counters,
            now,
            rules,
            touched: Touched::default(),
            ended: Ended::default(),
        })
    }

    /// Ends it: what it wrote joins the group. Tells whether there was anything.
    pub fn end(mut self) -> bool {
        if self.counters != self.before {
            self.put_raw(schema::meta("counters"), Some(schema::encode(&self.counters)));
        }
        self.group.ended.add(&self.ended);
        let Touched { work, outgoing, devices } = self.touched;
        self.group.touched.work |= work;
        self.group.touched.outgoing |= outgoing;
        self.group.touched.devices |= devices;
        if self.written.is_empty() {
            return false;
        }
        let ops = self.written.iter().map(|key| (key.clone(), self.group.overlay.get(key).cloned().flatten()));
        let ops: Vec<Op> = ops.collect();
        match self.group.batches.last_mut() {
            // The totals stand in both.
            Some(last) if last.len() + ops.len() <= journal::MAX_OPS => last.extend(ops),
            _ => self.group.batches.push(ops.into_iter().collect()),
        }
        true
    }

    /// Writes so far: a rule with much to do stops at [`Self::FULL`] and goes on in another transaction.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.written.len() >= Self::FULL
    }

    /// Below the store's batch by the most that one step of a rule writes.
    const FULL: usize = journal::MAX_OPS - 56;

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.group.overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(key),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, key: &[u8], what: &str) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|bytes| schema::decode(&bytes, what)).transpose()
    }

    fn put_raw(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.group.overlay.insert(key.clone(), value);
        self.written.insert(key);
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        if let Some(old) = self.get(&key)? {
            self.uncount(&key, &old);
        }
        self.counters.live_bytes += (key.len() + value.len()) as u64;
        let digest = self.counters.digest;
        self.counters.digest = digest.map(|sum| sum.wrapping_add(schema::digest(&key, &value)));
        self.put_raw(key, Some(value));
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
        self.put_raw(key, None);
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
        let changed: Vec<_> = self.group.overlay.range(from.to_vec()..to.to_vec()).collect();
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
        self.read(&schema::device(thing), "a device")
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
