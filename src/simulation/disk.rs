//! The disk: what was written is seen, what was synced survives a power cut, and of the rest any
//! sectors of the journal may, and a prefix of what the registry was given.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::world::{Millis, World};
use crate::{
    ledger::{
        Disk, Files, MemFiles, Rules, State, Store, StoreError,
        store::{Direction, Op, Row},
        testing::{self, MemStore, Rows},
        view::{Image, View},
    },
    model::{Device, Registered, ThingName},
};

#[derive(Default)]
pub(super) struct DiskState {
    /// What the agent sees. The oracle looks at this and at the next only by their [`View`].
    pub(super) live: Image,
    /// What a power cut would leave.
    pub(super) durable: Image,
    journal: MemFiles,
    /// The rows of the registry, as they are seen.
    rows: Rows,
    durable_rows: Rows,
    unsynced: Vec<Vec<Op>>,
    pub(super) full: bool,
    /// A rewritten registry, which the next opening takes.
    copy: Option<Rows>,
    /// When a request was first seen on disk, by number.
    pub(super) accepted_at: BTreeMap<u64, Millis>,
    /// When a device's record was last written as disassociated by an outcome.
    ended_at: BTreeMap<String, Millis>,
    /// When it was last written as associated.
    associated_at: BTreeMap<String, Millis>,
    /// The first number that this incarnation gives.
    pub(super) first_seq: u64,
    /// The incarnation that it is of.
    begun: u64,
}

impl DiskState {
    /// What a crash leaves: all of it after a kill, after a power cut what was synced and a part of
    /// the rest.
    pub(super) fn crash(&mut self, rng: &mut fastrand::Rng) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let is_kill = rng.bool();
        let kept = if is_kill { unsynced.len() } else { rng.usize(0..=unsynced.len()) };
        for ops in &unsynced[..kept] {
            put(&mut self.durable_rows, ops);
        }
        self.rows = self.durable_rows.clone();
        if !is_kill {
            self.journal.crash(rng);
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
#[derive(Clone)]
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

impl SimDisk {
    fn lives(&self) -> Result<(), StoreError> {
        if self.world.lives(self.run) { Ok(()) } else { Err(StoreError::Io("the agent is dead".into())) }
    }

    /// Each access may be the last thing that the agent does, before it or after it.
    fn access(&self) -> Result<(), StoreError> {
        self.lives()?;
        if !self.world.fine() && self.world.chance(self.world.plan.crash) {
            self.world.note(|| "crash".into());
            self.world.state().crashed = true;
            self.world.changed.notify_waiters();
            return Err(StoreError::Io("crash".into()));
        }
        Ok(())
    }

    fn errs(&self) -> bool {
        let errs = !self.world.fine() && self.world.chance(self.world.plan.disk_error);
        if errs {
            self.world.note(|| "disk error".into());
        }
        errs
    }

    /// What the records say has to have been said by the cloud.
    fn watch(&self, new: &Image) {
        let now = self.world.now();
        let mut wrong = None;
        {
            let mut guard = self.world.state();
            let state = &mut *guard;
            let (disk, cloud) = (&mut state.disk, &state.cloud);
            for seq in new.state.requests().keys() {
                if disk.live.request(*seq).is_none() {
                    disk.accepted_at.insert(*seq, now);
                }
            }
            // What a crash left of the last groups is nothing that the agent did now.
            let begins = disk.begun != self.run;
            let changed: Vec<(ThingName, Device)> = new
                .state
                .devices()
                .iter()
                .filter_map(|(thing, changed)| Some((thing.clone(), changed.row.device.clone()?)))
                .filter(|_| !begins)
                .collect();
            for (thing, new) in changed {
                let (old, name) = (disk.live.device(&thing), thing.as_str());
                if old.as_ref() == Some(&new) {
                    continue;
                }
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
                            // When the cloud said it, and not when it is written: both may be in one
                            // group with the next outcome.
                            let said = answered.or(cloud.list_begun).unwrap_or(now);
                            disk.associated_at.insert(name.to_owned(), said);
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

    /// The totals and indexes, counted again from the objects, now and then; and at a start, that
    /// nothing durable is missing.
    fn check(&self, new: &Image) {
        let begins = {
            let mut guard = self.world.state();
            let disk = &mut guard.disk;
            let begins = disk.begun != self.run;
            if begins {
                disk.begun = self.run;
                disk.first_seq = new.state.counters.first_seq;
            }
            begins
        };
        let open_entries = new.totals().open_entries;
        if open_entries > self.world.plan.max_pending {
            self.world.violate(9, format!("{open_entries} entries are pending"));
        }
        if begins {
            let lost = {
                let state = self.world.state();
                let durable = &state.disk.durable;
                let is_lost = |seq: &u64| new.request(*seq).is_none();
                let lost: Vec<u64> = durable.requests().iter().map(|one| one.seq).filter(is_lost).collect();
                lost
            };
            if !lost.is_empty() {
                self.world.violate(7, format!("requests {lost:?} were durable, and are gone"));
            }
        }
        if begins || self.world.chance(0.02) {
            let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                testing::recount(new, &self.rules);
            }));
            if let Err(panic) = counted {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                self.world.violate(7, format!("totals and objects differ: {text}"));
            }
        }
    }
}

impl Disk for SimDisk {
    type Files = SimFiles;
    type Registry = SimStore;

    fn open_journal(&self) -> Result<SimFiles, StoreError> {
        self.access()?;
        let files = self.world.state().disk.journal.clone();
        Ok(SimFiles { disk: self.clone(), files })
    }

    fn open_registry(&self) -> Result<SimStore, StoreError> {
        self.access()?;
        if self.errs() {
            return Err(StoreError::Io("input/output error".into()));
        }
        let disk = &mut self.world.state().disk;
        if disk.full {
            return Err(StoreError::Full);
        }
        if let Some(copy) = disk.copy.take() {
            disk.unsynced.clear();
            disk.rows.clone_from(&copy);
            disk.durable_rows = copy;
        }
        Ok(SimStore { disk: self.clone(), failed: false })
    }

    fn quarantine_registry(&self, _: i64) -> std::io::Result<PathBuf> {
        self.world.violate(7, "the registry is taken for damaged");
        Ok(PathBuf::new())
    }

    fn discard_registry(&self) -> std::io::Result<()> {
        self.world.violate(7, "the registry is taken for one that was never made");
        Ok(())
    }

    fn quarantine_all(&self, _: i64) -> std::io::Result<PathBuf> {
        self.world.violate(7, "the journal is taken for damaged");
        Ok(PathBuf::new())
    }

    fn owner(&self) -> String {
        "MyCore eu-central-1".into()
    }

    /// Small, so that there are checkpoints.
    fn segment(&self) -> u64 {
        96 << 10
    }

    fn observe(&self, state: &State, durable: bool) {
        if !self.world.lives(self.run) {
            return;
        }
        let rows = self.world.state().disk.rows.clone();
        let image = Image { state: state.clone(), registry: MemStore { rows } };
        self.watch(&image);
        if durable {
            self.check(&image);
            self.world.state().disk.durable = image.clone();
        }
        self.world.state().disk.live = image;
    }
}

/// The segments of the journal.
pub(super) struct SimFiles {
    disk: SimDisk,
    files: MemFiles,
}

impl Files for SimFiles {
    fn list(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.disk.lives()?;
        self.files.list()
    }

    fn create(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.disk.access()?;
        self.files.set_full(self.disk.world.state().disk.full);
        self.files.create(number, length)
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        self.disk.lives()?;
        self.files.read(number, offset, buffer)
    }

    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.access()?;
        if self.disk.errs() {
            self.files.fail_writes(1);
        }
        self.files.write(number, offset, bytes)?;
        self.disk.access()
    }

    fn sync(&mut self, number: u32) -> Result<(), StoreError> {
        self.disk.access()?;
        if self.disk.errs() {
            self.files.fail_syncs(1);
        }
        self.files.sync(number)?;
        self.disk.access()
    }

    fn keep_copy(&self, _: &str) -> Result<PathBuf, StoreError> {
        self.disk.world.violate(7, "the journal is taken for damaged");
        Ok(PathBuf::new())
    }
}

pub(super) struct SimStore {
    disk: SimDisk,
    /// After an error nothing works until the registry is opened again.
    failed: bool,
}

impl SimStore {
    fn access(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Io("the registry failed before".into()));
        }
        self.disk.access()?;
        if self.disk.errs() {
            self.failed = true;
            return Err(StoreError::Io("input/output error".into()));
        }
        self.failed = self.disk.world.state().disk.full;
        if self.failed { Err(StoreError::Full) } else { Ok(()) }
    }

    fn reads(&self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Io("the registry failed before".into()));
        }
        self.disk.lives()
    }
}

impl Store for SimStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reads()?;
        Ok(self.disk.world.state().disk.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.reads()?;
        if from >= to {
            return Ok(Vec::new());
        }
        let state = self.disk.world.state();
        let rows = state.disk.rows.range(from.to_vec()..to.to_vec()).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Up => rows.take(limit).collect(),
            Direction::Down => rows.rev().take(limit).collect(),
        })
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        self.access()?;
        {
            let mut state = self.disk.world.state();
            put(&mut state.disk.rows, ops);
            state.disk.unsynced.push(ops.to_vec());
        }
        self.disk.access()
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.access()?;
        {
            let mut guard = self.disk.world.state();
            let disk = &mut guard.disk;
            for ops in std::mem::take(&mut disk.unsynced) {
                put(&mut disk.durable_rows, &ops);
            }
        }
        self.disk.access()
    }

    /// Enough to be rewritten once in a life.
    fn size(&self) -> u64 {
        65 << 20
    }

    fn rewrite(&mut self) -> Result<bool, StoreError> {
        self.access()?;
        {
            let mut guard = self.disk.world.state();
            let disk = &mut guard.disk;
            if disk.full {
                return Ok(false);
            }
            disk.copy = Some(disk.rows.clone());
        }
        // The copy is complete, and this registry would go on, too.
        if !self.disk.world.fine() && self.disk.world.chance(0.2) {
            return Err(StoreError::Io("input/output error at the end of the copy".into()));
        }
        self.disk.access()?;
        Ok(true)
    }
}
