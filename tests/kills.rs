//! `kill -9` of the built binary at random moments, under load: nothing that was accepted is lost, nothing is told twice
//! in different words, and every device is taken off once. `OFFBOARD_ROUNDS=200` for the long form.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::time::Duration;

use common::load::Load;

#[tokio::test]
async fn nothing_is_lost_over_kills_at_random_moments() {
    let mut load = Load::new().await;
    for round in 0..load.rounds {
        load.world.start_agent();
        load.send_round(round);
        // Anywhere from before it is connected to after it has done all of it.
        let moment = load.random.u64(0..500);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        load.look();
        load.world.kill();
    }
    load.world.start_agent();
    let kills = load.rounds;
    load.finish(kills).await;
}
