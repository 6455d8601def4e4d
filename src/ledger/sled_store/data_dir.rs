//! The data directory beside sled's own files: who holds it, which store there is, where a damaged one is put.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::SledStore;
use crate::ledger::store::{Disk, StoreError};

/// What a store that was moved aside is called, before the time.
const ASIDE: &str = "store.damaged-";

/// The data directory.
pub(in crate::ledger) struct DataDir(pub(in crate::ledger) PathBuf);

impl std::fmt::Display for DataDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Disk for DataDir {
    type Store = SledStore;

    fn open(&self) -> Result<SledStore, StoreError> {
        SledStore::open(&self.0)
    }

    /// To `store.damaged-<time>` beside it. Where nothing is left of it, an empty directory keeps the word.
    fn move_aside(&self, millis: i64) -> io::Result<PathBuf> {
        let (store, aside) = (self.0.join("store"), self.0.join(format!("{ASIDE}{millis}")));
        let moved = |from: PathBuf, to: PathBuf| match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        if store.is_dir() {
            fs::rename(&store, &aside)?;
        } else {
            DirBuilder::new().recursive(true).mode(0o700).create(&aside)?;
            moved(store, aside.join("store"))?;
        }
        for name in ["store.id", "store.tip"] {
            moved(self.0.join(name), aside.join(name))?;
        }
        File::open(&self.0)?.sync_all()?;
        Ok(aside)
    }

    fn moved_aside(&self) -> Option<(i64, PathBuf)> {
        let names = fs::read_dir(&self.0).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let last = names.filter_map(|name| name.strip_prefix(ASIDE)?.parse::<i64>().ok()).max()?;
        Some((last, self.0.join(format!("{ASIDE}{last}"))))
    }
}

/// One agent a directory; the message names the other one.
pub(super) fn lock(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join("lock");
    let named = |error: io::Error| io_error(&path.display().to_string(), &error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(named)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(named)?;
            file.rewind().map_err(named)?;
            write!(file, "{}", std::process::id()).map_err(named)?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(named)?;
            let dir = data_dir.display();
            Err(StoreError::Io(format!("{dir} is in use by another agent, process {holder}; stop one of the two")))
        }
        Err(fs::TryLockError::Error(error)) => Err(named(error)),
    }
}

/// Which store there is, and its schema, as `store.id` beside it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Label {
    Written {
        id: String,
        schema: u64,
    },
    /// It is being made: nothing was promised yet.
    New,
    /// There was a store, and no more is known.
    Damaged,
}

/// What stands in `store.id` while the store is being made.
pub(super) const NEW: &str = "new\n";

impl Label {
    pub(super) fn read(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = data_dir.join("store.id");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Self::parse(&String::from_utf8_lossy(&bytes)).unwrap_or(Self::Damaged))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path.display().to_string(), &error)),
        }
    }

    /// Before the first file of a new store: a power cut in its making is no damage.
    pub(super) fn mark_new(data_dir: &Path) -> Result<Self, StoreError> {
        put(data_dir, NEW)?;
        Ok(Self::New)
    }

    fn parse(text: &str) -> Option<Self> {
        if text == NEW {
            return Some(Self::New);
        }
        let (said, check) = text.trim_end().rsplit_once(' ')?;
        let (id, schema) = said.split_once(" schema ")?;
        let schema = schema.parse().ok()?;
        (check == Self::check(said)).then(|| Self::Written { id: id.into(), schema })
    }

    pub(super) fn write(&self, data_dir: &Path) -> Result<(), StoreError> {
        let Self::Written { id, schema } = self else { return Ok(()) };
        let said = format!("{id} schema {schema}");
        put(data_dir, &format!("{said} {}\n", Self::check(&said)))
    }

    /// A flipped bit must not pass for another schema.
    fn check(said: &str) -> String {
        Sha256::digest(said).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The schema of the store in a data directory, without opening it; `None` if there is none yet.
///
/// # Errors
/// What says it cannot be read, or is damaged.
pub fn schema_of(data_dir: &Path) -> Result<Option<u64>, StoreError> {
    match Label::read(data_dir)? {
        None | Some(Label::New) => Ok(None),
        Some(Label::Written { schema, .. }) => Ok(Some(schema)),
        Some(Label::Damaged) => Err(StoreError::Damaged("store.id cannot be read".into())),
    }
}

/// Writes `store.id` durably, and at once: half of it would be taken for that of a damaged store.
fn put(data_dir: &Path, text: &str) -> Result<(), StoreError> {
    let [path, fresh] = ["store.id", "store.id.new"].map(|name| data_dir.join(name));
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(data_dir)?.sync_all()
    });
    written.map_err(|error| io_error(&path.display().to_string(), &error))
}

/// Deletes a file, or a directory with all below it; nothing there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        removed => removed,
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Creates a directory and what is missing above it, durably: what is synced in a directory that a power cut takes away
/// with its name is lost all the same.
pub(super) fn create(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for dir in missing.into_iter().rev() {
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Syncs what sled never does: its settings, and the directories, down to the one that holds `dir`.
pub(super) fn sync_names(dir: &Path) -> Result<(), StoreError> {
    let parent = dir.parent().unwrap_or(dir);
    for path in [dir.join("conf"), dir.join("blobs"), dir.to_path_buf(), parent.to_path_buf()] {
        match File::open(&path).and_then(|file| file.sync_all()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&path.display().to_string(), &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes that are free where `dir` is.
///
/// # Errors
/// It is not there.
pub fn free(dir: &Path) -> Result<u64, StoreError> {
    let space = rustix::fs::statvfs(dir).map_err(|error| io_error("statvfs", &error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

pub(super) fn io_error(what: &str, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        io::ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            StoreError::Io(format!(
                "{what}: {error}; check owner and mode of all below it, the agent runs as user {user}"
            ))
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Io(format!("{what}: {error}; its file system is read-only, mount it writable"))
        }
        _ => StoreError::Io(format!("{what}: {error}")),
    }
}
