//! The simulated cloud: the associated devices, the responses to calls, and the checks of the
//! outcomes that the agent may report after each response.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    cloud_state::Weather,
    world::{BEGIN, Millis, World},
};
use crate::{
    cloud::{Cloud, ListPage},
    domain::{
        CallError, CallFault, CallKind, CallToken, EntryError, Now, Target, ThingName, Timestamp, WallClock,
        is_superseded,
    },
    health::Health,
    ledger::view::{View, Waiter},
    runtime::clock::Clock,
};

/// The cloud as an incarnation of the agent sees it.
pub(super) struct SimCloud {
    pub(super) world: World,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
    pub(super) run: u64,
}

/// What a call comes to.
enum Fate {
    Answered,
    /// No answer in words of its own, with the effect or without.
    Fails(CallFault, bool),
    /// The answer is lost, and the effect comes later.
    Late,
}

/// Entries are in flight until their call is answered or given up.
struct InFlight<'a>(&'a World, u64, Vec<String>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.run == self.1 {
            for name in &self.2 {
                state.cloud.in_flight.remove(name);
            }
        }
    }
}

impl SimCloud {
    fn fate(&self) -> Fate {
        let weather = self.world.state().cloud.weather;
        let fails = Fate::Fails;
        match weather {
            Weather::Unreachable => return fails(CallFault::Unreachable, false),
            Weather::Silent => return fails(CallFault::NoResponse, self.world.chance(0.5)),
            Weather::Portal => return fails(CallFault::NotAws, false),
            Weather::Throttled => return fails(CallFault::Throttled, false),
            Weather::Denied => return fails(CallFault::Denied, false),
            Weather::NoCredentials => return fails(CallFault::Credentials, false),
            Weather::Fine => {}
        }
        if self.world.fine() || !self.world.chance(self.world.plan.call_fault) {
            return Fate::Answered;
        }
        let dice = self.world.state().rng.u8(0..14);
        match dice {
            0 => fails(CallFault::Unreachable, false),
            1 => fails(CallFault::NoResponse, false),
            2 => fails(CallFault::NoResponse, true),
            3 => Fate::Late,
            4 => fails(CallFault::NotAws, false),
            5 => fails(CallFault::NotAws, true),
            6 => fails(CallFault::Throttled, false),
            7 => fails(CallFault::Server, false),
            8 => fails(CallFault::Server, true),
            9 => fails(CallFault::Busy, false),
            10 => fails(CallFault::Clock, false),
            11 => fails(CallFault::Credentials, false),
            12 => fails(CallFault::NotUnderstood, false),
            _ => fails(CallFault::Denied, false),
        }
    }

    fn error(&self, fault: CallFault) -> CallError {
        let mut error = CallError::new(fault, "SimulatedException", "simulated");
        if self.world.chance(0.2) {
            error.retry_after = Some(self.world.span(1000, 60_000));
        }
        error
    }

    /// Every answer of the service carries its time.
    fn answered(&self) {
        let truth = BEGIN + self.world.now();
        self.health.set_skew(truth - self.clock.now().wall.0);
    }

    async fn wait(&self) {
        let worst = if self.world.chance(0.1) { 60_000 } else { 800 };
        tokio::time::sleep(self.world.span(5, worst)).await;
        // An agent that crashed meanwhile gets no answer.
        if !self.world.lives(self.run) {
            std::future::pending::<()>().await;
        }
    }

    fn count(&self) {
        let now = self.world.now();
        let (since, calls) = {
            let mut state = self.world.state();
            state.cloud.requests.1 += 1;
            state.cloud.requests
        };
        let allowed = super::BURST as f64 + super::CALLS_PER_SECOND * (now - since) as f64 / 1000.0 + 1.0;
        if calls as f64 > allowed {
            self.world.violate(9, format!("{calls} calls in {} ms", now - since));
        }
    }

    fn effect(world: &World, call_kind: CallKind, names: &[String]) {
        let now = world.now();
        let association = (call_kind == CallKind::Associate).then_some(BEGIN + now);
        let mut state = world.state();
        for name in names {
            if state.cloud.associated.contains_key(name) != association.is_some() {
                state.cloud.set(now, name, association);
            }
        }
    }

    /// What has to hold when a call leaves the agent.
    fn check_call(&self, call_kind: CallKind, names: &[String]) {
        let now = self.world.now();
        let mut wrong = None;
        {
            let mut guard = self.world.state();
            let state = &mut *guard;
            if names.len() > 100 {
                wrong = Some((9, format!("{} entries in a call", names.len())));
            }
            state.cloud.take_in(self.health.snapshot().synced_at);
            for name in names {
                if !state.cloud.in_flight.insert(name.clone()) {
                    wrong = Some((4, format!("{name} is in two calls at a time")));
                }
                if call_kind == CallKind::Disassociate
                    && let Some(text) =
                        gated(state, self.clock.now(), now, name, self.health.wall_clock() != WallClock::Wrong)
                {
                    wrong = Some((8, text));
                }
            }
        }
        if let Some((invariant, text)) = wrong {
            self.world.violate(invariant, text);
        }
    }
}

/// Notes what the agent learned about a device, and when; a list shows nothing newer than its
/// begin.
fn learn(learned: &mut BTreeMap<String, Millis>, name: &str, at: Millis) {
    let last = learned.entry(name.to_owned()).or_insert(at);
    *last = at.max(*last);
}

/// Why a device's first call comes too early, or should not come at all (docs/interface.md,
/// "Superseded requests").
fn gated(state: &super::world::State, clock: Now, now: Millis, name: &str, trusted: bool) -> Option<String> {
    let target = Target::Device(ThingName::new(name).unwrap());
    let disk = &state.disk;
    if disk.live.work(&target).is_none_or(|work| work.attempts != 1) {
        return None;
    }
    let waiters = disk.live.waiters(&target);
    let accepted = |seq: u64| disk.accepted_at.get(&seq).copied().unwrap_or(Millis::MIN);
    // The oldest one decides: a device is in the queue once, at the place of its first request.
    let (seq, _) = waiters.first()?.place;
    let left_over = seq < disk.first_seq;
    let old = now - accepted(seq) > 320_000;
    let complete = state.cloud.complete.as_ref();
    if left_over && complete.is_none() {
        return Some(format!("{name} was left over from before the start, and is sent before any complete list"));
    }
    if old && !left_over && complete.is_none_or(|(begun, _)| *begun < accepted(seq) + 300_000) {
        return Some(format!("{name} waits for more than five minutes, and is sent without a list"));
    }
    let (begun, listed) = state.cloud.taken_in.as_ref()?;
    // A list that lags may show an association that a call of the agent has ended since.
    let has_ended = |at: &Millis| state.cloud.ended.get(name).is_some_and(|ended| at <= ended);
    let listed = listed.get(name).filter(|at| !has_ended(at)).map(|at| Timestamp(*at));
    let overtaken = |Waiter { place: (seq, _), known_association }: &Waiter| {
        let request = disk.live.request(*seq);
        accepted(*seq) < *begun
            && request
                .is_some_and(|request| is_superseded(*known_association, listed, request.asked_at(clock), trusted))
    };
    // The simulation does not know which of the associations are the agent's own.
    let is_own =
        state.seen.associations.iter().any(|key| state.seen.asked.get(key).is_some_and(|asked| asked.contains(name)));
    if left_over && !is_own && waiters.iter().all(overtaken) {
        return Some(format!("{name} was associated again after it was asked for, and is sent"));
    }
    None
}

impl Cloud for SimCloud {
    async fn call(
        &self,
        call_kind: CallKind,
        targets: &[Target],
        _: Option<&CallToken>,
    ) -> Result<Vec<EntryError>, CallError> {
        let names: Vec<String> = targets.iter().map(|target| target.name().to_owned()).collect();
        self.world.note(|| format!("call {call_kind:?} {names:?}"));
        self.count();
        self.check_call(call_kind, &names);
        let guard = InFlight(&self.world, self.run, names);
        let names = &guard.2;
        self.wait().await;
        let bad = names.iter().position(|name| name.starts_with("bad"));
        let fate = self.fate();
        if matches!(fate, Fate::Answered) {
            let mut state = self.world.state();
            state.cloud.calls += 1;
            state.cloud.sent += names.len();
        }
        let result = match fate {
            Fate::Fails(fault, effect) => {
                if effect {
                    Self::effect(&self.world, call_kind, names);
                }
                self.wait().await;
                Err(self.error(fault))
            }
            Fate::Late => {
                let (world, late, names) = (self.world.clone(), self.world.span(10, 30_000), names.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    Self::effect(&world, call_kind, &names);
                });
                Err(self.error(CallFault::NoResponse))
            }
            Fate::Answered if bad.is_some() => {
                let named = if self.world.chance(0.5) { bad.into_iter().collect() } else { Vec::new() };
                self.answered();
                Err(self.error(CallFault::Invalid(named)))
            }
            Fate::Answered => {
                let mut errors = Vec::new();
                let mut done = Vec::new();
                for name in names {
                    let unknown = !self.world.state().cloud.associated.contains_key(name);
                    let code = if self.world.plan.strict_cloud && unknown && call_kind == CallKind::Disassociate {
                        "ResourceNotFoundException"
                    } else if !self.world.fine() && self.world.chance(self.world.plan.entry_error) {
                        if self.world.chance(0.5) { "ThrottlingException" } else { "SomeException" }
                    } else {
                        done.push(name.clone());
                        continue;
                    };
                    let (code, message) = (code.to_owned(), "simulated".to_owned());
                    errors.push(EntryError { name: Some(name.clone()), code, message });
                }
                let ended = BEGIN + self.world.now();
                Self::effect(&self.world, call_kind, &done);
                self.wait().await;
                self.answered();
                let now = self.world.now();
                let mut state = self.world.state();
                let done = done.into_iter();
                if call_kind == CallKind::Associate {
                    let done: Vec<(String, Millis)> = done.map(|name| (name, now)).collect();
                    state.cloud.here.extend(done.clone());
                    state.cloud.joined.extend(done);
                } else {
                    let done: Vec<String> = done.collect();
                    state.cloud.ended.extend(done.iter().map(|name| (name.clone(), ended)));
                    state.cloud.gone.extend(done.into_iter().map(|name| (name, now)));
                }
                Ok(errors)
            }
        };
        self.world.note(|| format!("answer {result:?}"));
        result
    }

    async fn list(&self, next: Option<String>) -> Result<ListPage, CallError> {
        self.count();
        if next.is_none() {
            let mut state = self.world.state();
            state.cloud.list_begun = Some(self.world.now());
            state.cloud.list_so_far.clear();
        }
        self.wait().await;
        let fate = self.fate();
        let page = {
            let lag = if self.world.fine() { 0 } else { self.world.plan.lag };
            let mut state = self.world.state();
            let lag = if lag > 0 { state.rng.i64(0..lag) } else { 0 };
            let view = state.cloud.as_of(self.world.now() - lag);
            let after = next.unwrap_or_default();
            let rest = view.into_iter().filter(|(name, _)| *name > after);
            rest.take(self.world.plan.page + 1).collect::<Vec<_>>()
        };
        self.wait().await;
        let result = match fate {
            Fate::Fails(fault, _) => Err(self.error(fault)),
            Fate::Late => Err(self.error(CallFault::NoResponse)),
            Fate::Answered => {
                self.answered();
                Ok(self.deliver(page))
            }
        };
        self.world.note(|| match &result {
            Ok(page) => format!("list page of {}, more: {}", page.devices.len(), page.next.is_some()),
            Err(error) => format!("list {:?}", error.fault),
        });
        result
    }
}

impl SimCloud {
    fn deliver(&self, mut page: Vec<(String, Millis)>) -> ListPage {
        let more = page.len() > self.world.plan.page;
        page.truncate(self.world.plan.page);
        let mut guard = self.world.state();
        let cloud = &mut guard.cloud;
        // A list shows nothing that happened after it began.
        let now = cloud.list_begun.unwrap_or_default();
        page.iter().for_each(|(name, _)| learn(&mut cloud.here, name, now));
        cloud.list_so_far.extend(page.iter().cloned());
        if !more {
            let listed = std::mem::take(&mut cloud.list_so_far);
            let strangers = (0..8).flat_map(|n| [format!("x{n}"), format!("bad{n}")]);
            for name in cloud.begin.keys().cloned().chain(strangers).collect::<Vec<_>>() {
                let lags = |at: &Millis| cloud.ended.get(&name).is_some_and(|ended| at <= ended);
                if listed.get(&name).is_none_or(lags) {
                    learn(&mut cloud.gone, &name, now);
                }
            }
            cloud.deliver(listed, self.health.snapshot().synced_at);
        }
        let next = if more { page.last().map(|(name, _)| name.clone()) } else { None };
        let device = |(name, at): (String, Millis)| (ThingName::new(&name).unwrap(), Some(Timestamp(at)));
        ListPage { devices: page.into_iter().map(device).collect(), next }
    }
}

/// Somebody in the cloud's console changes associations.
pub(super) async fn console(world: World) {
    while !world.fine() {
        tokio::time::sleep(world.span(500, 120_000) + Duration::from_millis(1)).await;
        if world.fine() {
            return;
        }
        let now = world.now();
        let mut state = world.state();
        let n = state.rng.usize(0..world.plan.devices);
        let name = format!("d{n:03}");
        let association = state.rng.bool().then_some(BEGIN + now);
        state.cloud.set(now, &name, association);
        drop(state);
        world.note(|| format!("console {name} {association:?}"));
    }
}
