//! How an entry ends, and with the last one its request.

use std::sync::Arc;

use super::{
    super::{
        history,
        object::{Outgoing, Progress, Slot},
        work::Place,
    },
    Tx, defect,
};
use crate::{
    domain::{ClientId, Fault, Outcome, RequestStatus, SyncCounts, Target},
    ledger::registry::store::StoreError,
};

impl Tx<'_> {
    /// Ends one entry of a request, and the request with its last one. The caller takes the entry
    /// out of its target's waiters.
    pub(in crate::ledger::pending) fn end_entry(
        &mut self,
        target: &Target,
        place: Place,
        outcome: &Outcome,
    ) -> Result<(), StoreError> {
        let fault = outcome.fault().map(Arc::new);
        let event = history::ended(self.open_request(place.0)?, fault.as_deref());
        self.append_event(target, event)?;
        self.end_recorded(target, place, outcome, fault.as_ref())
    }

    /// The same for an entry whose end its device's history shows already. Several entries may
    /// share the fault.
    pub(in crate::ledger::pending) fn end_recorded(
        &mut self,
        target: &Target,
        place: Place,
        outcome: &Outcome,
        fault: Option<&Arc<Fault>>,
    ) -> Result<(), StoreError> {
        if self.state.open_target(place) != Some(target) {
            return Err(defect(format!("entry {} of request {} is not open", place.1, place.0)));
        }
        let request = self.open_request(place.0)?;
        let (mut progress, seq) = (Progress::of(request), request.seq);
        if progress.tally.open == 0 {
            return Err(defect(format!("request {seq} has an entry too many")));
        }
        let slot = match fault {
            Some(fault) => Slot::Failed(target.clone(), Arc::clone(fault)),
            None => Slot::Succeeded,
        };
        self.put_slot(place, slot);
        progress.tally.end(outcome);
        let counters = &mut self.state.counters;
        if *target != Target::Registry {
            counters.open_entries = counters.open_entries.saturating_sub(1);
            match outcome {
                Outcome::Succeeded => self.ended.succeeded += 1,
                _ => self.ended.failed += 1,
            }
        }
        let is_over = progress.tally.open == 0;
        if is_over {
            progress.completed_at = Some(self.now.wall);
            progress.completed_elapsed = self.elapsed();
        }
        self.put_progress(seq, progress);
        if is_over {
            self.complete(seq, progress.tally.status())?;
        }
        Ok(())
    }

    /// Notes what a sync found for a request.
    pub(in crate::ledger::pending) fn set_sync(&mut self, seq: u64, counts: SyncCounts) -> Result<(), StoreError> {
        let progress = Progress { sync: Some(counts), ..Progress::of(self.open_request(seq)?) };
        self.put_progress(seq, progress);
        Ok(())
    }

    /// Invariant 2: the one place where a request gets its final status, and with it its
    /// `completed`.
    fn complete(&mut self, seq: u64, status: RequestStatus) -> Result<(), StoreError> {
        if let Some(at) = RequestStatus::ALL.iter().position(|one| *one == status) {
            self.ended.requests[at] += 1;
        }
        self.state.counters.open_requests = self.state.counters.open_requests.saturating_sub(1);
        let client = self.open_request(seq)?.client.clone();
        self.owe(&client, seq, true);
        Ok(())
    }

    /// Puts a message into the outbox: `completed`, else `accepted`. A client of the local socket
    /// gets its answers there.
    pub(in crate::ledger::pending) fn owe(&mut self, client: &ClientId, seq: u64, completed: bool) {
        if client.is_local() {
            return;
        }
        let n = self.state.counters.next_outgoing;
        self.state.counters.next_outgoing += 1;
        self.state.counters.outgoing += 1;
        self.touched.outgoing = true;
        self.put_owed(n, Some(Outgoing { seq, completed }));
    }
}
