//! The state of the cloud, the clock and the problems, as far as the agent observed it. The parts
//! of the agent write it, and `status` shows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    call_problem::{Code, problem},
    counters::Counters,
};
use crate::{
    domain::{CallError, CallFault, CallKind, CloudState, Service, Timestamp, WallClock},
    runtime::clock::Clock,
};

/// The clock is not trusted above this skew, in milliseconds (docs/interface.md, "Superseded
/// requests").
const MAX_SKEW: i64 = 300_000;

/// A problem that a person should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub message: String,
    /// When the problem began.
    pub since: Timestamp,
}

/// What `status` shows of the health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The state of the cloud.
    pub cloud: CloudState,
    /// The problems, by code.
    pub problems: BTreeMap<Code, Problem>,
    /// When the last complete list was read.
    pub synced_at: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    kinds: BTreeMap<CallKind, Answered>,
    problems: BTreeMap<Code, Problem>,
    synced_at: Option<Timestamp>,
    /// The skew at the last response, and the wall time of the boot then.
    skew: Option<(i64, i64)>,
}

/// Whether the cloud was out of reach before and after a response, for the service that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Whether it was out of reach before the response.
    pub was_out: bool,
    /// Whether the response itself shows that it is out of reach.
    pub answer_is_out: bool,
    /// Whether it is out of reach after the response.
    pub is_out: bool,
}

/// The outcome of the last call of a kind.
struct Answered {
    state: CloudState,
    problem: Option<(Code, Problem)>,
    /// The problem of a permission that is missing for a resource; it remains when calls about
    /// other resources succeed.
    denied: Option<(Code, Problem)>,
}

impl State {
    /// The worst state that any kind of call saw.
    fn cloud(&self) -> CloudState {
        self.kinds.values().map(|answered| answered.state).max().unwrap_or_default()
    }

    /// The worst state that the calls to one service saw.
    fn service(&self, service: Service) -> CloudState {
        let kinds = self.kinds.iter().filter(|(kind, _)| kind.traits().service == service);
        kinds.map(|(_, answered)| answered.state).max().unwrap_or_default()
    }

    /// Whether the service that has the list is out of reach.
    fn out_of_reach(&self) -> bool {
        Service::ALL.iter().any(|service| service.is_of_the_list() && self.service(*service).is_out_of_reach())
    }
}

/// What the agent observed; shared by all of its parts.
pub struct Health {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    clock: Clock,
    counters: Counters,
}

impl Health {
    /// Begins with nothing observed.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::channel(()).0, clock, counters: Counters::default() })
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic and leave the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes the subscribers.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Wakes at each change. The channel carries no value; the subscriber reads the state.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Wakes the subscribers after a change elsewhere that their decisions depend on.
    pub(crate) fn wake(&self) {
        self.changed.send_replace(());
    }

    /// The time of the wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Notes the outcome of a call, and the problem that a person has to solve. `refused` says that
    /// resources, of this call or of earlier ones, lack a permission.
    pub fn answered(&self, kind: CallKind, result: Result<(), &CallError>, refused: bool) -> Reach {
        let at = self.clock.now();
        let seen = result.map_or_else(|error| error.fault.state(), |()| CloudState::Reachable);
        let service = kind.traits().service;
        self.counters.called(kind, result.map_or_else(|error| error.fault.as_str(), |()| "ok"));
        self.change(|state| {
            let before = state.service(service);
            if !seen.is_out_of_reach() {
                // One response shows that all kinds of calls reach this service, which has hosts of
                // its own.
                state
                    .kinds
                    .retain(|kind, answered| kind.traits().service != service || !answered.state.is_out_of_reach());
            }
            let last = state.kinds.remove(&kind);
            let since = |raised: Option<&(Code, Problem)>, code: &Code| {
                raised.filter(|(raised, _)| raised == code).map_or(at.wall, |(_, problem)| problem.since)
            };
            let (problem_before, denied) = last.map_or((None, None), |last| (last.problem, last.denied));
            let mut answered = Answered { state: seen, problem: problem_before, denied: denied.filter(|_| refused) };
            let new = result.err().and_then(|error| problem(kind, error));
            let is_denied = result.is_err_and(|error| error.fault == CallFault::Denied) && kind.traits().scoped;
            let place = if is_denied { &mut answered.denied } else { &mut answered.problem };
            *place = new.map(|(code, message)| {
                let since = since(place.as_ref(), &code);
                (code, Problem { message, since })
            });
            if is_denied {
                answered.problem = None;
            }
            state.kinds.insert(kind, answered);
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

    /// Notes that the registry agrees with the cloud's list as of now.
    pub fn synced(&self) {
        let at = self.clock.now().wall;
        self.change(|state| state.synced_at = Some(at));
    }

    /// Notes that a lane has nothing to do: the outcome of its last call no longer matters.
    pub fn idle(&self, kind: CallKind) {
        let is_shown = |answered: &Answered| {
            // While the cloud is out of reach, a list finds out when that ends, and requests that
            // came meanwhile wait for that list.
            let awaits_list = kind.is_settled_by_list() && answered.state.is_out_of_reach();
            !awaits_list && (answered.problem.is_some() || answered.denied.is_some())
        };
        if self.state().kinds.get(&kind).is_some_and(is_shown) {
            self.change(|state| {
                state.kinds.remove(&kind);
            });
        }
    }

    /// Raises a problem. A problem that is already raised keeps the time of its beginning.
    pub fn raise(&self, code: impl Into<Code>, message: impl Into<String>) {
        let code = code.into();
        let at = self.clock.now().wall;
        let message = message.into();
        let known = self.state().problems.get(&code).is_some_and(|problem| problem.message == message);
        if !known {
            self.change(|state| {
                let since = state.problems.get(&code).map_or(at, |problem| problem.since);
                state.problems.insert(code, Problem { message, since });
            });
        }
    }

    /// Clears a problem.
    pub fn clear(&self, code: &str) {
        if self.state().problems.contains_key(code) {
            self.change(|state| state.problems.remove(code));
        }
    }

    /// How many milliseconds the cloud's clock is ahead of the local clock: as at the last response,
    /// unless the local clock was set since.
    #[must_use]
    pub fn skew(&self) -> Option<i64> {
        let (millis, zero) = self.state().skew?;
        Some(millis.saturating_add(zero).saturating_sub(self.zero()))
    }

    /// The wall time of the machine's boot, in milliseconds. It changes when the clock is set.
    fn zero(&self) -> i64 {
        let now = self.clock.now();
        now.wall.before(Duration::from_millis(now.mono.0)).0
    }

    /// Notes that the cloud's clock is this many milliseconds ahead of the local clock.
    pub fn set_skew(&self, millis: i64) {
        self.state().skew = Some((millis, self.zero()));
        if millis.abs() > MAX_SKEW {
            let (seconds, way) = (millis.abs() / 1000, if millis > 0 { "behind" } else { "ahead of" });
            self.raise(
                "CLOCK_SKEW",
                format!("this device's clock is {seconds} s {way} the cloud's; set it, or let NTP do so"),
            );
        } else {
            self.clear("CLOCK_SKEW");
        }
    }

    /// What the last response says of the wall clock.
    #[must_use]
    pub fn wall_clock(&self) -> WallClock {
        match self.skew() {
            None => WallClock::Unconfirmed,
            Some(millis) if millis.abs() <= MAX_SKEW => WallClock::Confirmed,
            Some(_) => WallClock::Wrong,
        }
    }

    /// Whether calls are useless until a list succeeds.
    #[must_use]
    pub fn out_of_reach(&self) -> bool {
        self.state().out_of_reach()
    }

    /// How many throttled responses to commands there were, if the last response to a call of
    /// commands was one; `None` otherwise.
    #[must_use]
    pub fn throttled_commands(&self) -> Option<u64> {
        let state = self.state();
        let of_commands = |kind: &CallKind| kind.is_settled_by_list();
        let is_now =
            state.kinds.iter().any(|(kind, answered)| of_commands(kind) && answered.state == CloudState::Throttled);
        is_now.then(|| self.counters.answers(CallFault::Throttled.as_str(), CallKind::is_settled_by_list))
    }

    /// The whole state, for `status`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut problems = state.problems.clone();
        problems.extend(
            state.kinds.values().flat_map(|answered| [answered.problem.clone(), answered.denied.clone()]).flatten(),
        );
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
        assert_eq!(health.wall_clock(), WallClock::Unconfirmed);
        health.set_skew(-400_000);
        assert_eq!(health.wall_clock(), WallClock::Wrong);
        assert!(health.snapshot().problems["CLOCK_SKEW"].message.contains("400 s ahead of"));
        health.set_skew(1000);
        assert_eq!(health.wall_clock(), WallClock::Confirmed);
        assert!(health.snapshot().problems.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_is_confirmed_only_if_it_agrees_with_the_last_response() {
        let wall = Arc::new(std::sync::atomic::AtomicI64::new(0));
        let health = Health::new(Clock::simulated(tokio::time::Instant::now(), Arc::clone(&wall)));
        let set = |millis| wall.store(millis, std::sync::atomic::Ordering::Relaxed);
        health.set_skew(1000);
        set(-30 * 86_400_000);
        assert_eq!(health.wall_clock(), WallClock::Wrong);
        set(0);
        assert_eq!(health.wall_clock(), WallClock::Confirmed);
        set(-400_000);
        health.set_skew(401_000);
        assert!(health.snapshot().problems.contains_key("CLOCK_SKEW"));
        // NTP sets it right.
        set(0);
        assert_eq!(health.wall_clock(), WallClock::Confirmed);
        health.set_skew(1000);
        assert_eq!(health.wall_clock(), WallClock::Confirmed);
        assert!(health.snapshot().problems.is_empty());
    }
}
