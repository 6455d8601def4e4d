//! One lane: what to send next, and what each kind of answer means for the entries that were sent.
//!
//! | answer | for the entries | then |
//! | --- | --- | --- |
//! | done, no error entry | done | at once |
//! | error entry, passing cause | again, five times at most, then the list decides | after a wait |
//! | error entry, other cause | the list decides | at once |
//! | nothing sent, throttled, busy, no credentials, a clock off | as if never sent | after a wait |
//! | no answer, 5xx, not the API's answer | unknown: sent again | after a wait |
//! | not permitted, no such core, not understood | as if never sent | after a long wait: a person has to mend it |
//! | the same, or busy, of a resource of the call's own | as if never sent | others at once, these after a wait |
//! | refused, naming entries | those fail | the rest at once |
//! | refused | halved until the bad entry stands alone, which fails | at once |
//!
//! A whole call's trouble is never charged to its entries.

use std::time::Duration;

use super::backoff::Backoff;
use crate::model::{CallError, CallFault, EntryError, Fault, Lane, Mono, Target, Verdict};

/// Answers naming an entry's own passing error, after which the list has to tell.
const ENTRY_BUDGET: u32 = 5;

/// Calls of one bisection after which, if none went well, the fault is taken for the configuration's and not the
/// entries'. One bad entry in 100 takes 15.
const HOPELESS: u32 = 20;

/// Resources that refuse one after the other, after which it is the permission as a whole that is missing.
const DENIED_ALL: u32 = 5;

/// Resources that are known to refuse; beyond, the one that is known for longest is tried again.
const MAX_SHUT: usize = 16;

/// Throttled calls wait longer than failed ones.
const THROTTLED_FACTOR: u32 = 5;

/// What to ask of the ledger next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before this time.
    Wait(Mono),
    /// Entries from the queue.
    Queue {
        /// Those too that wait for a repetition, from this place on.
        retries: Option<(u64, u32)>,
        /// Resources that refused a call lately; others go first.
        shut: Vec<String>,
    },
    /// These, a part of an earlier call.
    These(Vec<Target>),
}

/// A lane's plan between calls. It is lost at a restart, which costs calls and nothing else.
#[derive(Debug)]
pub struct LanePlan {
    scoped: bool,
    settled_by_list: bool,
    backoff: Backoff,
    entries: Backoff,
    not_before: Mono,
    /// Entries with a passing error of their own wait until then. How many there are is the ledger's to know.
    retries_at: Mono,
    /// From which of them on the next look goes.
    cursor: (u64, u32),
    /// The time of the last look.
    looked_at: Mono,
    /// Resources that refused, the latest last, and how many did without a success between.
    shut: Vec<String>,
    denied: u32,
    pieces: Vec<Vec<Target>>,
    /// Calls of this bisection, and how many went well.
    bisection: (u32, u32),
}

impl LanePlan {
    /// Ready at once; waits are below `base` at first, and never above `cap`, but for a Retry-After.
    #[must_use]
    pub fn new(lane: Lane, base: Duration, cap: Duration) -> Self {
        Self {
            scoped: lane.traits().scoped,
            settled_by_list: lane.is_settled_by_list(),
            backoff: Backoff::new(base, cap),
            entries: Backoff::new(base, cap),
            not_before: Mono(0),
            retries_at: Mono(0),
            cursor: (0, 0),
            looked_at: Mono(0),
            shut: Vec::new(),
            denied: 0,
            pieces: Vec::new(),
            bisection: (0, 0),
        }
    }

    /// What to do now.
    #[must_use]
    pub fn next(&mut self, now: Mono) -> Next {
        if now < self.not_before {
            return Next::Wait(self.not_before);
        }
        if let Some(piece) = self.pieces.pop() {
            return Next::These(piece);
        }
        self.bisection = (0, 0);
        self.looked_at = now;
        Next::Queue { retries: (self.retries_at <= now).then_some(self.cursor), shut: self.shut.clone() }
    }

    /// Whether a resource refused a call, and has not taken one since.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        !self.shut.is_empty()
    }

    /// There is nothing to send: what refused is nobody's concern any more. Tells whether anything did.
    pub fn forget_refusals(&mut self) -> bool {
        self.denied = 0;
        !std::mem::take(&mut self.shut).is_empty()
    }

    /// What came of the look at the queue: the last entry that waited for a repetition and is sent now. The next look
    /// goes on after it, so that one that fails each time holds up no other.
    pub fn retried(&mut self, last: Option<(u64, u32)>) {
        if let Some((seq, no)) = last {
            self.cursor = (seq, no.saturating_add(1));
        }
    }

    /// When to look again although nobody wakes the lane, where entries wait for a repetition. Nothing if the last look
    /// was for them, too: what holds them up then is told by others.
    #[must_use]
    pub fn retries_at(&self) -> Option<Mono> {
        (self.retries_at > self.looked_at).then_some(self.retries_at.max(self.not_before))
    }

    /// What an answer means for each of the entries that were `sent` (with their count of passing errors). Entries
    /// without a verdict stay sent and come again as a piece. `chance` is random, from 0 to below 1.
    pub fn answered(
        &mut self,
        sent: &[(Target, u32)],
        answer: &Result<Vec<EntryError>, CallError>,
        now: Mono,
        chance: f64,
    ) -> Vec<(Target, Verdict)> {
        match answer {
            Ok(errors) => {
                self.backoff.succeed();
                self.denied = 0;
                let scope = sent.first().and_then(|(target, _)| target.scope());
                self.shut.retain(|shut| Some(shut.as_str()) != scope);
                self.bisection.1 += 1;
                self.bisection.0 += 1;
                self.entries_answered(sent, errors, now, chance)
            }
            Err(error) => self.refused(sent, error, now, chance),
        }
    }

    fn entries_answered(
        &mut self,
        sent: &[(Target, u32)],
        errors: &[EntryError],
        now: Mono,
        chance: f64,
    ) -> Vec<(Target, Verdict)> {
        let named = |target: &Target| errors.iter().find(|error| error.name.as_deref() == Some(target.name()));
        let is_sent = |name: &str| sent.iter().any(|(target, _)| target.name() == name);
        // An error that names nobody, or somebody else, may be about any of those that are not named.
        let stray = errors.iter().find(|error| !error.name.as_deref().is_some_and(is_sent));
        let mut again = false;
        let settled_by_list = self.settled_by_list;
        let perhaps = |fault| if settled_by_list { Verdict::Verify(fault) } else { Verdict::Failed(fault) };
        let verdict = |(target, charged): &(Target, u32)| {
            let verdict = match (named(target), stray) {
                (None, None) => Verdict::Done,
                (None, Some(stray)) => perhaps(Fault::new(&stray.code, &stray.message)),
                (Some(error), _) => {
                    let fault = Fault::new(&error.code, &error.message);
                    if is_passing(&error.code) && *charged < ENTRY_BUDGET {
                        again = true;
                        Verdict::Again(fault)
                    } else {
                        perhaps(fault)
                    }
                }
            };
            (target.clone(), verdict)
        };
        let verdicts: Vec<_> = sent.iter().map(verdict).collect();
        if again {
            self.retries_at = now.after(self.entries.fail(1, None, chance));
        } else {
            self.entries.succeed();
        }
        verdicts
    }

    fn refused(&mut self, sent: &[(Target, u32)], error: &CallError, now: Mono, chance: f64) -> Vec<(Target, Verdict)> {
        let fault = Fault::new(&error.code, &error.message);
        let all = |verdict: &dyn Fn(Fault) -> Verdict| {
            sent.iter().map(|(target, _)| (target.clone(), verdict(fault.clone()))).collect::<Vec<_>>()
        };
        if self.scoped && matches!(error.fault, CallFault::Denied | CallFault::Busy) {
            self.set_aside(sent, error, now, chance);
            return all(&Verdict::Aside);
        }
        let (factor, hold) = match error.fault {
            CallFault::Throttled => (THROTTLED_FACTOR, false),
            CallFault::Denied | CallFault::NoCore | CallFault::Misfit => (1, true),
            CallFault::Invalid(ref named) => return self.invalid(sent, named, &fault, now, chance),
            CallFault::Unreachable
            | CallFault::Lost
            | CallFault::Foreign
            | CallFault::Server
            | CallFault::Busy
            | CallFault::Clock
            | CallFault::Credentials => (1, false),
        };
        let wait = match hold {
            true => self.backoff.hold(chance),
            false => self.backoff.fail(factor, error.retry_after, chance),
        };
        self.pause(now, wait);
        match error.fault {
            CallFault::Lost | CallFault::Foreign | CallFault::Server => all(&Verdict::Unknown),
            _ => all(&Verdict::Unsent),
        }
    }

    /// A resource does not take the call: its entries wait, and others go first. Where all of them refuse, so does the lane.
    fn set_aside(&mut self, sent: &[(Target, u32)], error: &CallError, now: Mono, chance: f64) {
        if let Some(scope) = sent.first().and_then(|(target, _)| target.scope()) {
            self.shut.retain(|shut| shut != scope);
            self.shut.push(scope.to_owned());
            let over = self.shut.len().saturating_sub(MAX_SHUT);
            self.shut.drain(..over);
        }
        if error.fault == CallFault::Busy {
            self.retries_at = now.after(self.entries.fail(1, error.retry_after, chance));
            self.pieces.clear();
            return;
        }
        let wait = self.entries.hold(chance);
        self.retries_at = now.after(wait);
        self.denied += 1;
        let held = if self.denied >= DENIED_ALL { wait } else { Duration::ZERO };
        self.pause(now, held);
    }

    /// No call before the end of `wait`. Parts of an earlier call go back to where they came from: the ledger still
    /// has them as sent.
    fn pause(&mut self, now: Mono, wait: Duration) {
        self.not_before = now.after(wait);
        self.pieces.clear();
    }

    fn invalid(
        &mut self,
        sent: &[(Target, u32)],
        named: &[usize],
        fault: &Fault,
        now: Mono,
        chance: f64,
    ) -> Vec<(Target, Verdict)> {
        self.bisection.0 += 1;
        let failed = |target: &Target| (target.clone(), Verdict::Failed(fault.clone()));
        if named.iter().any(|index| *index < sent.len()) {
            let is_named = |n: usize| named.contains(&n);
            let rest: Vec<Target> =
                sent.iter().enumerate().filter(|(n, _)| !is_named(*n)).map(|(_, (target, _))| target.clone()).collect();
            if !rest.is_empty() {
                self.pieces.push(rest);
            }
            return sent
                .iter()
                .enumerate()
                .filter(|(n, _)| is_named(*n))
                .map(|(_, (target, _))| failed(target))
                .collect();
        }
        if let [(target, _)] = sent {
            return vec![failed(target)];
        }
        // Where the call is about a resource of its own, that is to blame as well, and no reason to stop others.
        if !self.scoped && self.bisection.0 >= HOPELESS && self.bisection.1 == 0 {
            let wait = self.backoff.hold(chance);
            self.pause(now, wait);
            return sent.iter().map(|(target, _)| (target.clone(), Verdict::Unsent(fault.clone()))).collect();
        }
        let (first, second) = sent.split_at(sent.len() / 2);
        for half in [second, first] {
            self.pieces.push(half.iter().map(|(target, _)| target.clone()).collect());
        }
        Vec::new()
    }
}

/// Whether an entry's error names a cause that passes. The codes are free texts that AWS does not document; these
/// are the words that its services use.
fn is_passing(code: &str) -> bool {
    ["Throttl", "Internal", "INTERNAL", "Unavailable", "Conflict", "Timeout", "TooMany"]
        .iter()
        .any(|word| code.contains(word))
}

#[cfg(test)]
mod tests;
