//! Totals that limits and `status` read: what each client has, and the broker's clients.

use crate::domain::{Access, AccessView};

/// What a client has in the ledger, for the limit of one client's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientLoad {
    /// Requests in memory.
    pub(in crate::ledger::pending) requests: u64,
    /// Entries that have not ended.
    pub(in crate::ledger::pending) entries: u64,
    /// Messages that the broker has not acknowledged.
    pub(in crate::ledger::pending) owed: u64,
}

/// How many of the broker's clients the agent manages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLoad {
    /// Disabled.
    pub revoked: u64,
    /// To be disabled or enabled.
    pub pending: u64,
    /// Of which the last attempt failed.
    pub failed: u64,
    /// Of these, those that the broker does not know.
    pub unknown: u64,
}

impl AccessLoad {
    pub(super) fn count(&mut self, access: &Access, by: i64) {
        if access.error.as_ref().is_some_and(|error| error.is_unknown) {
            self.unknown = self.unknown.saturating_add_signed(by);
        }
        let count = match access.view() {
            Some(AccessView::Revoked) => &mut self.revoked,
            Some(AccessView::Pending) => &mut self.pending,
            Some(AccessView::Failed(_)) => &mut self.failed,
            None => return,
        };
        *count = count.saturating_add_signed(by);
    }
}
