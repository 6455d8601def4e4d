//! sled 0.34.7 as the registry, with what it needs to be durable and safe to open.
//!
//! * On Linux sled's flush is `sync_file_range`, which flushes neither the disk's cache nor the
//!   file's new size. So a sync is sled's flush and then `fdatasync` on a second handle of sled's
//!   own file.
//! * sled treats flushed data as durable, and records that in the head of its next segment of
//!   1 MiB. If the power fails when this head is on the disk and the data is not, the next opening
//!   fails, or loses older records that were durable. Therefore this module writes much less than
//!   one segment between two syncs.
//! * sled syncs neither its `conf` file nor its directories. This module syncs them once at each
//!   opening.
//! * A half-written snapshot (`snap.*.generating`) makes every later opening fail. This module
//!   deletes it before the opening, and deletes no other file.
//! * After an I/O error every later call to sled fails. The caller drops the store and opens it
//!   again.
//! * Damage shows as an error or as a panic, at the opening or at any later read: each call is
//!   guarded.
//! * A log that lost its end, or its snapshots, opens cleanly with older records. The binding to
//!   the journal shows that ([`Binding`](super::Binding)).

use std::{
    fs::{self, DirBuilder, File},
    io,
    num::NonZeroU64,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    copy,
    database::{guarded, open_sled},
    store::{Direction, Op, Row, Store, StoreError},
};
use crate::ledger::files::{check_links, free, io_error, sync_names};

/// Free bytes below which the store is not opened: an opening writes a snapshot, and a full disk is
/// what breaks it.
const MIN_FREE: u64 = 8 << 20;

/// Writes, and bytes of keys and values, between two syncs, unless one batch has more. With half of
/// each sled's log grew by at most 340 KB from one sync to the next (measured), so that with these
/// it stays below a segment.
const MAX_UNSYNCED: (usize, usize) = (512, 128 << 10);

/// How late a timed wait of sled's threads may end, in nanoseconds: ten minutes, or the kernel's
/// `unsigned long` where that is shorter. sled's seven threads look once a second whether there is
/// something to do, and are woken when there is: so these looks may wait for something else to wake
/// the processor.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(if usize::BITS < 64 { 4_294_967_295 } else { 600_000_000_000 });

/// Rows from which on a scan reads each of them again, to let sled notice its pages. sled gives up
/// pages beyond its cache's size only when it has noted 64 accesses to a 256th of them, and a scan
/// is one access for each page: a scan of 100,000 devices would leave all of them in memory.
const WALK: usize = 256;

/// Checks, 10 ms apart, whether a database that was just dropped has released its file.
const LETTING_GO: u32 = 200;

/// An open sled database in `<data directory>/store`.
#[derive(Debug)]
pub struct SledStore {
    data_dir: PathBuf,
    db: ::sled::Db,
    /// sled's own file, by another handle. It is opened and dropped with `db`: after another
    /// opening it may be another inode.
    pub(super) log: Arc<File>,
    /// Writes that were applied since the last sync, and their bytes.
    unsynced: (usize, usize),
}

impl SledStore {
    /// Opens or creates the database below `data_dir`, which this process holds.
    ///
    /// # Errors
    /// The directory cannot be used, the disk is full, or the database is damaged: then it is for
    /// the caller to quarantine it and open anew.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::open_with_its_threads(data_dir);
        wait_late(false);
        store
    }

    fn open_with_its_threads(data_dir: &Path) -> Result<Self, StoreError> {
        let named = |what: &Path| {
            let what = what.display().to_string();
            move |error: io::Error| io_error(&what, &error)
        };
        let dir = data_dir.join("store");
        // Before files in them are touched.
        check_links(&data_dir.join("store.new"))?;
        check_links(&data_dir.join("store.old"))?;
        check_links(&dir)?;
        copy::take(data_dir).map_err(named(&dir))?;
        check_links(&dir.join("blobs"))?;
        if dir.exists() && !dir.is_dir() {
            return Err(StoreError::Damaged("it is no directory".into()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(named(&dir))?;
        let snapshots = delete_half_snapshots(&dir).map_err(named(&dir))?;
        if free(&dir)? < MIN_FREE + 2 * snapshots {
            return Err(StoreError::Full);
        }
        wait_for_release(&dir.join("db"));
        // sled starts its threads at its first write, which is in here.
        wait_late(true);
        let db = open_sled(&dir)?;
        let log = Arc::new(File::open(dir.join("db")).map_err(named(&dir.join("db")))?);
        let mut store = Self { data_dir: data_dir.to_path_buf(), db, log, unsynced: (0, 0) };
        store.sync_log()?;
        // Before the binding, which says that all this is there.
        sync_names(&dir)?;
        Ok(store)
    }

    /// Invariant 1 rests on the order of these two.
    fn sync_log(&mut self) -> Result<(), StoreError> {
        guarded(|| self.db.flush())?;
        self.log.sync_data().map_err(|error| io_error("the store", &error))?;
        self.unsynced = (0, 0);
        Ok(())
    }
}

/// Lets this thread's timed waits, and those of threads that it starts, end late, or not.
fn wait_late(late: bool) {
    // Without the kernel's support the waits end on time.
    let _ = rustix::thread::set_current_timer_slack(if late { SLACK } else { None });
}

/// sled's threads may hold its file, and with it sled's own lock, for a moment after the last
/// handle is gone; so may a process that is being started, until its `exec`. If another process
/// holds it for longer, sled's error reports that.
fn wait_for_release(db: &Path) {
    let Ok(file) = File::open(db) else { return };
    for _ in 0..LETTING_GO {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
}

/// Bytes that have to be free in that data directory for
/// its store to be opened: an opening writes a snapshot, beside the one that is there.
#[must_use]
pub fn room_needed(data_dir: &Path) -> u64 {
    let entries = fs::read_dir(data_dir.join("store")).into_iter().flatten().flatten();
    let snapshots = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("snap."));
    let taken: u64 = snapshots.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    MIN_FREE + 2 * taken
}

/// Returns the bytes of the complete ones.
fn delete_half_snapshots(dir: &Path) -> io::Result<u64> {
    let mut complete = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        } else if name.starts_with("snap.") {
            complete += entry.metadata()?.len();
        }
    }
    Ok(complete)
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(|| self.db.get(key)).map(|value| value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let read =
            |row: ::sled::Result<(::sled::IVec, ::sled::IVec)>| row.map(|(key, value)| (key.to_vec(), value.to_vec()));
        let found: Vec<Row> = guarded(|| {
            let rows = self.db.range(from..to);
            match direction {
                Direction::Up => rows.take(limit).map(read).collect(),
                Direction::Down => rows.rev().take(limit).map(read).collect(),
            }
        })?;
        if found.len() >= WALK {
            guarded(|| found.iter().try_for_each(|(key, _)| self.db.contains_key(key).map(drop)))?;
        }
        Ok(found)
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        let bytes: usize = ops.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        let (writes, written) = self.unsynced;
        if writes > 0 && (writes + ops.len() > MAX_UNSYNCED.0 || written + bytes > MAX_UNSYNCED.1) {
            self.sync()?;
        }
        self.unsynced = (self.unsynced.0 + ops.len(), self.unsynced.1 + bytes);
        let mut batch = ::sled::Batch::default();
        for (key, value) in ops {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        guarded(|| self.db.apply_batch(batch))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.sync_log()?;
        // What is written to a file without a name is lost when the process ends.
        if self.log.metadata().is_ok_and(|log| log.nlink() == 0) {
            return Err(StoreError::Damaged("its database was deleted".into()));
        }
        Ok(())
    }

    fn writer(&self) -> Option<Box<dyn Store + Send>> {
        let (db, log) = (self.db.clone(), Arc::clone(&self.log));
        Some(Box::new(Self { data_dir: self.data_dir.clone(), db, log, unsynced: (0, 0) }))
    }

    fn size(&self) -> u64 {
        self.log.metadata().map_or(0, |metadata| metadata.len())
    }

    fn rewrite(&mut self) -> Result<bool, StoreError> {
        if free(&self.data_dir)? < MIN_FREE + self.size() {
            return Ok(false);
        }
        copy::make(&self.db, &self.data_dir)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::registry::rows;

    fn one_row() -> Op {
        (rows::meta("test"), Some(b"v".to_vec()))
    }

    #[test]
    fn what_was_synced_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.apply(&[one_row()]).unwrap();
        store.sync().unwrap();
        drop(store);
        assert_eq!(SledStore::open(dir.path()).unwrap().get(&rows::meta("test")), Ok(one_row().1));
    }

    #[test]
    fn a_database_that_is_let_go_of_a_moment_later_opens() {
        let dir = tempfile::tempdir().unwrap();
        drop(SledStore::open(dir.path()).unwrap());
        let held = File::open(dir.path().join("store/db")).unwrap();
        held.lock().unwrap();
        let remnant = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(held);
        });
        SledStore::open(dir.path()).unwrap();
        remnant.join().unwrap();
    }

    #[test]
    fn a_half_written_snapshot_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        drop(SledStore::open(dir.path()).unwrap());
        fs::write(dir.path().join("store/snap.0000000000000001.generating"), "").unwrap();
        SledStore::open(dir.path()).unwrap();
    }
}
