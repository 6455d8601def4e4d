//! The disk: what was applied is seen, what was synced survives a power cut, and of the rest a
//! prefix may.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::world::{Millis, World};
use crate::{
    ledger::{
        Direction, Disk, Op, Row, Rules, Store, StoreError,
        testing::{self, MemStore},
        view::{Rows, View, Written, written},
    },
    model::Registered,
};

#[derive(Default)]
pub(super) struct DiskState {
    /// What the agent sees. The oracle looks at this and at the next only by their [`View`].
    pub(super) live: Rows,
    /// What a power cut would leave.
    pub(super) durable: Rows,
    unsynced: Vec<Vec<Op>>,
    pub(super) full: bool,
    /// A rewritten store, which the next opening takes.
    copy: Option<Rows>,
    /// When a request was first seen on disk, by number.
    pub(super) accepted_at: BTreeMap<u64, Millis>,
    /// When a device's record was last written as taken off by an outcome.
    ended_at: BTreeMap<String, Millis>,
    /// When it was last written as associated.
    associated_at: BTreeMap<String, Millis>,
    /// The first number that this incarnation gives.
    pub(super) first_seq: u64,
    /// The incarnation that it is of.
    begun: u64,
}

impl DiskState {
    /// What a crash leaves: all of it after a kill, after a power cut what was synced and a prefix
    /// of the rest.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let kept = if rng.bool() { unsynced.len() } else { rng.usize(0..=unsynced.len()) };
        for ops in &unsynced[..kept] {
            put(&mut self.durable, ops);
        }
        self.live = self.durable.clone();
    }
}

fn put(rows: &mut Rows, ops: &[Op]) {
    for (key, value) in ops {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
}

/// The disk as an incarnation of the agent sees it.
pub(super) struct SimDisk {
    pub(super) world: World,
    pub(super) rules: Arc<Rules>,
    pub(super) run: u64,
}

impl std::fmt::Display for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the simulated disk")
    }
}

impl Disk for SimDisk {
    type Store = SimStore;

    fn open(&self) -> Result<SimStore, StoreError> {
        let mut store = SimStore {
            world: self.world.clone(),
            rules: Arc::clone(&self.rules),
            run: self.run,
            failed: false,
            opened: false,
        };
        store.access()?;
        let disk = &mut self.world.state().disk;
        if disk.full {
            return Err(StoreError::Full);
        }
        if let Some(copy) = disk.copy.take() {
            disk.unsynced.clear();
            disk.live.clone_from(&copy);
            disk.durable = copy;
        }
        Ok(store)
    }

    fn move_aside(&self, _: i64) -> std::io::Result<PathBuf> {
        self.world.violate(7, "the store is taken for damaged");
        Ok(PathBuf::new())
    }
}

pub(super) struct SimStore {
    world: World,
    rules: Arc<Rules>,
    run: u64,
    /// After an error nothing works until the store is opened again.
    failed: bool,
    opened: bool,
}

impl SimStore {
    /// Each access may be the last thing that the agent does, before it or after it.
    fn access(&mut self) -> Result<(), StoreError> {
        let world = self.world.clone();
        if self.failed || !world.lives(self.run) {
            return Err(StoreError::Io("the agent is dead, or the store failed before".into()));
        }
        if !world.fine() && world.chance(world.plan.crash) {
            world.note(|| "crash".into());
            world.state().crashed = true;
            world.changed.notify_waiters();
            return Err(StoreError::Io("crash".into()));
        }
        if !world.fine() && world.chance(world.plan.disk_error) {
            self.failed = true;
            world.note(|| "disk error".into());
            return Err(StoreError::Io("input/output error".into()));
        }
        Ok(())
    }

    fn full(&mut self) -> Result<(), StoreError> {
        self.failed |= self.world.state().disk.full;
        if self.failed { Err(StoreError::Full) } else { Ok(()) }
    }

    /// What the records say has to have been said by the cloud.
    fn watch(&self, ops: &[Op]) {
        let now = self.world.now();
        let mut wrong = None;
        {
            let mut guard = self.world.state();
            let state = &mut *guard;
            let (disk, cloud) = (&mut state.disk, &state.cloud);
            for object in written(ops) {
                let (thing, new) = match object {
                    Written::Request(seq) => {
                        if disk.live.request(seq).is_none() {
                            disk.accepted_at.insert(seq, now);
                        }
                        continue;
                    }
                    Written::Device(thing, new) => (thing, new),
                };
                let (old, name) = (disk.live.device(&thing), thing.as_str());
                let was = old.as_ref().map(|old| old.registered);
                match new.registered {
                    Registered::Associated => {
                        if was != Some(Registered::Associated) {
                            let ended = disk.ended_at.get(name).copied().unwrap_or(Millis::MIN);
                            let answered = cloud.joined.get(name).copied().filter(|joined| *joined >= ended);
                            if answered.is_none() && cloud.list_begun.is_none_or(|begun| begun < ended) {
                                wrong =
                                    Some((6, format!("{name} is associated again by a list older than its outcome")));
                            }
                            // When it was told, and not when it is written: both may be in one
                            // group with the next outcome.
                            let told = answered.or(cloud.list_begun).unwrap_or(now);
                            disk.associated_at.insert(name.to_owned(), told);
                        }
                    }
                    Registered::Disassociated => {
                        let since = disk.associated_at.get(name).copied().unwrap_or(Millis::MIN);
                        if was == Some(Registered::Associated) && cloud.gone.get(name).is_none_or(|gone| *gone < since)
                        {
                            wrong = Some((6, format!("{name} is removed, and no complete list or answer said so")));
                        }
                        if old.is_none_or(|old| old.mark != new.mark) {
                            disk.ended_at.insert(name.to_owned(), now);
                        }
                    }
                }
            }
        }
        if let Some((invariant, text)) = wrong {
            self.world.violate(invariant, text);
        }
    }

    /// The totals and indexes, counted again from the records, now and then.
    fn check(&mut self) {
        let first = !std::mem::replace(&mut self.opened, true);
        let (open_entries, sequence) = {
            let durable = &self.world.state().disk.durable;
            (durable.totals().open_entries, durable.sequence())
        };
        if open_entries > self.world.plan.max_pending {
            self.world.violate(9, format!("{open_entries} entries are pending"));
        }
        // A store that is opened again within a life is no start.
        let mut state = self.world.state();
        if state.disk.begun != self.run {
            state.disk.begun = self.run;
            state.disk.first_seq = sequence;
        }
        drop(state);
        if first || self.world.chance(0.02) {
            let mut store = MemStore::default();
            store.rows.clone_from(&self.world.state().disk.durable);
            let rules = Arc::clone(&self.rules);
            let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                testing::recount(&store, &rules);
            }));
            if let Err(panic) = counted {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                self.world.violate(7, format!("totals and records differ: {text}"));
            }
        }
    }
}

impl Store for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.failed || !self.world.lives(self.run) {
            return Err(StoreError::Io("the store failed before".into()));
        }
        Ok(self.world.state().disk.live.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        if self.failed || !self.world.lives(self.run) {
            return Err(StoreError::Io("the store failed before".into()));
        }
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.world.state();
        let rows = state.disk.live.range(from.to_vec()..to.to_vec()).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Up => rows.take(limit).collect(),
            Direction::Down => rows.rev().take(limit).collect(),
        })
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        self.access()?;
        self.full()?;
        self.watch(ops);
        {
            let mut state = self.world.state();
            put(&mut state.disk.live, ops);
            state.disk.unsynced.push(ops.to_vec());
        }
        self.access()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.access()?;
        self.full()?;
        {
            let mut guard = self.world.state();
            let disk = &mut guard.disk;
            for ops in std::mem::take(&mut disk.unsynced) {
                put(&mut disk.durable, &ops);
            }
        }
        self.check();
        self.access()
    }

    /// Enough to be rewritten once in a life.
    fn size(&self) -> u64 {
        65 << 20
    }

    fn rewrite(&mut self) -> Result<bool, StoreError> {
        self.access()?;
        {
            let mut guard = self.world.state();
            let disk = &mut guard.disk;
            if disk.full {
                return Ok(false);
            }
            disk.copy = Some(disk.live.clone());
        }
        // The copy is complete, and this store would go on, too.
        if !self.world.fine() && self.world.chance(0.2) {
            return Err(StoreError::Io("input/output error at the end of the copy".into()));
        }
        self.access()?;
        Ok(true)
    }
}
