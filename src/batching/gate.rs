//! Which requests have to wait for a complete list before they are sent (contract, "Superseded"): those older than
//! five minutes, those left over from before the start, and those accepted while the cloud was out of reach.
//!
//! Request numbers follow the order of acceptance, so each of the three is "everything below a number", and so is
//! what a list clears.

use std::{collections::VecDeque, time::Duration};

use crate::model::{Mono, Window};

/// Age above which a list has to come first.
const OLD: Duration = Duration::from_secs(300);

/// How often the age of numbers is noted; a request may count as fresh for so much longer.
const NOTE: Duration = Duration::from_secs(10);

/// Keeps the numbers.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Below: left over, or accepted out of reach.
    suspect: u64,
    /// At that time the next request's number was this one; oldest first, at most five minutes' worth.
    notes: VecDeque<(Mono, u64)>,
    /// Below: older than five minutes.
    old: u64,
    cleared: u64,
}

impl Gate {
    /// At the start of a run, with the number that the next request will get.
    pub fn start(&mut self, next_seq: u64) {
        *self = Self { suspect: next_seq, ..Self::default() };
    }

    /// Called now and then with the next request's number.
    pub fn note(&mut self, now: Mono, next_seq: u64) {
        if self.notes.back().is_none_or(|(at, _)| now.since(*at) >= NOTE) {
            self.notes.push_back((now, next_seq));
        }
        while let Some((at, seq)) = self.notes.front().copied()
            && now.since(at) > OLD
        {
            self.old = seq;
            self.notes.pop_front();
        }
    }

    /// The cloud is, or until now was, out of reach.
    pub fn out_of_reach(&mut self, next_seq: u64) {
        self.suspect = self.suspect.max(next_seq);
    }

    /// The boundary that a list beginning now will clear, if it is read to its end.
    #[must_use]
    pub fn begin_list(&self, next_seq: u64) -> u64 {
        self.fresh().min(next_seq)
    }

    /// The list that began with that boundary is complete.
    pub fn end_list(&mut self, boundary: u64) {
        self.cleared = self.cleared.max(boundary);
    }

    fn fresh(&self) -> u64 {
        self.suspect.max(self.old)
    }

    /// What may be sent.
    #[must_use]
    pub fn window(&self) -> Window {
        Window { cleared: self.cleared, fresh: self.fresh() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_send(gate: &Gate, seq: u64) -> bool {
        let Window { cleared, fresh } = gate.window();
        seq < cleared || seq >= fresh
    }

    #[test]
    fn what_is_left_over_waits_for_a_list() {
        let mut gate = Gate::default();
        gate.start(7);
        assert!(!may_send(&gate, 6) && may_send(&gate, 7));
        let list = gate.begin_list(9);
        gate.end_list(list);
        assert!(may_send(&gate, 6) && may_send(&gate, 8));
    }

    #[test]
    fn what_came_while_out_of_reach_waits_for_a_list_begun_after_it() {
        let mut gate = Gate::default();
        gate.start(0);
        gate.out_of_reach(3);
        let list = gate.begin_list(3);
        gate.out_of_reach(5);
        gate.end_list(list);
        assert!(may_send(&gate, 2) && !may_send(&gate, 4) && may_send(&gate, 5));
    }

    #[test]
    fn a_request_ages_between_two_notes() {
        let mut gate = Gate::default();
        gate.start(6);
        for s in 0..=600 {
            // Request 6 comes at 5 s, no other.
            gate.note(Mono(s * 1000), if s < 5 { 6 } else { 7 });
        }
        assert!(!may_send(&gate, 6));
    }

    #[test]
    fn what_is_old_waits_for_a_list_begun_when_it_was() {
        let mut gate = Gate::default();
        gate.start(0);
        let seconds = |s: u64| Mono(s * 1000);
        for s in 0..=320 {
            // One request a second.
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
