//! The data directory: its room, its modes, and the store's version.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::{Finding, error, ok, warning};
use crate::{ledger, local::status::mebibytes};

/// Room beside what is needed below which a store can fail soon: it is rewritten beside itself.
const LITTLE: u64 = 128 << 20;

pub(super) fn findings(dir: &Path, is_running: bool) -> Vec<Finding> {
    vec![directory(dir, is_running), store(dir)]
}

/// Whether some agent holds the data directory.
pub(super) fn is_held(dir: &Path) -> bool {
    ledger::open_regular(fs::OpenOptions::new().read(true), &dir.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

/// Whether nobody can write there, whatever the modes say.
fn is_read_only(dir: &Path) -> bool {
    use rustix::fs::StatVfsMountFlags;
    rustix::fs::statvfs(dir).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Why nobody answers at the socket in `dir`, for people: an agent that cannot write there has no
/// socket, or an old one.
pub(in crate::cli) fn why_no_answer(dir: &Path, cause: &std::io::Error) -> &'static str {
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
        _ => "the agent cannot be reached",
    }
}

fn directory(dir: &Path, is_running: bool) -> Finding {
    let what = "data directory";
    let name = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !is_running => {
            return warning(what, format!("{name}: is not there; the agent makes it at its first start"));
        }
        Err(cause) => return error(what, format!("{name}: {cause}; check its owner and mode")),
    };
    if !metadata.is_dir() {
        return error(what, format!("{name}: is no directory; check dataDir"));
    }
    let free = match ledger::free(dir) {
        Ok(free) => free,
        Err(cause) => return error(what, cause.to_string()),
    };
    let needed = ledger::room_needed(dir);
    let (has, needs) = (mebibytes(free), mebibytes(needed));
    if free < needed {
        return error(
            what,
            format!("{name}: {has} are free, and the store needs {needs}; make room, or commands are rejected"),
        );
    }
    if is_read_only(dir) {
        return error(what, format!("{name}: its file system is read-only, commands are rejected; mount it writable"));
    }
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    if mode & 0o077 != 0 {
        return warning(what, format!("{name}: its mode is {mode:03o}, others may look into it; chmod 700 it"));
    }
    if free < LITTLE + needed {
        return warning(
            what,
            format!("{name}: only {has} are free; the store needs {} to be rewritten", mebibytes(LITTLE + needed)),
        );
    }
    ok(what, format!("{name}: {has} free, mode {mode:03o}, user {owner}"))
}

fn store(dir: &Path) -> Finding {
    let what = "store";
    match ledger::schema_of(dir) {
        Ok(None) => ok(what, "there is none yet"),
        Ok(Some(schema)) if schema > ledger::SCHEMA => error(what, ledger::StoreError::TooNew(schema).to_string()),
        Ok(Some(schema)) => ok(what, format!("schema {schema}; this version reads up to {}", ledger::SCHEMA)),
        Err(cause) => error(what, cause.to_string()),
    }
}
