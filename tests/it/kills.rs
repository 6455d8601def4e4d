//! `kill -9` of the built binary at random moments, under load: no accepted command is lost, no
//! result is published in two versions, and every device is disassociated once.
//! `OFFBOARD_ROUNDS=200` is the long form, and `OFFBOARD_SEED` repeats the choices of an earlier
//! run.

use std::time::Duration;

use crate::common::{
    load::{Load, SMALL},
    *,
};

/// What the broker has acknowledged is on disk within a second, if nothing else happens.
#[tokio::test]
async fn what_was_delivered_is_not_published_again_after_a_kill() {
    let (mut world, client) = World::running(5).await;
    client.disassociate("t", &names(0..1));
    client.result("t", "completed").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.kill_and_forget(&client).await;
    world.start_agent();
    // The outbox publishes in order: what it owes from before comes first.
    client.disassociate("u", &names(1..2));
    client.result("u", "completed").await;
    assert_eq!((client.results("t", "accepted"), client.results("t", "completed")), (vec![], vec![]));
}

#[tokio::test]
async fn nothing_is_lost_over_kills_at_random_moments() {
    let mut load = Load::new().await;
    for round in 0..load.rounds {
        load.world.start_agent();
        load.catch_up().await;
        load.send_round(round);
        // So that some of the kills are amid a checkpoint.
        if load.random.u8(0..8) == 0 {
            load.send_filling();
        }
        // Half of the time while it starts; half of the time amid its answers, wherever they are by
        // now.
        if load.random.bool() {
            // The seed chooses the moment.
            tokio::time::sleep(Duration::from_millis(load.random.u64(0..500))).await;
            load.look();
        } else {
            let more = load.random.usize(0..=2 * SMALL);
            load.until_results(more).await;
            tokio::time::sleep(Duration::from_micros(load.random.u64(0..20_000))).await;
        }
        load.world.kill();
    }
    load.world.start_agent();
    let kills = load.rounds;
    load.finish(kills).await;
}
