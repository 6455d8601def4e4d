//! The recording in a support bundle: copies of the journal and the registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::ledger::replay;

/// A directory with a recording, which is removed with the value.
pub(super) struct Recording {
    directory: PathBuf,
    /// The files, relative to [`Self::path`].
    pub(super) files: Vec<PathBuf>,
    /// A text for the archive: whether the files belong to one moment.
    pub(super) about: String,
}

impl Recording {
    /// Copies the journal and the registry of `data_dir` to a new directory beside `archive`.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub(super) fn make(data_dir: &Path, archive: &Path) -> Result<Self, String> {
        let mut name = archive.file_name().unwrap_or_default().to_owned();
        name.push(".recording");
        let directory = archive.with_file_name(name);
        if directory.exists() {
            return Err(format!("{} exists; remove it", directory.display()));
        }
        // Made before, so that a part of a copy is removed, too.
        let mut recording = Self { directory, files: Vec::new(), about: String::new() };
        let copied = replay::copy(data_dir, &recording.directory).map_err(|error| error.to_string())?;
        recording.files = copied.files;
        recording.about = match copied.caution {
            None => "journal and store are of one moment\n".into(),
            Some(caution) => format!("journal and store may be of two moments: {caution}\n"),
        };
        Ok(recording)
    }

    /// Where a file of the recording is.
    pub(super) fn path(&self, file: &Path) -> PathBuf {
        self.directory.join(file)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Best effort: what is left over only takes room.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
