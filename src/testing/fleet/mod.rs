//! A simulated fleet: hundreds or thousands of whole agents, each with its ledger on a disk in
//! memory, against one cloud with one quota for all of them, in one virtual time and from one seed.
//! It shows what a fleet does to the quota of its account (docs/greengrass.md, "What a fleet costs
//! in calls"). `tests/fleet` runs it, with 2,000 core devices or with the number that it is given.

// Only a build of its own can give tokio's chance a seed; the others check that this compiles.
#![cfg_attr(not(tokio_unstable), allow(dead_code))]

mod cloud;
mod core;
mod disk;
mod fleet;
mod scenes;

use self::scenes::{Outcome, Scene, Setting, play};

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn row(outcome: &Outcome) -> String {
    let seconds = |millis: u64| format!("{} s", millis.div_ceil(1000));
    format!(
        "| {} | {} | {} | {} | {} | {} of {} | {} |",
        outcome.scene.title(),
        seconds(outcome.commands_done),
        seconds(outcome.converged),
        outcome.calls,
        outcome.throttled,
        outcome.peak,
        outcome.quota,
        if outcome.waits.is_empty() { "-".into() } else { seconds(outcome.worst_wait()) },
    )
}

#[cfg(tokio_unstable)]
#[test]
fn a_fleet_shares_the_quota_of_its_account() {
    let cores = number("OFFBOARD_CORES").unwrap_or(200) as usize;
    let quota = number("OFFBOARD_QUOTA").unwrap_or(if cores < 1000 { 10 } else { 30 });
    let setting = Setting::new(cores, quota);
    let only = std::env::var("OFFBOARD_SCENE").ok();
    println!("| scene | commands done | lists read, too | calls | throttled | most in a second, of the quota | worst wait of a command |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for scene in Scene::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{scene:?}")) {
            continue;
        }
        let began = std::time::Instant::now();
        let outcome = play(scene, &setting);
        println!("{}", row(&outcome));
        println!(
            "    {:?} {:.1} s, mean wait {:.1} s, {} KiB written, {} KiB resident for a core",
            scene,
            began.elapsed().as_secs_f64(),
            outcome.mean_wait() / 1000.0,
            outcome.written >> 10,
            outcome.resident >> 10
        );
    }
}
