//! A disk in memory, with what a real one does at a power cut and after a sync that failed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use this; a panic fails them")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;

use super::{Files, format::PAGE};
use crate::ledger::StoreError;

/// Bytes that a disk writes whole or not at all.
const SECTOR: u64 = 512;

type Sector = [u8; SECTOR as usize];

/// A sector in the page cache.
#[derive(Clone)]
struct Cached {
    bytes: Sector,
    /// To be written by the next sync. Otherwise a sync of it failed: it reads as it was written,
    /// and is not on the disk.
    is_dirty: bool,
}

#[derive(Clone, Default)]
struct File {
    length: u64,
    disk: BTreeMap<u64, Sector>,
    cache: BTreeMap<u64, Cached>,
    /// Pages.
    unreadable: BTreeSet<u64>,
}

impl File {
    fn sector(&self, at: u64) -> Sector {
        let cached = self.cache.get(&at).map(|cached| cached.bytes);
        cached.or_else(|| self.disk.get(&at).copied()).unwrap_or([0; SECTOR as usize])
    }
}

#[derive(Clone, Default)]
struct Inner {
    files: BTreeMap<u32, File>,
    rng: Rng,
    fail_syncs: u32,
    /// Syncs that succeed before.
    good_syncs: u32,
    fail_writes: u32,
    is_full: bool,
    fail_copies: bool,
    copies: Vec<String>,
    writes: u64,
}

/// Segments in memory; clones are the same disk. What was written is visible at once and survives a
/// kill of the process, which needs no call. A crash of the machine is [`Self::crash`].
#[derive(Clone, Default)]
pub struct MemFiles(Arc<Mutex<Inner>>);

impl MemFiles {
    /// An empty disk. `seed` decides what a failed write or sync keeps.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { rng: Rng::with_seed(seed), ..Inner::default() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk that holds the same.
    pub fn snapshot(&self) -> Self {
        Self(Arc::new(Mutex::new(self.inner().clone())))
    }

    /// Power fails: of what was not synced any sectors survive, whole. What a failed sync covered
    /// is as it was before.
    pub fn crash(&self, rng: &mut Rng) {
        // Often all or nothing: a random half of many sectors is never one of these.
        let mode = rng.u8(..4);
        self.crash_keeping(|_, _| match mode {
            0 => false,
            1 => true,
            _ => rng.bool(),
        });
    }

    /// A crash after which those unsynced sectors are there for which `keeps` says so, by segment
    /// and offset in bytes.
    pub fn crash_keeping(&self, mut keeps: impl FnMut(u32, u64) -> bool) {
        let mut inner = self.inner();
        for (number, file) in &mut inner.files {
            for (at, cached) in std::mem::take(&mut file.cache) {
                if cached.is_dirty && keeps(*number, at * SECTOR) {
                    file.disk.insert(at, cached.bytes);
                }
            }
        }
        (inner.fail_syncs, inner.fail_writes, inner.is_full) = (0, 0, false);
    }

    /// The next `count` syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        self.fail_later_syncs(0, count);
    }

    /// After `good` syncs the next `count` fail.
    pub fn fail_later_syncs(&self, good: u32, count: u32) {
        let mut inner = self.inner();
        (inner.good_syncs, inner.fail_syncs) = (good, count);
    }

    /// The next `count` writes fail after a part of them.
    pub fn fail_writes(&self, count: u32) {
        self.inner().fail_writes = count;
    }

    /// Whether segments can be made or extended.
    pub fn set_full(&self, is_full: bool) {
        self.inner().is_full = is_full;
    }

    /// Whether copies can be kept.
    pub fn fail_copies(&self, fails: bool) {
        self.inner().fail_copies = fails;
    }

    /// The copies that were kept.
    pub fn copies(&self) -> Vec<String> {
        self.inner().copies.clone()
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.inner().writes
    }

    /// Inverts one bit.
    pub fn flip(&self, number: u32, offset: u64, bit: u8) {
        let mut inner = self.inner();
        let Some(file) = inner.files.get_mut(&number) else { return };
        let mut bytes = file.sector(offset / SECTOR);
        bytes[(offset % SECTOR) as usize] ^= 1 << (bit % 8);
        file.cache.remove(&(offset / SECTOR));
        file.disk.insert(offset / SECTOR, bytes);
    }

    /// Reads of that page fail from now on until it is written whole: a write of a part of the page
    /// has to read the rest, and fails, too.
    pub fn break_page(&self, number: u32, offset: u64) {
        if let Some(file) = self.inner().files.get_mut(&number) {
            file.unreadable.insert(offset / PAGE);
        }
    }

    /// Cuts a file to `length` bytes.
    pub fn cut(&self, number: u32, length: u64) {
        if let Some(file) = self.inner().files.get_mut(&number) {
            file.length = file.length.min(length);
            let sectors = file.length.div_ceil(SECTOR);
            file.disk.retain(|at, _| *at < sectors);
            file.cache.retain(|at, _| *at < sectors);
            // What was cut off does not come back when the file grows again.
            let kept = (file.length % SECTOR) as usize;
            if kept > 0 && sectors > 0 {
                let mut last = file.sector(sectors - 1);
                last[kept..].fill(0);
                file.cache.remove(&(sectors - 1));
                file.disk.insert(sectors - 1, last);
            }
        }
    }

    /// Deletes a file.
    pub fn remove(&self, number: u32) {
        self.inner().files.remove(&number);
    }

    /// All bytes of a segment, as they read.
    pub fn bytes(&self, number: u32) -> Vec<u8> {
        let inner = self.inner();
        let Some(file) = inner.files.get(&number) else { return Vec::new() };
        let mut bytes: Vec<u8> = (0..file.length.div_ceil(SECTOR)).flat_map(|at| file.sector(at)).collect();
        bytes.truncate(file.length as usize);
        bytes
    }
}

fn failed(what: &str) -> StoreError {
    StoreError::Io(format!("{what}: an input/output error of the test"))
}

impl Files for MemFiles {
    fn list(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        Ok(self.inner().files.iter().map(|(number, file)| (*number, file.length)).collect())
    }

    fn create(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let has = inner.files.get(&number).map_or(0, |file| file.length);
        if has < length {
            if inner.is_full {
                return Err(StoreError::Full);
            }
            inner.files.entry(number).or_default().length = length;
        }
        Ok(())
    }

    fn shorten(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.cut(number, length);
        Ok(())
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let inner = self.inner();
        let Some(file) = inner.files.get(&number) else { return Ok(0) };
        let end = (offset + buffer.len() as u64).min(file.length);
        for at in offset..end {
            if at == offset || at % SECTOR == 0 {
                if file.unreadable.contains(&(at / PAGE)) {
                    return Err(failed("read"));
                }
                let (bytes, from) = (file.sector(at / SECTOR), (at % SECTOR) as usize);
                let (into, length) = ((at - offset) as usize, (SECTOR - at % SECTOR).min(end - at) as usize);
                buffer[into..into + length].copy_from_slice(&bytes[from..from + length]);
            }
        }
        Ok(end.saturating_sub(offset) as usize)
    }

    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.writes += 1;
        let fails = inner.fail_writes > 0;
        let part = if fails { inner.rng.usize(..bytes.len().max(1)) } else { bytes.len() };
        inner.fail_writes -= u32::from(fails);
        let Some(file) = inner.files.get_mut(&number) else { return Err(failed("write to a missing file")) };
        file.length = file.length.max(offset + part as u64);
        let end = offset + part as u64;
        let is_whole = |page: &u64| page * PAGE >= offset && (page + 1) * PAGE <= end;
        if file.unreadable.range(offset / PAGE..end.div_ceil(PAGE)).any(|page| !is_whole(page)) {
            return Err(failed("write to a page that cannot be read"));
        }
        file.unreadable.retain(|page| !is_whole(page));
        let mut done = 0;
        while done < part {
            let at = offset + done as u64;
            let (from, length) = ((at % SECTOR) as usize, ((SECTOR - at % SECTOR) as usize).min(part - done));
            let mut sector = file.sector(at / SECTOR);
            sector[from..from + length].copy_from_slice(&bytes[done..done + length]);
            file.cache.insert(at / SECTOR, Cached { bytes: sector, is_dirty: true });
            done += length;
        }
        if fails { Err(failed("write")) } else { Ok(()) }
    }

    fn sync(&mut self, number: u32) -> Result<(), StoreError> {
        let mut inner = self.inner();
        let fails = inner.fail_syncs > 0 && inner.good_syncs == 0;
        inner.good_syncs = inner.good_syncs.saturating_sub(1);
        inner.fail_syncs -= u32::from(fails);
        let Inner { files, rng, .. } = &mut *inner;
        let Some(file) = files.get_mut(&number) else { return Err(failed("sync of a missing file")) };
        let keeps_some = rng.bool();
        for (at, cached) in std::mem::take(&mut file.cache) {
            if !cached.is_dirty || fails && !(keeps_some && rng.bool()) {
                file.cache.insert(at, Cached { is_dirty: false, ..cached });
            } else {
                file.disk.insert(at, cached.bytes);
            }
        }
        if fails { Err(failed("sync")) } else { Ok(()) }
    }

    fn keep_copy(&self, name: &str) -> Result<PathBuf, StoreError> {
        let mut inner = self.inner();
        if inner.fail_copies {
            return Err(StoreError::Full);
        }
        if !inner.copies.iter().any(|kept| kept == name) {
            inner.copies.push(name.to_owned());
        }
        Ok(PathBuf::from(name))
    }
}
