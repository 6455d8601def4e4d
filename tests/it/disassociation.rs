//! The main job: a command over MQTT becomes batched calls to the cloud, and its result comes back.
//! Queries, `sync`, `cancel` and metrics of the same agent are here, too.

use std::collections::BTreeSet;

use crate::common::*;

/// Invariant 5: n entries that wait together and meet no error take ceil(n / 100) calls.
#[tokio::test]
async fn two_hundred_and_fifty_devices_take_three_calls() {
    let (world, client) = World::running(1000).await;
    client.disassociate("t1", &names(0..250));
    let accepted = client.result("t1", "accepted").await;
    assert_eq!(accepted["entryCount"], 250);
    let completed = client.result("t1", "completed").await;
    assert_eq!(completed["status"], "SUCCEEDED");
    assert_eq!((&completed["succeededCount"], &completed["failedCount"]), (&json!(250), &json!(0)));
    assert_eq!(completed["errorEntries"], json!([]));
    assert_eq!(world.cloud.count(Operation::Disassociate), 3);
    assert_eq!(world.cloud.associated(CORE).len(), 750);
    let status = client.status("the registry follows", |s| s["devices"]["ASSOCIATED"] == 750).await;
    assert_eq!(
        (&status["state"], &status["health"], &status["cloud"]),
        (&json!("ONLINE"), &json!("OK"), &json!("REACHABLE"))
    );
}

#[tokio::test]
async fn ten_thousand_devices_take_a_hundred_calls() {
    let (world, client) = World::running(10_000).await;
    world.fault(Action::Hang, Some(1));
    for n in 0..4 {
        client.disassociate(&format!("t{n}"), &names(n * 2500..(n + 1) * 2500));
    }
    for n in 0..4 {
        client.result(&format!("t{n}"), "accepted").await;
    }
    world.cloud.clear_faults();
    for n in 0..4 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    assert_eq!(world.cloud.count(Operation::Disassociate), 100);
    assert!(world.cloud.associated(CORE).is_empty());
}

/// Single commands that come together share calls, too.
#[tokio::test]
async fn single_commands_find_company() {
    let (mut world, client) = World::running(100).await;
    world.stop_agent();
    world.set("batch.lingerMs", json!(5000));
    world.start_agent();
    client.status("it is back", |s| s["state"] == "ONLINE" && s["lastSyncAt"].is_string()).await;
    for name in names(0..100) {
        client.disassociate(&name, std::slice::from_ref(&name));
    }
    for name in names(0..100) {
        assert_eq!(client.result(&name, "completed").await["status"], "SUCCEEDED");
    }
    assert_eq!(world.cloud.count(Operation::Disassociate), 1, "a full batch does not wait for the linger to end");
}

/// Invariant 4: a device is in at most one call at a time, and everybody who asked is answered.
#[tokio::test]
async fn five_requests_for_the_same_devices_are_sent_once() {
    let (world, client) = World::running(50).await;
    world.fault(Action::Hang, Some(1));
    client.disassociate("t0", &names(0..50));
    until("the call hangs", || world.cloud.faults_left() == 0).await;
    for n in 1..5 {
        client.disassociate(&format!("t{n}"), &names(0..50));
        client.result(&format!("t{n}"), "accepted").await;
    }
    world.cloud.clear_faults();
    for n in 0..5 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    let calls = world.cloud.calls().into_iter().filter(|call| call.operation == Operation::Disassociate);
    let sent: Vec<String> = calls.flat_map(|call| call.things).collect();
    assert_eq!(sent.len(), 50);
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), 50);
}

#[tokio::test]
async fn a_token_used_again_gets_the_same_answer_or_a_conflict() {
    let (world, client) = World::running(10).await;
    client.disassociate("t", &names(0..2));
    let accepted = client.result("t", "accepted").await;
    let completed = client.result("t", "completed").await;
    client.forget();
    client.disassociate("t", &names(0..2));
    assert_eq!(client.result("t", "accepted").await, accepted);
    assert_eq!(client.result("t", "completed").await, completed);
    client.disassociate("t", &names(0..3));
    let rejected = client.result("t", "rejected").await;
    assert_eq!(rejected["code"], "ConflictException");
    assert_eq!(world.cloud.count(Operation::Disassociate), 1);
}

#[tokio::test]
async fn a_command_without_a_token_gets_one() {
    let (_world, client) = World::running(10).await;
    client.send("disassociate-client-devices", &json!({"entries": [{"thingName": "d0001"}]}));
    let accepted = client.wait("accepted", |m| m.topic.ends_with("/accepted").then(|| m.body.clone())).await;
    let token = accepted["clientToken"].as_str().unwrap().to_owned();
    client.result(&token, "completed").await;
    let request = client.ask("get-request", json!({"targetClientToken": token})).await;
    assert_eq!(request["request"]["status"], "SUCCEEDED");
}

#[tokio::test]
async fn questions_are_answered_from_the_registry() {
    let (world, client) = World::running(30).await;
    world.fault(
        Action::EntryErrors {
            things: vec!["d0001".into()],
            code: "AccessDeniedException".into(),
            message: "not yours".into(),
            omit_name: false,
        },
        None,
    );
    client.disassociate("t", &names(0..3));
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "PARTIALLY_SUCCEEDED");
    let expected = json!([{"thingName": "d0001", "code": "AccessDeniedException", "message": "not yours"}]);
    assert_eq!(completed["errorEntries"], expected);

    let device = client.ask("get-device", json!({"thingName": "d0001"})).await["device"].clone();
    assert_eq!(
        (&device["state"], &device["requestedBy"], &device["clientToken"]),
        (&json!("ASSOCIATED"), &json!("bench"), &json!("t"))
    );
    assert_eq!(device["lastError"]["code"], "AccessDeniedException");
    assert!(device["associationTimestamp"].is_string() && device["syncedAt"].is_string());
    let device = client.ask("get-device", json!({"thingName": "d0000"})).await["device"].clone();
    assert_eq!(device["state"], "DISASSOCIATED");

    let mut listed = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut question = json!({"state": "ASSOCIATED", "maxResults": 10});
        if next.is_string() {
            question["nextToken"] = next;
        }
        let page = client.ask("list-devices", question).await;
        listed.extend(page["devices"].as_array().unwrap().iter().map(|d| d["thingName"].as_str().unwrap().to_owned()));
        next = page["nextToken"].clone();
        if next.is_null() {
            break;
        }
    }
    let mut expected = names(3..30);
    expected.insert(0, "d0001".into());
    assert_eq!(listed, expected);

    client.disassociate("u", &names(5..6));
    client.result("u", "completed").await;
    let requests = client.ask("list-requests", json!({})).await["requests"].clone();
    let tokens: Vec<&str> = requests.as_array().unwrap().iter().map(|r| r["clientToken"].as_str().unwrap()).collect();
    assert_eq!(tokens, ["u", "t"]);
    let failed = client.ask("list-requests", json!({"status": "SUCCEEDED"})).await["requests"].clone();
    assert_eq!(failed.as_array().unwrap().len(), 1);
    let request = client.ask("get-request", json!({"targetClientToken": "t"})).await["request"].clone();
    assert_eq!(request["errorEntries"], completed["errorEntries"]);

    // Another client's request can be looked at by name, but not listed.
    let other = world.client("other").await;
    let request = other.ask("get-request", json!({"targetClientToken": "t", "targetClient": "bench"})).await;
    assert_eq!(request["request"]["failedCount"], 1);
    assert_eq!(other.ask("list-requests", json!({})).await["requests"], json!([]));
}

#[tokio::test]
async fn a_dry_run_tells_and_does_nothing() {
    let (mut world, client) = World::running(300).await;
    world.stop_agent();
    world.set("guard.protected", json!(["d0007", "plc-*"]));
    world.start_agent();
    client.status("it is back", |s| s["state"] == "ONLINE" && s["lastSyncAt"].is_string()).await;
    let mut wanted = names(0..250);
    wanted.push("stranger".into());
    let plan =
        client.ask("disassociate-client-devices", json!({"entries": entries(&wanted), "dryRun": true})).await["plan"]
            .clone();
    let expected = json!({
        "entryCount": 251, "cloudCallCount": 3,
        "unknownCount": 1, "unknown": ["stranger"], "guardedCount": 1, "guarded": ["d0007"],
        "maxFractionExceeded": false,
    });
    assert_eq!(plan, expected);
    assert_eq!(world.cloud.count(Operation::Disassociate), 0);
    client.disassociate("t", &wanted);
    let rejected = client.result("t", "rejected").await;
    assert_eq!(rejected["code"], "AccessDeniedException");
    assert!(rejected["message"].as_str().unwrap().contains("d0007"));
}

#[tokio::test]
async fn a_sync_follows_the_console() {
    let (world, client) = World::running(250).await;
    world.cloud.dissociate_in_console(CORE, "d0003");
    world.cloud.associate(CORE, ["new-one", "new-two"]);
    client.send("sync", &json!({"clientToken": "s"}));
    client.result("s", "accepted").await;
    let completed = client.result("s", "completed").await;
    assert_eq!(completed["status"], "SUCCEEDED");
    assert_eq!(
        (&completed["associatedCount"], &completed["addedCount"], &completed["removedCount"]),
        (&json!(251), &json!(2), &json!(1))
    );
    let device = client.ask("get-device", json!({"thingName": "d0003"})).await;
    assert_eq!(device["device"]["state"], "DISASSOCIATED");
}

#[tokio::test]
async fn a_cancel_stops_what_was_not_sent() {
    let (world, client) = World::running(300).await;
    world.fault(Action::Hang, Some(1));
    client.disassociate("t", &names(0..250));
    until("the call hangs", || world.cloud.faults_left() == 0).await;
    let canceled = client.ask("cancel", json!({"targetClientToken": "t"})).await;
    assert_eq!((&canceled["canceledCount"], &canceled["inFlightCount"]), (&json!(150), &json!(100)));
    world.cloud.clear_faults();
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "PARTIALLY_SUCCEEDED");
    assert_eq!((&completed["succeededCount"], &completed["failedCount"]), (&json!(100), &json!(150)));
    assert_eq!(completed["errorEntriesTruncated"], true);
    assert_eq!(completed["errorEntries"].as_array().unwrap().len(), 100);
    assert_eq!(completed["errorEntries"][0]["code"], "Canceled");
    assert_eq!(world.cloud.count(Operation::Disassociate), 1);

    // All of the failures, page by page.
    let first = client.ask("get-request", json!({"targetClientToken": "t", "maxResults": 100})).await;
    let next = first["nextToken"].clone();
    let rest = client.ask("get-request", json!({"targetClientToken": "t", "nextToken": next})).await;
    let count = |answer: &Value| answer["request"]["errorEntries"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&rest)), (100, 50));
}

#[tokio::test]
async fn devices_have_retained_messages_if_wanted() {
    let mut world = World::new(40).await;
    world.set("publishDevices", json!(true));
    let client = world.client("bench").await;
    world.start_agent();
    for name in names(0..40) {
        let topic = format!("offboard/{CORE}/devices/{name}");
        client
            .wait("a device is published", |m| (m.topic == topic && m.body["state"] == "ASSOCIATED").then_some(()))
            .await;
    }
    client.disassociate("t", &names(0..1));
    client.result("t", "completed").await;
    let topic = format!("offboard/{CORE}/devices/d0000");
    client.wait("its message is cleared", |m| (m.topic == topic && m.body.is_null()).then_some(())).await;
    // What the broker keeps is what a newcomer sees.
    let late = world.client("late").await;
    let last = format!("offboard/{CORE}/devices/d0039");
    late.wait("the retained messages", |m| (m.topic == last).then_some(())).await;
    assert!(late.seen().iter().all(|m| m.topic != topic));
}

#[tokio::test]
async fn metrics_are_published_at_their_interval() {
    let mut world = World::new(10).await;
    world.set("metrics.intervalSeconds", json!(1));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client.disassociate("t", &names(0..3));
    client.result("t", "completed").await;
    let value = |body: &Value, name: &str, label: &str| {
        let metrics = body["metrics"].as_array().into_iter().flatten();
        let mut named = metrics.filter(|one| one["name"] == name && one["labels"].to_string().contains(label));
        named.next().map(|one| one["value"].clone())
    };
    let has_ended = |message: &Message| {
        let ended = value(&message.body, "offboard_requests_total", "\"SUCCEEDED\"");
        (message.topic.ends_with("/metrics") && ended == Some(json!(1.0))).then(|| message.body.clone())
    };
    let metrics = client.wait("metrics count the request", has_ended).await;
    assert_eq!(value(&metrics, "offboard_connected", ""), Some(json!(1.0)));
    assert_eq!(value(&metrics, "offboard_entries_total", "succeeded"), Some(json!(3.0)));
}
