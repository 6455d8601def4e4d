//! The segments as files of a directory.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, retry_on_intr},
};

use super::{
    files::{DEFAULT_SEGMENT, Files},
    format::PAGE,
};
use crate::ledger::StoreError;
use crate::ledger::files::{DAMAGED_JOURNAL, create, io_error, open_own};

/// What the name of a segment's file begins with, before its number.
const PREFIX: &str = "segment-";

/// Copies of damaged journals that are kept, the first ones: a disk that breaks again and again
/// must not be filled by them.
const MAX_COPIES: usize = 4;

/// A directory with the files `segment-0`, `segment-1`, …, which stay open.
pub struct Directory {
    path: PathBuf,
    files: BTreeMap<u32, File>,
}

impl Directory {
    /// Opens the directory and all segments in it; makes it, with mode 0700, where it is missing.
    ///
    /// # Errors
    /// The operating system refused; a segment is a link, or belongs to another user.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let named = |error: io::Error| io_error(&path.display().to_string(), &error);
        create(path).map_err(named)?;
        if fs::symlink_metadata(path).map_err(named)?.is_symlink() {
            return Err(named(io::Error::other("it is a link, which is not followed; remove it")));
        }
        let mut directory = Self { path: path.to_path_buf(), files: BTreeMap::new() };
        for entry in fs::read_dir(path).map_err(named)? {
            let name = entry.map_err(named)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            // Not another spelling of a number, as "segment-01".
            if let Some(number) = number.filter(|number| *name == *format!("{PREFIX}{number}")) {
                let path = directory.file(number);
                let opened = open_own(OpenOptions::new().read(true).write(true), &path);
                directory.files.insert(number, opened.map_err(|error| io_error(&path.display().to_string(), &error))?);
            }
        }
        Ok(directory)
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path.join(format!("{PREFIX}{number}"))
    }

    fn failed(&self, number: u32, error: &io::Error) -> StoreError {
        io_error(&self.file(number).display().to_string(), error)
    }

    fn get(&self, number: u32) -> Result<&File, StoreError> {
        self.files.get(&number).ok_or_else(|| self.failed(number, &io::Error::from(io::ErrorKind::NotFound)))
    }

    /// Makes the file, or extends it with zeros, and syncs it and its name.
    ///
    /// Zeros are written up to [`DEFAULT_SEGMENT`], so that a later sync of a group there changes
    /// no metadata. A longer segment is needed only while much is open, and most of it is never
    /// used: what is beyond is allocated, which writes no data.
    fn extend(&mut self, number: u32, length: u64) -> io::Result<()> {
        if self.is_deleted(number) {
            self.files.remove(&number);
        }
        if !self.files.contains_key(&number) {
            create(&self.path)?;
            let mut options = OpenOptions::new();
            let path = self.file(number);
            let file = open_own(options.read(true).write(true).create(true).truncate(false), &path)?;
            self.files.insert(number, file);
        }
        let Some(file) = self.files.get(&number) else { return Ok(()) };
        let has = file.metadata()?.len();
        if has < length {
            if let Err(error) = fill(file, has, length) {
                // Best effort: a part of the room would be kept from everybody, and be of no use.
                let _ = file.set_len(has);
                return Err(error);
            }
            file.sync_all()?;
        }
        // Also for a file that is long enough: its name may not have been synced when it was made.
        File::open(&self.path)?.sync_all()
    }

    fn copies(&self, parent: &Path) -> usize {
        let entries = fs::read_dir(parent).into_iter().flatten().filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(DAMAGED_JOURNAL)).count()
    }
}

impl Files for Directory {
    fn list(&self) -> Result<Vec<(u32, u64)>, StoreError> {
        let length = |(number, file): (&u32, &File)| match file.metadata() {
            Ok(metadata) => Ok((*number, metadata.len())),
            Err(error) => Err(self.failed(*number, &error)),
        };
        self.files.iter().map(length).collect()
    }

    fn create(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.extend(number, length).map_err(|error| self.failed(number, &error))
    }

    fn shorten(&mut self, number: u32, length: u64) -> Result<(), StoreError> {
        self.get(number)?.set_len(length).map_err(|error| self.failed(number, &error))
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let Some(file) = self.files.get(&number) else { return Ok(0) };
        let mut read = 0;
        while read < buffer.len() {
            match file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(number, &error)),
            }
        }
        Ok(read)
    }

    fn write(&mut self, number: u32, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.get(number)?.write_all_at(bytes, offset).map_err(|error| self.failed(number, &error))
    }

    fn sync(&mut self, number: u32) -> Result<(), StoreError> {
        self.get(number)?.sync_data().map_err(|error| self.failed(number, &error))?;
        if self.is_deleted(number) {
            return Err(self.failed(number, &io::Error::other("it was deleted")));
        }
        Ok(())
    }

    fn is_deleted(&self, number: u32) -> bool {
        let file = self.files.get(&number);
        file.is_some_and(|file| file.metadata().is_ok_and(|metadata| metadata.nlink() == 0))
    }

    /// Copies the segments to a directory of that name beside this one.
    fn keep_copy(&self, name: &str) -> Result<PathBuf, StoreError> {
        let kept = self.path.with_file_name(name);
        let named = |error: io::Error| io_error(&kept.display().to_string(), &error);
        if kept.is_dir() {
            return Ok(kept);
        }
        let parent = self.path.parent().unwrap_or(Path::new("."));
        if self.copies(parent) >= MAX_COPIES {
            let text = format!("{MAX_COPIES} copies of damaged journals are kept already; remove them");
            return Err(named(io::Error::other(text)));
        }
        // Under another name until it is whole.
        let new = self.path.with_file_name("journal.copy.new");
        let copied = remove_copy(&new).and_then(|()| {
            create(&new)?;
            for (number, file) in &self.files {
                let mut options = OpenOptions::new();
                let mut copy = open_own(options.write(true).create_new(true), &new.join(format!("{PREFIX}{number}")))?;
                copy_readable(file, &mut copy)?;
                copy.sync_all()?;
            }
            File::open(&new)?.sync_all()?;
            fs::rename(&new, &kept)?;
            File::open(parent)?.sync_all()
        });
        if copied.is_err() {
            // Best effort: an incomplete copy only takes room.
            let _ = remove_copy(&new);
        }
        copied.map(|()| kept.clone()).map_err(named)
    }
}

/// Extends the file from the length `has` to `length`.
fn fill(file: &File, has: u64, length: u64) -> io::Result<()> {
    let zeros = length.min(DEFAULT_SEGMENT).max(has);
    write_zeros(file, has, zeros)?;
    if !allocate(file, zeros, length)? {
        write_zeros(file, zeros, length)?;
    }
    Ok(())
}

/// Writes zeros from the offset `from` to the offset `to`.
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut offset = from;
    // In pieces of 4 KiB: after larger writes the kernel keeps the file in large pages, and counts
    // and writes one of these for each small group.
    while offset < to {
        let piece = (PAGE - offset % PAGE).min(to - offset);
        file.write_all_at(&[0; PAGE as usize][..piece as usize], offset)?;
        offset += piece;
    }
    Ok(())
}

/// Extends the file from its end `from` to the length `to`, with room on the disk for all of it;
/// `false` if the file system cannot allocate (UBIFS and FAT are such file systems).
fn allocate(file: &File, from: u64, to: u64) -> io::Result<bool> {
    if from >= to {
        return Ok(true);
    }
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, to - from)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove_copy(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Copies page by page. A page that the disk cannot read becomes zeros: a copy is made exactly when
/// something is damaged.
fn copy_readable(file: &File, copy: &mut impl Write) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut page = [0; PAGE as usize];
    let mut offset = 0;
    while offset < length {
        let piece = &mut page[..PAGE.min(length - offset) as usize];
        if file.read_exact_at(piece, offset).is_err() {
            piece.fill(0);
        }
        copy.write_all(piece)?;
        offset += PAGE;
    }
    Ok(())
}
