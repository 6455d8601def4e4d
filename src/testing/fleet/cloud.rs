//! The cloud that all core devices of the fleet share: one account with one quota. Each call is
//! noted with its time, so that a scene can count them.

use std::{
    collections::BTreeSet,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    cloud::{Cloud, ListPage, rate::TokenBucket},
    domain::{CallError, CallFault, CallKind, CallToken, EntryError, Mono, Target, ThingName, Timestamp},
    health::Health,
    runtime::clock::Clock,
};

/// Milliseconds since the scene began.
pub(super) type Millis = u64;

/// What the wall clocks show at the beginning.
pub(super) const BEGIN: i64 = 1_800_000_000_000;

/// The API's limit of devices on a page of a list.
const PAGE: usize = 100;

/// How the service treats every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// By the quota.
    Fine,
    /// The region is out: no connection, no response, or a 503.
    Out,
    /// The role lacks the permission.
    Denied,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Granted,
    Throttled,
    /// The region is out, or the permission is missing.
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) at: Millis,
    pub(super) kind: CallKind,
    pub(super) fate: Fate,
}

pub(super) struct AccountState {
    rng: fastrand::Rng,
    pub(super) weather: Weather,
    /// The quota in calls a second, for all core devices and all kinds of calls together; `None`
    /// while a scene is prepared.
    quota: Option<TokenBucket>,
    /// Lists take nothing from the quota.
    pub(super) lists_are_free: bool,
    /// The associated devices of each core device.
    pub(super) associated: Vec<BTreeSet<String>>,
    pub(super) calls: Vec<Call>,
}

/// The account, in one region.
pub(super) struct Account {
    zero: Instant,
    state: Mutex<AccountState>,
}

impl Account {
    pub(super) fn new(rng: fastrand::Rng, associated: Vec<BTreeSet<String>>) -> Self {
        let (weather, lists_are_free, calls) = (Weather::Fine, false, Vec::new());
        let state = AccountState { rng, weather, quota: None, lists_are_free, associated, calls };
        Self { zero: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, AccountState> {
        self.state.lock().unwrap()
    }

    pub(super) fn now(&self) -> Millis {
        u64::try_from(self.zero.elapsed().as_millis()).unwrap()
    }

    /// Sets the quota, with a burst of one second. Earlier calls are forgotten.
    pub(super) fn limit(&self, per_second: u32) {
        let bucket = TokenBucket::new(f64::from(per_second), per_second, Mono(self.now()));
        let mut state = self.state();
        state.quota = Some(bucket);
        state.calls.clear();
    }

    /// Notes a call and decides about it.
    fn arrives(&self, kind: CallKind) -> (Duration, Result<(), CallFault>) {
        let now = self.now();
        let state = &mut *self.state();
        let (chance, kind_of_outage) = (state.rng.f64(), state.rng.u8(0..4));
        let seconds = |from: f64, to: f64| Duration::from_secs_f64(from + (to - from) * chance);
        let (wait, answer) = match state.weather {
            Weather::Out => match kind_of_outage {
                0 => (Duration::from_secs(30), Err(CallFault::NoResponse)),
                1 => (seconds(0.05, 1.0), Err(CallFault::Server)),
                _ => (seconds(0.05, 3.0), Err(CallFault::Unreachable)),
            },
            Weather::Denied => (seconds(0.05, 0.4), Err(CallFault::Denied)),
            Weather::Fine => {
                let is_free = kind == CallKind::List && state.lists_are_free;
                let granted = is_free || state.quota.as_mut().is_none_or(|quota| quota.take(Mono(now)).is_ok());
                (seconds(0.05, 0.4), if granted { Ok(()) } else { Err(CallFault::Throttled) })
            }
        };
        let fate = match answer {
            Ok(()) => Fate::Granted,
            Err(CallFault::Throttled) => Fate::Throttled,
            Err(_) => Fate::Failed,
        };
        state.calls.push(Call { at: now, kind, fate });
        (wait, answer)
    }
}

/// The cloud as a core device sees it.
pub(super) struct CoreCloud {
    pub(super) account: Arc<Account>,
    pub(super) core: usize,
    pub(super) health: Arc<Health>,
    pub(super) clock: Clock,
}

impl CoreCloud {
    async fn ask(&self, kind: CallKind) -> Result<(), CallError> {
        let (wait, answer) = self.account.arrives(kind);
        sleep(wait).await;
        answer.map_err(|fault| CallError::new(fault, "SimulatedException", "simulated"))?;
        // Every response of the service carries its time.
        self.health.set_skew(BEGIN + self.account.now() as i64 - self.clock.now().wall.0);
        Ok(())
    }
}

impl Cloud for CoreCloud {
    async fn call(
        &self,
        kind: CallKind,
        targets: &[Target],
        _: Option<&CallToken>,
    ) -> Result<Vec<EntryError>, CallError> {
        self.ask(kind).await?;
        let associated = &mut self.account.state().associated[self.core];
        for target in targets {
            match kind {
                CallKind::Associate => associated.insert(target.name().to_owned()),
                _ => associated.remove(target.name()),
            };
        }
        Ok(Vec::new())
    }

    async fn list(&self, next: Option<String>) -> Result<ListPage, CallError> {
        self.ask(CallKind::List).await?;
        let from = next.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.account.state();
        let mut rest = state.associated[self.core].range((from, Bound::Unbounded));
        let page: Vec<&String> = rest.by_ref().take(PAGE).collect();
        let next = rest.next().and(page.last().map(|name| (*name).clone()));
        let associated_at = Some(Timestamp(BEGIN - 86_400_000));
        let devices = page.into_iter().map(|name| (ThingName::new(name).unwrap(), associated_at)).collect();
        Ok(ListPage { devices, next })
    }
}
