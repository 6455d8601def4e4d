//! The state of the world outside as far as it was seen: the cloud, the clock, problems. The parts
//! of the agent write it, and `status` shows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{
    call_problem::{Code, problem},
    counters::Counters,
};
use crate::{
    domain::{CallError, CallFault, CallKind, CloudState, Service, Timestamp},
    runtime::clock::Clock,
};

/// A skew above this makes the clock one not to trust (contract, "Superseded"), in milliseconds.
const MAX_SKEW: i64 = 300_000;

/// Something that a person should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// What `status` tells of all this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The cloud.
    pub cloud: CloudState,
    /// By code.
    pub problems: BTreeMap<Code, Problem>,
    /// The last complete list.
    pub synced_at: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    kinds: BTreeMap<CallKind, Answered>,
    problems: BTreeMap<Code, Problem>,
    synced_at: Option<Timestamp>,
    skew: Option<i64>,
}

/// Whether the cloud was out of reach before and after an answer, of the service that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Before it.
    pub was_out: bool,
    /// The answer itself says so.
    pub answer_is_out: bool,
    /// After it.
    pub is_out: bool,
}

/// What the last call of a kind came to.
struct Answered {
    state: CloudState,
    problem: Option<(Code, Problem)>,
    /// A permission that a resource lacks, whatever the calls about others come to.
    denied: Option<(Code, Problem)>,
}

impl State {
    /// The worst of what all kinds of calls saw.
    fn cloud(&self) -> CloudState {
        self.kinds.values().map(|told| told.state).max().unwrap_or_default()
    }

    /// The worst of what the calls to one service saw.
    fn service(&self, service: Service) -> CloudState {
        let kinds = self.kinds.iter().filter(|(kind, _)| kind.traits().service == service);
        kinds.map(|(_, told)| told.state).max().unwrap_or_default()
    }

    /// Whether the service that has the list is out of reach.
    fn out_of_reach(&self) -> bool {
        self.service(Service::Greengrass).is_out_of_reach()
    }
}

/// What was seen; shared by all parts.
pub struct Health {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    clock: Clock,
    counters: Counters,
}

impl Health {
    /// Nothing known yet.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::channel(()).0, clock, counters: Counters::default() })
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave it half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something and wakes those who look.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Wakes at each change. Carries nothing: look.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Wakes those who look, where something else changed that they decide by.
    pub(crate) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// A call was answered, or not; with what a person should do about it. `refused` says that
    /// resources, of this call or of earlier ones, lack a permission.
    pub fn answered(&self, kind: CallKind, result: Result<(), &CallError>, refused: bool) -> Reach {
        let at = self.clock.now();
        let seen = result.map_or_else(|error| error.fault.state(), |()| CloudState::Reachable);
        let service = kind.traits().service;
        self.counters.called(kind, result.map_or_else(|error| error.fault.as_str(), |()| "ok"));
        self.change(|state| {
            let before = state.service(service);
            if service == Service::Greengrass && !seen.is_out_of_reach() {
                // One answer shows that the way is free for all kinds of calls of the service.
                // SiteWise's have hosts of their own.
                state.kinds.retain(|kind, told| kind.traits().service != service || !told.state.is_out_of_reach());
            }
            let told = state.kinds.remove(&kind);
            let since = |told: Option<&(Code, Problem)>, code: &Code| {
                told.filter(|(told, _)| told == code).map_or(at.wall, |(_, problem)| problem.since)
            };
            let (told, denied) = told.map_or((None, None), |told| (told.problem, told.denied));
            let mut told = Answered { state: seen, problem: told, denied: denied.filter(|_| refused) };
            let new = result.err().and_then(|error| problem(kind, error));
            let is_denied = result.is_err_and(|error| error.fault == CallFault::Denied) && kind.traits().scoped;
            let place = if is_denied { &mut told.denied } else { &mut told.problem };
            *place = new.map(|(code, message)| {
                let since = since(place.as_ref(), &code);
                (code, Problem { message, since })
            });
            if is_denied {
                told.problem = None;
            }
            state.kinds.insert(kind, told);
            let after = state.service(service);
            let reach = Reach {
                was_out: before.is_out_of_reach(),
                answer_is_out: seen.is_out_of_reach(),
                is_out: after.is_out_of_reach(),
            };
            if reach.was_out && !reach.is_out {
                tracing::info!(?service, cloud = after.as_str(), "the cloud is back within reach");
            } else if !reach.was_out && reach.is_out {
                tracing::warn!(
                    ?service,
                    cloud = after.as_str(),
                    "the cloud is out of reach; commands are kept until it is back"
                );
            }
            reach
        })
    }

    /// The registry agrees with the cloud's list as of now.
    pub fn synced(&self) {
        let at = self.clock.now().wall;
        self.change(|state| state.synced_at = Some(at));
    }

    /// A lane has nothing more to do: what its last call came to is nobody's concern.
    pub fn idle(&self, kind: CallKind) {
        let is_told = |told: &Answered| {
            // Out of reach, a list finds out when that is over, and what came meanwhile waits for
            // it.
            let awaits_list = kind.is_settled_by_list() && told.state.is_out_of_reach();
            !awaits_list && (told.problem.is_some() || told.denied.is_some())
        };
        if self.state().kinds.get(&kind).is_some_and(is_told) {
            self.change(|state| {
                state.kinds.remove(&kind);
            });
        }
    }

    /// Notes a problem; its time stays that of its beginning.
    pub fn raise(&self, code: &'static str, message: impl Into<String>) {
        let at = self.clock.now().wall;
        let message = message.into();
        let known = self.state().problems.get(code).is_some_and(|problem| problem.message == message);
        if !known {
            self.change(|state| {
                let since = state.problems.get(code).map_or(at, |problem| problem.since);
                state.problems.insert(code.into(), Problem { message, since });
            });
        }
    }

    /// A problem is over.
    pub fn clear(&self, code: &'static str) {
        if self.state().problems.contains_key(code) {
            self.change(|state| state.problems.remove(code));
        }
    }

    /// How many milliseconds the cloud's clock was ahead of ours at its last answer.
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        self.state().skew
    }

    /// The cloud's clock is so many milliseconds ahead of ours.
    pub fn set_skew(&self, millis: i64) {
        let trusted = self.clock_trusted();
        self.state().skew = Some(millis);
        if millis.abs() > MAX_SKEW {
            let (seconds, way) = (millis.abs() / 1000, if millis > 0 { "behind" } else { "ahead of" });
            self.raise(
                "CLOCK_SKEW",
                format!("this device's clock is {seconds} s {way} the cloud's; set it, or let NTP do so"),
            );
        } else if !trusted {
            self.clear("CLOCK_SKEW");
        }
    }

    /// Whether wall times may be compared with the cloud's.
    #[must_use]
    pub fn clock_trusted(&self) -> bool {
        self.state().skew.is_none_or(|millis| millis.abs() <= MAX_SKEW)
    }

    /// Whether the cloud has confirmed the wall clock.
    #[must_use]
    pub fn clock_confirmed(&self) -> bool {
        self.state().skew.is_some_and(|millis| millis.abs() <= MAX_SKEW)
    }

    /// Whether calls are useless until a list gets through.
    #[must_use]
    pub fn out_of_reach(&self) -> bool {
        self.state().out_of_reach()
    }

    /// While the cloud's last answer to a call of commands was that there are too many calls: how
    /// many such answers there were.
    #[must_use]
    pub fn throttled_commands(&self) -> Option<u64> {
        let state = self.state();
        let of_commands = |kind: &CallKind| kind.is_settled_by_list();
        let is_now = state.kinds.iter().any(|(kind, told)| of_commands(kind) && told.state == CloudState::Throttled);
        is_now.then(|| self.counters.answers(CallFault::Throttled.as_str(), CallKind::is_settled_by_list))
    }

    /// All of it, for `status`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut problems = state.problems.clone();
        problems.extend(state.kinds.values().flat_map(|told| [told.problem.clone(), told.denied.clone()]).flatten());
        Snapshot { cloud: state.cloud(), problems, synced_at: state.synced_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fault: CallFault) -> CallError {
        CallError { fault, code: "Code".into(), message: "text".into(), retry_after: None }
    }

    fn answered(health: &Health, kind: CallKind, result: Result<(), CallFault>) {
        health.answered(kind, result.map_err(error).as_ref().copied(), false);
    }

    #[test]
    fn each_kind_of_call_takes_its_own_problem_back() {
        let health = Health::new(Clock::start());
        answered(&health, CallKind::List, Err(CallFault::Throttled));
        assert!(health.snapshot().problems.contains_key("THROTTLED"));
        answered(&health, CallKind::List, Ok(()));
        assert!(health.snapshot().problems.is_empty());
    }

    #[test]
    fn a_denied_call_stays_a_problem_while_another_works() {
        let health = Health::new(Clock::start());
        answered(&health, CallKind::Disassociate, Err(CallFault::Denied));
        answered(&health, CallKind::List, Ok(()));
        assert_eq!(health.snapshot().cloud, CloudState::AccessDenied);
        let problem = health.snapshot().problems.remove("ACCESS_DENIED").unwrap();
        assert!(problem.message.contains("BatchDisassociateClientDeviceFromCoreDevice"), "{}", problem.message);
        answered(&health, CallKind::Disassociate, Ok(()));
        assert!(health.snapshot().problems.is_empty());
    }

    #[test]
    fn a_skew_is_raised_and_cleared() {
        let health = Health::new(Clock::start());
        assert!(health.clock_trusted());
        health.set_skew(-400_000);
        assert!(!health.clock_trusted());
        assert!(health.snapshot().problems["CLOCK_SKEW"].message.contains("400 s ahead of"));
        health.set_skew(1000);
        assert!(health.clock_trusted() && health.snapshot().problems.is_empty());
    }
}
