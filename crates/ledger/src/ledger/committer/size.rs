//! Rewrites a registry that takes far more room than what is in it.

use std::time::Duration;

use super::{Committer, rewriting::Rewriting};
use crate::ledger::{
    data_dir::Disk,
    registry::store::{Store, StoreError},
};

/// Groups between two looks at the size of the registry.
const LOOK_AT_SIZE: u32 = 256;

/// Bytes of a registry's file below which it is not rewritten.
const SMALL: u64 = 64 << 20;

impl<D: Disk> Committer<D> {
    /// Has a registry rewritten that takes far more room than what is in it.
    pub(super) fn look_at_size(&mut self) {
        if self.is_rewriting(Duration::ZERO) {
            return;
        }
        self.until_look = self.until_look.checked_sub(1).unwrap_or(LOOK_AT_SIZE);
        let live = self.state.counters.registry_bytes;
        let Some(registry) = self.registry.as_mut().filter(|_| self.until_look == 0) else { return };
        let size = registry.size();
        self.notify.summary.send_if_modified(|summary| {
            let grown = summary.store_bytes != size;
            summary.store_bytes = size;
            grown
        });
        if !is_bloated(live, size, self.rewritten) || self.checkpoint.is_some() {
            return;
        }
        match registry.writer().map(|writer| Rewriting::begin(writer, (live, size))) {
            Some(Ok(rewriting)) => self.rewriting = Some(rewriting),
            Some(Err(error)) => tracing::warn!(%error, "no thread to rewrite the registry; trying again later"),
            None => {
                let copied = registry.rewrite();
                self.take_copy(copied, (live, size));
            }
        }
    }

    /// Whether the registry is still being rewritten after `patience`, so that nothing may be
    /// written to it. If it no longer is, the copy has taken its place.
    pub(super) fn is_rewriting(&mut self, patience: Duration) -> bool {
        let Some(rewriting) = &self.rewriting else { return false };
        let Some(copied) = rewriting.outcome(patience) else { return true };
        let before = rewriting.before;
        self.rewriting = None;
        self.take_copy(copied, before);
        false
    }

    fn take_copy(&mut self, copied: Result<bool, StoreError>, (live, size): (u64, u64)) {
        match copied {
            Ok(true) => {
                self.registry = None;
                self.ensure_open();
                let now = self.registry.as_ref().map_or(size, Store::size);
                tracing::info!(live_bytes = live, before = size, now, "the registry was rewritten, to give room back");
                self.rewritten = Some((live, now));
            }
            Ok(false) => {
                tracing::warn!(
                    bytes = size,
                    "no room to rewrite the registry, which would give room back; trying again later"
                );
            }
            // Not written to any more: the copy may be complete, and then it is what opens next.
            Err(error) => {
                let is_suspect = self.is_suspect;
                self.registry_failed(error.clone());
                if error == StoreError::Full {
                    // It was the copy that had no room.
                    self.is_suspect = is_suspect;
                }
            }
        }
    }
}

/// Whether a registry is worth being rewritten: it takes four times what is live, and has not just
/// been. A fresh copy takes up to three times (measured), so the file has to double first, or half
/// of what was live has to be deleted.
fn is_bloated(live: u64, size: u64, rewritten: Option<(u64, u64)>) -> bool {
    size > SMALL
        && size > 4 * live
        && rewritten.is_none_or(|(live_then, size_then)| size > 2 * size_then || live < live_then / 2)
}

/// Bytes that the registry's file may have, where `live` bytes of records are allowed: above it the
/// registry is rewritten at the next look, whatever its last rewriting left.
pub fn max_file_bytes(live: u64) -> u64 {
    live.saturating_mul(4).max(SMALL).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_rewritten_when_it_is_mostly_dead_and_not_again_and_again() {
        let mib = |n: u64| n << 20;
        // A fresh copy takes three times what is live.
        for live in [0, mib(1), mib(256)] {
            assert!(is_bloated(live, max_file_bytes(live) + 1, Some((live, 3 * live))), "{live}");
        }
        assert!(!is_bloated(0, mib(60), None), "small enough whatever is in it");
        assert!(is_bloated(mib(20), mib(100), None) && !is_bloated(mib(30), mib(100), None), "four times");
        let rewritten = Some((mib(30), mib(90)));
        assert!(!is_bloated(mib(32), mib(130), rewritten), "it was just rewritten");
        assert!(is_bloated(mib(32), mib(181), rewritten), "it has doubled");
        assert!(is_bloated(mib(10), mib(95), rewritten), "most of it has gone since");
    }
}
