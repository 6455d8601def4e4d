//! The scenes that a fleet has to live through, and what is measured in each.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    cloud::{Call, Fate, Millis, Weather},
    cores::Fleet,
};
use crate::domain::CallKind;

/// Client devices of an ordinary core device, and of the one with a very large list.
const DEVICES: usize = 50;
const LARGE: usize = 20_000;

/// The device of the broadcast.
const SHARED: &str = "shared-device";

/// What happens to the fleet.
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
    /// A client broadcasts the disassociation of one device that is associated with three core
    /// devices. A response of any other core device is a failure.
    Broadcast,
}

impl Scene {
    pub(super) const ALL: [Self; 8] = [
        Self::Install,
        Self::PowerReturns,
        Self::Outage,
        Self::ShortOutage,
        Self::Permission,
        Self::Throttled,
        Self::LargeList,
        Self::Broadcast,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Install => "all agents start together for the first time",
            Self::PowerReturns => "all agents start together, a quarter with work from before",
            Self::Outage => "the region was out for an hour; each has work waiting",
            Self::ShortOutage => "the region was out for five minutes; each has work waiting",
            Self::Permission => "a permission was missing for an hour; each has work waiting",
            Self::Throttled => "throttled account: all agents start, and get a command each, 4 a second",
            Self::LargeList => "the same outage of an hour; one core device has 20,000 devices",
            Self::Broadcast => "a broadcast for one device, which 3 core devices know",
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
    /// Until all commands were completed.
    pub(super) commands_done: Millis,
    /// Until each agent has read a complete list that ended later.
    pub(super) lists_read: Millis,
    pub(super) calls: usize,
    pub(super) throttled: usize,
    /// The most calls of the fleet in any second, throttled ones included.
    pub(super) peak: usize,
    /// How long the commands of ordinary core devices waited, from the moment on at which the
    /// cloud serves the fleet; sorted.
    pub(super) waits: Vec<Millis>,
    /// When the list of a core device was read, on average.
    pub(super) mean_list: f64,
    /// Bytes written by a core device, from the begin of the scene on.
    pub(super) written: u64,
    /// Bytes of memory for a core device with its simulated disk, where nothing else runs beside.
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
    let mut agent = setting.agent.clone();
    agent["acceptBroadcast"] = json!(scene == Scene::Broadcast);
    let mut fleet = Fleet::new(setting.seed, &sizes, &agent);
    let sharing = [0, setting.cores / 2, setting.cores - 1];
    if scene == Scene::Broadcast {
        fleet.share(SHARED, &sharing);
    }
    if setting.lists_are_free {
        fleet.world.account.state().lists_are_free = true;
    }
    let quota = scene.quota(setting.quota);
    let all = 0..setting.cores;
    if scene != Scene::Install {
        fleet.settle().await;
    }
    let written = fleet.written();
    let minute = Duration::from_secs(60);
    match scene {
        Scene::Install | Scene::Throttled | Scene::Broadcast => {}
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
    } else if scene == Scene::Broadcast {
        fleet.broadcast(SHARED, &sharing);
    }
    let commands = fleet.commands().await.max(since);
    // A broadcast needs no list.
    let lists = if scene == Scene::Broadcast { since } else { fleet.lists_since(since).await };
    fleet.check();
    measured(
        &fleet,
        Outcome {
            scene,
            quota,
            commands_done: commands - since,
            lists_read: lists - since,
            calls: 0,
            throttled: 0,
            peak: 0,
            waits: Vec::new(),
            mean_list: 0.0,
            written: fleet.written() - written,
            resident: resident().saturating_sub(before) / setting.cores as u64,
        },
        since,
    )
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
    if std::env::var_os("OFFBOARD_TRACE").is_some() {
        print(outcome.scene, calls, since);
    }
    Outcome {
        calls: calls.len(),
        throttled: calls.iter().filter(|call| call.fate == Fate::Throttled).count(),
        peak,
        waits,
        mean_list: fleet.mean_list() - since as f64,
        ..outcome
    }
}

/// Prints the calls over the time, in 60 rows.
fn print(scene: Scene, calls: &[Call], since: Millis) {
    let end = calls.last().map_or(since, |call| call.at);
    let width = ((end - since) / 60).max(1000);
    for n in 0..=(end - since) / width {
        let count = |is_list: bool, is_throttled: bool| {
            let is = |call: &&Call| {
                (call.at - since) / width == n
                    && (call.kind == CallKind::List) == is_list
                    && (call.fate == Fate::Throttled) == is_throttled
            };
            calls.iter().filter(is).count()
        };
        println!(
            "{scene:?} {:>6} s: lists {:>5}, throttled {:>5}; commands {:>5}, throttled {:>5}",
            n * width / 1000,
            count(true, false),
            count(true, true),
            count(false, false),
            count(false, true),
        );
    }
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}
