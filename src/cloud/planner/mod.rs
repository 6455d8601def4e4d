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

use crate::domain::{Again, Backoff, CallError, CallFault, CallKind, EntryError, Fault, Mono, Target, Verdict};

/// Answers naming an entry's own passing error, after which the list has to tell.
const ENTRY_BUDGET: u32 = 5;

/// Calls of one bisection after which, if none went well, the fault is taken for the
/// configuration's and not the entries'. One bad entry in 100 takes 15.
const HOPELESS: u32 = 20;

/// Resources that refuse one after the other, after which it is the permission as a whole that is
/// missing.
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
        /// Those too that were sent before, from where on; `None` before their time.
        again: Option<Again>,
        /// Resources that refuse; others go first.
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
    /// Entries with a passing error of their own wait until then. How many there are is the
    /// ledger's to know.
    retries_at: Mono,
    /// From where on the next look at those who were sent before goes.
    cursor: Again,
    /// The time of the last look, and whether it was in vain.
    looked_at: Mono,
    in_vain: bool,
    /// Resources that refuse, those that were asked last at the end.
    shut: Vec<Shut>,
    /// How many resources in a row turned out to refuse.
    denied: u32,
    pieces: Vec<Vec<Target>>,
    /// Calls of this bisection, and how many went well.
    bisection: (u32, u32),
}

/// A resource that refuses.
#[derive(Debug)]
struct Shut {
    scope: String,
    /// Since when.
    since: Mono,
    /// It is not asked before.
    until: Mono,
    /// For want of a permission, and not because it is busy.
    denied: bool,
    backoff: Backoff,
}

impl LanePlan {
    /// Ready at once; waits are below `base` at first, and never above `cap`, but for a
    /// Retry-After.
    #[must_use]
    pub fn new(lane: CallKind, base: Duration, cap: Duration) -> Self {
        Self {
            scoped: lane.traits().scoped,
            settled_by_list: lane.is_settled_by_list(),
            backoff: Backoff::new(base, cap),
            entries: Backoff::new(base, cap),
            not_before: Mono(0),
            retries_at: Mono(0),
            cursor: Again::default(),
            looked_at: Mono(0),
            in_vain: false,
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
        // What waits for its time then may be there now.
        self.in_vain &= self.wake_after(self.looked_at) > Some(now);
        self.looked_at = now;
        let shut = self.shut.iter().filter(|shut| shut.until > now).map(|shut| shut.scope.clone()).collect();
        Next::Queue { again: (self.retries_at <= now).then_some(self.cursor), shut }
    }

    /// The first time after `at` for which something waits.
    fn wake_after(&self, at: Mono) -> Option<Mono> {
        let times = self.shut.iter().map(|shut| shut.until).chain([self.retries_at]);
        times.filter(|time| *time > at).min()
    }

    /// Whether a resource does not permit its calls, for all that is known.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shut.iter().any(|shut| shut.denied)
    }

    /// The resource that has been busy for longest, and since when; one that was not asked again
    /// within `cap` has nothing to be asked any more.
    #[must_use]
    pub fn busy(&self, now: Mono, cap: Duration) -> Option<(&str, Mono)> {
        let busy =
            self.shut.iter().filter(|shut| !shut.denied && now.since(shut.until) <= cap).min_by_key(|shut| shut.since);
        busy.map(|shut| (shut.scope.as_str(), shut.since))
    }

    /// There is nothing to send: what refused is nobody's concern any more.
    pub fn forget_refusals(&mut self) {
        self.denied = 0;
        self.shut.clear();
    }

    /// What came of the look at the queue: where the next one goes on, so that who fails each time
    /// holds up no other; and whether it was `in_vain`.
    pub fn looked(&mut self, again: Again, in_vain: bool) {
        self.cursor = again;
        self.in_vain = in_vain;
    }

    /// Whether the last look found nothing, and nothing's time has come since.
    #[must_use]
    pub fn found_nothing(&self) -> bool {
        self.in_vain
    }

    /// When to look again although nobody wakes the lane, where entries wait for a repetition.
    /// Nothing if the last look was for them, too: what holds them up then is told by others.
    #[must_use]
    pub fn retries_at(&self) -> Option<Mono> {
        self.wake_after(self.looked_at).map(|at| at.max(self.not_before))
    }

    /// What an answer means for each of the entries that were `sent` (with their count of passing
    /// errors). Entries without a verdict stay sent and come again as a piece. `chance` is random,
    /// from 0 to below 1.
    pub fn answered(
        &mut self,
        sent: &[(Target, u32)],
        answer: &Result<Vec<EntryError>, CallError>,
        now: Mono,
        chance: f64,
    ) -> Vec<(Target, Verdict)> {
        if answer.as_ref().map_or_else(|error| matches!(error.fault, CallFault::Invalid(_)), |_| true) {
            // Whatever it says, the resource takes calls.
            let scope = sent.first().and_then(|(target, _)| target.scope());
            self.shut.retain(|shut| Some(shut.scope.as_str()) != scope);
        }
        match answer {
            Ok(errors) => {
                self.backoff.succeed();
                self.denied = 0;
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
        // An error that names nobody, or somebody else, may be about any of those that are not
        // named.
        let stray = errors.iter().find(|error| !error.name.as_deref().is_some_and(is_sent));
        let mut again = false;
        let settled_by_list = self.settled_by_list;
        let perhaps = |fault| if settled_by_list { Verdict::Verify(fault) } else { Verdict::Failed(fault) };
        let verdict = |(target, charged): &(Target, u32)| {
            let verdict = match (named(target), stray) {
                (None, None) => Verdict::Done,
                (None, Some(stray)) if settled_by_list => Verdict::Verify(Fault::new(&stray.code, &stray.message)),
                (Some(error), _) | (None, Some(error)) => {
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
            return all(&Verdict::Parked);
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

    /// A resource does not take the call: its entries wait, and others go first. Where all of them
    /// refuse, so does the lane.
    fn set_aside(&mut self, sent: &[(Target, u32)], error: &CallError, now: Mono, chance: f64) {
        self.pieces.clear();
        let Some(scope) = sent.first().and_then(|(target, _)| target.scope()) else { return };
        let known = self.shut.iter().position(|shut| shut.scope == scope).map(|at| self.shut.remove(at));
        let denied = error.fault == CallFault::Denied;
        let since = known.as_ref().filter(|shut| shut.denied == denied).map_or(now, |shut| shut.since);
        let is_news = known.as_ref().is_none_or(|shut| !shut.denied);
        let mut backoff = known.map_or_else(|| self.entries.anew(), |shut| shut.backoff);
        let wait = if denied { backoff.hold(chance) } else { backoff.fail(1, error.retry_after, chance) };
        if denied && is_news {
            self.denied += 1;
            if self.denied >= DENIED_ALL {
                self.not_before = now.after(wait);
            }
        }
        self.shut.push(Shut { scope: scope.to_owned(), since, until: now.after(wait), denied, backoff });
        let over = self.shut.len().saturating_sub(MAX_SHUT);
        self.shut.drain(..over);
    }

    /// No call before the end of `wait`. Parts of an earlier call go back to where they came from:
    /// the ledger still has them as sent.
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
        if self.bisection.0 >= HOPELESS && self.bisection.1 == 0 {
            if self.scoped {
                // It is the resource that is refused, in words that do not name it. Each piece was
                // tried as a whole.
                return sent.iter().map(|(target, _)| failed(target)).collect();
            }
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

/// Whether an entry's error names a cause that passes. The codes are free texts that AWS does not
/// document; these are the words that its services use.
fn is_passing(code: &str) -> bool {
    ["Throttl", "Internal", "INTERNAL", "Unavailable", "Conflict", "Timeout", "TooMany"]
        .iter()
        .any(|word| code.contains(word))
}

#[cfg(test)]
mod tests;
