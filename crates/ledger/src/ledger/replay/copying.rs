//! Copies the journal and the registry of a data directory, also while an agent uses them.
//!
//! The copy is made from the files, and not by the agent: a store that an agent cannot open, or a
//! machine on which no agent runs, is what a recording is most needed for. What the agent writes
//! meanwhile does no harm:
//!
//! * A frame counts only as a whole, behind its predecessor. Each segment is read from its end to
//!   its beginning, so that no frame is in the copy without those that were written before it.
//! * sled's files change while a checkpoint is written, and at no other time. The journal is copied
//!   before and after the registry, and both copies have to name the same checkpoint with none
//!   begun; else both are copied again.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::ledger::{
    StoreError,
    files::{check_links, io_error, open_regular},
    journal::{Directory, Found, read_all},
};

/// Attempts, and the time between two of them: a checkpoint takes less than a second, and several
/// follow each other only under a load that fills a segment of 2 MiB each time.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Bytes that are copied at a time. Frames begin at its multiples.
const PIECE: u64 = 4096;

/// A copy that was made.
#[derive(Debug)]
pub struct Copied {
    /// The files, relative to the directory of the copy.
    pub files: Vec<PathBuf>,
    /// Why the two may not belong to the same moment; `None` if they do.
    pub caution: Option<String>,
}

/// Copies `journal` and `store` below the data directory to `to`, which is made with mode 0700.
/// Writes nothing to the data directory, and takes no lock in it.
///
/// # Errors
/// A file cannot be read or written; there is no journal.
pub fn copy(data_dir: &Path, to: &Path) -> Result<Copied, StoreError> {
    check_links(&data_dir.join("journal"))?;
    check_links(&data_dir.join("store"))?;
    let named = |error: io::Error| io_error(&to.display().to_string(), &error);
    DirBuilder::new().mode(0o700).create(to).map_err(named)?;
    let mut caution = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            thread::sleep(PAUSE);
        }
        let before = journal(data_dir, to)?;
        let store = copy_all(&data_dir.join("store"), &to.join("store"), false);
        let after = journal(data_dir, to)?;
        caution = match (before, after, store) {
            // A file of sled's that was there a moment ago.
            (_, _, Err(StoreError::Io(text))) if attempt + 1 < ATTEMPTS => Some(text),
            (_, _, Err(error)) => return Err(error),
            (_, Position { missing: Some(text), .. }, Ok(())) => Some(text),
            (before, after, Ok(())) if before.checkpoint != after.checkpoint || before.has_begun || after.has_begun => {
                Some("a checkpoint was being written".into())
            }
            _ => None,
        };
        if caution.is_none() {
            break;
        }
    }
    let mut files = Vec::new();
    list(to, Path::new(""), &mut files).map_err(named)?;
    Ok(Copied { files, caution })
}

/// What a copy of the journal says.
struct Position {
    checkpoint: u64,
    has_begun: bool,
    missing: Option<String>,
}

fn journal(data_dir: &Path, to: &Path) -> Result<Position, StoreError> {
    let copied = to.join("journal");
    copy_all(&data_dir.join("journal"), &copied, true)?;
    let mut missing = None;
    let about = read_all(&Directory::open(&copied)?, &mut |found| {
        if let Found::Missing(text) = found {
            missing.get_or_insert(text);
        }
        Ok(())
    })
    // A damaged journal is copied as it is.
    .unwrap_or_else(|error| {
        missing.get_or_insert(error.to_string());
        None
    });
    let (checkpoint, has_begun) = about.map_or((0, false), |about| (about.checkpoint, about.has_begun));
    Ok(Position { checkpoint, has_begun, missing })
}

/// Copies the regular files of a directory and of those in it, in place of what is at `to`.
fn copy_all(from: &Path, to: &Path, backwards: bool) -> Result<(), StoreError> {
    let of = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| io_error(&path, &error)
    };
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(of(to)(error)),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(to).map_err(of(to))?;
    let entries = match fs::read_dir(from) {
        // A data directory of which the one or the other is gone is worth a recording, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(of(from))?,
    };
    for entry in entries {
        let entry = entry.map_err(of(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(of(&path))?;
        if kind.is_dir() {
            copy_all(&path, &target, backwards)?;
        } else if kind.is_file() {
            let file = open_regular(OpenOptions::new().read(true), &path).map_err(of(&path))?;
            let new = open_regular(OpenOptions::new().write(true).create_new(true), &target).map_err(of(&target))?;
            if backwards { copy_backwards(&file, &new) } else { copy_forwards(&file, new) }.map_err(of(&path))?;
        }
    }
    Ok(())
}

fn copy_forwards(from: &File, mut to: File) -> io::Result<()> {
    let (mut reader, length) = (from, from.metadata()?.len());
    io::copy(&mut io::Read::take(&mut reader, length), &mut to)?;
    to.flush()
}

/// A page that the disk cannot read becomes zeros: a recording is made where something is damaged.
fn copy_backwards(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut piece = [0; PIECE as usize];
    for n in (0..length.div_ceil(PIECE)).rev() {
        let offset = n * PIECE;
        let part = &mut piece[..PIECE.min(length - offset) as usize];
        if from.read_exact_at(part, offset).is_ok() && part.iter().any(|byte| *byte != 0) {
            to.write_all_at(part, offset)?;
        }
    }
    Ok(())
}

fn list(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(below))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
