//! The data directory: its room, its modes, and the store's version.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::{Finding, error, ok, warning};
use crate::ledger;

/// Room below which a store can fail soon: it is rewritten beside itself.
const LITTLE: u64 = 128 << 20;

/// Room below which it fails.
const NONE: u64 = 4 << 20;

pub(super) fn findings(dir: &Path, is_running: bool) -> Vec<Finding> {
    vec![directory(dir, is_running), store(dir)]
}

/// Whether some agent holds the data directory.
pub(super) fn is_held(dir: &Path) -> bool {
    ledger::open_regular(fs::OpenOptions::new().read(true), &dir.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
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
    let mib = free >> 20;
    if free < NONE {
        return error(what, format!("{name}: {mib} MiB are free; make room, or commands are rejected"));
    }
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    if mode & 0o077 != 0 {
        return warning(what, format!("{name}: its mode is {mode:03o}, others may look into it; chmod 700 it"));
    }
    if free < LITTLE {
        return warning(what, format!("{name}: only {mib} MiB are free; the store needs some to be rewritten"));
    }
    ok(what, format!("{name}: {mib} MiB free, mode {mode:03o}, user {owner}"))
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
