//! System calls that fail under the agent: a sync or a write of the journal, a sync of the
//! registry. A command that is rejected for it leaves no trace, and earlier ones are carried out.

use std::time::Duration;

use crate::common::{disk::Breaker, *};

const SEGMENTS: [&str; 3] = ["journal/segment-0", "journal/segment-1", "journal/segment-2"];

/// Enough for a segment of the journal: a checkpoint writes to the registry.
const FILLING: usize = 4000;

/// A world with an older command that is open, `kept` for the device d0000. Its call hangs, so that
/// nothing is written until the next command comes.
async fn with_open_command(devices: usize) -> (World, Client) {
    let (world, client) = World::running(devices).await;
    world.fault(Action::Hang, None);
    client.disassociate("kept", &names(0..1));
    client.result("kept", "accepted").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    (world, client)
}

fn associate(client: &Client, token: &str, name: &str) {
    client.send("associate-client-devices", &json!({"clientToken": token, "entries": [{"thingName": name}]}));
}

/// Whether the request is known.
async fn is_known(client: &Client, token: &str) -> bool {
    match answer(client, "get-request", json!({"targetClientToken": token})).await {
        Ok(_) => true,
        Err(rejection) => {
            assert_eq!(rejection["code"], "ResourceNotFoundException", "{rejection}");
            false
        }
    }
}

/// The opposite of an open command is rejected because it could not be made durable: the older one
/// is carried out, and the newer one does not come back, in this process or the next.
#[tokio::test]
async fn a_command_whose_sync_or_write_fails_leaves_no_trace() {
    for fault in ["fdatasync:error=EIO:when=1", "pwrite64:error=ENOSPC:when=1", "pwrite64:error=EIO:when=1"] {
        for restart in [false, true] {
            let (mut world, client) = with_open_command(20).await;
            let breaker = Breaker::new(&world, fault, &SEGMENTS).await;
            // The first one may meet a group of somebody else that fails in its place.
            let mut rejected = None;
            for n in 0..3 {
                let token = format!("opposite-{n}");
                associate(&client, &token, "d0000");
                let is_rejected = client
                    .wait("it is answered", |m| {
                        (m.body["clientToken"] == token.as_str()).then(|| m.topic.ends_with("/rejected"))
                    })
                    .await;
                if is_rejected {
                    rejected = Some(token);
                    break;
                }
                // It superseded the one that was to be kept: once more.
                client.disassociate(&format!("kept-{n}"), &names(0..1));
                client.result(&format!("kept-{n}"), "accepted").await;
            }
            drop(breaker);
            let rejected = rejected.unwrap_or_else(|| panic!("{fault}: no command was rejected"));
            assert_eq!(client.result(&rejected, "rejected").await["code"], "InternalServerException", "{fault}");
            if restart {
                world.kill_and_forget(&client).await;
                world.start_agent();
                client.status("it is back", |s| s["state"] == "ONLINE").await;
            }
            assert!(!is_known(&client, &rejected).await, "{fault}: the rejected command is there");
            world.cloud.clear_faults();
            until(&format!("{fault}: the older command is carried out"), || world.disassociations("d0000") == 1).await;
            client.status("nothing else is open", |s| s["openRequests"] == 0 && store_problems(s).is_empty()).await;
            // Its sender repeats it, with the same token.
            associate(&client, &rejected, "d0000");
            assert_eq!(client.result(&rejected, "completed").await["status"], "SUCCEEDED", "{fault}");
            assert_eq!(world.disassociations("d0000"), 1, "{fault}");
            assert!(world.cloud.associated(CORE).contains_key("d0000"), "{fault}");
            assert!(world.is_running());
        }
    }
}

/// No segment can be synced: it can not be said that the command does not count, so it is not
/// answered at all. Its sender has it taken when the disk is well.
#[tokio::test]
async fn while_no_segment_can_be_synced_a_command_is_not_answered() {
    for restart in [false, true] {
        let (mut world, client) = with_open_command(20).await;
        let breaker = Breaker::new(&world, "fdatasync:error=EIO", &SEGMENTS).await;
        client.disassociate("unknown", &names(1..2));
        client.status("it says so", |s| store_problems(s) == ["STORE_FAILING"]).await;
        // Nor is what comes behind it.
        client.disassociate("later", &names(2..3));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let answers = |token: &str| client.results(token, "accepted").len() + client.results(token, "rejected").len();
        assert_eq!((answers("unknown"), answers("later")), (0, 0));
        assert!(world.is_running());
        if restart {
            world.kill();
            drop(breaker);
            client.status("the broker publishes its last will", |s| s["state"] == "OFFLINE").await;
            client.forget();
            world.start_agent();
        } else {
            drop(breaker);
        }
        client.status("it recovers by itself", |s| s["state"] == "ONLINE" && store_problems(s).is_empty()).await;
        let mut taken = Vec::new();
        for token in ["unknown", "later"] {
            let is_taken = client
                .wait("it is answered", |m| (m.body["clientToken"] == token).then(|| m.topic.ends_with("/accepted")))
                .await;
            assert!(is_taken || !restart, "{token} was not rejected, and the broker delivers it again");
            taken.push(is_taken);
        }
        println!("restart: {restart}, taken: {taken:?}");
        // The answers are the truth, also for the next process.
        if !restart {
            world.kill_and_forget(&client).await;
            world.start_agent();
            client.status("it is back", |s| s["state"] == "ONLINE").await;
        }
        for (token, is_taken) in ["unknown", "later"].into_iter().zip(taken) {
            assert_eq!(is_known(&client, token).await, is_taken, "{token}");
        }
        world.cloud.clear_faults();
        assert_eq!(client.result("kept", "completed").await["status"], "SUCCEEDED");
        for (n, token) in [(1, "unknown"), (2, "later")] {
            client.disassociate(token, &names(n..n + 1));
            assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
        }
        let off: Vec<usize> = names(0..3).iter().map(|name| world.disassociations(name)).collect();
        assert_eq!(off, [1, 1, 1]);
    }
}

/// After a failed sync the registry's pages are not trusted: its rows are copied, and nothing is
/// lost.
#[tokio::test]
async fn a_registry_whose_sync_fails_loses_nothing() {
    let (mut world, client) = World::running(FILLING + 20).await;
    client.disassociate("first", &names(0..10));
    client.result("first", "completed").await;
    // So that the registry has it.
    assert!(world.stop_agent().0.success());
    client.forget();
    world.start_agent();
    client.status("in sync", |s| s["lastSyncAt"].is_string()).await;
    let breaker = Breaker::new(&world, "fdatasync:error=EIO:when=1", &["store/db"]).await;
    client.disassociate("many", &names(10..10 + FILLING));
    assert_eq!(client.result("many", "completed").await["status"], "SUCCEEDED");
    until("the registry failed", || world.log().contains("the registry failed")).await;
    // The fault is for the first sync of each thread, and each checkpoint has a thread of its own.
    drop(breaker);
    // Several checkpoints may have failed by now, so that the journal is nearly full: commands are
    // throttled until one is complete.
    let mut probes = 0..100;
    let is_throttled = async |n: usize| {
        let token = format!("probe-{n}");
        client.disassociate(&token, &names(FILLING + 10..FILLING + 11));
        let answer =
            client.wait("it is answered", |m| (m.body["clientToken"] == token.as_str()).then(|| m.body.clone()));
        let code = answer.await["code"].clone();
        assert!(code.is_null() || code == "ThrottlingException", "{code}");
        !code.is_null()
    };
    while is_throttled(probes.next().expect("commands are accepted again")).await {}
    works(&world, &client, "afterwards", FILLING + 10).await;
    for restart in [false, true] {
        if restart {
            world.kill_and_forget(&client).await;
            world.start_agent();
        }
        client.status("all is well", |s| s["lastSyncAt"].is_string() && s["health"] == "OK").await;
        for token in ["first", "many", "afterwards"] {
            let answer = client.ask("get-request", json!({"targetClientToken": token})).await;
            assert_eq!(answer["request"]["status"], "SUCCEEDED", "{token}");
        }
        let status = client.status("the devices are known", |s| s["devices"]["ASSOCIATED"] == 9).await;
        assert_eq!(store_problems(&status), Vec::<&str>::new());
    }
    assert!(names(0..FILLING + 10).iter().all(|name| world.disassociations(name) == 1));
}
