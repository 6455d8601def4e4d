//! The agent is killed at each point that matters, by name and count, under load. Needs a binary
//! with the feature:
//! `cargo test --features failpoints --test failpoints`; `OFFBOARD_ROUNDS=200` for the long form.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::collections::BTreeMap;

use common::{
    disk::send_until_refused,
    load::{LARGE_EVERY, Load},
    *,
};
use offboard::failpoint::{NAMES, PARTS};

/// The next start dies at the `n`-th pass of `name`.
fn arm(world: &mut World, name: &str, n: u64) {
    world.wrapper = vec!["env".into(), format!("OFFBOARD_FAILPOINT={name}:{n}")];
}

fn disarm(world: &mut World) {
    world.wrapper.clear();
}

/// Takes notice of a death, which has to be at the armed failpoint.
fn bury(world: &mut World, name: &str) {
    use std::os::unix::process::ExitStatusExt;
    let status = world.agent.take().unwrap().wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{name}: {status}");
    assert!(world.log().contains(&format!("killed at {name}:")), "{name}");
}

/// What a failpoint asks for to be reached: a large batch that a crash left in the journal.
fn needs_a_journal(name: &str) -> bool {
    name == "open-recovering"
}

/// Only a store that failed leaves something to disown.
fn needs_a_failure(name: &str) -> bool {
    name == "open-disowning"
}

/// Passes within a round, at most, that are worth counting to.
fn most_passes(name: &str) -> u64 {
    match name {
        "journal-half-done" => 5,
        "inbox-before-answer" | "sync-removed" | "sync-before-end" | "upkeep-forgot" => 1,
        "journal-half-written" | "outbox-delivered" | "sync-between-pages" => 2,
        name if name.starts_with("uplink-") => 2,
        name if name.starts_with("open-") || name.starts_with("journal-") => 1,
        name if name.starts_with("commit-") => 12,
        _ => 4,
    }
}

#[tokio::test]
async fn each_failpoint_is_reached_and_loses_nothing() {
    let names: Vec<&str> = NAMES.iter().copied().filter(|name| !needs_a_failure(name)).collect();
    // Every round has a large command: it is the first of its twenty.
    let mut load = Load::with(names.len() * LARGE_EVERY, fastrand::u64(..)).await;
    for (n, name) in names.iter().enumerate() {
        if needs_a_journal(name) {
            arm(&mut load.world, "journal-marked", 1);
            load.world.start_agent();
            load.send_round(n * LARGE_EVERY);
            assert!(load.settle_or_die().await, "journal-marked is not reached");
            bury(&mut load.world, "journal-marked");
        }
        arm(&mut load.world, name, 1);
        load.world.start_agent();
        if !needs_a_journal(name) {
            load.send_round(n * LARGE_EVERY);
        }
        // What comes last in a round may come after all is told.
        let start = std::time::Instant::now();
        while !load.settle_or_die().await {
            assert!(start.elapsed() < PATIENCE, "{name} is not reached by the load");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        bury(&mut load.world, name);
        disarm(&mut load.world);
        load.world.start_agent();
        assert!(!load.settle_or_die().await, "it ended by itself after {name}");
        load.world.kill();
    }
    load.world.start_agent();
    load.finish(names.len() + 1).await;
}

/// Whichever part of the agent panics: the agent says which, stops in order with a status of its
/// own, and the next start carries out what was accepted.
#[tokio::test]
async fn a_part_that_fails_ends_the_agent_and_loses_nothing() {
    let (mut world, client) = World::running(PARTS.len() + 1).await;
    world.set("publishDevices", json!(true));
    world.set("metrics.intervalSeconds", json!(1));
    world.stop_agent();
    let file = world.dir.path().join("panic");
    for (n, part) in PARTS.iter().enumerate() {
        world.cloud.offline(true);
        std::fs::write(&file, "").unwrap();
        world.wrapper = vec!["env".into(), format!("OFFBOARD_PANIC={}", file.display())];
        client.forget();
        world.start_agent();
        client.status("the agent is there", |status| status["state"] == "ONLINE").await;
        let token = format!("t{n}");
        client.disassociate(&token, &names(n..n + 1));
        client.result(&token, "accepted").await;
        std::fs::write(&file, part).unwrap();
        let mut status = None;
        until(&format!("the agent ends for its {part}"), || {
            // The ledger's thread looks when it has something to do.
            client.send("get-request", &json!({"targetClientToken": token}));
            status = world.agent.as_mut().unwrap().try_wait().unwrap();
            status.is_some()
        })
        .await;
        world.agent = None;
        assert_eq!(status.unwrap().code(), Some(70), "{part}");
        let log = world.log();
        assert!(log.contains(&format!("the {part} of the agent failed")), "{part}: {log}");
        assert!(log.contains("stopped"), "{part}: in order: {log}");
        std::fs::remove_file(&file).unwrap();
        world.wrapper.clear();
        world.cloud.offline(false);
        world.start_agent();
        assert_eq!(client.result(&token, "completed").await["status"], "SUCCEEDED", "{part}");
        assert_eq!(world.taken_off(&names(n..n + 1)[0]), 1, "{part}");
        world.stop_agent();
    }
}

/// What was refused for a full disk is removed at the next opening; killed in between, the agent
/// does it again.
#[tokio::test]
async fn a_kill_while_disowning_loses_nothing() {
    let (mut world, disk, client) = World::on_disk(300, 24).await;
    world.wrapper.extend(["env".into(), "OFFBOARD_FAILPOINT=open-disowning:1".into()]);
    world.start_agent();
    client.status("in sync", |s| s["lastSyncAt"].is_string()).await;
    world.cloud.offline(true);
    client.disassociate("kept", &names(0..1));
    client.result("kept", "accepted").await;
    disk.fill();
    let (taken, refused) = send_until_refused(&client, 1).await;
    disk.free();
    until("it is killed while it disowns", || !world.is_running()).await;
    bury(&mut world, "open-disowning");
    world.wrapper = disk.wrapper();
    world.cloud.offline(false);
    world.start_agent();
    for token in std::iter::once("kept").chain(taken.iter().map(String::as_str)) {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    }
    let question = json!({"targetClientToken": format!("t{refused}")});
    assert_eq!(answer(&client, "get-request", question).await.unwrap_err()["code"], "ResourceNotFoundException");
    assert_eq!(world.taken_off(&names(refused..refused + 1)[0]), 0);
}

#[tokio::test]
async fn nothing_is_lost_over_kills_at_failpoints() {
    let mut load = Load::new().await;
    let mut hits: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut journal = false;
    for round in 0..load.rounds {
        let candidates: Vec<&str> = NAMES
            .iter()
            .copied()
            .filter(|name| !needs_a_failure(name) && (journal || !needs_a_journal(name)))
            .collect();
        // A journal is seldom there to be recovered from, and is worth it.
        let name = match journal && load.random.bool() {
            true => "open-recovering",
            false => candidates[load.random.usize(0..candidates.len())],
        };
        let n = load.random.u64(1..=most_passes(name));
        arm(&mut load.world, name, n);
        load.world.start_agent();
        // The journal is for large commands only.
        load.send_round(if name.starts_with("journal-") { 0 } else { round + 1 });
        let (hit, missed) = hits.entry(name).or_default();
        if load.settle_or_die().await {
            *hit += 1;
            bury(&mut load.world, name);
            journal = ["journal-marked", "journal-half-done", "journal-done"].contains(&name)
                || (journal && name == "open-identified");
        } else {
            *missed += 1;
            load.world.kill();
            journal = false;
        }
        disarm(&mut load.world);
        // Half of the time the next start is killed as well, on what this one left.
        if load.random.bool() {
            load.world.start_agent();
            assert!(!load.settle_or_die().await, "it ended by itself after {name}:{n}, seed {}", load.seed);
            load.world.kill();
            journal = false;
        }
    }
    load.world.start_agent();
    for (name, (hit, missed)) in &hits {
        println!("{name}: {hit} kills, {missed} times not reached");
    }
    let kills = hits.values().map(|(hit, _)| hit).sum();
    load.finish(kills).await;
}
