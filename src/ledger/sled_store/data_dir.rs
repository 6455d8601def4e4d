//! The data directory beside sled's own files: who owns it, who holds it, which store there is,
//! where one is put that is damaged or another core's.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::SledStore;
use crate::{
    clock::Clock,
    ledger::{
        schema::SCHEMA,
        store::{Disk, StoreError},
    },
    model::ThingName,
    users,
};

/// What a damaged store is called that is quarantined, before the time.
const DAMAGED: &str = "store.damaged-";

/// What a store of another core device or region is called that is quarantined, before the core's
/// name and the time.
const OF_ANOTHER: &str = "store.of-";

/// Damaged stores that are kept, the latest ones: a disk that breaks again and again must not be
/// filled by them.
const MAX_DAMAGED: usize = 4;

/// Bits of a mode that let the group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The bit of a mode of a directory that many users share, as `/tmp`.
const STICKY: u32 = 0o1000;

/// The data directory, and the lock on it from the time that this process has it. The lock outlives
/// every opening of the store: between two of them no other process may take the directory over.
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

impl Owner {
    /// As [`Display`](std::fmt::Display) writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (core, region) = text.split_once(' ')?;
        Some(Self { core: ThingName::new(core).ok()?.to_string(), region: region.to_owned() })
    }
}

/// Why this process does not hold the data directory.
#[derive(Debug, thiserror::Error)]
pub enum NotHeld {
    /// Another process does; the text names it.
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
    /// already. The lock of a directory that was deleted, and made anew, is another one.
    ///
    /// # Errors
    /// Another process has the lock; or the directory belongs to somebody else, is not to be
    /// written, or is none.
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

impl Disk for DataDir {
    type Store = SledStore;

    fn open(&self) -> Result<SledStore, StoreError> {
        self.hold()?;
        let Some((owner, clock)) = &self.owner else { return SledStore::open_held(&self.path, None, None) };
        let labelled = match Label::read(&self.path)? {
            // One of a newer version is left untouched, whoever it belongs to.
            Some(Label::Written { owner: Some(found), schema, .. }) if found != *owner && schema <= SCHEMA => {
                Some(found)
            }
            _ => None,
        };
        let opened = match labelled {
            Some(found) => Err(StoreError::OfAnother(found)),
            None => SledStore::open_held(&self.path, None, Some(owner)),
        };
        let found = match opened {
            Err(StoreError::OfAnother(found)) => found,
            opened => return opened,
        };
        let name = format!("{OF_ANOTHER}{}-{}", found.core, clock.now().wall.0);
        let kept = self.quarantine(&name).map_err(|error| io_error(&name, &error))?;
        tracing::error!(
            store_of = %found,
            this_core = %owner,
            kept_as = %kept.display(),
            "the data directory held the store of another core device or region: it is quarantined, and nothing of it is sent"
        );
        SledStore::open_held(&self.path, None, Some(owner))
    }

    /// To `store.damaged-<time>` beside it. Where nothing is left of it, an empty directory stands
    /// for it.
    fn move_aside(&self, millis: i64) -> io::Result<PathBuf> {
        let kept = self.quarantine(&format!("{DAMAGED}{millis}"))?;
        let mut all = kept_as(&self.path, DAMAGED);
        all.sort_unstable_by_key(|path| time_of(path));
        for oldest in all.iter().rev().skip(MAX_DAMAGED) {
            tracing::warn!(path = %oldest.display(), "the oldest of {} damaged stores is deleted", all.len());
            remove(oldest)?;
        }
        Ok(kept)
    }

    fn moved_aside(&self) -> Option<(i64, PathBuf)> {
        kept_as(&self.path, DAMAGED).into_iter().filter_map(|path| Some((time_of(&path)?, path))).max()
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

/// Stores of other core devices or regions that are kept in the data directory.
#[must_use]
pub fn of_another_core(data_dir: &Path) -> Vec<PathBuf> {
    let mut kept = kept_as(data_dir, OF_ANOTHER);
    kept.sort_unstable();
    kept
}

impl DataDir {
    /// Puts the store away whole, under `name`.
    fn quarantine(&self, name: &str) -> io::Result<PathBuf> {
        let (store, aside) = (self.path.join("store"), self.path.join(name));
        let moved = |from: PathBuf, to: PathBuf| match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        if store.is_dir() {
            fs::rename(&store, &aside)?;
        } else {
            // The data directory may have gone with the store.
            create(&self.path)?;
            DirBuilder::new().mode(0o700).create(&aside)?;
            moved(store, aside.join("store"))?;
        }
        // The label last: until it is gone, the next start finishes this.
        for name in ["store.new", "store.tip", "store.id"] {
            moved(self.path.join(name), aside.join(name))?;
        }
        File::open(&self.path)?.sync_all()?;
        Ok(aside)
    }
}

/// Creates the directory where it is missing, and gives one of our own that is open to others the
/// mode 0700. One that is closed to ourselves is somebody's wish, and told.
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

/// Refuses a data directory in which another user than root or this process's own can place files:
/// these would be links to files of ours. Touches nothing. A directory that is not there is fine.
///
/// # Errors
/// The directory, or a link to it, belongs to somebody else; or others may write to it, and its
/// mode is not ours to mend.
pub fn check_owner(data_dir: &Path) -> Result<(), StoreError> {
    let named = |error: io::Error| io_error(&data_dir.display().to_string(), &error);
    let me = rustix::process::geteuid().as_raw();
    let refused = |what: &str, metadata: &fs::Metadata, todo: &str| {
        let (dir, mode) = (data_dir.display(), metadata.mode() & 0o7777);
        let (owner, me) = (users::described(metadata.uid()), users::described(me));
        Err(StoreError::Io(format!(
            "{dir} is not used: {what} {owner}, mode {mode:04o}, and this process is {me}; {todo}"
        )))
    };
    let metadata = match fs::symlink_metadata(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(named)?,
    };
    if metadata.is_symlink() && ![0, me].contains(&metadata.uid()) {
        return refused("it is a link of", &metadata, "name the directory itself as dataDir");
    }
    let metadata = fs::metadata(data_dir).map_err(named)?;
    if !metadata.is_dir() {
        return Err(StoreError::Io(format!("{} is no directory; check dataDir", data_dir.display())));
    }
    if ![0, me].contains(&metadata.uid()) {
        let owner = users::for_sudo(metadata.uid());
        let todo = format!("run as its owner (sudo -u {owner} offboard run), or name another directory as dataDir");
        return refused("it belongs to", &metadata, &todo);
    }
    let is_shared = metadata.mode() & STICKY != 0;
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 && (is_shared || metadata.uid() != me) {
        let todo = "name a directory of its own as dataDir, to which neither group nor others may write";
        return refused("other users may write to it; it belongs to", &metadata, todo);
    }
    Ok(())
}

/// Opens a regular file, as `options` say: a link is not followed, and a pipe is not waited for.
///
/// # Errors
/// As the operating system says; the path is a link, or no regular file.
pub(crate) fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    #[expect(clippy::cast_possible_wrap, reason = "the kernel's flags are an int")]
    let opened = options.custom_flags(flags.bits() as i32).mode(0o600).open(path);
    let is_link = || fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    let file = match opened {
        Err(_) if is_link() => return Err(io::Error::other("it is a link, which is not followed; remove it")),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file; remove it"));
    }
    Ok(file)
}

/// Opens a file that the agent writes to: as [`open_regular`], and what somebody else put there is
/// refused.
pub(super) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = open_regular(options, path)?;
    let metadata = file.metadata()?;
    let (owner, names) = (metadata.uid(), metadata.nlink());
    if ![0, rustix::process::geteuid().as_raw()].contains(&owner) || names > 1 {
        let owner = users::described(owner);
        return Err(io::Error::other(format!(
            "it belongs to {owner} and has {names} names, so it is not the agent's own; remove it"
        )));
    }
    Ok(file)
}

/// Refuses a directory of the store that is a link, or that holds one.
pub(super) fn check_links(dir: &Path) -> Result<(), StoreError> {
    let refused = |path: &Path| {
        Err(StoreError::Io(format!("{}: it is a link, which is not followed; remove it", path.display())))
    };
    match fs::symlink_metadata(dir) {
        Ok(metadata) if metadata.is_symlink() => return refused(dir),
        Ok(metadata) if metadata.is_dir() => {}
        // Whoever opens it finds out what is wrong.
        _ => return Ok(()),
    }
    let named = |error: io::Error| io_error(&dir.display().to_string(), &error);
    for entry in fs::read_dir(dir).map_err(named)? {
        let entry = entry.map_err(named)?;
        if entry.file_type().map_err(named)?.is_symlink() {
            return refused(&entry.path());
        }
    }
    Ok(())
}

/// One agent a directory; the message names the other one.
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

/// Which store there is, and its schema, as `store.id` beside it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Label {
    Written {
        id: String,
        schema: u64,
        owner: Option<Owner>,
    },
    /// It is being made: nothing was promised yet.
    New,
    /// There was a store, and no more is known.
    Damaged,
}

/// Bytes of `store.id` that are read: more than it ever has.
const MAX_LABEL: u64 = 4096;

/// What stands in `store.id` while the store is being made.
pub(super) const NEW: &str = "new\n";

impl Label {
    pub(super) fn read(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = data_dir.join("store.id");
        let read = open_regular(OpenOptions::new().read(true), &path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_LABEL).read_to_end(&mut bytes).map(|_| bytes)
        });
        match read {
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
        let (id, rest) = said.split_once(" schema ")?;
        let (schema, owner) = rest.split_once(" of ").map_or((rest, None), |(schema, owner)| (schema, Some(owner)));
        let (schema, owner) = (schema.parse().ok()?, owner.and_then(Owner::parse));
        (check == Self::check(said)).then(|| Self::Written { id: id.into(), schema, owner })
    }

    pub(super) fn write(&self, data_dir: &Path) -> Result<(), StoreError> {
        let Self::Written { id, schema, owner } = self else { return Ok(()) };
        let owner = owner.as_ref().map(|owner| format!(" of {owner}")).unwrap_or_default();
        let said = format!("{id} schema {schema}{owner}");
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
    // What an earlier attempt left is replaced and not written to: it may be anything.
    let written = remove(&fresh).and_then(|()| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
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

/// Creates a directory and what is missing above it, durably: what is synced in a directory that a
/// power cut takes away with its name is lost all the same.
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
