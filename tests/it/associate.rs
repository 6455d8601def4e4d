//! `associate-client-devices`, and its order with disassociations of the same device.

use crate::common::*;

fn associate(client: &Client, token: &str, names: &[String]) {
    client.send("associate-client-devices", &json!({"clientToken": token, "entries": entries(names)}));
}

async fn state(client: &Client, name: &str) -> Value {
    client.ask("get-device", json!({"thingName": name})).await["device"].clone()
}

#[tokio::test]
async fn devices_are_associated_in_batches_and_in_the_registry() {
    let (world, client) = World::running(10).await;
    associate(&client, "t", &names(10..260));
    let completed = client.result("t", "completed").await;
    assert_eq!((&completed["status"], &completed["succeededCount"]), (&json!("SUCCEEDED"), &json!(250)));
    assert_eq!(world.cloud.count(Operation::Associate), 3);
    assert_eq!(world.cloud.associated(CORE).len(), 260);
    client.status("the registry follows", |s| s["devices"]["ASSOCIATED"] == 260).await;
    // The list has the time.
    client.send("sync", &json!({"clientToken": "s"}));
    assert_eq!(client.result("s", "completed").await["addedCount"], 0);
    let device = state(&client, "d0100").await;
    assert!(device["associationTimestamp"].is_string() && device["requestedBy"] == "bench", "{device}");
}

#[tokio::test]
async fn of_two_opposite_requests_that_wait_the_later_wins() {
    let (world, client) = World::running(10).await;
    world.cloud.offline(true);
    client.send("sync", &json!({"clientToken": "s"}));
    client.status("the cloud is known to be away", |s| s["cloud"] == "UNREACHABLE").await;
    client.disassociate("t", &names(0..2));
    client.disassociate("u", &names(0..3));
    client.result("u", "accepted").await;
    associate(&client, "v", &names(0..1));
    client.result("v", "accepted").await;
    client.status("its state is what was asked last", |s| s["devices"]["ASSOCIATING"] == 1).await;
    world.cloud.offline(false);
    let superseded = json!("Superseded");
    for (token, failed) in [("t", 1), ("u", 1), ("v", 0)] {
        let completed = client.result(token, "completed").await;
        assert_eq!(completed["failedCount"], failed, "{completed}");
        if failed > 0 {
            let error = &completed["errorEntries"][0];
            assert_eq!((&error["thingName"], &error["code"]), (&json!("d0000"), &superseded));
        }
    }
    assert!(world.cloud.associated(CORE).contains_key("d0000"));
    assert_eq!(world.cloud.associated(CORE).len(), 8);
}

/// The opposite of what is in flight waits for its answer, over a kill as well.
#[tokio::test]
async fn the_opposite_of_what_is_in_flight_comes_after_it() {
    for killed in [false, true] {
        let (mut world, client) = World::running(3).await;
        world.fault(Action::Hang, Some(1));
        client.disassociate("t", &names(0..1));
        until("the call hangs", || world.cloud.faults_left() == 0).await;
        associate(&client, "u", &names(0..1));
        client.result("u", "accepted").await;
        assert_eq!(state(&client, "d0000").await["state"], "DISASSOCIATING");
        assert_eq!(world.cloud.count(Operation::Associate), 0);
        if killed {
            world.kill_and_forget(&client).await;
            world.start_agent();
        }
        world.cloud.clear_faults();
        for token in ["t", "u"] {
            assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED", "{token}, {killed}");
        }
        assert!(world.cloud.associated(CORE).contains_key("d0000"));
        assert_eq!(world.disassociations("d0000"), 1);
        client.status("the registry follows", |s| s["devices"]["ASSOCIATED"] == 3).await;
    }
}

/// The agent's own association does not overtake who asks for a disassociation later (contract,
/// "Superseded").
#[tokio::test]
async fn what_we_associated_is_taken_off_by_a_later_request() {
    let (mut world, client) = World::running(3).await;
    world.fault(Action::Hang, Some(1));
    world.cloud.inject(Fault { operation: Some(Operation::Associate), times: Some(1), action: Action::Hang });
    associate(&client, "t", &names(7..8));
    until("the call hangs", || world.cloud.count(Operation::Associate) == 1).await;
    client.disassociate("u", &names(7..8));
    client.result("u", "accepted").await;
    world.cloud.offline(true);
    world.cloud.clear_faults();
    world.kill_and_forget(&client).await;
    world.cloud.associate(CORE, names(7..8));
    world.start_agent();
    world.cloud.offline(false);
    for token in ["t", "u"] {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED", "{token}");
    }
    assert!(!world.cloud.associated(CORE).contains_key("d0007"));
}

#[tokio::test]
async fn guards_are_for_what_is_taken_off() {
    let mut world = World::new(20).await;
    world.set("guard.protected", json!(["d0001"]));
    world.set("guard.maxFraction", json!(0.1));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    associate(&client, "t", &names(0..20));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    client.disassociate("u", &names(0..3));
    assert_eq!(client.result("u", "rejected").await["code"], "AccessDeniedException");
}
