//! What a power cut leaves of the files: what was synced, and of the rest as much as a model lets
//! through.

use std::{collections::BTreeMap, fs, path::Path};

use super::files::{BEFORE, Files, Inode, Op, ROOT, What};

/// What may become of writes that no finished `fsync` or `fdatasync` covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// None is on the medium.
    Lost,
    /// Each is with probability one half, whole or torn, but nothing beyond the length that was
    /// synced.
    Inside,
    /// The same, and files grow and shrink by what is.
    Beyond,
}

/// What may become of names that no finished sync of their directory covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// They are durable at once.
    AtOnce,
    /// None of the changes is on the medium.
    Lost,
    /// Those up to some moment are: the file system has a journal.
    Ordered,
    /// Each is with probability one half, whatever came before.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    pub writes: Writes,
    pub names: Names,
    /// For the control: `fdatasync` of files whose path begins so does nothing.
    pub without_sync_data: Option<&'static str>,
}

pub const MODELS: [Model; 6] = [
    Model::new(Writes::Lost, Names::AtOnce),
    Model::new(Writes::Inside, Names::AtOnce),
    Model::new(Writes::Beyond, Names::AtOnce),
    Model::new(Writes::Lost, Names::Lost),
    Model::new(Writes::Beyond, Names::Ordered),
    Model::new(Writes::Beyond, Names::Any),
];

impl Model {
    pub const fn new(writes: Writes, names: Names) -> Self {
        Self { writes, names, without_sync_data: None }
    }
}

/// A sector: what a disk writes whole.
const SECTOR: usize = 512;

/// A page of the page cache: what a kernel writes back, in any order.
const PAGE: usize = 4096;

/// A directory as it would be found after power came back.
pub struct Medium {
    files: BTreeMap<Inode, Vec<u8>>,
    names: BTreeMap<Inode, BTreeMap<String, Inode>>,
    /// Writes that were let through, whole, torn, or not, for the account.
    pub survivors: [usize; 3],
}

/// What is on the medium when power fails right before line `cut` of the trace.
pub fn at(log: &Files, cut: usize, model: Model, random: &mut fastrand::Rng) -> Medium {
    let files = log.inodes.iter().enumerate().filter(|(_, (_, dir))| !*dir).map(|(n, _)| (n, Vec::new()));
    let dirs = log.inodes.iter().enumerate().filter(|(_, (_, dir))| *dir).map(|(n, _)| (n, BTreeMap::new()));
    let mut medium = Medium { files: files.collect(), names: dirs.collect(), survivors: [0; 3] };
    // For each inode, the latest moment before which everything is durable.
    let mut synced: BTreeMap<Inode, usize> = BTreeMap::new();
    for op in log.ops.iter().filter(|op| op.end < cut) {
        if let What::Sync { inode, data_only } = op.what
            && !(data_only && model.without_sync_data.is_some_and(|prefix| log.is_below(inode, prefix)))
        {
            let covered = synced.entry(inode).or_default();
            *covered = op.begin.max(*covered);
        }
    }
    let durable = |op: &Op, inode: Inode| op.end < synced.get(&inode).copied().unwrap_or_default().max(BEFORE);
    let mut lengths: BTreeMap<Inode, usize> = BTreeMap::new();
    // Of one file, what is durable comes first: a sync covers all that ended before it began.
    for op in &log.ops {
        if let What::Write { inode, .. } | What::Truncate { inode, .. } = op.what
            && durable(op, inode)
        {
            medium.write(op);
            lengths.insert(inode, medium.files[&inode].len());
        }
    }
    for op in log.ops.iter().filter(|op| op.begin < cut) {
        if let What::Write { inode, .. } | What::Truncate { inode, .. } = op.what
            && !durable(op, inode)
            && model.writes != Writes::Lost
        {
            let within = match model.writes {
                Writes::Beyond => usize::MAX,
                _ => lengths.get(&inode).copied().unwrap_or_default(),
            };
            medium.write_perhaps(op, within, random);
        }
    }
    let changes: Vec<&Op> = log.ops.iter().filter(|op| matches!(op.what, What::Name { .. })).collect();
    let pending = |op: &&Op| matches!(op.what, What::Name { dir, .. } if !durable(op, dir));
    let begun = changes.iter().filter(|op| op.begin < cut).copied();
    let unsynced = begun.clone().filter(pending).count();
    let until = random.usize(0..=unsynced);
    let mut passed = 0;
    for op in begun {
        let survives = !pending(&op) || {
            passed += 1;
            match model.names {
                Names::AtOnce => op.end < cut,
                Names::Lost => false,
                Names::Ordered => passed <= until,
                Names::Any => random.bool(),
            }
        };
        if survives && let What::Name { dir, names } = &op.what {
            let dir = medium.names.get_mut(dir).unwrap();
            for (name, inode) in names {
                match inode {
                    Some(inode) => dir.insert(name.clone(), *inode),
                    None => dir.remove(name),
                };
            }
        }
    }
    medium
}

impl Medium {
    fn write(&mut self, op: &Op) {
        match &op.what {
            What::Write { inode, at, bytes } => self.put(*inode, *at, bytes, usize::MAX),
            What::Truncate { inode, length } => self.files.get_mut(inode).unwrap().resize(*length, 0),
            What::Sync { .. } | What::Name { .. } => {}
        }
    }

    fn put(&mut self, inode: Inode, at: usize, bytes: &[u8], within: usize) {
        let file = self.files.get_mut(&inode).unwrap();
        let end = (at + bytes.len()).min(within);
        if at < end {
            if file.len() < end {
                file.resize(end, 0);
            }
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
    }

    fn write_perhaps(&mut self, op: &Op, within: usize, random: &mut fastrand::Rng) {
        let What::Write { inode, at, bytes } = &op.what else {
            // A length: durable or not, like any write, where lengths may change.
            if within == usize::MAX && random.bool() {
                self.write(op);
            }
            return;
        };
        let (inode, at) = (*inode, *at);
        let end = at + bytes.len();
        match random.u8(0..6) {
            0..3 => self.survivors[2] += 1,
            3 => {
                self.survivors[0] += 1;
                self.put(inode, at, bytes, within);
            }
            4 => {
                // The first sectors of it.
                self.survivors[1] += 1;
                let first = (at + 1).next_multiple_of(SECTOR);
                let cuts = (end.saturating_sub(first)).div_ceil(SECTOR);
                let torn = first + SECTOR * random.usize(0..=cuts);
                self.put(inode, at, &bytes[..torn.min(end) - at], within);
            }
            _ => {
                // Some of its pages.
                self.survivors[1] += 1;
                let mut from = at;
                while from < end {
                    let to = (from + 1).next_multiple_of(PAGE).min(end);
                    if random.bool() {
                        self.put(inode, from, &bytes[from - at..to - at], within);
                    }
                    from = to;
                }
            }
        }
    }

    /// Puts it into a directory that is empty.
    pub fn unpack(&self, to: &Path) {
        self.unpack_dir(ROOT, to);
    }

    fn unpack_dir(&self, dir: Inode, to: &Path) {
        for (name, inode) in &self.names[&dir] {
            let path = to.join(name);
            if let Some(bytes) = self.files.get(inode) {
                fs::write(path, bytes).unwrap();
            } else {
                fs::create_dir(&path).unwrap();
                self.unpack_dir(*inode, &path);
            }
        }
    }
}
