//! A simulated fleet: hundreds or thousands of whole agents, each with its ledger on a disk in
//! memory, against one cloud with one quota for all of them, in one virtual time and from one seed.
//! It shows what a fleet does to the quota of its account (docs/greengrass.md, "What a fleet costs
//! in calls"). `tests/fleet` runs it, with 2,000 core devices or with the number that it is given.

// Only a build of its own can give tokio's chance a seed; the others check that this compiles.
#![cfg_attr(not(tokio_unstable), allow(dead_code))]

mod cloud;
mod core;
mod cores;
mod disk;
mod scenes;

use std::sync::Mutex;

use self::scenes::{Outcome, Scene, Setting, play};

/// The most calls of the fleet in any second, as a multiple of the quota.
const MOST_IN_A_SECOND: f64 = 1.5;

/// The same for a fleet of more than [`COMPARED`] core devices after an outage of minutes, when the
/// agents that failed last still try again within seconds. The goal is [`MOST_IN_A_SECOND`]: 2,000
/// core devices miss it.
const MOST_AFTER_MINUTES: f64 = 2.0;

/// A throttled account delays lists at least so many times as much as commands.
const LISTS_STAY_BEHIND: f64 = 10.0;

/// What one very large list may add to the mean wait of the other core devices' commands.
const MOST_BY_A_LARGE_LIST: f64 = 1.1;

/// What an agent may take of memory, with its disk in memory and with 50 devices.
const MOST_MEMORY: u64 = 512 << 10;

/// More core devices than this are only shown, and not compared with fleets that have no lists.
const COMPARED: usize = 500;

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Without an argument the quota of 200 core devices is such that herds would show, and that of
/// 2,000 is the only rate that AWS has published for an API of this kind (SiteWise's in 2023).
fn setting() -> Setting {
    let cores = number("OFFBOARD_CORES").unwrap_or(200) as usize;
    Setting::new(cores, number("OFFBOARD_QUOTA").unwrap_or(if cores <= COMPARED { 10 } else { 30 }))
}

/// Plays scenes beside each other, as many at a time as there are processors.
fn play_all(scenes: &[(Scene, Setting)]) -> Vec<Outcome> {
    let next = Mutex::new(0..scenes.len());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let Some(n) = next.lock().unwrap().next() else { return };
                    let (scene, setting) = &scenes[n];
                    let outcome = play(*scene, setting);
                    outcomes.lock().unwrap().push((n, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(n, _)| *n);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

const HEADER: &str = "\
| scene | the last command is completed after | the last list is read after | calls | of them throttled | \
most calls in a second, of the quota | worst wait of a command | written by a core device |
| --- | --- | --- | --- | --- | --- | --- | --- |";

fn row(outcome: &Outcome) -> String {
    let seconds = |millis: u64| format!("{} s", millis.div_ceil(1000));
    let if_asked = |text: String| if outcome.waits.is_empty() { "-".into() } else { text };
    format!(
        "| {} | {} | {} | {} | {} | {} of {} | {} | {} KiB |",
        outcome.scene.title(),
        if_asked(seconds(outcome.commands_done)),
        if outcome.lists_read == 0 { "-".into() } else { seconds(outcome.lists_read) },
        outcome.calls,
        outcome.throttled,
        outcome.peak,
        outcome.quota,
        if_asked(seconds(outcome.worst_wait())),
        outcome.written.div_ceil(1024),
    )
}

#[cfg(tokio_unstable)]
#[test]
fn a_fleet_shares_the_quota_of_its_account() {
    let setting = setting();
    let only = std::env::var("OFFBOARD_SCENE").ok();
    let is_played = |scene: &Scene| only.as_ref().is_none_or(|only| *only == format!("{scene:?}"));
    let scenes: Vec<(Scene, Setting)> =
        Scene::ALL.into_iter().filter(is_played).map(|scene| (scene, setting.clone())).collect();
    let began = std::time::Instant::now();
    // Alone, so that the memory can be measured.
    let mut outcomes = play_all(&scenes[..1]);
    outcomes.extend(play_all(&scenes[1..]));
    println!("\n{} core devices:\n\n{HEADER}", setting.cores);
    outcomes.iter().map(row).for_each(|row| println!("{row}"));
    println!(
        "\nMemory for an agent with its simulated disk: {} KiB. The run took {:.0} s.",
        outcomes[0].resident >> 10,
        began.elapsed().as_secs_f64()
    );
    let mut faults = Vec::new();
    for Outcome { scene, quota, peak, .. } in &outcomes {
        let most = match scene {
            // A throttled account has less than the fleet's commands need.
            Scene::Throttled => f64::INFINITY,
            Scene::ShortOutage if setting.cores > COMPARED => MOST_AFTER_MINUTES,
            _ => MOST_IN_A_SECOND,
        };
        if *peak as f64 > most * f64::from(*quota) {
            faults.push(format!("{scene:?}: {peak} calls in a second, the quota is {quota}"));
        }
    }
    if outcomes[0].resident > MOST_MEMORY {
        faults.push(format!("{} bytes of memory for an agent", outcomes[0].resident));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Compared with an account in which lists take nothing of the quota.
#[cfg(tokio_unstable)]
#[test]
fn throttling_slows_lists_before_it_slows_commands() {
    let setting = setting();
    if setting.cores > COMPARED {
        return;
    }
    let free = Setting { lists_are_free: true, ..setting.clone() };
    let [throttled, free] = &play_all(&[(Scene::Throttled, setting), (Scene::Throttled, free)])[..] else { return };
    let commands = throttled.mean_wait() - free.mean_wait();
    let lists = throttled.mean_list - free.mean_list;
    println!("\na throttled account delays a command by {:.1} s, a list by {:.1} s", commands / 1e3, lists / 1e3);
    assert!(lists >= LISTS_STAY_BEHIND * commands);
}

/// Compared with a fleet in which all lists have one page, with half of the quota.
#[cfg(tokio_unstable)]
#[test]
fn a_very_large_list_starves_nobody_and_is_read() {
    let setting = Setting { quota: 5, ..setting() };
    if setting.cores > COMPARED {
        return;
    }
    let small = Setting { without_large: true, ..setting.clone() };
    let [large, small] = &play_all(&[(Scene::LargeList, setting), (Scene::LargeList, small)])[..] else { return };
    let [with, without] = [large, small].map(|outcome| outcome.mean_wait() / 1e3);
    println!("\na command waits for {with:.1} s beside a very large list, and for {without:.1} s without it");
    assert!(with <= without * MOST_BY_A_LARGE_LIST);
    // 200 pages at one call a second, after the waits that follow an outage.
    assert!(large.lists_read < 900_000, "{} ms", large.lists_read);
}

#[cfg(tokio_unstable)]
#[test]
fn a_seed_always_plays_the_same_way() {
    let played = || {
        let Outcome { commands_done, lists_read, calls, throttled, peak, waits, written, .. } =
            play(Scene::PowerReturns, &Setting::new(20, 10));
        (commands_done, lists_read, calls, throttled, peak, waits, written)
    };
    assert_eq!(played(), played());
}
