//! The scenes that a fleet has to live through, and what is measured in each.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    cloud::{Fate, Millis, Weather},
    fleet::Fleet,
};
use crate::domain::CallKind;

/// Client devices of an ordinary core device, and of the one with a very large list.
const DEVICES: usize = 50;
const LARGE: usize = 20_000;

/// What happens to the fleet. A broadcast for one device, of which three core devices know it, is
/// to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    /// All agents are started together for the first time, with empty registries.
    Install,
    /// The power returns: all agents start together, and a quarter of them has work from before.
    PowerReturns,
    /// The region is out for an hour, in which each core device gets a command.
    Outage,
    /// The same for five minutes.
    ShortOutage,
    /// The role lacks its permissions for an hour, in which each core device gets a command.
    Permission,
    /// The account has 5 calls a second. All agents start, and commands come at 4 a second.
    Throttled,
    /// The outage of an hour, with one core device that has 20,000 devices.
    LargeList,
}

impl Scene {
    pub(super) const ALL: [Self; 7] = [
        Self::Install,
        Self::PowerReturns,
        Self::Outage,
        Self::ShortOutage,
        Self::Permission,
        Self::Throttled,
        Self::LargeList,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Install => "all start together for the first time",
            Self::PowerReturns => "all start together, a quarter with work from before",
            Self::Outage => "the region was out for an hour, each has work waiting",
            Self::ShortOutage => "the region was out for five minutes, each has work waiting",
            Self::Permission => "a permission was missing for an hour, each has work waiting",
            Self::Throttled => "5 calls a second for the account, all start and get a command",
            Self::LargeList => "as the outage of an hour, one core has 20,000 devices",
        }
    }

    /// The account's quota in calls a second.
    pub(super) fn quota(self, usual: u32) -> u32 {
        if self == Self::Throttled { 5 } else { usual }
    }
}

/// How a scene is run.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) cores: usize,
    pub(super) quota: u32,
    /// Configuration keys of the agents beside the defaults.
    pub(super) agent: Value,
    /// The first core device is like the others in [`Scene::LargeList`], to compare.
    pub(super) without_large: bool,
    /// Lists need nothing of the quota, to compare.
    pub(super) lists_are_free: bool,
}

impl Setting {
    pub(super) fn new(cores: usize, quota: u32) -> Self {
        Self { seed: 1, cores, quota, agent: json!({}), without_large: false, lists_are_free: false }
    }
}

/// What a scene came to, from the moment on at which the cloud serves the fleet.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) scene: Scene,
    pub(super) quota: u32,
    /// Until all commands were completed, and until all lists were read too.
    pub(super) commands_done: Millis,
    pub(super) converged: Millis,
    pub(super) calls: usize,
    pub(super) throttled: usize,
    /// The most calls of the fleet in any second, throttled ones included.
    pub(super) peak: usize,
    /// How long the commands of ordinary core devices waited, from the moment on at which the
    /// cloud serves the fleet; sorted.
    pub(super) waits: Vec<Millis>,
    pub(super) written: u64,
    pub(super) resident: u64,
}

impl Outcome {
    pub(super) fn mean_wait(&self) -> f64 {
        self.waits.iter().sum::<u64>() as f64 / self.waits.len().max(1) as f64
    }

    pub(super) fn worst_wait(&self) -> Millis {
        self.waits.last().copied().unwrap_or_default()
    }
}

/// Plays a scene in virtual time.
pub(super) fn play(scene: Scene, setting: &Setting) -> Outcome {
    fastrand::seed(setting.seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&setting.seed.to_be_bytes()));
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(acted(scene, setting))
}

async fn acted(scene: Scene, setting: &Setting) -> Outcome {
    let before = resident();
    let mut sizes = vec![DEVICES; setting.cores];
    if scene == Scene::LargeList && !setting.without_large {
        sizes[0] = LARGE;
    }
    let mut fleet = Fleet::new(setting.seed, &sizes, &setting.agent);
    if setting.lists_are_free {
        fleet.world.account.state().lists_are_free = true;
    }
    let quota = scene.quota(setting.quota);
    let all = 0..setting.cores;
    if scene != Scene::Install {
        fleet.settle().await;
    }
    let minute = Duration::from_secs(60);
    match scene {
        Scene::Install | Scene::Throttled => {}
        Scene::PowerReturns => {
            fleet.weather(Weather::Out);
            fleet.ask_all_within(all.step_by(4), minute).await;
            fleet.kill_all();
            sleep(minute).await;
        }
        Scene::Outage | Scene::LargeList => {
            fleet.weather(Weather::Out);
            fleet.ask_all_within(all, 60 * minute).await;
        }
        Scene::ShortOutage => {
            fleet.weather(Weather::Out);
            fleet.ask_all_within(all, 5 * minute).await;
        }
        Scene::Permission => {
            fleet.weather(Weather::Denied);
            fleet.ask_all_within(all, 60 * minute).await;
        }
    }
    fleet.weather(Weather::Fine);
    fleet.world.account.limit(quota);
    let since = fleet.world.now();
    if scene == Scene::Throttled {
        fleet.kill_all();
        fleet.start_all();
        fleet.ask_all_within(0..setting.cores, Duration::from_secs(setting.cores as u64 / 4)).await;
    } else if matches!(scene, Scene::Install | Scene::PowerReturns) {
        fleet.start_all();
    }
    let commands = fleet.commands().await.max(since);
    let lists = fleet.lists_since(since).await;
    fleet.check();
    measured(&fleet, Outcome {
        scene,
        quota,
        commands_done: commands - since,
        converged: commands.max(lists) - since,
        calls: 0,
        throttled: 0,
        peak: 0,
        waits: Vec::new(),
        written: 0,
        resident: resident().saturating_sub(before) / setting.cores as u64,
    }, since)
}

fn measured(fleet: &Fleet, outcome: Outcome, since: Millis) -> Outcome {
    let state = fleet.world.account.state();
    let calls = &state.calls;
    let commands = fleet.world.commands.lock().unwrap();
    let is_ordinary = |core: usize| !(outcome.scene == Scene::LargeList && core == 0);
    let asked = commands.values().filter(|asked| is_ordinary(asked.core));
    let mut waits: Vec<Millis> = asked.filter_map(|asked| Some(asked.completed? - asked.at.max(since))).collect();
    waits.sort_unstable();
    // A sliding second.
    let mut from = 0;
    let mut peak = 0;
    for (n, call) in calls.iter().enumerate() {
        while calls[from].at + 1000 <= call.at {
            from += 1;
        }
        peak = peak.max(n + 1 - from);
    }
    let written: u64 = fleet.cores.iter().map(|core| core.disk.written()).sum();
    if std::env::var_os("OFFBOARD_TRACE").is_some() {
        let end = calls.last().map_or(since, |call| call.at);
        let width = ((end - since) / 60).max(1000);
        for n in 0..=(end - since) / width {
            let within = |at: Millis| (at - since) / width == n;
            let count = |is: &dyn Fn(&super::cloud::Call) -> bool| calls.iter().filter(|call| within(call.at) && is(call)).count();
            println!(
                "  {:>6} s: {:>5} lists, {:>5} of them throttled, {:>5} of commands, {:>5} of them throttled",
                n * width / 1000,
                count(&|call| call.kind == CallKind::List),
                count(&|call| call.kind == CallKind::List && call.fate == Fate::Throttled),
                count(&|call| call.kind != CallKind::List),
                count(&|call| call.kind != CallKind::List && call.fate == Fate::Throttled),
            );
        }
    }
    Outcome {
        calls: calls.len(),
        throttled: calls.iter().filter(|call| call.fate == Fate::Throttled).count(),
        peak,
        waits,
        written: written / fleet.cores.len() as u64,
        ..outcome
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}
