//! sled 0.34.7 as the ledger's store, with what it needs to be durable and safe to open.
//!
//! * On Linux sled's flush is `sync_file_range`, which flushes neither the disk's cache nor the
//!   file's new size. So a sync is sled's flush and then `fdatasync` on a second handle of sled's
//!   own file.
//! * sled takes what it has flushed for durable, and writes so into the head of its next segment of
//!   1 MiB. If power fails when that head is on the disk and what it speaks of is not, the next
//!   opening fails, or loses records that were durable long ago. So much less than a segment is
//!   written between two syncs.
//! * sled never syncs its `conf` file nor its directories: done once at each opening.
//! * A half-written snapshot (`snap.*.generating`) makes every later opening fail: deleted before;
//!   nothing else is.
//! * After an I/O error sled stays failed: the caller drops this and opens anew.
//! * Damage shows as an error or as a panic, at the opening or at any later read: each call is
//!   guarded.
//! * A log that lost its end, or its snapshots, opens cleanly with older records. Two small files
//!   beside the store tell:
//!   `store.id`, which store there is, and `store.tip`, how far it was synced.

mod copy;
mod data_dir;

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    num::NonZeroU64,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub(crate) use data_dir::open_regular;
pub use data_dir::{DataDir, NotHeld, Owner, check_owner, free, of_another_core, schema_of};
use data_dir::{Label, check_links, create, io_error, lock, open_own, prepare, sync_names};

use super::{
    schema,
    store::{Direction, Op, Row, Store, StoreError},
};

/// Bytes of sled's page cache; its default of 1 GiB is no size for a gateway.
const CACHE: u64 = 4 << 20;

/// Free bytes below which the store is not opened: an opening writes a snapshot, and a full disk is
/// what breaks it.
const MIN_FREE: u64 = 8 << 20;

/// Bytes of sled's segments: twice what it takes by itself, so that twice as much may go between
/// two syncs. Chosen for good, since sled opens no store that was made with another.
const SEGMENT: usize = 1 << 20;

/// Writes, and bytes of keys and values, between two syncs, unless one batch has more. With half of
/// each sled's log grew by at most 340 KB from one sync to the next (measured), so that with these
/// it stays below a segment.
const MAX_UNSYNCED: (usize, usize) = (512, 128 << 10);

/// How late a timed wait of sled's threads may end, in nanoseconds: ten minutes, or the kernel's
/// `unsigned long` where that is shorter. sled's seven threads look once a second whether there is
/// something to do, and are woken when there is: so these looks may wait for something else to wake
/// the processor.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(if usize::BITS < 64 { 4_294_967_295 } else { 600_000_000_000 });

/// Looks, 10 ms apart, at whether a database that was just dropped is let go of.
const LETTING_GO: u32 = 200;

/// An open sled database in `<data directory>/store`.
#[derive(Debug)]
pub struct SledStore {
    data_dir: PathBuf,
    // Dropped first: the lock must outlive the database.
    db: sled::Db,
    /// sled's own file, by another handle. Lives and dies with `db`: after another opening it may
    /// be another inode.
    log: File,
    /// Writes that were applied since the last sync, and their bytes.
    unsynced: (usize, usize),
    /// Counts batches; stands in the store, and beside it as of the last sync.
    tip: u64,
    beside: File,
    /// sled made its records out from the log alone, where a hole shows by nothing.
    bare: bool,
    /// Where nobody else holds the lock for it.
    _lock: Option<File>,
}

impl SledStore {
    /// Opens or creates the database below `data_dir`, which is created with mode 0700 if it is
    /// missing.
    ///
    /// # Errors
    /// The directory cannot be used, another process holds it, the disk is full, or the store is
    /// damaged: then it is for the caller to put it aside and open anew.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        prepare(data_dir)?;
        let lock = lock(data_dir)?;
        Self::open_held(data_dir, Some(lock), None)
    }

    /// The same in a directory that this process holds.
    fn open_held(data_dir: &Path, lock: Option<File>, owner: Option<&Owner>) -> Result<Self, StoreError> {
        let store = Self::open_with_its_threads(data_dir, lock, owner);
        wait_late(false);
        store
    }

    fn open_with_its_threads(data_dir: &Path, lock: Option<File>, owner: Option<&Owner>) -> Result<Self, StoreError> {
        let named = |what: &Path| {
            let what = what.display().to_string();
            move |error: io::Error| io_error(&what, &error)
        };
        let dir = data_dir.join("store");
        check_links(&data_dir.join("store.new"))?;
        copy::take(data_dir).map_err(named(&dir))?;
        check_links(&dir)?;
        check_links(&dir.join("blobs"))?;
        let mut label = Label::read(data_dir)?;
        if let Some(Label::Written { schema, .. }) = &label
            && *schema > schema::SCHEMA
        {
            // Before sled sees it: an opening writes.
            return Err(StoreError::TooNew(*schema));
        }
        if dir.exists() && !dir.is_dir() {
            return Err(StoreError::Damaged("it is no directory".into()));
        }
        match label {
            None if !dir.exists() => label = Some(Label::mark_new(data_dir)?),
            Some(Label::Written { .. } | Label::Damaged) if matches!(dir.join("db").try_exists(), Ok(false)) => {
                return Err(StoreError::Damaged("its database is gone".into()));
            }
            _ => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(named(&dir))?;
        let snapshots = delete_half_snapshots(&dir).map_err(named(&dir))?;
        if free(&dir)? < MIN_FREE + 2 * snapshots {
            return Err(StoreError::Full);
        }
        wait_for_release(&dir.join("db"));
        // sled starts its threads at its first write, which is in here.
        wait_late(true);
        let db = match open_sled(&dir) {
            // Power failed while it was made: nothing was promised yet.
            Err(StoreError::Damaged(_)) if label == Some(Label::New) => {
                fs::remove_dir_all(&dir).and_then(|()| create(&dir)).map_err(named(&dir))?;
                open_sled(&dir)?
            }
            db => db?,
        };
        let log = File::open(dir.join("db")).map_err(named(&dir.join("db")))?;
        let path = data_dir.join("store.tip");
        let mut options = OpenOptions::new();
        let beside =
            open_own(options.read(true).write(true).create(true).truncate(false), &path).map_err(named(&path))?;
        let bare = snapshots == 0;
        let home = data_dir.to_path_buf();
        let mut store = Self { data_dir: home, db, log, unsynced: (0, 0), tip: 0, beside, bare, _lock: lock };
        store.sync_log()?;
        // Before the identity, which tells that all this is there.
        sync_names(&dir)?;
        store.identify(data_dir, label, owner)?;
        crate::failpoint::pass("open-identified");
        store.sync()?;
        store.beside.sync_all().map_err(named(&path))?;
        Ok(store)
    }

    /// Tells a store that lost all its records from a new one, and one that lost the last of them
    /// from one that has them all: sled opens some truncated files cleanly, with nothing in them,
    /// or with less.
    ///
    /// A store belongs to its first owner; the label beside it may be damaged, so that it says so
    /// itself, too.
    fn identify(&mut self, data_dir: &Path, label: Option<Label>, owner: Option<&Owner>) -> Result<(), StoreError> {
        let key = schema::meta("id");
        let inside = self.get(&key)?.map(|id| String::from_utf8_lossy(&id).into_owned());
        self.tip = match self.get(&schema::meta("tip"))? {
            Some(tip) => u64::from_be_bytes(tip.try_into().map_err(|_| StoreError::Damaged("its tip is cut".into()))?),
            None => 0,
        };
        let id = match (inside, &label) {
            (None, label)
                if !matches!(label, None | Some(Label::New)) || self.read_tip().is_some_and(|synced| synced > 0) =>
            {
                return Err(StoreError::Damaged("all records are gone".into()));
            }
            (Some(inside), Some(Label::Written { id, .. })) if inside != *id => inside,
            (Some(inside), _) => {
                let synced = self.read_tip().unwrap_or(0);
                if self.tip < synced {
                    let lost = synced - self.tip;
                    return Err(StoreError::Damaged(format!("the last {lost} of {synced} batches are gone")));
                }
                inside
            }
            (None, _) => {
                let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
                self.apply(&[(key, Some(id.clone().into_bytes()))])?;
                self.sync()?;
                id
            }
        };
        let key = schema::meta("owner");
        let found = self.get(&key)?.and_then(|text| Owner::parse(&String::from_utf8_lossy(&text)));
        let owner = match (found, owner) {
            (Some(found), Some(owner)) if found != *owner => return Err(StoreError::OfAnother(found)),
            (None, Some(owner)) => {
                self.apply(&[(key, Some(owner.to_string().into_bytes()))])?;
                self.sync()?;
                Some(owner.clone())
            }
            (found, _) => found,
        };
        let ours = Label::Written { id, schema: schema::SCHEMA, owner };
        if label.as_ref() == Some(&ours) { Ok(()) } else { ours.write(data_dir) }
    }

    /// How far the store was synced, unless the file was never written, or is itself damaged.
    fn read_tip(&self) -> Option<u64> {
        let (mut tip, mut check) = ([0; 8], [0; 8]);
        self.beside.read_exact_at(&mut tip, 0).ok()?;
        self.beside.read_exact_at(&mut check, 8).ok()?;
        let tip = u64::from_be_bytes(tip);
        (tip == !u64::from_be_bytes(check)).then_some(tip)
    }

    /// Not synced: it is there after a kill, and after a power cut it is at most older than the
    /// store, which says less, but nothing wrong. For the same reason a failure is none of the
    /// store's.
    fn write_tip(&self) {
        let bytes = [self.tip.to_be_bytes(), (!self.tip).to_be_bytes()].concat();
        if let Err(error) = self.beside.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "store.tip is not written");
        }
    }

    /// Invariant 1 rests on the order of these two.
    fn sync_log(&mut self) -> Result<(), StoreError> {
        guarded(|| self.db.flush())?;
        self.log.sync_data().map_err(|error| io_error("the store", &error))?;
        self.unsynced = (0, 0);
        Ok(())
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(dir).segment_size(SEGMENT).cache_capacity(CACHE).flush_every_ms(None);
    guarded_at(&dir.display().to_string(), || config.open())
}

/// Lets this thread's timed waits, and those of threads that it starts, end late, or not.
fn wait_late(late: bool) {
    // Where the kernel does not do it they end in time.
    let _ = rustix::thread::set_current_timer_slack(if late { SLACK } else { None });
}

/// sled's threads may hold its file, and with it sled's own lock, for a moment after the last
/// handle is gone; so may a process that is being started, until its `exec`. Who holds it for
/// longer is told by sled's error.
fn wait_for_release(db: &Path) {
    let Ok(file) = File::open(db) else { return };
    for _ in 0..LETTING_GO {
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
}

/// Returns the bytes of the complete ones. Bytes that have to be free in that data directory for
/// its store to be opened: an opening writes a snapshot, beside the one that is there.
#[must_use]
pub fn room_needed(data_dir: &Path) -> u64 {
    let entries = fs::read_dir(data_dir.join("store")).into_iter().flatten().flatten();
    let snapshots = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("snap."));
    let taken: u64 = snapshots.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    MIN_FREE + 2 * taken
}

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

fn sled_error(what: &str, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => match error.kind() {
            // sled's own files are none, or shorter than what they say that they hold.
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged(error.to_string())
            }
            _ => io_error(what, &error),
        },
        // Each of these means that sled read something that it did not write.
        sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) | sled::Error::Unsupported(_) => {
            StoreError::Damaged(error.to_string())
        }
        sled::Error::CollectionNotFound(_) => StoreError::Damaged(error.to_string()),
    }
}

/// Runs a call into sled, which panics on some damage, at the opening and at any later read.
fn guarded<T>(call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    guarded_at("the store", call)
}

fn guarded_at<T>(what: &str, call: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| sled_error(what, error)),
        Err(panic) => Err(StoreError::Damaged(crate::supervisor::panic_text(&*panic))),
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(|| self.db.get(key)).map(|value| value.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], direction: Direction, limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let read = |row: sled::Result<(sled::IVec, sled::IVec)>| row.map(|(key, value)| (key.to_vec(), value.to_vec()));
        guarded(|| {
            let rows = self.db.range(from..to);
            match direction {
                Direction::Up => rows.take(limit).map(read).collect(),
                Direction::Down => rows.rev().take(limit).map(read).collect(),
            }
        })
    }

    fn apply(&mut self, ops: &[Op]) -> Result<(), StoreError> {
        let bytes: usize = ops.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum();
        let (writes, written) = self.unsynced;
        if writes > 0 && (writes + ops.len() > MAX_UNSYNCED.0 || written + bytes > MAX_UNSYNCED.1) {
            self.sync()?;
        }
        self.unsynced = (self.unsynced.0 + ops.len(), self.unsynced.1 + bytes);
        let mut batch = sled::Batch::default();
        for (key, value) in ops {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(schema::meta("tip"), &(self.tip + 1).to_be_bytes());
        guarded(|| self.db.apply_batch(batch))?;
        self.tip += 1;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.sync_log()?;
        // What goes into a file without a name is gone with the process.
        if self.log.metadata().is_ok_and(|log| log.nlink() == 0) {
            return Err(StoreError::Damaged("its database was deleted".into()));
        }
        self.write_tip();
        Ok(())
    }

    fn is_bare(&self) -> bool {
        self.bare
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
    use super::{data_dir::NEW, *};
    use crate::ledger::{self, Disk, Group, testing};

    fn reopen(dir: &Path) -> Result<SledStore, StoreError> {
        let mut store = SledStore::open(dir)?;
        ledger::open(&mut store)?;
        Ok(store)
    }

    #[test]
    fn what_was_synced_is_there_again_and_nobody_else_may_look() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let mut store = reopen(&data).unwrap();
        let key = schema::meta("test");
        store.apply(&[(key.clone(), Some(b"v".to_vec()))]).unwrap();
        store.sync().unwrap();
        let second = SledStore::open(&data).unwrap_err().to_string();
        assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
        drop(store);
        assert_eq!(reopen(&data).unwrap().get(&key), Ok(Some(b"v".to_vec())));
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_database_that_is_let_go_of_a_moment_later_opens() {
        let dir = tempfile::tempdir().unwrap();
        drop(reopen(dir.path()).unwrap());
        let held = File::open(dir.path().join("store/db")).unwrap();
        held.lock().unwrap();
        let remnant = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(held);
        });
        reopen(dir.path()).unwrap();
        remnant.join().unwrap();
    }

    /// sled never syncs the files that it puts large values into, so there must be none.
    #[test]
    fn the_largest_command_makes_no_blob() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = reopen(dir.path()).unwrap();
        let mut group = Group::default();
        testing::accept_many(&store, &mut group, 7000);
        group.apply(&mut store).unwrap();
        store.sync().unwrap();
        let blobs = fs::read_dir(dir.path().join("store/blobs")).map_or(0, Iterator::count);
        assert_eq!(blobs, 0);
        drop(store);
        let store = reopen(dir.path()).unwrap();
        let (from, to) = schema::all_of(b'e');
        assert_eq!(store.scan(&from, &to, Direction::Up, usize::MAX).unwrap().len(), 7000);
    }

    #[test]
    fn a_half_written_snapshot_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        drop(reopen(dir.path()).unwrap());
        fs::write(dir.path().join("store/snap.0000000000000001.generating"), "").unwrap();
        reopen(dir.path()).unwrap();
    }

    #[test]
    fn a_store_that_lost_everything_is_damaged_and_not_new() {
        let dir = tempfile::tempdir().unwrap();
        drop(reopen(dir.path()).unwrap());
        fs::remove_dir_all(dir.path().join("store")).unwrap();
        assert!(matches!(SledStore::open(dir.path()), Err(StoreError::Damaged(_))));
        let aside = DataDir::from(dir.path()).move_aside(7).unwrap();
        assert!(aside.ends_with("store.damaged-7") && aside.is_dir());
        reopen(dir.path()).unwrap();
    }

    #[test]
    fn a_store_whose_birth_was_cut_short_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        // Cut short before it could be told that there is one.
        fs::write(dir.path().join("store.id.new"), &NEW[..1]).unwrap();
        drop(reopen(dir.path()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("store.id"), NEW).unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("store/conf"), "segment_size: 5242").unwrap();
        drop(reopen(dir.path()).unwrap());
        // Once it is born, the same is damage.
        fs::write(dir.path().join("store/conf"), "segment_size: 5242").unwrap();
        assert!(matches!(SledStore::open(dir.path()), Err(StoreError::Damaged(_))));
    }

    /// sled opens such a log with the records of an earlier time.
    #[test]
    fn a_log_that_lost_its_end_is_damaged_and_not_an_older_store() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = reopen(dir.path()).unwrap();
        let length = fs::read(dir.path().join("store/db")).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        let mut group = Group::default();
        testing::accept_many(&store, &mut group, 10);
        group.apply(&mut store).unwrap();
        store.sync().unwrap();
        drop(store);
        OpenOptions::new().write(true).open(dir.path().join("store/db")).unwrap().set_len(length as u64 + 1).unwrap();
        let error = reopen(dir.path()).unwrap_err().to_string();
        assert!(error.contains("batches are gone"), "{error}");
    }

    #[test]
    fn a_newer_store_is_left_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = reopen(dir.path()).unwrap();
        store.apply(&[(schema::meta("schema"), Some(schema::encode(&(schema::SCHEMA + 1))))]).unwrap();
        store.sync().unwrap();
        drop(store);
        assert!(matches!(reopen(dir.path()), Err(StoreError::TooNew(n)) if n == schema::SCHEMA + 1));
    }
}
