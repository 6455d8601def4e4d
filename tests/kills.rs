//! `kill -9` of the built binary at random moments, under load: nothing that was accepted is lost, nothing is told twice
//! in different words, and every device is taken off once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::*;

const ROUNDS: usize = 20;
const COMMANDS_A_ROUND: usize = 20;
const DEVICES_A_COMMAND: usize = 5;

#[tokio::test]
async fn nothing_is_lost_over_kills_at_random_moments() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let commands = ROUNDS * COMMANDS_A_ROUND;
    let mut world = World::new(commands * DEVICES_A_COMMAND).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    let send =
        |n: usize| client.disassociate(&format!("t{n}"), &names(n * DEVICES_A_COMMAND..(n + 1) * DEVICES_A_COMMAND));
    for round in 0..ROUNDS {
        (round * COMMANDS_A_ROUND..(round + 1) * COMMANDS_A_ROUND).for_each(send);
        // Anywhere from before it is connected to after it has done all of it.
        tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
        world.kill();
        world.start_agent();
    }
    let answered = |kind: &str| {
        let seen = client.seen().into_iter().filter(|m| m.topic.ends_with(kind));
        seen.map(|m| m.body["clientToken"].as_str().unwrap().to_owned()).collect::<BTreeSet<String>>()
    };
    // The broker keeps what it has acknowledged; a sender that has seen no answer sends again all the same.
    let accepted = answered("/accepted");
    (0..commands).filter(|n| !accepted.contains(&format!("t{n}"))).for_each(send);
    for n in 0..commands {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED", "t{n}, seed {seed}");
    }
    let ended = client.ask("list-requests", json!({"status": "IN_PROGRESS"})).await;
    assert_eq!(ended["requests"], json!([]));
    for n in 0..commands {
        let told = client.results(&format!("t{n}"), "completed");
        assert!(told.iter().all(|one| *one == told[0]), "t{n} ended in two ways: {told:?}, seed {seed}");
    }
    let all = names(0..commands * DEVICES_A_COMMAND);
    assert!(all.iter().all(|name| world.taken_off(name) == 1), "seed {seed}");
    assert!(world.cloud.associated(CORE).is_empty());
}
