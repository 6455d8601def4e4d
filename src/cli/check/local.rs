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
            let above = dir.ancestors().skip(1).find(|above| above.as_os_str().is_empty() || above.exists());
            let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return match writable(above) {
                Ok(()) => warning(what, format!("{name}: does not exist; the agent creates it at its first start")),
                Err(cause) => {
                    let above = above.display();
                    error(what, format!("{name}: does not exist, and this user cannot create it in {above} ({cause})"))
                }
            };
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
    if metadata.mode() & 0o1000 != 0 {
        let text = format!("{name}: all users share this directory; set dataDir to a directory of the agent's own");
        return error(what, text);
    }
    let user = rustix::process::geteuid().as_raw();
    if !is_running && owner != user {
        let text = format!(
            "{name}: belongs to user {owner}, and this command runs as user {user}: an agent of user {user} refuses it; run \
             this command as the agent's user (sudo -u USER), or correct the owner"
        );
        return if user == 0 { warning(what, text) } else { error(what, text) };
    }
    if !is_running && let Err(cause) = writable(dir) {
        return error(
            what,
            format!("{name}: this user cannot write there ({cause}), mode {mode:03o}; run chmod 700 on it"),
        );
    }
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

/// Whether this process could make files in the directory, by its effective user.
fn writable(dir: &Path) -> rustix::io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::cli::check::finding::State;

    #[test]
    fn a_directory_that_the_agent_would_refuse_is_not_ok() {
        let dir = tempfile::tempdir().unwrap();
        let found = |path: &Path| {
            let Finding { state, message, .. } = directory(path, false);
            (state, message)
        };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(found(dir.path()).0, State::Ok);
        let (state, message) = found(&dir.path().join("a/b"));
        assert!(state == State::Warning && message.contains("creates it"), "{message}");

        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let (state, message) = found(dir.path());
        assert!(state == State::Error && message.contains("all users share"), "{message}");
        assert!(!message.contains("chmod"), "{message}");

        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
        if rustix::process::geteuid().is_root() {
            // Root may write everywhere, and the agent of root refuses what another user owns.
            chown(dir.path(), Some(1000), None).unwrap();
            let (state, message) = found(dir.path());
            assert!(state == State::Warning && message.contains("belongs to user 1000"), "{message}");
        } else {
            let (state, message) = found(dir.path());
            assert!(state == State::Error && message.contains("cannot write"), "{message}");
            let (state, message) = found(&dir.path().join("a/b"));
            assert!(state == State::Error && message.contains("cannot create"), "{message}");
        }
    }
}
