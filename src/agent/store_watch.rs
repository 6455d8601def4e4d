//! Watches the store, and raises a problem for each of its faults.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    health::Health,
    ledger::{self, Ledger, Loss, StoreError, StoreHealth},
    runtime::stop::Stop,
};

/// The time between two checks whether a quarantined store was removed.
const LOOK_AT_KEPT: Duration = Duration::from_secs(60);

/// Watches the store.
pub(crate) struct StoreWatch {
    pub(crate) ledger: Ledger,
    pub(crate) health: Arc<Health>,
    pub(crate) data_dir: PathBuf,
}

impl StoreWatch {
    /// Raises the problems of the store until the stop.
    pub(crate) async fn run(self, stop: Stop) {
        let mut health = self.ledger.health();
        while !stop.is_requested() {
            let is_kept = self.raise(&health.borrow_and_update());
            tokio::select! {
                biased;
                Ok(()) = health.changed() => {}
                // A person may remove the quarantined store.
                () = tokio::time::sleep(LOOK_AT_KEPT), if is_kept => {}
                () = stop.requested() => {}
            }
        }
    }

    /// Raises the problems of the store. Returns whether quarantined stores are kept.
    fn raise(&self, health: &StoreHealth) -> bool {
        match &health.failing {
            None => ["STORE_FULL", "STORE_TOO_NEW", "STORE_FAILING"].iter().for_each(|code| self.health.clear(code)),
            Some(StoreError::Full) => self.health.raise("STORE_FULL", self.no_room(health.segment)),
            Some(error @ (StoreError::TooNew(_) | StoreError::Unread(_))) => {
                self.health.raise("STORE_TOO_NEW", error.to_string())
            }
            Some(error) => {
                self.health.raise("STORE_FAILING", format!("{error}; commands are rejected until it is mended"))
            }
        }
        let is_there = |loss: &&Loss| loss.kept_as.as_ref().is_none_or(|kept| kept.exists());
        let losses: Vec<&Loss> = health.losses.iter().filter(is_there).collect();
        if losses.is_empty() {
            self.health.clear("STORE_REPLACED");
        } else {
            let texts: Vec<String> = losses.iter().map(ToString::to_string).collect();
            self.health.raise("STORE_REPLACED", texts.join(". "));
        }
        match &health.defect {
            Some(what) => {
                let message = format!(
                    "a rule of the ledger failed on its own state ({what}), and the command or call that it was about was \
                     not carried out; please report it with a support bundle, and restart the agent"
                );
                self.health.raise("INTERNAL_ERROR", message);
            }
            None => self.health.clear("INTERNAL_ERROR"),
        }
        let others = ledger::of_another_core(&self.data_dir);
        if others.is_empty() {
            self.health.clear("STORE_OF_ANOTHER_CORE");
        } else {
            let paths: Vec<_> = others.iter().map(|path| path.display().to_string()).collect();
            let message = format!(
                "the data directory held the store of another core device or region, of which nothing is sent; it is kept in \
                 {}: move it to the data directory of that core device (as store, with its journal beside it), or \
                 remove it, to end this message",
                paths.join(", ")
            );
            self.health.raise("STORE_OF_ANOTHER_CORE", message);
        }
        losses.iter().any(|loss| loss.kept_as.is_some()) || !others.is_empty()
    }

    /// How much space is free, and how much the store needs: `segment` bytes for the journal, and
    /// what the registry needs.
    fn no_room(&self, segment: u64) -> String {
        let dir = &self.data_dir;
        let free =
            ledger::free(dir).map_or_else(|error| error.to_string(), |free| format!("{} are free", mebibytes(free)));
        let needed = mebibytes(ledger::room_needed(dir) + segment);
        format!("{}; in {} {free}, and the store needs {needed}", StoreError::Full, dir.display())
    }
}

/// A size for people, in MiB.
pub(crate) fn mebibytes(bytes: u64) -> String {
    // Rounded down, so that too little space never looks like enough.
    let tenths = ((bytes >> 10) * 10) >> 10;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
