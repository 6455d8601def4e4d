//! The agent is killed at each failpoint, a named place in its code, under load. A binary of its
//! own, since the product has to be built with a feature for it: `cargo test --locked --features
//! failpoints --test failpoints`. `OFFBOARD_ROUNDS=200` is the long form, and `OFFBOARD_SEED`
//! repeats the choices of an earlier run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

#[path = "it/common/mod.rs"]
mod common;

use std::collections::BTreeMap;

use common::{
    load::{LARGE_EVERY, Load},
    *,
};
use offboard::runtime::failpoint::{NAMES, PARTS};

/// The next start dies at the `n`-th pass of `name`.
fn arm(world: &mut World, name: &str, n: u64) {
    world.wrapper = vec!["env".into(), format!("OFFBOARD_FAILPOINT={name}:{n}")];
}

fn disarm(world: &mut World) {
    world.wrapper.clear();
}

/// Checks that the agent died at the armed failpoint.
fn bury(world: &mut World, name: &str) {
    use std::os::unix::process::ExitStatusExt;
    let status = world.agent.take().unwrap().wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{name}: {status}");
    assert!(world.log().contains(&format!("killed at {name}:")), "{name}");
}

/// A checkpoint begins when a segment of the journal is nearly full, and at a clean stop.
fn is_of_a_checkpoint(name: &str) -> bool {
    name.starts_with("checkpoint-")
}

/// Passes within a round, at most, that are worth counting to.
fn most_passes(name: &str) -> u64 {
    match name {
        "inbox-before-answer" | "sync-removed" | "sync-before-end" | "maintenance-forgot" | "open-bound" => 1,
        "outbox-delivered" | "sync-between-pages" => 2,
        name if name.starts_with("dispatcher-") => 2,
        name if name.starts_with("commit-") => 12,
        _ => 4,
    }
}

/// Waits for the death at the armed failpoint: what comes last in a round may come after its last
/// result.
async fn wait_for_death(load: &mut Load, name: &str) {
    let start = std::time::Instant::now();
    while !load.settle_or_die().await {
        assert!(start.elapsed() < PATIENCE, "{name} is not reached by the load");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bury(&mut load.world, name);
    disarm(&mut load.world);
}

/// Asks the agent to stop, and waits for its death at the armed failpoint on the way. `env`, which
/// arms it, is the agent's own process. Returns `false` if the agent stopped without reaching the
/// failpoint, and says that its store did not close in time: on a busy machine a checkpoint may
/// take longer than a stop waits for it.
async fn die_at_the_stop(load: &mut Load, name: &str) -> bool {
    terminate(load.world.agent.as_ref().unwrap().id());
    until(&format!("{name} is reached by a clean stop"), || !load.world.is_running()).await;
    let status = load.world.agent.as_mut().unwrap().wait().unwrap();
    let was_hit = !(status.success() && load.world.log().contains("the store did not close in time"));
    if was_hit {
        bury(&mut load.world, name);
    } else {
        load.world.agent = None;
    }
    disarm(&mut load.world);
    was_hit
}

#[tokio::test]
async fn each_failpoint_is_reached_and_loses_nothing() {
    // Every round has a large command: it is the first of its twenty.
    let mut load = Load::with(NAMES.len() * LARGE_EVERY).await;
    let mut kills = 0;
    for (n, name) in NAMES.iter().enumerate() {
        for at_a_stop in [false, true] {
            if at_a_stop && !is_of_a_checkpoint(name) {
                continue;
            }
            arm(&mut load.world, name, 1);
            load.world.start_agent();
            load.send_round(n * LARGE_EVERY);
            if at_a_stop {
                assert!(!load.settle_or_die().await, "{name} is reached before the stop");
                assert!(die_at_the_stop(&mut load, name).await, "the agent stopped before {name}");
            } else {
                if is_of_a_checkpoint(name) {
                    load.send_filling();
                }
                wait_for_death(&mut load, name).await;
            }
            kills += 1;
            load.world.start_agent();
            assert!(!load.settle_or_die().await, "it ended by itself after {name}");
            if is_of_a_checkpoint(name) && !at_a_stop {
                // The checkpoint of a clean stop leaves an empty segment, which the next round
                // alone does not fill. A round shows that the agent is there to be stopped.
                load.send_round(n * LARGE_EVERY + 1);
                assert!(!load.settle_or_die().await, "it ended by itself after {name}");
                assert!(load.world.stop_agent().0.success(), "{name}");
            } else {
                load.world.kill();
            }
        }
    }
    load.world.start_agent();
    load.finish(kills).await;
}

/// Whichever part of the agent panics: the agent says which, stops in order with a status of its
/// own, and the next start carries out what was accepted.
#[tokio::test]
async fn a_part_that_fails_ends_the_agent_and_loses_nothing() {
    let (mut world, client) = World::running(2 * PARTS.len() + 1).await;
    world.set("publishDevices", json!(true));
    world.set("metrics.intervalSeconds", json!(1));
    world.set("localAccess.mosquittoDynamicSecurity", json!(true));
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
        let doubtful = format!("u{n}");
        until(&format!("the agent ends for its {part}"), || {
            // The ledger's thread fails when it has something to do. This command may be durable by
            // then, so that the agent must not reject it.
            client.disassociate(&doubtful, &names(n + PARTS.len()..n + PARTS.len() + 1));
            status = world.agent.as_mut().unwrap().try_wait().unwrap();
            status.is_some()
        })
        .await;
        world.agent = None;
        assert_eq!(status.unwrap().code(), Some(70), "{part}");
        let log = world.log();
        assert!(log.contains(&format!("the {part} of the agent failed")), "{part}: {log}");
        assert!(log.contains("stopped"), "{part}: in order: {log}");
        assert!(client.results(&doubtful, "rejected").is_empty(), "{part}: the command may be durable");
        std::fs::remove_file(&file).unwrap();
        world.wrapper.clear();
        world.cloud.offline(false);
        world.start_agent();
        assert_eq!(client.result(&token, "completed").await["status"], "SUCCEEDED", "{part}");
        assert_eq!(world.disassociations(&names(n..n + 1)[0]), 1, "{part}");
        world.stop_agent();
    }
}

#[tokio::test]
async fn nothing_is_lost_over_kills_at_failpoints() {
    let mut load = Load::new().await;
    let mut hits: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for round in 0..load.rounds {
        let name = NAMES[load.random.usize(0..NAMES.len())];
        let is_of_a_checkpoint = is_of_a_checkpoint(name);
        let n = if is_of_a_checkpoint { 1 } else { load.random.u64(1..=most_passes(name)) };
        arm(&mut load.world, name, n);
        load.world.start_agent();
        load.send_round(round + 1);
        let fills = is_of_a_checkpoint && load.random.bool();
        if fills {
            load.send_filling();
        }
        let was_hit = if load.settle_or_die().await {
            bury(&mut load.world, name);
            true
        } else if is_of_a_checkpoint {
            die_at_the_stop(&mut load, name).await
        } else {
            load.world.kill();
            false
        };
        let (hit, missed) = hits.entry(name).or_default();
        *(if was_hit { hit } else { missed }) += 1;
        disarm(&mut load.world);
        // Half of the time the next start is killed as well, on what this one left.
        if load.random.bool() {
            load.world.start_agent();
            assert!(!load.settle_or_die().await, "it ended by itself after {name}:{n}, seed {}", load.seed);
            load.world.kill();
        }
    }
    load.world.start_agent();
    for (name, (hit, missed)) in &hits {
        println!("{name}: {hit} kills, {missed} times not reached");
    }
    let kills = hits.values().map(|(hit, _)| hit).sum();
    load.finish(kills).await;
}
