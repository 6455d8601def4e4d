//! Which requests have to wait for a complete list before they are sent (docs/interface.md,
//! "Superseded requests"): requests older than five minutes, requests left over from before the
//! start, and requests accepted while the cloud was out of reach.
//!
//! Request numbers follow the order of acceptance, so each of the three sets is "all requests below
//! a number". What a list clears is such a set, too.

use std::{collections::VecDeque, time::Duration};

use crate::domain::{Mono, Window};

/// The age above which a list has to come before the request.
const OLD: Duration = Duration::from_secs(300);

/// How often the age of numbers is noted. A request may count as fresh for this much longer.
const NOTE: Duration = Duration::from_secs(10);

/// Up to which request numbers a list clears, for each of the reasons to wait. A request that is
/// cleared for one reason still waits for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Boundary {
    suspect: u64,
    old: u64,
}

/// Keeps the numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Boundaries {
    /// Requests below these numbers have to wait: left over or accepted while the cloud was out of
    /// reach (`suspect`), and older than five minutes (`old`).
    reached: Boundary,
    cleared: Boundary,
    /// The number of the next request at each of these times. The oldest note comes first, and the
    /// notes cover at most five minutes.
    notes: VecDeque<(Mono, u64)>,
}

impl Boundaries {
    /// Begins a run; `next_seq` is the number that the next request will get.
    pub(super) fn start(&mut self, next_seq: u64) {
        *self = Self::default();
        self.reached.suspect = next_seq;
    }

    /// Notes the next request's number; called from time to time.
    pub(super) fn note(&mut self, now: Mono, next_seq: u64) {
        if self.notes.back().is_none_or(|(at, _)| now.since(*at) >= NOTE) {
            self.notes.push_back((now, next_seq));
        }
        while let Some((at, seq)) = self.notes.front().copied()
            && now.since(at) > OLD
        {
            self.reached.old = seq;
            self.notes.pop_front();
        }
    }

    /// Notes that the cloud is out of reach, or was so until now.
    pub(super) fn out_of_reach(&mut self, next_seq: u64) {
        self.reached.suspect = self.reached.suspect.max(next_seq);
    }

    /// Notes that the registry is lost, and what its lists showed with it. `next_seq` is the number
    /// of the first request after that.
    pub(super) fn lose(&mut self, next_seq: u64) {
        self.cleared = Boundary::default();
        self.out_of_reach(next_seq);
    }

    /// The boundary that a list which begins now will clear, if it is read to its end.
    #[must_use]
    pub(super) fn begin_list(&self, next_seq: u64) -> Boundary {
        let Boundary { suspect, old } = self.reached;
        Boundary { suspect: suspect.min(next_seq), old: old.min(next_seq) }
    }

    /// Whether a list with that boundary, once it is complete, leaves no request that waits for
    /// another list.
    #[must_use]
    pub(super) fn is_enough(&self, boundary: Boundary) -> bool {
        let enough = |list: u64, cleared: u64, reached: u64| list.max(cleared) >= reached;
        enough(boundary.suspect, self.cleared.suspect, self.reached.suspect)
            && enough(boundary.old, self.cleared.old, self.reached.old)
    }

    /// Notes that the list which began with that boundary is complete.
    pub(super) fn end_list(&mut self, boundary: Boundary) {
        self.cleared.suspect = self.cleared.suspect.max(boundary.suspect);
        self.cleared.old = self.cleared.old.max(boundary.old);
    }

    /// Which requests may be sent, where the lists are in the registry of that generation: all
    /// except those from the first to the last one that waits, for either reason.
    #[must_use]
    pub(super) fn window(&self, generation: u64) -> Window {
        let Self { reached, cleared, .. } = self;
        let waiting = [(cleared.suspect, reached.suspect), (cleared.old, reached.old)];
        let waiting = waiting.into_iter().filter(|(from, to)| from < to);
        let hull = waiting.reduce(|(from, to), (other_from, other_to)| (from.min(other_from), to.max(other_to)));
        let (cleared, fresh) = hull.unwrap_or((reached.suspect, reached.suspect));
        Window { cleared, fresh, generation: Some(generation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_send(gate: &Boundaries, seq: u64) -> bool {
        gate.window(0).allows(seq)
    }

    #[test]
    fn what_is_left_over_waits_for_a_list() {
        let mut gate = Boundaries::default();
        gate.start(7);
        assert!(!may_send(&gate, 6) && may_send(&gate, 7));
        let list = gate.begin_list(9);
        gate.end_list(list);
        assert!(may_send(&gate, 6) && may_send(&gate, 8));
    }

    #[test]
    fn what_lists_showed_is_lost_with_the_registry() {
        let mut gate = Boundaries::default();
        gate.start(7);
        let list = gate.begin_list(9);
        gate.end_list(list);
        gate.lose(9);
        assert!(!may_send(&gate, 6) && !may_send(&gate, 8) && may_send(&gate, 9));
        let list = gate.begin_list(9);
        gate.end_list(list);
        assert!(may_send(&gate, 6) && may_send(&gate, 8));
    }

    #[test]
    fn what_was_accepted_while_out_of_reach_waits_for_a_list_begun_after_it() {
        let mut gate = Boundaries::default();
        gate.start(0);
        gate.out_of_reach(3);
        let list = gate.begin_list(3);
        gate.out_of_reach(5);
        gate.end_list(list);
        assert!(may_send(&gate, 2) && !may_send(&gate, 4) && may_send(&gate, 5));
    }

    #[test]
    fn a_request_cleared_of_an_outage_still_waits_for_a_list_when_it_is_old() {
        let mut gate = Boundaries::default();
        gate.start(0);
        gate.note(Mono(0), 0);
        gate.note(Mono(20_000), 5);
        gate.out_of_reach(5);
        let list = gate.begin_list(5);
        gate.end_list(list);
        assert!(may_send(&gate, 4));
        gate.note(Mono(400_000), 5);
        assert!(!may_send(&gate, 4) && !gate.is_enough(list));
        let list = gate.begin_list(5);
        assert!(gate.is_enough(list));
        gate.end_list(list);
        assert!(may_send(&gate, 4));
    }

    #[test]
    fn a_request_ages_between_two_notes() {
        let mut gate = Boundaries::default();
        gate.start(6);
        for s in 0..=600 {
            // Request 6 is accepted at 5 s, and no other request is.
            gate.note(Mono(s * 1000), if s < 5 { 6 } else { 7 });
        }
        assert!(!may_send(&gate, 6));
    }

    #[test]
    fn an_old_request_waits_for_a_list_that_began_when_it_was_old() {
        let mut gate = Boundaries::default();
        gate.start(0);
        let seconds = |s: u64| Mono(s * 1000);
        for s in 0..=320 {
            // One request is accepted each second.
            gate.note(seconds(s), s);
        }
        assert!(!may_send(&gate, 5) && may_send(&gate, 100));
        let list = gate.begin_list(320);
        gate.end_list(list);
        assert!(may_send(&gate, 5));
        for s in 320..=420 {
            gate.note(seconds(s), s);
        }
        assert!(may_send(&gate, 5), "once is enough");
        assert!(!may_send(&gate, 50) && may_send(&gate, 300));
    }
}
