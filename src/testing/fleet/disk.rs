//! The disk of a core device: the journal in its real format and the registry as sorted rows, both
//! in memory. It never fails, survives a restart of the agent, and counts what is written to it.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::ledger::{
    Disk, Files, MemFiles, Store, StoreError,
    store::{Direction, Op, Row},
    testing::MemStore,
};

#[derive(Clone)]
pub(super) struct CoreDisk {
    owner: String,
    files: CountedFiles,
    registry: SharedStore,
}

impl CoreDisk {
    pub(super) fn new(owner: String) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let files = CountedFiles { files: MemFiles::default(), written: Arc::clone(&written) };
        Self { owner, files, registry: SharedStore { rows: Arc::default(), written } }
    }

    /// Bytes handed to the journal's files, and bytes of the rows handed to the registry, so far.
    pub(super) fn written(&self) -> u64 {
        self.files.written.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for CoreDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the disk of {}", self.owner)
    }
}

fn is_sound() -> io::Error {
    io::Error::other("a disk of the fleet is never damaged")
}

impl Disk for CoreDisk {
    type Files = CountedFiles;
    type Registry = SharedStore;

    fn open_journal(&self) -> Result<CountedFiles, StoreError> {
        Ok(self.files.clone())
    }

    fn open_registry(&self) -> Result<SharedStore, StoreError> {
        Ok(self.registry.clone())
    }

    fn quarantine_registry(&self, _: i64) -> io::Result<PathBuf> {
        Err(is_sound())
    }

    fn discard_registry(&self) -> io::Result<()> {
        Ok(())
    }

    fn quarantine_all(&self, _: i64) -> io::Result<PathBuf> {
        Err(is_sound())
    }

    fn owner(&self) -> String {
        self.owner.clone()
    }
}

/// The segments of the journal.
#[derive(Clone)]
pub(super) struct CountedFiles {
    files: MemFiles,
    written: Arc<AtomicU64>,
}

impl Files for CountedFiles {
    fn list(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.files.list()
    }

    fn create(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.files.create(number, length)
    }

    fn shorten(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.files.shorten(number, length)
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        self.files.read(number, offset, buffer)
    }

    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.files.write(number, offset, bytes)
    }

    fn sync(&mut self, number: u32) -> Result<(), StoreError> {
        self.files.sync(number)
    }

    fn keep_copy(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.files.keep_copy(name)
    }
}

/// The rows of the registry.
#[derive(Clone)]
pub(super) struct SharedStore {
    rows: Arc<Mutex<MemStore>>,
    written: Arc<AtomicU64>,
}

impl Store for SharedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.lock().unwrap().get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.rows.lock().unwrap().scan(from, to, direction, limit)
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        let bytes = |(key, value): &Op| key.len() + value.as_ref().map_or(0, Vec::len);
        self.written.fetch_add(ops.iter().map(bytes).sum::<usize>() as u64, Ordering::Relaxed);
        self.rows.lock().unwrap().apply(ops)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
