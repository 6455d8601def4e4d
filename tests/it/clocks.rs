//! Wall clocks that are wrong when a command is accepted: the time that really passed decides
//! whether a device was associated again since.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use crate::common::*;

/// A world whose agent has never synced, has no cloud, and reads its wall clock from the file
/// `time`.
async fn offline_at(time: &str) -> (World, Client) {
    let mut world = World::new(3).await;
    fs::write(world.dir.path().join("time"), time).unwrap();
    world.wrapper = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library("libfaketimeMT.so.1")),
        format!("FAKETIME_TIMESTAMP_FILE={}", world.dir.path().join("time").display()),
        "FAKETIME_NO_CACHE=1".into(),
        "DONT_FAKE_MONOTONIC=1".into(),
    ]
    .into();
    world.cloud.offline(true);
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent has subscribed", |status| status["state"] == "ONLINE").await;
    (world, client)
}

/// The clock is set, and the cloud can be reached again.
fn mend(world: &World) {
    fs::write(world.dir.path().join("time"), "+0").unwrap();
    world.cloud.offline(false);
}

const WRONG: [&str; 2] = ["@1970-01-02 00:00:00", "-730d"];

#[tokio::test]
async fn a_command_of_a_wrong_clock_is_carried_out_once_the_clock_is_set() {
    for time in WRONG {
        for restarted in [false, true] {
            let (mut world, client) = offline_at(time).await;
            client.disassociate("t", &names(0..1));
            let accepted = client.result("t", "accepted").await;
            assert!(!accepted["acceptedAt"].as_str().unwrap().starts_with("202") || time == "-730d", "{accepted}");
            if restarted {
                world.kill_and_forget(&client).await;
                world.start_agent();
            }
            mend(&world);
            let completed = client.result("t", "completed").await;
            assert_eq!(completed["status"], "SUCCEEDED", "{time}, restarted: {restarted}: {completed}");
        }
    }
}

#[tokio::test]
async fn a_device_that_was_associated_after_a_command_of_a_wrong_clock_is_left_alone() {
    for restarted in [false, true] {
        let (mut world, client) = offline_at(WRONG[0]).await;
        client.disassociate("t", &names(0..1));
        client.result("t", "accepted").await;
        // A second after the acceptance, whatever the agent's clock said.
        world.cloud.dissociate_in_console(CORE, "d0000");
        world.cloud.associate_at(CORE, names(0..1), SystemTime::now() + Duration::from_secs(1));
        if restarted {
            world.kill_and_forget(&client).await;
            world.start_agent();
        }
        mend(&world);
        let completed = client.result("t", "completed").await;
        assert_eq!(completed["errorEntries"][0]["code"], "Superseded", "restarted: {restarted}: {completed}");
    }
}

#[tokio::test]
async fn an_issue_time_in_the_future_counts_as_the_acceptance() {
    let (world, client) = World::running(3).await;
    world.cloud.offline(true);
    client.disassociate("first", &names(2..3));
    client.status("the agent knows", |s| s["cloud"] == "UNREACHABLE").await;
    client.send(
        "disassociate-client-devices",
        &json!({"clientToken": "t", "entries": entries(&names(0..2)), "issuedAt": "2100-01-01T00:00:00Z"}),
    );
    client.result("t", "accepted").await;
    world.cloud.dissociate_in_console(CORE, "d0000");
    world.cloud.associate_at(CORE, names(0..1), SystemTime::now() + Duration::from_secs(1));
    world.cloud.offline(false);
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "PARTIALLY_SUCCEEDED", "{completed}");
    let error = &completed["errorEntries"][0];
    assert_eq!((&error["thingName"], &error["code"]), (&json!("d0000"), &json!("Superseded")));
}
