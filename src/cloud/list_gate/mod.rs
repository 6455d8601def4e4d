//! The list gate: decides which requests wait for a complete list of the cloud, and whether a list
//! is needed. The dispatcher queries it, and the reconciler reports to it which lists it reads.

mod boundaries;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use self::boundaries::{Boundaries, Boundary};
use crate::{
    domain::{CallError, CallKind, Mono, Window},
    health::{Health, Reach},
    ledger::Summary,
    runtime::clock::Clock,
};

/// While the machine is suspended, the cloud is out of reach. A shorter suspension does not count.
/// The requests until the next note count as accepted before the suspension.
const SUSPENDED: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    boundaries: Boundaries,
    /// The time of the last note: since the boot, and without the time of suspensions.
    noted: Option<(Mono, Instant)>,
    /// The opening of the store to which the numbers belong, the number of the first request after
    /// that opening, and the generation of the registry.
    opened: Option<(u64, u64, u64)>,
    /// How many lists were requested, and how many of these requests a complete list has served
    /// since.
    lists_wanted: u64,
    lists_served: u64,
    /// What the list that is being read will clear, and how many of the requested lists it serves.
    listing: Option<(Boundary, u64)>,
}

impl State {
    /// Notes the age of requests. Returns `true` if the store was opened again: it then begins with
    /// leftovers, or it may be another store with an empty registry, so a list is needed.
    fn note(&mut self, now: Mono, summary: Summary) -> bool {
        let opened = (summary.run, summary.first_seq, summary.generation);
        let mut again = false;
        if self.opened != Some(opened) {
            let before = self.opened.replace(opened).filter(|(run, ..)| *run > 0);
            again = before.is_some();
            self.lists_wanted += u64::from(again);
            // The process is the same as before an opening: the ages of these requests still count.
            match before {
                None => self.boundaries.start(summary.first_seq),
                Some((.., generation)) if generation == summary.generation => {
                    self.boundaries.out_of_reach(summary.first_seq);
                }
                Some(_) => {
                    self.boundaries.lose(summary.first_seq);
                    self.listing = None;
                }
            }
        }
        let awake = Instant::now();
        if let Some((at, awake_at)) = self.noted.replace((now, awake))
            && now.since(at) > awake.duration_since(awake_at) + SUSPENDED
        {
            self.boundaries.out_of_reach(summary.next_seq);
        }
        self.boundaries.note(now, summary.next_seq);
        again
    }
}

/// The list gate, shared by the parts that call the cloud. Its changes wake the subscribers of
/// [`Health`].
pub struct ListGate {
    state: Mutex<State>,
    health: Arc<Health>,
    ledger: watch::Receiver<Summary>,
    clock: Clock,
}

impl ListGate {
    /// Begins without any list read. `ledger` gives the number of the next request.
    #[must_use]
    pub fn new(health: Arc<Health>, ledger: watch::Receiver<Summary>, clock: Clock) -> Arc<Self> {
        let state = State { noted: Some((clock.now().mono, Instant::now())), ..State::default() };
        Arc::new(Self { state: Mutex::new(state), health, ledger, clock })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic and leave the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the subscribers of [`Health`].
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.health.wake();
        result
    }

    /// Passes the outcome of a call on to [`Health::answered`], and requests a list after an
    /// outage.
    pub fn answered(&self, kind: CallKind, result: Result<(), &CallError>, refused: bool) {
        let next_seq = self.ledger.borrow().next_seq;
        // The lock is held meanwhile, so that no part can find the cloud within reach and the gate
        // still open.
        self.change(|state| {
            let Reach { was_out, answer_is_out, is_out } = self.health.answered(kind, result, refused);
            // A list exists for devices only.
            if !kind.traits().service.is_of_the_list() {
                return;
            }
            if was_out || answer_is_out {
                state.boundaries.out_of_reach(next_seq);
            }
            if was_out && !is_out {
                // If a list call finds this out, that list serves this request for a list.
                state.lists_wanted += 1;
                if let (CallKind::List, Some((_, serves))) = (kind, &mut state.listing) {
                    *serves = state.lists_wanted;
                }
            }
        });
    }

    /// Requests a complete list that begins after this call.
    pub fn want_list(&self) {
        self.change(|state| state.lists_wanted += 1);
    }

    /// Requests a complete list for the requests that [`Self::window`] keeps back, unless the list
    /// that is being read will clear them.
    pub fn want_window(&self) {
        let _ = self.window();
        let state = self.state();
        let will_do = state.listing.is_some_and(|(boundary, _)| state.boundaries.is_enough(boundary));
        let wanted = state.lists_wanted > state.lists_served || will_do;
        drop(state);
        if !wanted {
            self.want_list();
        }
    }

    /// Whether a part of the agent needs a list.
    #[must_use]
    pub fn list_wanted(&self) -> bool {
        let state = self.state();
        state.lists_wanted > state.lists_served
    }

    /// Which requests may be sent now.
    pub fn window(&self) -> Window {
        let summary = *self.ledger.borrow();
        let mut state = self.state();
        let again = state.note(self.clock.now().mono, summary);
        let window = state.boundaries.window(summary.generation);
        drop(state);
        if again {
            self.health.wake();
        }
        window
    }

    /// Notes that a list begins. `next_seq` is the number of the first request that this list may
    /// be too early for.
    pub fn begin_list(&self, next_seq: u64) {
        let summary = *self.ledger.borrow();
        let mut state = self.state();
        state.note(self.clock.now().mono, summary);
        if self.health.out_of_reach() {
            // Requests that came since the last failed call were accepted while the cloud was out
            // of reach, too.
            state.boundaries.out_of_reach(next_seq);
        }
        let boundary = state.boundaries.begin_list(next_seq);
        state.listing = Some((boundary, state.lists_wanted));
    }

    /// Notes that the list was broken off. The parts that requested it still need one.
    pub fn drop_list(&self) {
        self.change(|state| state.listing = None);
    }

    /// Notes that the list is complete and that the ledger has applied it.
    pub fn end_list(&self) {
        let mut state = self.state();
        if let Some((boundary, serves)) = state.listing.take() {
            state.boundaries.end_list(boundary);
            state.lists_served = state.lists_served.max(serves);
        }
        drop(state);
        self.health.synced();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CallFault, CloudState};

    fn gate() -> (Arc<ListGate>, Arc<Health>) {
        let clock = Clock::start();
        let health = Health::new(clock.clone());
        (ListGate::new(Arc::clone(&health), watch::channel(Summary::default()).1, clock), health)
    }

    fn failed(gate: &ListGate, kind: CallKind, fault: CallFault) {
        let error = CallError { fault, code: "Code".into(), message: "text".into(), retry_after: None };
        gate.answered(kind, Err(&error), false);
    }

    #[test]
    fn an_answer_to_one_kind_of_call_ends_the_outage_of_all() {
        let (gate, health) = gate();
        failed(&gate, CallKind::Disassociate, CallFault::NoResponse);
        assert!(health.out_of_reach());
        assert!(health.snapshot().problems.contains_key("CLOUD_UNREACHABLE"));
        gate.begin_list(0);
        gate.answered(CallKind::List, Ok(()), false);
        assert_eq!(health.snapshot().cloud, CloudState::Reachable);
        assert!(health.snapshot().problems.is_empty());
        gate.end_list();
        assert!(!gate.list_wanted(), "the list that found it is the one that is needed");
    }

    #[test]
    fn a_list_serves_the_parts_that_asked_before_it_began() {
        let (gate, _) = gate();
        gate.want_list();
        gate.begin_list(0);
        gate.drop_list();
        assert!(gate.list_wanted(), "it broke off");
        gate.begin_list(0);
        gate.want_list();
        gate.end_list();
        assert!(gate.list_wanted(), "asked for after it began");
        gate.begin_list(0);
        gate.want_window();
        gate.end_list();
        assert!(!gate.list_wanted());
    }

    #[test]
    fn no_list_of_a_registry_that_is_lost_clears_a_request() {
        let clock = Clock::start();
        let mut summary = Summary::default();
        (summary.run, summary.next_seq, summary.first_seq) = (1, 9, 7);
        let (ledger, summaries) = watch::channel(summary);
        let gate = ListGate::new(Health::new(clock.clone()), summaries, clock);
        let list = || {
            gate.begin_list(9);
            gate.end_list();
        };
        list();
        assert!(gate.window().allows(6));
        gate.begin_list(9);
        ledger.send_modify(|summary| (summary.run, summary.generation, summary.first_seq) = (2, 1, 9));
        let window = gate.window();
        assert!(!window.allows(6) && !window.allows(8) && window.generation == Some(1) && gate.list_wanted());
        gate.end_list();
        assert!(!gate.window().allows(6), "that list is in the registry that is lost");
        list();
        assert!(gate.window().allows(6) && !gate.list_wanted());
    }

    #[test]
    fn a_sync_follows_an_outage_even_if_its_first_answer_is_an_error() {
        let (gate, health) = gate();
        gate.begin_list(0);
        failed(&gate, CallKind::List, CallFault::Unreachable);
        gate.drop_list();
        gate.begin_list(0);
        failed(&gate, CallKind::List, CallFault::Server);
        gate.drop_list();
        assert!(!health.out_of_reach() && gate.list_wanted());
        assert!(health.snapshot().problems.contains_key("CLOUD_FAILING"));
    }
}
