//! Rewrites a registry that takes far more room than what is in it.

use super::Committer;
use crate::ledger::{data_dir::Disk, registry::store::Store};

/// Groups between two looks at the size of the registry.
const LOOK_AT_SIZE: u32 = 256;

/// Bytes of a registry's file below which it is not rewritten.
const SMALL: u64 = 64 << 20;

impl<D: Disk> Committer<D> {
    /// Rewrites a registry that takes far more room than what is in it, between two groups.
    pub(super) fn look_at_size(&mut self) {
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
        match registry.rewrite() {
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
            Err(error) => self.registry_failed(error),
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
