//! Rewrites the registry to free room: sled's log keeps dead rows, so the live rows are copied to a
//! fresh database, which replaces the old one at the next opening.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use super::{
    database::{MAX_OPS, guarded, open_sled},
    store::StoreError,
};
use crate::ledger::files::{io_error, remove, sync_names};

/// A copy that has this file is complete, and takes the store's place at the next opening.
const COMPLETE: &str = "complete";

/// Copies every row of `db` to `store.new`. After any error the store is to be opened again before
/// it is written to: the copy may be complete, and be taken.
pub(super) fn make(db: &::sled::Db, data_dir: &Path) -> Result<(), StoreError> {
    let copy = data_dir.join("store.new");
    let named = |error: io::Error| io_error(&copy.display().to_string(), &error);
    remove(&copy).and_then(|()| DirBuilder::new().mode(0o700).create(&copy)).map_err(named)?;
    fill(db, &copy)?;
    File::create(copy.join(COMPLETE)).and_then(|file| file.sync_all()).map_err(named)?;
    sync_names(&copy)
}

fn fill(db: &::sled::Db, copy: &Path) -> Result<(), StoreError> {
    // A damaged copy does not mean that the store is damaged.
    let own = |error| match error {
        StoreError::Damaged(what) => StoreError::Io(format!("{}: {what}", copy.display())),
        error => error,
    };
    let fresh = open_sled(copy).map_err(own)?;
    let mut rows = db.iter();
    loop {
        let mut batch = ::sled::Batch::default();
        let mut count = 0;
        guarded(|| {
            for row in rows.by_ref().take(MAX_OPS) {
                let (key, value) = row?;
                batch.insert(key, value);
                count += 1;
            }
            Ok(())
        })?;
        if count == 0 {
            break;
        }
        guarded(|| fresh.apply_batch(batch)).map_err(own)?;
    }
    guarded(|| fresh.flush()).map_err(own)?;
    let synced = File::open(copy.join("db")).and_then(|log| log.sync_all());
    synced.map_err(|error| io_error(&copy.display().to_string(), &error))?;
    sync_names(copy)
}

/// Puts a complete copy in the store's place, wherever a crash interrupted that, and clears away
/// what is left over.
///
/// The old store is first renamed to `store.old`. It is deleted only after the copy has the name
/// `store`.
pub(super) fn take(data_dir: &Path) -> io::Result<()> {
    let [store, copy, old] = ["store", "store.new", "store.old"].map(|name| data_dir.join(name));
    if copy.join(COMPLETE).exists() {
        if store.exists() {
            remove(&old)?;
            fs::rename(&store, &old)?;
        }
        fs::rename(&copy, &store)?;
        File::open(data_dir)?.sync_all()?;
    } else if old.exists() && !store.exists() {
        fs::rename(&old, &store)?;
    }
    remove(&old)?;
    remove(&copy)?;
    match fs::remove_file(store.join(COMPLETE)) {
        // The path is no directory: the next opening reports that.
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::registry::{
        SledStore,
        store::{Direction, Op, Row, Store},
    };

    /// A store with many dead versions of few rows.
    fn grown(dir: &Path) -> SledStore {
        let mut store = SledStore::open(dir).unwrap();
        for round in 0..200_u8 {
            let ops: Vec<Op> = (0..100_u8).map(|n| (vec![b'z', n], Some(vec![round; 500]))).collect();
            store.apply(&ops).unwrap();
        }
        store.sync().unwrap();
        store
    }

    fn rows(store: &SledStore) -> Vec<Row> {
        store.scan(&[0], &[u8::MAX], Direction::Up, usize::MAX).unwrap()
    }

    #[test]
    fn a_rewritten_store_holds_the_same_in_less_room() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = grown(dir.path());
        let (before, room) = (rows(&store), store.log.metadata().unwrap().len());
        store.rewrite().unwrap();
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(rows(&store), before);
        assert!(store.log.metadata().unwrap().len() < room / 2);
        let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("store.")).count(), 0);
    }

    #[test]
    fn whatever_is_in_the_copys_place_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let before = rows(&grown(dir.path()));
        for name in ["store.new", "store.old"] {
            fs::write(dir.path().join(name), "a file").unwrap();
        }
        let mut store = SledStore::open(dir.path()).unwrap();
        fs::write(dir.path().join("store.new"), "a file").unwrap();
        store.rewrite().unwrap();
        drop(store);
        fs::write(dir.path().join("store.old"), "a file").unwrap();
        assert_eq!(rows(&SledStore::open(dir.path()).unwrap()), before);
    }

    #[test]
    fn a_crash_anywhere_in_the_rewriting_keeps_every_row() {
        type Crash = fn(&Path) -> io::Result<()>;
        let crashes: [(&str, Crash); 5] = [
            ("while it was copied", |dir| fs::remove_file(dir.join("store.new").join(COMPLETE))),
            ("when it was copied", |_| Ok(())),
            ("between the names", |dir| fs::rename(dir.join("store"), dir.join("store.old"))),
            ("before the old one was deleted", |dir| {
                fs::rename(dir.join("store"), dir.join("store.old"))?;
                fs::rename(dir.join("store.new"), dir.join("store"))
            }),
            ("while the old one was deleted", |dir| {
                fs::rename(dir.join("store"), dir.join("store.old"))?;
                fs::remove_file(dir.join("store.old/db"))?;
                fs::rename(dir.join("store.new"), dir.join("store"))
            }),
        ];
        for (when, crash) in crashes {
            let dir = tempfile::tempdir().unwrap();
            let mut store = grown(dir.path());
            let before = rows(&store);
            store.rewrite().unwrap();
            drop(store);
            crash(dir.path()).unwrap();
            let store = SledStore::open(dir.path()).unwrap();
            assert_eq!(rows(&store), before, "{when}");
            let left = ["store.new", "store.old", "store/complete"].map(|name| dir.path().join(name).exists());
            assert_eq!(left, [false; 3], "{when}");
        }
    }
}
