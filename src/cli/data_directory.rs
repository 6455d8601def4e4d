//! The data directory as a command sees it: whether an agent holds it, and why no agent answers
//! there.

use std::{fs, path::Path};

use crate::ledger;

/// Whether an agent holds the lock of the data directory.
pub(super) fn is_held(dir: &Path) -> bool {
    ledger::open_regular(fs::OpenOptions::new().read(true), &dir.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// Whether the file system is read-only, so that nobody can write there whatever the permissions
/// are.
pub(super) fn is_read_only(dir: &Path) -> bool {
    use rustix::fs::StatVfsMountFlags;
    rustix::fs::statvfs(dir).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Why no agent answers at the socket in `dir`, for people. An agent that cannot write there has no
/// socket, or an old one.
pub(super) fn why_no_answer(dir: &Path, cause: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match cause.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused if is_read_only(dir) => {
            "its file system is read-only, so that an agent cannot open its socket there; mount it writable, a running agent goes \
             on by itself"
        }
        ErrorKind::NotFound | ErrorKind::ConnectionRefused if is_held(dir) => {
            "an agent runs there, and has not opened its socket; it is just starting, or its log says why"
        }
        ErrorKind::NotFound if !dir.exists() => "there is no such directory; name the agent's by --data-dir",
        ErrorKind::NotFound => "there is no agent's socket; is it running, and is this its data directory?",
        ErrorKind::ConnectionRefused => "no agent listens there; it was killed and has not been started again",
        ErrorKind::PermissionDenied => "only the user that the agent runs as may ask it (sudo -u USER), and root",
        // The kernel's limit, with the terminating zero (unix(7)).
        ErrorKind::InvalidInput => {
            "a socket's path has at most 107 bytes, so that the agent has none there; choose a shorter dataDir"
        }
        _ => "the agent cannot be reached",
    }
}
