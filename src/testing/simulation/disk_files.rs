//! The files of the journal and the rows of the registry, as the ledger sees them.

use std::path::PathBuf;

use super::disk::{SimDisk, put};
use crate::ledger::{
    Files, MemFiles, Store, StoreError,
    store::{Direction, Op, Row},
};

/// The segments of the journal.
pub(super) struct SimFiles {
    pub(super) disk: SimDisk,
    pub(super) files: MemFiles,
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

    fn shorten(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.disk.access()?;
        self.files.shorten(number, length)
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        self.disk.lives()?;
        self.files.read(number, offset, buffer)
    }

    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.disk.access()?;
        // Most writes only reach the page cache.
        if self.disk.errs_with(0.1) {
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

    fn keep_copy(&self, name: &str) -> Result<PathBuf, StoreError> {
        self.disk.world.violate(7, format!("the journal is taken for damaged: {name}"));
        Ok(PathBuf::new())
    }
}

pub(super) struct SimStore {
    pub(super) disk: SimDisk,
    /// After an error nothing works until the registry is opened again.
    pub(super) failed: bool,
}

impl SimStore {
    fn access(&mut self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Io("the registry failed before".into()));
        }
        self.disk.access()?;
        self.damaged()?;
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
        self.disk.lives()?;
        self.damaged()
    }

    fn damaged(&self) -> Result<(), StoreError> {
        let is_damaged = self.disk.world.state().disk.is_damaged;
        if is_damaged { Err(StoreError::Damaged("simulated".into())) } else { Ok(()) }
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
            if guard.rng.u8(..) < 60 {
                let disk = &mut guard.disk;
                disk.earlier.clone_from(&disk.durable_rows);
            }
            let disk = &mut guard.disk;
            for ops in std::mem::take(&mut disk.unsynced) {
                put(&mut disk.durable_rows, &ops);
            }
            // The agent goes on with this registry, so nothing is damaged for it.
            disk.may_quarantine = disk.is_damaged;
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
