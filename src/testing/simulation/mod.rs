//! A simulation of the whole agent, driven by one seed: the real ledger, inbox, outbox,
//! dispatchers, reconciler, maintenance, status and publisher, on a simulated broker, cloud, disk
//! and clock. Time is virtual, and all chance comes from the seed, so that a seed always runs in
//! the same way.
//!
//! Every step is checked against the invariants of `ARCHITECTURE.md`; once the faults stop,
//! everything has to converge. `OFFBOARD_SEEDS=N` runs so many seeds, `OFFBOARD_SEED=N` that one,
//! `OFFBOARD_TRACE=1` prints what happens.

// Only a build of its own can give tokio's chance a seed; the others check that this compiles.
#![cfg_attr(not(tokio_unstable), allow(dead_code))]

mod broker;
mod clients;
mod cloud;
mod cloud_state;
mod disk;
mod disk_files;
mod ending;
mod plugin;
mod wire;
mod world;

use std::{sync::Arc, time::Duration};

use rumqttc::AsyncClient;
use tokio::{task::JoinSet, time::sleep};

use self::{
    cloud::SimCloud,
    cloud_state::Weather,
    disk::SimDisk,
    world::{BEGIN, World},
};
use crate::{
    agent::{Parts, supervisor::Supervisor},
    config::{self, Config},
    domain::Via,
    health::Health,
    ledger::{Ledger, Rules},
    local::broker::Intake,
    protocol::Topics,
    runtime::{clock::Clock, stop},
};

const CALLS_PER_SECOND: f64 = 5.0;
const BURST: u32 = 20;

fn config(world: &World) -> Config {
    let text = serde_json::json!({
        "coreThingName": "MyCore",
        "region": "eu-central-1",
        "mqtt": {"url": "mqtt://simulated"},
        "batch": {"lingerMs": 100, "maxEntries": world.plan.max_entries},
        "retry": {"baseMs": 200, "capMs": 20000},
        "rate": {"callsPerSecond": CALLS_PER_SECOND, "burst": BURST},
        "sync": {"intervalSeconds": 300},
        "limits": {"maxPendingEntries": world.plan.max_pending},
        "retention": {"requestsDays": world.plan.retention_days, "tombstonesDays": world.plan.retention_days},
        "localAccess": {"mosquittoDynamicSecurity": world.plan.local_access},
    });
    config::parse(&text.to_string(), |_| None).unwrap().0
}

/// One life of the agent, to its crash or its stop.
async fn live(world: &World) {
    let run = {
        let now = world.now();
        let mut state = world.state();
        state.run += 1;
        state.crashed = false;
        state.cloud.restart(now);
        state.run
    };
    world.note(|| format!("run {run} begins"));
    let config = config(world);
    let clock = Clock::simulated(world.zero, Arc::clone(&world.wall));
    let rules = Rules::from(&config);
    let mut tasks = JoinSet::new();
    let (mut calls, mut results) = (Supervisor::default(), Supervisor::default());
    let disk = SimDisk { world: world.clone(), rules: Arc::new(rules.clone()), run };
    let pace = world.clone();
    let (ledger, committer) = Ledger::simulate(disk, rules, clock.clone(), move || pace.span(0, 20));
    tasks.spawn(committer);
    let health = Health::new(clock.clone());
    let cloud = SimCloud { world: world.clone(), health: Arc::clone(&health), clock: clock.clone(), run };
    let topics = Topics::new(&config.topic_prefix, &config.core);
    let (sender, requests) = flume::bounded(1 << 16);
    let (intake, wired) =
        Intake::new(AsyncClient::from_senders(sender), Via::Mqtt, topics.clone(), config.limits.max_payload_bytes);
    let wire = wire::Wire {
        world: world.clone(),
        run,
        intake,
        publisher: Arc::clone(&wired.publisher),
        requests,
        health: Arc::clone(&health),
        topics: topics.clone(),
    };
    let started_at = clock.now().wall;
    let parts = Parts { config, clock, ledger, health, cloud: Arc::new(cloud), started_at };
    let (stop_calls, calls_stop) = stop::channel();
    let (stop_results, results_stop) = stop::channel();
    parts.start_cloud(&mut calls, &calls_stop);
    parts.start_line(Via::Mqtt, wired, topics, &mut calls, &mut results, (&calls_stop, &results_stop));
    tasks.spawn(wire.run());
    let ended = tokio::select! {
        biased;
        () = until_over(world) => None,
        failure = calls.failed() => Some(failure.to_string()),
        failure = results.failed() => Some(failure.to_string()),
        ended = tasks.join_next() => Some(format!("{ended:?}")),
        // A clean stop, as `agent::Parts::run` does it.
        () = stops(world) => {
            world.note(|| "clean stop".into());
            stop_calls.stop();
            let _ = tokio::time::timeout(Duration::from_millis(1700), calls.drain()).await;
            None
        }
    };
    if let Some(ended) = ended {
        world.violate(10, format!("a part of the agent ended by itself: {ended}"));
    }
    stop_results.stop();
    // Dropping the sets aborts the tasks; nothing that they do from here on has an effect.
    let mut guard = world.state();
    let state = &mut *guard;
    state.crashed = true;
    let mut rng = state.rng.fork();
    state.disk.crash(&mut rng);
}

/// Waits for a crash, a violation, or the end of the simulation.
async fn until_over(world: &World) {
    loop {
        let changed = world.changed.notified();
        {
            let state = world.state();
            if state.crashed || state.violation.is_some() || state.over {
                return;
            }
        }
        changed.await;
    }
}

async fn stops(world: &World) {
    loop {
        sleep(world.span(1000, 3_000_000)).await;
        if !world.fine() && !world.plan.calm && world.chance(0.5) {
            return;
        }
    }
}

/// The weather, the disk and the clock go from bad to worse, until the faults are over.
async fn faults(world: World) {
    let end = world.now() + i64::try_from(world.plan.rough.as_millis()).unwrap();
    if world.plan.calm {
        sleep(world.plan.rough).await;
    }
    while world.now() < end {
        sleep(world.span(1000, 120_000)).await;
        if world.chance(0.3) {
            let n = world.state().rng.usize(0..Weather::BAD.len());
            world.note(|| format!("weather {:?}", Weather::BAD[n]));
            world.state().cloud.weather = Weather::BAD[n];
            sleep(world.span(500, 900_000)).await;
            world.state().cloud.weather = Weather::Fine;
        }
        if world.plan.disk_fills && world.chance(0.2) {
            world.note(|| "disk full".into());
            world.state().disk.full = true;
            sleep(world.span(500, 200_000)).await;
            world.state().disk.full = false;
        }
        if world.plan.disk_breaks && world.chance(0.2) {
            world.note(|| "disk broken".into());
            world.state().disk.broken = true;
            sleep(world.span(500, 100_000)).await;
            // The owner of such a disk may reset the machine.
            let resets = world.chance(0.5);
            let mut state = world.state();
            state.disk.broken = false;
            state.crashed |= resets;
            drop(state);
            world.changed.notify_waiters();
        }
        if world.plan.registry_breaks && world.chance(0.2) {
            disk::damage_registry(&world);
        }
        if world.plan.clock_leaps && world.chance(0.2) {
            let leap = world.state().rng.i64(-30..30) * 86_400_000;
            world.note(|| format!("clock {leap}"));
            world.wall.fetch_add(leap, std::sync::atomic::Ordering::Relaxed);
        }
        if world.plan.clock_jumps && world.chance(0.3) {
            let jump = world.state().rng.i64(-2_000_000..2_000_000);
            world.note(|| format!("clock {jump}"));
            world.wall.fetch_add(jump, std::sync::atomic::Ordering::Relaxed);
        }
    }
    sleep(world.plan.lull).await;
    world.note(|| "the faults are over".into());
    world.wall.store(BEGIN, std::sync::atomic::Ordering::Relaxed);
    let mut state = world.state();
    state.fine = true;
    (state.broker.down, state.plugin.denied) = (false, false);
    (state.disk.full, state.disk.broken) = (false, false);
    state.cloud.weather = Weather::Fine;
    // What a broker denied is tried again after hours; a new life tries it at once.
    state.crashed |= world.plan.denied_client;
    drop(state);
    world.changed.notify_waiters();
}

/// Runs a seed to its end, or to the first thing that must never be. Returns a fingerprint of all
/// that happened.
fn run(seed: u64) -> Result<u64, world::Violation> {
    fastrand::seed(seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // The order in which tokio wakes those who wait for the same thing is by chance, too.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(seed);
        world.note(|| format!("{:?}", world.plan));
        let agent = {
            let world = world.clone();
            async move {
                while !world.state().over && world.state().violation.is_none() {
                    live(&world).await;
                    sleep(world.span(10, 30_000)).await;
                }
            }
        };
        let mut around = JoinSet::new();
        around.spawn(faults(world.clone()));
        if world.plan.console {
            around.spawn(cloud::console(world.clone()));
        }
        if world.plan.cuts {
            around.spawn(broker::trouble(world.clone()));
        }
        let ends = async {
            tokio::select! {
                biased;
                () = until_violated(&world) => {}
                () = ending::converges(&world) => {}
            }
            world.state().over = true;
            world.changed.notify_waiters();
        };
        tokio::join!(agent, ends);
        let state = world.state();
        if state.violation.is_some()
            && let Some(file) = std::env::var_os("OFFBOARD_DUMP").map(std::path::PathBuf::from)
        {
            std::fs::write(format!("{}-{seed}", file.display()), state.trace.join("\n")).unwrap();
        }
        state.violation.clone().map_or(Ok(state.fingerprint), Err)
    })
}

async fn until_violated(world: &World) {
    loop {
        let changed = world.changed.notified();
        if world.state().violation.is_some() {
            return;
        }
        changed.await;
    }
}

/// Runs a seed, which must not spin: virtual time does not advance while a task never waits.
fn watched(seed: u64) -> Result<u64, world::Violation> {
    let (ended, end) = std::sync::mpsc::sync_channel::<()>(0);
    let watch = std::thread::spawn(move || {
        if end.recv_timeout(Duration::from_secs(120)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("seed {seed} does not end: a part of the agent spins. {}", replay(seed));
            std::process::abort();
        }
    });
    let result = run(seed);
    drop(ended);
    watch.join().unwrap();
    result
}

fn replay(seed: u64) -> String {
    format!("replay: OFFBOARD_SEED={seed} OFFBOARD_TRACE=1 tests/simulate")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[cfg(tokio_unstable)]
#[test]
fn every_seed_keeps_every_invariant() {
    let (first, count) = match number("OFFBOARD_SEED") {
        Some(seed) => (seed, 1),
        None => (number("OFFBOARD_FIRST_SEED").unwrap_or(0), number("OFFBOARD_SEEDS").unwrap_or(500)),
    };
    let began = std::time::Instant::now();
    let failed = std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get) as u64;
        let work = |worker: u64| {
            let mut seeds = (first..first + count).filter(move |seed| seed % workers == worker);
            move || seeds.find_map(|seed| watched(seed).err().map(|violation| (seed, violation)))
        };
        let all: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        all.into_iter().filter_map(|one| one.join().unwrap()).min_by_key(|(seed, _)| *seed)
    });
    if let Some((seed, world::Violation { invariant, text })) = failed {
        panic!("invariant {invariant} is broken: {text}\n{}", replay(seed));
    }
    println!("{count} seeds without a violation in {:.1} s", began.elapsed().as_secs_f64());
}

#[cfg(tokio_unstable)]
#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
