//! A registry and a data directory in memory, for tests of the rules and of the parts that use a
//! ledger.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use this; a panic fails them")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{
    Disk, Ledger, Rules, devices,
    journal::testing::MemFiles,
    pending::{Group, Tx, audit},
    registry::{
        rows,
        store::{Direction, Op, Row, Store, StoreError},
    },
    view::Image,
};
use crate::{
    domain::{DeviceState, Guard, Limits, Now, Pattern},
    runtime::clock::Clock,
};

/// Keys and values.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A registry that is a map in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemStore {
    /// Its content.
    pub rows: Rows,
}

impl Store for MemStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range(from.to_vec()..to.to_vec()).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match direction {
            Direction::Up => rows.take(limit).collect(),
            Direction::Down => rows.rev().take(limit).collect(),
        })
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        for (key, value) in ops {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A registry in memory that outlives its openings, and can be damaged.
#[derive(Clone, Default)]
pub struct Shared {
    /// The rows, and whether they are damaged.
    content: Arc<Mutex<(MemStore, bool)>>,
    size: Arc<AtomicU64>,
    has_one_handle: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
    copying: Arc<Copying>,
}

/// Whether copies have to wait, and the last one that ended, until it is taken.
#[derive(Default)]
struct Copying(Mutex<(bool, Option<MemStore>)>, Condvar);

impl Shared {
    /// Every access fails from now on, as after damage.
    pub fn damage(&self) {
        self.content.lock().unwrap().1 = true;
    }

    /// Its file takes so many bytes from now on.
    pub fn set_size(&self, bytes: u64) {
        self.size.store(bytes, Ordering::Relaxed);
    }

    /// It has no second handle from now on: the ledger writes the rows of a checkpoint itself, so
    /// that the number of its steps does not depend on the speed of a thread.
    pub fn have_one_handle(&self) {
        self.has_one_handle.store(true, Ordering::Relaxed);
    }

    /// Whether there is no room for rows.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Whether copies of it have to wait before they end.
    pub fn hold_copies(&self, are_held: bool) {
        self.copying.0.lock().unwrap().0 = are_held;
        self.copying.1.notify_all();
    }

    /// As at an opening: a copy takes its place.
    fn take_copy(&self) {
        if let Some(copy) = self.copying.0.lock().unwrap().1.take() {
            self.content.lock().unwrap().0 = copy;
            self.set_size(0);
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.content.lock().unwrap().0.rows.len()
    }

    /// Bytes of the rows of devices and requests.
    pub fn bytes(&self) -> u64 {
        let rows = &self.content.lock().unwrap().0.rows;
        rows.iter().filter(|(key, _)| key.first() != Some(&b'm')).map(|(key, row)| (key.len() + row.len()) as u64).sum()
    }

    fn checked(&self) -> Result<(), StoreError> {
        if self.content.lock().unwrap().1 { Err(StoreError::Damaged("by a test".into())) } else { Ok(()) }
    }
}

impl Store for Shared {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.checked()?;
        self.content.lock().unwrap().0.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.checked()?;
        self.content.lock().unwrap().0.scan(from, to, direction, limit)
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        self.checked()?;
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::Full);
        }
        self.content.lock().unwrap().0.apply(ops)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.checked()
    }

    fn writer(&self) -> Option<Box<dyn Store + Send>> {
        (!self.has_one_handle.load(Ordering::Relaxed)).then(|| Box::new(self.clone()) as _)
    }

    fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn rewrite(&mut self) -> Result<bool, StoreError> {
        self.checked()?;
        let copy = self.content.lock().unwrap().0.clone();
        let Copying(copies, released) = &*self.copying;
        let mut copies = released.wait_while(copies.lock().unwrap(), |(are_held, _)| *are_held).unwrap();
        copies.1 = Some(copy);
        Ok(true)
    }
}

/// A data directory in memory, which can be shared by several ledgers, one after the other.
#[derive(Clone)]
pub struct MemDisk {
    /// The journal.
    pub files: MemFiles,
    /// The registry.
    pub registry: Shared,
    /// How many registries were quarantined.
    quarantined: Arc<AtomicU64>,
}

impl Default for MemDisk {
    fn default() -> Self {
        Self { files: MemFiles::new(7), registry: Shared::default(), quarantined: Arc::default() }
    }
}

impl std::fmt::Display for MemDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a disk of a test")
    }
}

impl Disk for MemDisk {
    type Files = MemFiles;
    type Registry = Shared;

    fn open_journal(&self) -> Result<MemFiles, StoreError> {
        Ok(self.files.clone())
    }

    fn open_registry(&self) -> Result<Shared, StoreError> {
        self.registry.take_copy();
        Ok(self.registry.clone())
    }

    fn quarantine_registry(&self, _: i64) -> std::io::Result<PathBuf> {
        *self.registry.content.lock().unwrap() = (MemStore::default(), false);
        Ok(PathBuf::from(format!("quarantined-{}", self.quarantined.fetch_add(1, Ordering::Relaxed))))
    }

    fn discard_registry(&self) -> std::io::Result<()> {
        panic!("nothing is interrupted here")
    }

    fn quarantine_all(&self, _: i64) -> std::io::Result<PathBuf> {
        panic!("the journal is not damaged")
    }

    fn owner(&self) -> String {
        "MyCore r".into()
    }
}

/// The rules of an agent on the core device `MyCore` that serves all services, and whose other
/// settings are the defaults. A test of the agent compares them with its configuration.
pub fn rules() -> Rules {
    Rules {
        limits: Limits { max_payload_bytes: 130_000, max_pending_entries: 100_000, max_database_bytes: 256 << 20 },
        guard: Guard { protected: ["MyCore", "MyCore-offboard"].map(Pattern::new).to_vec(), max_fraction: 1.0 },
        publish_devices: false,
        local_access: false,
        off: Vec::new(),
    }
}

/// A ledger on that disk, and the task that runs it; time is that of the test.
pub fn start(disk: &MemDisk, rules: &Rules) -> (Ledger, JoinHandle<()>) {
    let clock = Clock::simulated(tokio::time::Instant::now(), Arc::new(AtomicI64::new(1_800_000_000_000)));
    let (ledger, task) = Ledger::simulate(disk.clone(), rules.clone(), clock, || Duration::from_millis(1));
    (ledger, tokio::spawn(task))
}

/// The bytes that the totals and the shares of clients have for the registry, against its rows.
/// Holds where no checkpoint is under way.
pub fn recount_bytes(image: &Image) {
    let (state, stored) = (&image.state, &image.registry.rows);
    let bytes = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.len() + value.len()) as u64;
    let all: u64 = stored.iter().filter(|(key, _)| key.first() != Some(&b'm')).map(bytes).sum();
    // The next checkpoint deletes these.
    let forgotten: u64 = state.forgotten().values().map(|forgotten| forgotten.bytes).sum();
    let deleted = state.devices().iter().filter(|(_, changed)| changed.row.is_empty());
    let deleted: u64 =
        deleted.filter_map(|(thing, _)| stored.get_key_value(&rows::device(thing.as_str()))).map(bytes).sum();
    assert_eq!(state.counters.registry_bytes, all - forgotten - deleted, "bytes of the registry");
    let devices: u64 = stored.iter().filter(|(key, _)| key.first() == Some(&b'd')).map(bytes).sum();
    assert_eq!(state.stored_bytes(), all - forgotten - devices, "bytes of the requests of all clients");
}

/// Totals and indexes against what they are derived from, and the pages of the registry against the
/// totals.
pub fn recount(image: &Image, rules: &Rules) {
    let stored = image.stored().into_iter().map(|(thing, device)| (thing, device.registered)).collect();
    assert_eq!(audit(&image.state, &stored), Vec::<String>::new());
    let mut state = image.state.clone();
    let mut group = Group::default();
    let tx = Tx::begin(&mut state, &image.registry, &mut group, Now::default(), rules);
    for state in DeviceState::ALL {
        let rows = devices(&tx, Some(*state), None, 10_000).unwrap().rows;
        assert_eq!(rows.len() as u64, tx.summary().devices(*state), "{state:?}");
    }
    let all = devices(&tx, None, None, 10_000).unwrap().rows.len() as u64;
    assert_eq!(all, DeviceState::ALL.iter().map(|state| tx.summary().devices(*state)).sum::<u64>());
}
