//! The data directory: its free space, its permissions, and the version of the store.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::finding::{Finding, error, ok, warning};
use crate::{agent::store_watch::mebibytes, cli::data_directory::is_read_only, ledger};

/// Free space above the need below which the store may fail soon: a rewrite of the store needs a
/// second copy.
const LITTLE: u64 = 128 << 20;

pub(super) fn findings(dir: &Path, is_running: bool) -> Vec<Finding> {
    vec![directory(dir, is_running), store(dir)]
}

fn directory(dir: &Path, is_running: bool) -> Finding {
    let what = "data directory";
    let name = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !is_running => {
            return warning(what, format!("{name}: does not exist; the agent creates it at its first start"));
        }
        Err(cause) => return error(what, format!("{name}: {cause}; check its owner and mode")),
    };
    if !metadata.is_dir() {
        return error(what, format!("{name}: is not a directory; check dataDir"));
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
        return warning(what, format!("{name}: its mode is {mode:03o}, other users may read it; run chmod 700 on it"));
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
