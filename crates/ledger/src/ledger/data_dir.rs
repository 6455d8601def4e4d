//! The data directory: its owner and its lock, and where a store is quarantined that is damaged or
//! belongs to another core device.
//!
//! The store consists of `journal`, the segments of the journal, and `store`, sled's database.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    files::{DAMAGED_JOURNAL, check_owner, create, io_error, open_own, open_regular, remove},
    health::{Loss, Lost},
    journal::{DEFAULT_SEGMENT, Directory, Files, Identity, Journal},
    pending::SCHEMA,
    registry::{
        SledStore,
        store::{Store, StoreError},
    },
};
use crate::{
    domain::{ThingName, Timestamp},
    runtime::clock::Clock,
};

/// The place of a store. The store can be opened repeatedly, and be quarantined.
pub trait Disk: std::fmt::Display {
    /// The journal's segments.
    type Files: Files;
    /// The registry.
    type Registry: Store;

    /// The journal's segments, in a directory that this process holds. A store of another core
    /// device or region is quarantined first.
    fn open_journal(&self) -> Result<Self::Files, StoreError>;

    /// Opens or makes the registry.
    fn open_registry(&self) -> Result<Self::Registry, StoreError>;

    /// Quarantines the registry, so that the next opening makes a new one; returns where the old
    /// one is kept. `millis` is the time, since 1970.
    fn quarantine_registry(&self, millis: i64) -> io::Result<PathBuf>;

    /// Removes a registry whose making was interrupted.
    fn discard_registry(&self) -> io::Result<()>;

    /// Quarantines the registry and the journal; otherwise as [`Self::quarantine_registry`].
    fn quarantine_all(&self, millis: i64) -> io::Result<PathBuf>;

    /// The latest damages whose remains are still kept.
    fn losses(&self) -> Vec<Loss> {
        Vec::new()
    }

    /// The core device and the region that a store belongs to.
    fn owner(&self) -> String;

    /// Bytes of a segment of the journal.
    fn segment(&self) -> u64 {
        DEFAULT_SEGMENT
    }

    /// Shows a simulation what the ledger has in memory, and whether that is durable.
    fn observe(&self, _: &super::pending::State, _durable: bool) {}

    /// A random identity for a new journal.
    fn new_id(&self) -> u128 {
        fastrand::u128(..)
    }
}

/// The name of a quarantined damaged store begins with this; the time follows.
const DAMAGED: &str = "store.damaged-";

/// The name of a quarantined store of another core device or region begins with this; the core's
/// name and the time follow.
const OF_ANOTHER: &str = "store.of-";

/// Damaged stores that are kept, the latest ones: a disk that breaks again and again must not be
/// filled by them.
const MAX_DAMAGED: usize = 4;

/// The data directory, and its lock while this process has it. The lock outlives every opening of
/// the store: between two of them no other process may take the directory over.
pub struct DataDir {
    path: PathBuf,
    lock: Mutex<Option<File>>,
    owner: Option<(Owner, Clock)>,
}

/// The core device and the region that a store belongs to: what was accepted for one is never sent
/// for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    core: String,
    region: String,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.core, self.region)
    }
}

/// Why this process does not hold the data directory.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// Another process holds it; the text names that process.
    #[error("{0}")]
    ByAnother(String),
    /// The directory cannot be used at all.
    #[error(transparent)]
    Unusable(#[from] StoreError),
}

impl From<NotHeld> for StoreError {
    fn from(error: NotHeld) -> Self {
        match error {
            NotHeld::ByAnother(text) => Self::Io(text),
            NotHeld::Unusable(error) => error,
        }
    }
}

impl From<&Path> for DataDir {
    fn from(path: &Path) -> Self {
        Self { path: path.to_path_buf(), lock: Mutex::default(), owner: None }
    }
}

impl DataDir {
    /// The directory for the stores of that core device and region; a store of another one is
    /// quarantined.
    #[must_use]
    pub fn of(path: &Path, core: &ThingName, region: &str, clock: Clock) -> Self {
        let owner = Owner { core: core.to_string(), region: region.to_owned() };
        Self { owner: Some((owner, clock)), ..Self::from(path) }
    }

    /// Creates the directory where it is missing, and takes its lock, unless this process has it
    /// already. A directory that was deleted and made again has another lock, which is taken then.
    ///
    /// # Errors
    /// Another process has the lock; or the path is no directory, belongs to another user, or
    /// cannot be written.
    pub fn hold(&self) -> Result<(), NotHeld> {
        prepare(&self.path)?;
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let file = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::symlink_metadata(self.path.join("lock")).ok().map(file);
        let is_held = held.as_ref().is_some_and(|held| held.metadata().ok().map(file) == named);
        if !is_held {
            *held = None;
            *held = Some(lock(&self.path)?);
        }
        Ok(())
    }
}

impl std::fmt::Display for DataDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.display().fmt(f)
    }
}

impl DataDir {
    /// Opens the journal without a check of its owner.
    fn files(&self) -> Result<Directory, StoreError> {
        Directory::open(&self.path.join("journal"))
    }

    fn is_of_another(&self, found: &Identity) -> bool {
        let ours = self.owner();
        // A store of a newer version is left untouched, whichever core device it belongs to.
        u64::from(found.schema) <= SCHEMA && !ours.is_empty() && !found.owner.is_empty() && found.owner != ours
    }
}

impl Disk for DataDir {
    type Files = Directory;
    type Registry = SledStore;

    fn open_journal(&self) -> Result<Directory, StoreError> {
        self.hold()?;
        let files = self.files()?;
        let found = match Journal::identify(&files)? {
            Some(found) if u64::from(found.schema) > SCHEMA => return Err(StoreError::TooNew(found.schema.into())),
            Some(found) if self.is_of_another(&found) => found,
            _ => return Ok(files),
        };
        drop(files);
        let core = found.owner.split(' ').next().unwrap_or_default();
        let millis = self.owner.as_ref().map_or(0, |(_, clock)| clock.now().wall.0);
        let name = format!("{OF_ANOTHER}{core}-{millis}");
        let kept = self.quarantine(&name, true).map_err(|error| io_error(&name, &error))?;
        tracing::error!(
            store_of = found.owner,
            this_core = self.owner(),
            kept_as = %kept.display(),
            "the data directory held the store of another core device or region: it is quarantined, and nothing of it is sent"
        );
        self.files()
    }

    fn open_registry(&self) -> Result<SledStore, StoreError> {
        self.hold()?;
        SledStore::open(&self.path)
    }

    /// Moves the registry to `store.damaged-<time>` beside it. If nothing is left of the registry,
    /// an empty directory of that name is made.
    fn quarantine_registry(&self, millis: i64) -> io::Result<PathBuf> {
        self.quarantine_damaged(millis, false)
    }

    fn discard_registry(&self) -> io::Result<()> {
        remove(&self.path.join("store"))
    }

    fn quarantine_all(&self, millis: i64) -> io::Result<PathBuf> {
        self.quarantine_damaged(millis, true)
    }

    fn losses(&self) -> Vec<Loss> {
        let stores = kept_as(&self.path, DAMAGED).into_iter().filter_map(|path| Some((time_of(&path)?, path)));
        let journals = kept_as(&self.path, DAMAGED_JOURNAL).into_iter();
        let journals = journals.filter_map(|path| Some((modified(&path)?, path)));
        let with = |lost: fn(&Path) -> Lost| {
            move |(at, path): (i64, PathBuf)| {
                let lost = lost(&path);
                Loss { at: Timestamp(at), kept_as: Some(path), why: "in an earlier run".into(), lost }
            }
        };
        let of_store = |path: &Path| if path.join("journal").exists() { Lost::Both } else { Lost::Registry };
        stores.max().map(with(of_store)).into_iter().chain(journals.max().map(with(|_| Lost::Journal))).collect()
    }

    fn owner(&self) -> String {
        self.owner.as_ref().map(|(owner, _)| owner.to_string()).unwrap_or_default()
    }
}

/// Directories of quarantined stores whose name begins with `prefix`.
fn kept_as(data_dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path()).collect()
}

/// When a store was quarantined, in milliseconds since 1970.
fn time_of(kept: &Path) -> Option<i64> {
    let name = kept.file_name()?.to_str()?;
    // A clock before 1970 makes a second hyphen.
    let (at, time) = name.rsplit_once('-')?;
    let time: i64 = time.parse().ok()?;
    Some(if at.ends_with('-') { -time } else { time })
}

/// When a directory was changed, in milliseconds since 1970.
fn modified(path: &Path) -> Option<i64> {
    let metadata = fs::metadata(path).ok()?;
    Some(metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000))
}

/// Stores of other core devices or regions that are kept in the data directory.
#[must_use]
pub fn of_another_core(data_dir: &Path) -> Vec<PathBuf> {
    let mut kept = kept_as(data_dir, OF_ANOTHER);
    kept.sort_unstable();
    kept
}

impl DataDir {
    fn quarantine_damaged(&self, millis: i64, with_journal: bool) -> io::Result<PathBuf> {
        let kept = self.quarantine(&format!("{DAMAGED}{millis}"), with_journal)?;
        let mut all = kept_as(&self.path, DAMAGED);
        all.sort_unstable_by_key(|path| time_of(path));
        for oldest in all.iter().rev().skip(MAX_DAMAGED) {
            tracing::warn!(path = %oldest.display(), "the oldest of {} damaged stores is deleted", all.len());
            remove(oldest)?;
        }
        Ok(kept)
    }

    /// Moves the store to `name`, and the journal with it, if wanted.
    fn quarantine(&self, name: &str, with_journal: bool) -> io::Result<PathBuf> {
        let (store, kept) = (self.path.join("store"), self.path.join(name));
        let moved = |from: PathBuf, to: PathBuf| match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        if store.is_dir() && !kept.exists() {
            fs::rename(&store, &kept)?;
        } else {
            // The data directory may have been deleted with the store.
            create(&self.path)?;
            DirBuilder::new().recursive(true).mode(0o700).create(&kept)?;
            moved(store, kept.join("store"))?;
        }
        moved(self.path.join("store.new"), kept.join("store.new"))?;
        if with_journal {
            // The journal is moved last: its headers name the owner of the store, so that the next
            // start finishes an interrupted quarantine.
            moved(self.path.join("journal"), kept.join("journal"))?;
        }
        File::open(&self.path)?.sync_all()?;
        Ok(kept)
    }
}

/// Creates the directory where it is missing, and gives one of our own that is open to others the
/// mode 0700. The mode of a directory that is closed to its owner stays, since a person set it; the
/// next access reports the error.
///
/// # Errors
/// As [`check_owner`]; the mode cannot be set.
pub(super) fn prepare(data_dir: &Path) -> Result<(), StoreError> {
    let named = |error: io::Error| io_error(&data_dir.display().to_string(), &error);
    create(data_dir).map_err(named)?;
    check_owner(data_dir)?;
    let metadata = fs::metadata(data_dir).map_err(named)?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_own && metadata.mode() & 0o7077 != 0 {
        fs::set_permissions(data_dir, fs::Permissions::from_mode(0o700)).map_err(named)?;
    }
    Ok(())
}

/// Takes the lock of the data directory, which only one agent can have; the error names the other
/// agent's process.
pub(super) fn lock(data_dir: &Path) -> Result<File, NotHeld> {
    let path = data_dir.join("lock");
    let named = |error: io::Error| io_error(&path.display().to_string(), &error);
    let mut options = OpenOptions::new();
    let mut file = open_own(options.read(true).write(true).create(true).truncate(false), &path).map_err(named)?;
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
            Err(NotHeld::ByAnother(format!("{dir} is in use by another agent, process {holder}; stop one of the two")))
        }
        Err(fs::TryLockError::Error(error)) => Err(named(error).into()),
    }
}

/// Whether another process than this one holds the lock of the data directory.
pub fn is_held_by_another(data_dir: &Path) -> bool {
    let Ok(mut file) = open_regular(OpenOptions::new().read(true), &data_dir.join("lock")) else { return false };
    let mut holder = String::new();
    // The number is compared first: this process does not get its own lock a second time.
    file.read_to_string(&mut holder).is_ok_and(|_| holder != std::process::id().to_string())
        && matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

/// The schema of the store in a data directory; `None` if there is none yet.
///
/// # Errors
/// The journal's headers cannot be read, or are damaged.
pub fn schema_of(data_dir: &Path) -> Result<Option<u64>, StoreError> {
    let journal = data_dir.join("journal");
    if !journal.exists() {
        return Ok(None);
    }
    Ok(Journal::identify(&Directory::open(&journal)?)?.map(|found| found.schema.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files below a directory, with their bytes.
    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => found.extend(files(&path)),
                false => found.push((path.clone(), fs::read(&path).unwrap())),
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_store_of_a_newer_version_is_left_untouched_whichever_core_it_belongs_to() {
        for owner in ["MyCore eu-west-1", "Another eu-west-1"] {
            let dir = tempfile::tempdir().unwrap();
            let journal = dir.path().join("journal");
            let newer = Identity { id: 7, schema: SCHEMA as u32 + 1, owner: owner.into() };
            let made = Journal::open(Directory::open(&journal).unwrap(), newer, DEFAULT_SEGMENT, &mut |_| Ok(()));
            drop(made.unwrap());
            let core = ThingName::new("MyCore").unwrap();
            let data_dir = DataDir::of(dir.path(), &core, "eu-west-1", Clock::start());
            data_dir.hold().unwrap();
            let before = files(dir.path());
            assert_eq!(data_dir.open_journal().err(), Some(StoreError::TooNew(SCHEMA + 1)), "{owner}");
            assert!(files(dir.path()) == before, "the store was touched");
            assert_eq!(schema_of(dir.path()), Ok(Some(SCHEMA + 1)));
        }
    }
}
