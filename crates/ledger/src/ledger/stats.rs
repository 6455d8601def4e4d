//! Counts of what the ledger did since its start, for metrics. They are kept in memory only, and
//! their lock is never held during a commit.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::pending::Ended;

/// Upper bounds of the classes that commits are counted in, in microseconds: from a good disk to a
/// card that is worn out.
pub const COMMIT_BOUNDS: [u64; 7] = [1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000, 4_000_000];

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What ended.
    pub ended: Ended,
    /// Commits that were made durable, by [`COMMIT_BOUNDS`], and those above them all.
    pub commits: [u64; COMMIT_BOUNDS.len() + 1],
    /// Their time in all, in microseconds.
    pub commit_micros: u64,
}

/// The counts, shared with their readers.
#[derive(Clone, Debug, Default)]
pub(super) struct Counting(Arc<Mutex<Stats>>);

impl Counting {
    pub(super) fn read(&self) -> Stats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ended(&self, ended: &Ended) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ended.add(ended);
    }

    pub(super) fn committed(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stats.commits[COMMIT_BOUNDS.partition_point(|bound| *bound < micros)] += 1;
        stats.commit_micros = stats.commit_micros.saturating_add(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_in_its_class() {
        let counting = Counting::default();
        for micros in [1, 1_000, 1_001, 5_000_000] {
            counting.committed(Duration::from_micros(micros));
        }
        let stats = counting.read();
        assert_eq!((stats.commits, stats.commit_micros), ([2, 1, 0, 0, 0, 0, 0, 1], 5_002_002));
    }
}
