//! What is known of the world outside, in memory: the cloud's state, the clock's, what a person
//! should mend. Written by whoever finds out, read by whoever decides, told in `status`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    cloud::{
        self,
        gate::{Boundary, Gate},
    },
    domain::{
        AccessCommand, CallError, CallFault, CallKind, CloudState, RejectionCode, Service, Timestamp, Traits, Window,
    },
    ledger::Summary,
    runtime::clock::Clock,
};

/// A skew above this makes the clock one not to trust (contract, "Superseded"), in milliseconds.
const MAX_SKEW: i64 = 300_000;

/// A problem's name, for programs.
pub type Code = Cow<'static, str>;

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
    lanes: BTreeMap<CallKind, Answered>,
    problems: BTreeMap<Code, Problem>,
    synced_at: Option<Timestamp>,
    skew: Option<i64>,
    gate: Gate,
    /// The opening of the store that the gate is about, and the first request's number after it.
    opened: Option<(u64, u64)>,
    /// Lists that were asked for, and up to which of them one was read to its end since.
    lists_wanted: u64,
    lists_served: u64,
    /// What the list that is being read will clear, and up to which of those asked for it serves.
    listing: Option<(Boundary, u64)>,
    counts: Counts,
}

/// What was seen since the start, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls by lane and kind of answer.
    pub calls: BTreeMap<(CallKind, &'static str), u64>,
    /// Commands that were not taken, by the code that told it.
    pub rejections: BTreeMap<RejectionCode, u64>,
    /// Entries in calls that were not answered yet.
    pub in_flight: BTreeMap<CallKind, u64>,
    /// Connections to the broker that were made.
    pub connections: u64,
    /// Whether there is one now.
    pub connected: bool,
    /// Whether the broker granted the subscription to commands on it.
    pub subscribed: bool,
    /// How far the cloud's clock is ahead of ours, in milliseconds.
    pub skew: Option<i64>,
    /// Whether the broker's dynamic-security plugin answers the agent on this connection.
    pub plugin_granted: bool,
    /// Its answers, by command and by whether it succeeded.
    pub plugin_answers: BTreeMap<(AccessCommand, bool), u64>,
    /// Messages to it without a response.
    pub plugin_silent: u64,
}

/// What a lane's last call came to.
struct Answered {
    state: CloudState,
    problem: Option<(Code, Problem)>,
    /// A permission that a resource lacks, whatever the calls about others come to.
    denied: Option<(Code, Problem)>,
}

impl State {
    /// The worst of what the lanes saw.
    fn cloud(&self) -> CloudState {
        self.lanes.values().map(|lane| lane.state).max().unwrap_or_default()
    }

    /// The worst of what the lanes of one service saw.
    fn service(&self, service: Service) -> CloudState {
        let lanes = self.lanes.iter().filter(|(lane, _)| lane.traits().service == service);
        lanes.map(|(_, lane)| lane.state).max().unwrap_or_default()
    }

    /// Whether the service that has the list is out of reach.
    fn out_of_reach(&self) -> bool {
        self.service(Service::Greengrass).is_out_of_reach()
    }

    /// Keeps the age of requests; a store that was opened anew begins with leftovers, or may be
    /// another one, whose registry is empty: `true` then, for a list is wanted.
    fn note(&mut self, now: crate::domain::Mono, summary: Summary) -> bool {
        let opened = (summary.run, summary.first_seq);
        let mut again = false;
        if self.opened != Some(opened) {
            again = self.opened.is_some_and(|(run, _)| run > 0);
            self.lists_wanted += u64::from(again);
            self.opened = Some(opened);
            if again {
                // The same life: their ages still count.
                self.gate.out_of_reach(summary.first_seq);
            } else {
                self.gate.start(summary.first_seq);
            }
        }
        self.gate.note(now, summary.next_seq);
        again
    }
}

/// The conditions; shared by all parts.
pub struct Conditions {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    clock: Clock,
    ledger: watch::Receiver<Summary>,
}

impl Conditions {
    /// Nothing known yet. `ledger` tells the number of the next request.
    #[must_use]
    pub fn new(clock: Clock, ledger: watch::Receiver<Summary>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: watch::channel(()).0, clock, ledger })
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

    /// A call with so many entries is under way; with none, it is over.
    pub fn calling(&self, lane: CallKind, entries: usize) {
        self.state().counts.in_flight.insert(lane, entries as u64);
    }

    /// A command was not taken.
    pub fn rejected(&self, code: RejectionCode) {
        *self.state().counts.rejections.entry(code).or_default() += 1;
    }

    /// The connection to the broker is there, or gone.
    pub fn connected(&self, is_up: bool) {
        let counts = &mut self.state().counts;
        counts.connections += u64::from(is_up);
        counts.connected = is_up;
        counts.subscribed = false;
        counts.plugin_granted = false;
    }

    /// The broker's dynamic-security plugin answers the agent, or does not.
    pub fn plugin_granted(&self, is_granted: bool) {
        self.state().counts.plugin_granted = is_granted;
    }

    /// The plugin answered to a command, which succeeded or not; or to none of a message.
    pub fn plugin_answered(&self, answer: Option<(AccessCommand, bool)>) {
        let counts = &mut self.state().counts;
        match answer {
            Some(answer) => *counts.plugin_answers.entry(answer).or_default() += 1,
            None => counts.plugin_silent += 1,
        }
    }

    /// The broker granted the subscription.
    pub fn subscribed(&self) {
        self.state().counts.subscribed = true;
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// What was counted, for metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts { skew: state.skew, ..state.counts.clone() }
    }

    /// A call was answered, or not; with what a person should do about it.
    pub fn answered(&self, lane: CallKind, result: Result<(), &CallError>) {
        self.answered_beside(lane, result, false);
    }

    /// As [`Self::answered`]. `refused` tells that resources, of this call or of earlier ones, lack
    /// a permission.
    pub fn answered_beside(&self, lane: CallKind, result: Result<(), &CallError>, refused: bool) {
        let next_seq = self.ledger.borrow().next_seq;
        let at = self.clock.now();
        let seen = result.map_or_else(|error| error.fault.state(), |()| CloudState::Reachable);
        let service = lane.traits().service;
        // Only of devices there is a list to wait for.
        let listed = service == Service::Greengrass;
        self.change(|state| {
            let kind = result.map_or_else(|error| error.fault.as_str(), |()| "ok");
            *state.counts.calls.entry((lane, kind)).or_default() += 1;
            let before = state.service(service);
            if listed && (before.is_out_of_reach() || seen.is_out_of_reach()) {
                state.gate.out_of_reach(next_seq);
            }
            if listed && !seen.is_out_of_reach() {
                // One answer shows that the way is free for all lanes of the service. SiteWise's
                // have hosts of their own.
                state.lanes.retain(|lane, told| lane.traits().service != service || !told.state.is_out_of_reach());
            }
            let told = state.lanes.remove(&lane);
            let since = |told: Option<&(Code, Problem)>, code: &Code| {
                told.filter(|(told, _)| told == code).map_or(at.wall, |(_, problem)| problem.since)
            };
            let (told, denied) = told.map_or((None, None), |lane| (lane.problem, lane.denied));
            let mut told = Answered { state: seen, problem: told, denied: denied.filter(|_| refused) };
            let new = result.err().and_then(|error| problem(lane, error));
            let is_denied = result.is_err_and(|error| error.fault == CallFault::Denied) && lane.traits().scoped;
            let place = if is_denied { &mut told.denied } else { &mut told.problem };
            *place = new.map(|(code, message)| {
                let since = since(place.as_ref(), &code);
                (code, Problem { message, since })
            });
            if is_denied {
                told.problem = None;
            }
            state.lanes.insert(lane, told);
            let after = state.service(service);
            if before.is_out_of_reach() && !after.is_out_of_reach() {
                tracing::info!(?service, cloud = after.as_str(), "the cloud is back within reach");
                if listed {
                    // A sync follows an outage. The list that finds this out is the one.
                    state.lists_wanted += 1;
                    if let (CallKind::List, Some((_, serves))) = (lane, &mut state.listing) {
                        *serves = state.lists_wanted;
                    }
                }
            } else if !before.is_out_of_reach() && after.is_out_of_reach() {
                tracing::warn!(
                    ?service,
                    cloud = after.as_str(),
                    "the cloud is out of reach; commands are kept until it is back"
                );
            }
        });
    }

    /// A lane has nothing more to do: what its last call came to is nobody's concern.
    pub fn idle(&self, lane: CallKind) {
        let is_told = |told: &Answered| {
            // Out of reach, a list finds out when that is over, and what came meanwhile waits for
            // it.
            let awaits_list = lane.is_settled_by_list() && told.state.is_out_of_reach();
            !awaits_list && (told.problem.is_some() || told.denied.is_some())
        };
        if self.state().lanes.get(&lane).is_some_and(is_told) {
            self.change(|state| {
                state.lanes.remove(&lane);
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

    /// The cloud's clock is so many milliseconds ahead of ours.
    pub fn skew(&self, millis: i64) {
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

    /// While the cloud's last answer to a lane of commands was that there are too many calls: how
    /// many such answers there were.
    #[must_use]
    pub fn throttled_commands(&self) -> Option<u64> {
        let state = self.state();
        let of_commands = |lane: &CallKind| lane.is_settled_by_list();
        let is_now = state.lanes.iter().any(|(lane, told)| of_commands(lane) && told.state == CloudState::Throttled);
        let answers = state.counts.calls.iter();
        let throttled = answers.filter(|((lane, kind), _)| of_commands(lane) && *kind == CallFault::Throttled.as_str());
        is_now.then(|| throttled.map(|(_, count)| *count).sum())
    }

    /// Asks for a complete list that begins after this.
    pub fn want_list(&self) {
        self.change(|state| state.lists_wanted += 1);
    }

    /// Asks for a complete list for the requests that [`Self::window`] keeps back, unless one is
    /// being read that will do.
    pub fn want_window(&self) {
        let _ = self.window();
        let state = self.state();
        let will_do = state.listing.is_some_and(|(boundary, _)| state.gate.is_enough(boundary));
        let wanted = state.lists_wanted > state.lists_served || will_do;
        drop(state);
        if !wanted {
            self.want_list();
        }
    }

    /// Whether somebody needs a list.
    #[must_use]
    pub fn list_wanted(&self) -> bool {
        let state = self.state();
        state.lists_wanted > state.lists_served
    }

    /// Which requests may be sent now.
    #[must_use]
    pub fn window(&self) -> Window {
        let summary = *self.ledger.borrow();
        let mut state = self.state();
        let again = state.note(self.clock.now().mono, summary);
        let window = state.gate.window();
        drop(state);
        if again {
            self.changed.send_replace(());
        }
        window
    }

    /// A list begins; `next_seq` is the number of the first request that it may come too early for.
    pub fn begin_list(&self, next_seq: u64) {
        let summary = *self.ledger.borrow();
        let mut state = self.state();
        state.note(self.clock.now().mono, summary);
        if state.out_of_reach() {
            // What came since the last failed call was accepted out of reach, too.
            state.gate.out_of_reach(next_seq);
        }
        let boundary = state.gate.begin_list(next_seq);
        state.listing = Some((boundary, state.lists_wanted));
    }

    /// The list broke off: whoever asked for it still needs one.
    pub fn drop_list(&self) {
        self.change(|state| state.listing = None);
    }

    /// The list is complete and taken over.
    pub fn end_list(&self) {
        let at = self.clock.now().wall;
        self.change(|state| {
            if let Some((boundary, serves)) = state.listing.take() {
                state.gate.end_list(boundary);
                state.lists_served = state.lists_served.max(serves);
            }
            state.synced_at = Some(at);
        });
    }

    /// All of it, for `status`.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut problems = state.problems.clone();
        problems.extend(state.lanes.values().flat_map(|lane| [lane.problem.clone(), lane.denied.clone()]).flatten());
        Snapshot { cloud: state.cloud(), problems, synced_at: state.synced_at }
    }
}

/// What a person should know of a failed call. A code is the lane's own where a person has to mend
/// something for that lane alone, and else the service's.
fn problem(lane: CallKind, error: &CallError) -> Option<(Code, String)> {
    let CallError { fault, code, message, .. } = error;
    let Traits { suffix, action, service, scoped, .. } = lane.traits();
    let service = match service {
        Service::Greengrass => "",
        Service::SiteWise => "_SITEWISE",
    };
    let (name, suffix, text) = match fault {
        // A device without a battery for its clock starts in the past, before the certificate
        // begins.
        CallFault::Unreachable if code == cloud::CERTIFICATE_REFUSED => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud's certificate is not accepted ({message}); check this device's clock, GG_ROOT_CA_PATH, and whether a \
                 proxy inspects TLS"
            ),
        ),
        CallFault::Unreachable if code == cloud::PROXY_FAILED => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud cannot be reached through the proxy ({message}); check that the proxy runs and lets this host through, \
                 and the variable; commands are kept and sent later"
            ),
        ),
        CallFault::Unreachable if code == cloud::NAME_NOT_RESOLVED => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud's host name is not resolved ({message}); check region, cloud's endpoints and this device's DNS; commands \
                 are kept and sent later"
            ),
        ),
        CallFault::Unreachable | CallFault::Lost => (
            "CLOUD_UNREACHABLE",
            service,
            format!(
                "the cloud does not answer ({message}); commands are kept and sent later; check the network and the firewall"
            ),
        ),
        CallFault::Foreign => (
            "CLOUD_UNREACHABLE",
            service,
            format!("something else answers in the cloud's place ({message}); check for a captive portal or a proxy"),
        ),
        CallFault::Credentials => (
            "NO_CREDENTIALS",
            service,
            format!("no valid credentials ({message}); check the token exchange service and its role alias"),
        ),
        CallFault::Clock => (
            "CLOCK_REFUSED",
            service,
            format!("the cloud refuses our signature's time ({message}); set this device's clock"),
        ),
        CallFault::Denied if scoped => (
            "ACCESS_DENIED",
            suffix,
            format!(
                "the token exchange role lacks {action} on a resource that a request names ({message}); add it to its policy, or \
                 cancel the request"
            ),
        ),
        CallFault::Denied => (
            "ACCESS_DENIED",
            suffix,
            format!("the token exchange role lacks {action} on this core device ({message}); add it to its policy"),
        ),
        CallFault::NoCore => (
            "REFUSED",
            suffix,
            format!("the cloud knows no such core device ({message}); check coreThingName and region"),
        ),
        CallFault::Misfit => (
            "REFUSED",
            suffix,
            format!(
                "the endpoint does not understand the call ({code}: {message}); check cloud's endpoints and region"
            ),
        ),
        CallFault::Invalid(_) if lane == CallKind::List => {
            ("REFUSED", suffix, format!("the cloud refuses the list call ({code}: {message})"))
        }
        CallFault::Throttled => (
            "THROTTLED",
            service,
            format!("the cloud limits our calls ({message}); lower rate.callsPerSecond if it lasts"),
        ),
        CallFault::Server => (
            "CLOUD_FAILING",
            service,
            format!("the service answers with an error of its own ({message}); calls are repeated, commands are kept"),
        ),
        CallFault::Busy | CallFault::Invalid(_) => return None,
    };
    Some((if suffix.is_empty() { name.into() } else { format!("{name}{suffix}").into() }, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> Arc<Conditions> {
        Conditions::new(Clock::start(), watch::channel(Summary::default()).1)
    }

    fn error(fault: CallFault) -> CallError {
        CallError { fault, code: "Code".into(), message: "text".into(), retry_after: None }
    }

    #[test]
    fn an_answer_to_one_lane_ends_the_outage_of_all() {
        let conditions = conditions();
        conditions.answered(CallKind::Disassociate, Err(&error(CallFault::Lost)));
        assert!(conditions.out_of_reach());
        assert!(conditions.snapshot().problems.contains_key("CLOUD_UNREACHABLE"));
        conditions.begin_list(0);
        conditions.answered(CallKind::List, Ok(()));
        assert_eq!(conditions.snapshot().cloud, CloudState::Reachable);
        assert!(conditions.snapshot().problems.is_empty());
        conditions.end_list();
        assert!(!conditions.list_wanted(), "the list that found it is the one that is needed");
    }

    #[test]
    fn a_list_serves_those_who_asked_before_it_began() {
        let conditions = conditions();
        conditions.want_list();
        conditions.begin_list(0);
        conditions.drop_list();
        assert!(conditions.list_wanted(), "it broke off");
        conditions.begin_list(0);
        conditions.want_list();
        conditions.end_list();
        assert!(conditions.list_wanted(), "asked for after it began");
        conditions.begin_list(0);
        conditions.want_window();
        conditions.end_list();
        assert!(!conditions.list_wanted());
    }

    #[test]
    fn a_sync_follows_an_outage_even_if_its_first_answer_is_an_error() {
        let conditions = conditions();
        conditions.begin_list(0);
        conditions.answered(CallKind::List, Err(&error(CallFault::Unreachable)));
        conditions.drop_list();
        conditions.begin_list(0);
        conditions.answered(CallKind::List, Err(&error(CallFault::Server)));
        conditions.drop_list();
        assert!(!conditions.out_of_reach() && conditions.list_wanted());
        assert!(conditions.snapshot().problems.contains_key("CLOUD_FAILING"));
    }

    #[test]
    fn each_lane_takes_its_own_problem_back() {
        let conditions = conditions();
        conditions.answered(CallKind::List, Err(&error(CallFault::Throttled)));
        assert!(conditions.snapshot().problems.contains_key("THROTTLED"));
        conditions.answered(CallKind::List, Ok(()));
        assert!(conditions.snapshot().problems.is_empty());
    }

    #[test]
    fn a_denied_lane_stays_told_while_the_other_works() {
        let conditions = conditions();
        conditions.answered(CallKind::Disassociate, Err(&error(CallFault::Denied)));
        conditions.answered(CallKind::List, Ok(()));
        assert_eq!(conditions.snapshot().cloud, CloudState::AccessDenied);
        let problem = conditions.snapshot().problems.remove("ACCESS_DENIED").unwrap();
        assert!(problem.message.contains("BatchDisassociateClientDeviceFromCoreDevice"), "{}", problem.message);
        conditions.answered(CallKind::Disassociate, Ok(()));
        assert!(conditions.snapshot().problems.is_empty());
    }

    #[test]
    fn a_skew_is_told_and_untold() {
        let conditions = conditions();
        assert!(conditions.clock_trusted());
        conditions.skew(-400_000);
        assert!(!conditions.clock_trusted());
        assert!(conditions.snapshot().problems["CLOCK_SKEW"].message.contains("400 s ahead of"));
        conditions.skew(1000);
        assert!(conditions.clock_trusted() && conditions.snapshot().problems.is_empty());
    }
}
