//! The totals that other parts of the agent read.

use super::{
    counters::Load,
    object::{BYTES_A_MESSAGE, BYTES_A_REQUEST, BYTES_AN_ENTRY},
    state::{AccessLoad, State},
};
use crate::domain::{CallKind, DeviceState};

/// Bytes of all that is kept: rows of the registry, and an estimate of what is in memory.
pub(super) fn live_bytes(state: &State) -> u64 {
    let counters = &state.counters;
    counters.registry_bytes
        + state.requests().len() as u64 * BYTES_A_REQUEST
        + counters.open_entries * BYTES_AN_ENTRY
        + counters.outgoing * BYTES_A_MESSAGE
}

/// What others see of the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    associated: u64,
    associating: u64,
    disassociating: u64,
    disassociated: u64,
    /// Entries that have not ended.
    pub pending_entries: u64,
    /// Requests that have not ended.
    pub open_requests: u64,
    /// Whether the registry was ever read from the cloud to the list's end.
    pub is_synced: bool,
    loads: [Load; CallKind::ALL.len()],
    /// Bytes of all that is kept.
    pub live_bytes: u64,
    /// The number that the next request gets.
    pub next_seq: u64,
    /// The same when this run began: everything below is left over.
    pub first_seq: u64,
    /// Counts the runs.
    pub run: u64,
    /// Counts the registries: one that was lost is replaced.
    pub generation: u64,
    /// Bytes that the store takes on its disk, looked at now and then.
    pub store_bytes: u64,
    /// The broker's clients that the agent manages.
    pub access: AccessLoad,
}

impl Summary {
    pub(crate) fn of(state: &State) -> Self {
        let counters = &state.counters;
        Self {
            associated: counters.associated,
            associating: counters.associating,
            disassociating: counters.disassociating,
            disassociated: counters.disassociated,
            pending_entries: counters.open_entries,
            open_requests: counters.open_requests,
            is_synced: counters.synced,
            loads: counters.loads,
            live_bytes: live_bytes(state),
            next_seq: counters.next_seq,
            first_seq: counters.first_seq,
            run: counters.run,
            generation: counters.generation,
            store_bytes: 0,
            access: state.access_load(),
        }
    }

    /// Devices in a state.
    #[must_use]
    pub fn devices(&self, state: DeviceState) -> u64 {
        match state {
            DeviceState::Associated => self.associated,
            DeviceState::Associating => self.associating,
            DeviceState::Disassociating => self.disassociating,
            DeviceState::Disassociated => self.disassociated,
        }
    }

    /// What there is to do by a kind of call.
    #[must_use]
    pub fn load(&self, call_kind: CallKind) -> Load {
        self.loads[call_kind.index()]
    }

    /// Work of any kind of call that waits for a list.
    #[must_use]
    pub fn awaiting_list(&self) -> u64 {
        self.loads.iter().map(|load| load.awaiting_list).sum()
    }
}
