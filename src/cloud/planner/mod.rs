//! The plan of one lane: what to send next, and what each kind of response means for the entries
//! that were sent.
//!
//! * Success without an error entry: the entries are done. The next call follows at once.
//! * An error entry with a transient cause: the entry is sent again after a wait, five times at
//!   most; then the list decides.
//! * An error entry with another cause: the list decides. The next call follows at once.
//! * Nothing sent, throttled, busy, no credentials or a wrong clock: the entries count as never
//!   sent. The next call follows after a wait.
//! * No response, 5xx, or not a response of the API: the outcome is unknown, and the entries are
//!   sent again after a wait.
//! * Not permitted, no such core device, or not understood: the entries count as never sent. The
//!   next call follows after a long wait, since a person has to correct the cause.
//! * Not permitted or busy, for the call's own resource: its entries are parked for a while, and
//!   entries about other resources follow at once.
//! * Refused, with named entries: these fail. The others are sent again at once.
//! * Refused, without named entries: the call is halved until the bad entry is alone, which fails.
//!
//! A failure of a whole call is never counted as an error of its entries.

use std::time::Duration;

use crate::domain::{Again, Backoff, CallError, CallFault, CallKind, EntryError, Fault, Mono, Target, Verdict};

/// How many responses may name an entry's own transient error before the list has to decide.
const ENTRY_BUDGET: u32 = 5;

/// After this many calls of one bisection, none of which succeeded, the fault is taken to be in the
/// configuration and not in the entries. One bad entry in 100 takes 15 calls.
const HOPELESS: u32 = 20;

/// After this many resources refused one after the other, the permission as a whole is taken to be
/// missing.
const DENIED_ALL: u32 = 5;

/// The most resources that are kept as refusing. Beyond that, the resource that was kept for
/// longest is tried again.
const MAX_SHUT: usize = 16;

/// What to request from the ledger next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before this time.
    Wait(Mono),
    /// Entries from the queue.
    Queue {
        /// From where on to take entries that were sent before, too; `None` before their time.
        again: Option<Again>,
        /// Resources that refuse; entries about other resources go first.
        shut: Vec<String>,
    },
    /// These entries, which are a part of an earlier call.
    These(Vec<Target>),
}

/// A lane's plan between calls. A restart loses it, which costs some calls and nothing else.
#[derive(Debug)]
pub struct LanePlan {
    scoped: bool,
    settled_by_list: bool,
    backoff: Backoff,
    entries: Backoff,
    not_before: Mono,
    /// Entries with a transient error of their own wait until this time. The ledger knows how many
    /// of them there are.
    retries_at: Mono,
    /// Where the next look at the entries that were sent before begins.
    cursor: Again,
    /// The time of the last look, and whether it found nothing.
    looked_at: Mono,
    in_vain: bool,
    /// Resources that refuse; the ones that were called last are at the end.
    shut: Vec<Shut>,
    /// How many resources in a row refused.
    denied: u32,
    pieces: Vec<Vec<Target>>,
    /// How many calls this bisection made, and how many of them succeeded.
    bisection: (u32, u32),
}

/// A resource that refuses.
#[derive(Debug)]
struct Shut {
    scope: String,
    /// Since when it refuses.
    since: Mono,
    /// It is not called before this time.
    until: Mono,
    /// Whether a permission is missing; else the resource is busy.
    denied: bool,
    backoff: Backoff,
}

impl LanePlan {
    /// A plan that is ready at once. The waits begin below `base` and never exceed `cap`, except
    /// for a Retry-After header.
    #[must_use]
    pub fn new(call_kind: CallKind, base: Duration, cap: Duration) -> Self {
        Self {
            scoped: call_kind.traits().scoped,
            settled_by_list: call_kind.is_settled_by_list(),
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
        // An entry that waited for its time may be ready now.
        self.in_vain &= self.wake_after(self.looked_at) > Some(now);
        self.looked_at = now;
        let shut = self.shut.iter().filter(|shut| shut.until > now).map(|shut| shut.scope.clone()).collect();
        Next::Queue { again: (self.retries_at <= now).then_some(self.cursor), shut }
    }

    /// The first time after `at` for which an entry waits.
    fn wake_after(&self, at: Mono) -> Option<Mono> {
        let times = self.shut.iter().map(|shut| shut.until).chain([self.retries_at]);
        times.filter(|time| *time > at).min()
    }

    /// Whether a permission is missing for a resource, as far as is known.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shut.iter().any(|shut| shut.denied)
    }

    /// The resource that has been busy for longest, and since when. A resource that was not called
    /// again within `cap` has no entries left.
    #[must_use]
    pub fn busy(&self, now: Mono, cap: Duration) -> Option<(&str, Mono)> {
        let busy =
            self.shut.iter().filter(|shut| !shut.denied && now.since(shut.until) <= cap).min_by_key(|shut| shut.since);
        busy.map(|shut| (shut.scope.as_str(), shut.since))
    }

    /// Forgets the resources that refused, since there is nothing to send.
    pub fn forget_refusals(&mut self) {
        self.denied = 0;
        self.shut.clear();
    }

    /// Notes the outcome of a look at the queue: where the next look begins, so that entries that
    /// fail each time do not hold up others; and whether the look found nothing (`in_vain`).
    pub fn looked(&mut self, again: Again, in_vain: bool) {
        self.cursor = again;
        self.in_vain = in_vain;
    }

    /// Whether the last look found nothing, and no entry's time has come since.
    #[must_use]
    pub fn found_nothing(&self) -> bool {
        self.in_vain
    }

    /// When to look again without being woken, if entries wait for a retry. `None` if the last look
    /// was for these entries, too: then another part of the agent ends what holds them up, and
    /// wakes the lane.
    #[must_use]
    pub fn retries_at(&self) -> Option<Mono> {
        self.wake_after(self.looked_at).map(|at| at.max(self.not_before))
    }

    /// What a response means for each of the `sent` entries, which come with their count of
    /// transient errors. An entry without a verdict stays sent and comes again as a piece. `chance`
    /// is random, from 0 to below 1.
    pub fn answered(
        &mut self,
        sent: &[(Target, u32)],
        answer: &Result<Vec<EntryError>, CallError>,
        now: Mono,
        chance: f64,
    ) -> Vec<(Target, Verdict)> {
        if answer.as_ref().map_or_else(|error| matches!(error.fault, CallFault::Invalid(_)), |_| true) {
            // Whatever the response is, the resource takes calls.
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
        // An error that names no entry, or an entry that was not sent, may be about any of the
        // entries that are not named.
        let stray = errors.iter().find(|error| !error.name.as_deref().is_some_and(is_sent));
        let mut again = false;
        let settled_by_list = self.settled_by_list;
        let perhaps = |fault| if settled_by_list { Verdict::AwaitList(fault) } else { Verdict::Failed(fault) };
        let verdict = |(target, charged): &(Target, u32)| {
            let verdict = match (named(target), stray) {
                (None, None) => Verdict::Done,
                (None, Some(stray)) if settled_by_list => Verdict::AwaitList(Fault::new(&stray.code, &stray.message)),
                (Some(error), _) | (None, Some(error)) => {
                    let fault = Fault::new(&error.code, &error.message);
                    if is_transient(&error.code) && *charged < ENTRY_BUDGET {
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
            self.park(sent, error, now, chance);
            return all(&Verdict::Parked);
        }
        if let CallFault::Invalid(named) = &error.fault {
            return self.invalid(sent, named, &fault, now, chance);
        }
        let wait = self.backoff.after(&error.fault, error.retry_after, chance);
        self.pause(now, wait);
        match error.fault {
            CallFault::NoResponse | CallFault::NotAws | CallFault::Server => all(&Verdict::Unknown),
            _ => all(&Verdict::Unsent),
        }
    }

    /// Parks the entries of a resource that does not take the call; entries about other resources
    /// go first. If all resources refuse, the whole lane waits.
    fn park(&mut self, sent: &[(Target, u32)], error: &CallError, now: Mono, chance: f64) {
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

    /// Makes no call before the end of `wait`. The parts of an earlier call go back to the queue:
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
                // The service refuses the resource with a message that does not name it. Each piece
                // was tried as a whole.
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

/// Whether an entry's error code names a transient cause. AWS does not document these codes, which
/// are free texts; these are the words that its services use.
fn is_transient(code: &str) -> bool {
    ["Throttl", "Internal", "INTERNAL", "Unavailable", "Conflict", "Timeout", "TooMany"]
        .iter()
        .any(|word| code.contains(word))
}

#[cfg(test)]
mod tests;
