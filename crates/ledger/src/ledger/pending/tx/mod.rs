//! A transaction: what one step of a rule changes of the state, to be made durable or undone.
//!
//! Transactions run one after the other on one thread. Each changes the state in memory at once, so
//! that the next one sees it. A [`Group`] collects what several of them changed: its images go into
//! the journal as one, and if that fails, or a rule does, the old values are put back.

mod entries;
mod records;

use std::sync::Arc;

use super::{
    counters::Counters,
    group::{Ended, Group, Touched},
    object::{ChangeNumber, Changed, Forgotten, Kept, Key, Listed, Outgoing, Progress, Slot},
    state::{State, Undo},
    summary::{self, Summary},
    work::{Place, Work},
};
use crate::{
    domain::{Access, ClientId, ClientToken, Device, Now, Request, Target, ThingName},
    ledger::{
        Rules,
        registry::{
            rows,
            store::{Direction, Row, Store, StoreError},
        },
    },
};

/// A transaction.
pub struct Tx<'a> {
    pub(crate) state: &'a mut State,
    pub(in crate::ledger::pending) registry: &'a dyn Store,
    group: &'a mut Group,
    undo: Vec<Undo>,
    before: Counters,
    /// The clocks, read once.
    pub now: Now,
    /// Limits and guards.
    pub rules: &'a Rules,
    pub(in crate::ledger::pending) touched: Touched,
    pub(in crate::ledger::pending) ended: Ended,
}

impl<'a> Tx<'a> {
    /// Begins a transaction.
    #[must_use]
    pub(crate) fn begin(
        state: &'a mut State,
        registry: &'a dyn Store,
        group: &'a mut Group,
        now: Now,
        rules: &'a Rules,
    ) -> Self {
        let before = state.counters;
        state.counters.elapsed = state.counters.elapsed.at(now);
        let (touched, ended) = (Touched::default(), Ended::default());
        Self { state, registry, group, undo: Vec::new(), before, now, rules, touched, ended }
    }

    /// Ends it: what it changed joins the group. Returns whether there was anything.
    pub(crate) fn end(self) -> bool {
        let Self { state, group, undo, before, touched, ended, .. } = self;
        group.ended.add(&ended);
        group.touched.work |= touched.work;
        group.touched.outgoing |= touched.outgoing;
        group.touched.devices |= touched.devices;
        group.touched.access |= touched.access;
        let changed = !undo.is_empty() || state.counters.differ(&before);
        if changed {
            group.before.get_or_insert(before);
            group.undo.extend(undo);
        }
        changed
    }

    /// Undoes it: the rule failed.
    pub(crate) fn abort(self) {
        let Self { state, undo, before, .. } = self;
        for undo in undo.into_iter().rev() {
            state.undo(undo);
        }
        state.counters = Counters { elapsed: state.counters.elapsed, ..before };
    }

    /// The time that the agent knows to have passed, in milliseconds.
    #[must_use]
    pub fn elapsed(&self) -> u64 {
        self.state.counters.elapsed.millis
    }

    /// Notes that the cloud confirms the wall clock: time between two boots counts now.
    pub fn confirm_clock(&mut self) {
        self.state.counters.elapsed = self.state.counters.elapsed.confirmed_at(self.now);
    }

    fn changed(&mut self, key: Key, undo: Undo) {
        self.undo.push(undo);
        self.group.changed.insert(key);
    }

    pub(in crate::ledger::pending) fn put_request(&mut self, seq: u64, new: Option<Kept>) {
        let old = self.state.put_request(seq, new);
        self.changed(Key::Request(seq), Undo::Request(seq, old.map(Box::new)));
    }

    fn put_progress(&mut self, seq: u64, new: Progress) {
        if let Some(old) = self.state.put_progress(seq, new) {
            self.changed(Key::Progress(seq), Undo::Progress(seq, old));
        }
    }

    fn put_slot(&mut self, (seq, index): Place, new: Slot) {
        if let Some(old) = self.state.put_slot(seq, index, new) {
            self.changed(Key::Slot(seq, index), Undo::Slot(seq, index, old));
        }
    }

    pub(in crate::ledger::pending) fn put_forgotten(&mut self, seq: u64, new: Forgotten) {
        let old = self.state.put_forgotten(seq, Some(new));
        self.changed(Key::Forgotten(seq), Undo::Forgotten(seq, old));
    }

    pub(in crate::ledger::pending) fn put_owed(&mut self, n: u64, new: Option<Outgoing>) -> Option<Outgoing> {
        let old = self.state.put_owed(n, new);
        self.changed(Key::Owed(n), Undo::Owed(n, old));
        old
    }

    pub(in crate::ledger::pending) fn put_unacknowledged(&mut self, hash: [u8; 32], new: Option<u64>) {
        let old = self.state.put_unacknowledged(hash, new);
        self.changed(Key::Unacknowledged(hash), Undo::Unacknowledged(hash, old));
    }

    pub(in crate::ledger::pending) fn put_outdated(&mut self, thing: &ThingName, new: Option<u64>) {
        let old = self.state.put_outdated(thing, new);
        self.changed(Key::Outdated(thing.clone()), Undo::Outdated(thing.clone(), old));
    }

    fn put_access(&mut self, thing: &ThingName, new: Option<Access>) {
        let old = self.state.put_access(thing, new);
        self.changed(Key::Access(thing.clone()), Undo::Access(thing.clone(), old));
    }

    pub(in crate::ledger::pending) fn put_device(&mut self, thing: &ThingName, new: Changed) {
        let old = self.state.put_device(thing, Some(new));
        self.changed(Key::Device(thing.clone()), Undo::Device(thing.clone(), old.map(Box::new)));
    }

    /// The request with that number: open, or finished and kept.
    pub(in crate::ledger::pending) fn request(&self, seq: u64) -> Result<Option<Request>, StoreError> {
        match self.state.request(seq) {
            Some(kept) => Ok(Some(kept.request.clone())),
            None if self.state.forgotten().contains_key(&seq) => Ok(None),
            None => self.registry.get(&rows::request(seq))?.map(|row| rows::decode_request(seq, &row)).transpose(),
        }
    }

    /// The number of a client's request with that token.
    pub(in crate::ledger::pending) fn find(
        &self,
        client: &ClientId,
        token: &ClientToken,
    ) -> Result<Option<u64>, StoreError> {
        if let Some(seq) = self.state.find(client, token) {
            return Ok(Some(seq));
        }
        match self.registry.get(&rows::token(client, token))? {
            Some(row) => Ok(Some(rows::read_seq(&row)?).filter(|seq| !self.state.forgotten().contains_key(seq))),
            None => Ok(None),
        }
    }

    /// As [`Self::request`], where an index says that the request is open.
    pub(in crate::ledger::pending) fn open_request(&self, seq: u64) -> Result<&Request, StoreError> {
        let kept = self.state.request(seq).ok_or_else(|| defect(format!("request {seq} is not open")))?;
        Ok(&kept.request)
    }

    /// A device's row with the bytes that the registry has of it.
    pub(in crate::ledger::pending) fn device_row(&self, thing: &ThingName) -> Result<Changed, StoreError> {
        if let Some(changed) = self.state.devices().get(thing) {
            return Ok(changed.clone());
        }
        let key = rows::device(thing.as_str());
        match self.registry.get(&key)? {
            None => Ok(Changed::default()),
            Some(row) => {
                let stored = (key.len() + row.len()) as u64;
                Ok(Changed { row: Arc::new(rows::decode_device(&row)?), stored, change: ChangeNumber::default() })
            }
        }
    }

    /// Whether the cloud lists a device; `None` if the registry does not know it.
    pub(in crate::ledger::pending) fn listed(&self, thing: &ThingName) -> Result<Option<Listed>, StoreError> {
        match self.state.device(thing) {
            Some(row) => Ok(row.device.as_ref().map(Listed::from)),
            None => match self.registry.get(&rows::device(thing.as_str()))? {
                Some(row) => rows::decode_listed(&row),
                None => Ok(None),
            },
        }
    }

    /// A device of the registry.
    pub(in crate::ledger::pending) fn device(&self, thing: &ThingName) -> Result<Option<Device>, StoreError> {
        match self.state.device(thing) {
            Some(row) => Ok(row.device.clone()),
            None => Ok(Arc::unwrap_or_clone(self.device_row(thing)?.row).device),
        }
    }

    pub(in crate::ledger::pending) fn work_of(&self, target: &Target) -> Option<&Work> {
        self.state.work(target)
    }

    /// At most `limit` rows of the registry, from one end.
    pub(in crate::ledger::pending) fn scan(
        &self,
        (from, to): (Vec<u8>, Vec<u8>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.registry.scan(&from, &to, direction, limit)
    }

    /// Totals as `status` shows them.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(self.state)
    }

    /// Bytes of all that is kept: rows of the registry, and an estimate of what is in memory.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        summary::live_bytes(self.state)
    }
}

/// The state does not fit together: a defect of the agent, and no damage of the store.
pub(in crate::ledger::pending) fn defect(what: String) -> StoreError {
    StoreError::Defect(what)
}
