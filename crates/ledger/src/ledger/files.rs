//! File operations of the ledger: it opens only the agent's own regular files, follows no links,
//! and makes names durable.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use super::registry::store::StoreError;
use crate::runtime::users;

/// The name of a copy of a damaged journal begins with this; a suffix that distinguishes the copies
/// follows.
pub(super) const DAMAGED_JOURNAL: &str = "journal.damaged-";

/// Bits of a mode that let the group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The bit of a mode of a directory that many users share, as `/tmp`.
const STICKY: u32 = 0o1000;

/// Refuses a data directory in which another user than root or this process's own can place files:
/// such a file could be a link to a file of the agent. Changes nothing. A missing directory is no
/// error.
///
/// # Errors
/// The directory, or a link to it, belongs to somebody else; or others may write to it, and the
/// agent must not change its mode.
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
pub fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
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

/// Opens a file that the agent writes to: as [`open_regular`], but a file that another user put
/// there is refused.
pub(super) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = open_regular(options, path)?;
    let metadata = file.metadata()?;
    let (owner, names) = (metadata.uid(), metadata.nlink());
    if names > 1 {
        let text = format!(
            "it has {names} names (hard links), so that other processes may change it; remove the other names, or, if the \
             agent did not make the file, remove it"
        );
        return Err(io::Error::other(text));
    }
    let me = rustix::process::geteuid().as_raw();
    if ![0, me].contains(&owner) {
        return Err(io::Error::other(format!(
            "it belongs to {}, and this process runs as {}; run this as that user (sudo -u {}), or, if the agent never ran as \
             that user, move the file away",
            users::described(owner),
            users::described(me),
            users::for_sudo(owner)
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
        // The next opening reports any other error.
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

/// Deletes a file, or a directory with all below it; a missing path is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        removed => removed,
    };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Creates a directory and what is missing above it, durably: if a power cut removes the name of a
/// directory, the files that were synced in it are lost, too.
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

/// Free bytes of the file system that `dir` is on.
///
/// # Errors
/// The directory does not exist.
pub fn free(dir: &Path) -> Result<u64, StoreError> {
    let space = rustix::fs::statvfs(dir).map_err(|error| io_error("statvfs", &error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// An error of the operating system about `what`, with what to do about it.
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
