//! A disk that is full, full at the start, or read-only: acknowledged commands stay, rejected ones
//! leave nothing, and the agent goes on by itself when the disk is usable again.

use std::time::Instant;

use crate::common::{
    disk::{Sent, send_until_refused},
    *,
};

/// The journal's segments are allocated beforehand: commands are accepted on a full disk, until a
/// checkpoint is due. From then on they are rejected, before anything of them is written, until
/// there is room. None that was accepted fails, whether the cloud can be reached meanwhile or not.
#[tokio::test]
async fn a_full_disk_costs_no_accepted_command_and_mends_by_itself() {
    for offline in [true, false] {
        let (mut world, disk, client) = World::on_disk(2_000, 32).await;
        world.start_agent();
        client.status("in sync", |s| s["lastSyncAt"].is_string()).await;
        world.cloud.offline(offline);
        disk.fill();
        let Sent { taken, unanswered, refused } = send_until_refused(&client, 0).await;
        println!(
            "{} commands taken on the full disk, {} not answered, offline: {offline}",
            taken.len(),
            unanswered.len()
        );
        assert!(taken.len() >= 50, "the segments have room for more");
        let status = client.status("it says so", |s| store_problems(s) == ["STORE_FULL"]).await;
        assert!(status["problems"].to_string().contains("make room"), "{status}");
        assert!(world.is_running());
        disk.free();
        let start = Instant::now();
        client.status("it recovers by itself", |s| s["state"] == "ONLINE" && store_problems(s).is_empty()).await;
        println!("recovered {:?} after there was room", start.elapsed());
        let unknown =
            answer(&client, "get-request", json!({"targetClientToken": format!("t{refused}")})).await.unwrap_err();
        assert_eq!(unknown["code"], "ResourceNotFoundException", "a rejection is the truth");
        for token in &unanswered {
            client.result(token, "accepted").await;
        }
        let all: Vec<&String> = taken.iter().chain(&unanswered).collect();
        // Neither the process that saw it nor the next one has lost anything.
        for restart in [false, true] {
            if restart && offline {
                world.kill_and_forget(&client).await;
                world.start_agent();
            }
            for token in &all {
                client.ask("get-request", json!({"targetClientToken": token})).await;
            }
        }
        world.cloud.offline(false);
        for token in &all {
            assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
        }
        works(&world, &client, "afterwards", 1_999).await;
        assert_eq!(world.disassociations(&names(refused..refused + 1)[0]), 0);
    }
}

/// What was accepted on a full disk is durable, also if the agent ends before there is room.
#[tokio::test]
async fn what_was_accepted_on_a_full_disk_survives_a_kill() {
    let (mut world, disk, client) = World::on_disk(2_000, 32).await;
    world.start_agent();
    client.status("in sync", |s| s["lastSyncAt"].is_string()).await;
    world.cloud.offline(true);
    disk.fill();
    let Sent { taken, refused, .. } = send_until_refused(&client, 0).await;
    // A disk without room for sled is no reason for another answer after a restart.
    world.kill_and_forget(&client).await;
    world.start_agent();
    client.status("it says so", |s| store_problems(s) == ["STORE_FULL"]).await;
    disk.free();
    client.status("it recovers by itself", |s| s["state"] == "ONLINE" && store_problems(s).is_empty()).await;
    world.cloud.offline(false);
    for token in &taken {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    }
    works(&world, &client, "afterwards", 1_999).await;
    assert_eq!(world.disassociations(&names(refused..refused + 1)[0]), 0);
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_told_and_mends_by_itself() {
    for known in [false, true] {
        let (mut world, disk, client) = World::on_disk(20, 24).await;
        if known {
            world.start_agent();
            client.status("in sync", |s| s["lastSyncAt"].is_string()).await;
            world.cloud.offline(true);
            client.disassociate("kept", &names(0..1));
            client.result("kept", "accepted").await;
            world.kill_and_forget(&client).await;
        }
        disk.fill();
        world.start_agent();
        let status = client.status("it says so", |s| store_problems(s) == ["STORE_FULL"]).await;
        let message = status["problems"].to_string();
        assert!(message.contains("0.0 MiB are free, and the store needs 8."), "{message}");
        client.disassociate("t", &names(1..2));
        assert_eq!(client.result("t", "rejected").await["code"], "InternalServerException");
        assert!(world.is_running());
        disk.free();
        client.status("it recovers by itself", |s| s["state"] == "ONLINE" && store_problems(s).is_empty()).await;
        world.cloud.offline(false);
        if known {
            assert_eq!(client.result("kept", "completed").await["status"], "SUCCEEDED");
        }
        works(&world, &client, "u", 2).await;
        assert_eq!(world.disassociations("d0001"), 0);
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_told_and_mends_by_itself() {
    let (mut world, disk, client) = World::on_disk(20, 24).await;
    world.start_agent();
    client.status("in sync", |s| s["lastSyncAt"].is_string()).await;
    world.cloud.offline(true);
    client.disassociate("kept", &names(0..1));
    client.result("kept", "accepted").await;
    world.kill_and_forget(&client).await;
    disk.remount("ro");
    world.start_agent();
    let status = client.status("it says so", |s| store_problems(s) == ["STORE_FAILING"]).await;
    let message = status["problems"].to_string();
    assert!(
        message.contains(&*world.dir.path().join("disk").to_string_lossy()) && message.contains("read-only"),
        "{message}"
    );
    client.disassociate("t", &names(1..2));
    assert_eq!(client.result("t", "rejected").await["code"], "InternalServerException");
    assert!(world.is_running());
    disk.remount("rw");
    client.status("it recovers by itself", |s| s["state"] == "ONLINE" && store_problems(s).is_empty()).await;
    works(&world, &client, "u", 2).await;
    assert_eq!(client.result("kept", "completed").await["status"], "SUCCEEDED");
}
