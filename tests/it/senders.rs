//! Names of clients that are no thing names, tokens that are echoed, rejections that are logged,
//! devices that the registry does not know, and guards that came after a command.

use crate::common::*;

const OPERATION: &str = "disassociate-client-devices";

#[tokio::test]
async fn a_sender_need_not_be_a_thing() {
    let (world, _) = World::running(10).await;
    for (n, name) in ["operator.1", "j.doe@plant.example", "Prüfstand 7"].into_iter().enumerate() {
        let client = world.client(name).await;
        client.disassociate("t", &names(n..n + 1));
        client.result("t", "accepted").await;
        assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED", "{name}");
    }
}

#[tokio::test]
async fn a_level_that_is_no_client_is_rejected_below_itself_and_logged() {
    let (mut world, client) = World::running(10).await;
    for name in ["@root", "@", &"x".repeat(129)] {
        let sender = world.client(name).await;
        sender.disassociate("t", &names(0..1));
        let rejected = sender.result("t", "rejected").await;
        assert_eq!(rejected["code"], "ValidationException", "{rejected}");
        let message = rejected["message"].as_str().unwrap();
        assert!(message.contains("is not the name of a client: it must be 1 to 128 bytes"), "{message}");
    }
    assert!(world.log().contains("command rejected"), "{}", world.log());
    client.disassociate("u", &names(1..2));
    assert_eq!(client.result("u", "completed").await["status"], "SUCCEEDED");
    assert!(world.is_running());
    assert_eq!(world.cloud.count(Operation::Disassociate), 1);
}

#[tokio::test]
async fn a_rejection_has_the_token_whatever_is_wrong() {
    let (mut world, client) = World::running(10).await;
    let large = format!(r#"{{"clientToken":"large","reason":"{}"}}"#, "x".repeat(156_000));
    let utf_16: Vec<u8> = r#"{"clientToken":"wide","entries":[]}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bad: [(&str, Vec<u8>, &str); 4] = [
        ("large", large.into_bytes(), "bytes, limits.maxPayloadBytes is"),
        ("trailing", br#"{"clientToken":"trailing","entries":[{"thingName":"d0000"}]} x"#.to_vec(), "not JSON"),
        ("cut", br#"{"clientToken":"cut","entries":[{"thi"#.to_vec(), "not JSON"),
        ("wide", utf_16, "UTF-16"),
    ];
    for (token, payload, says) in bad {
        client.send_bytes(OPERATION, payload);
        let rejected = client.result(token, "rejected").await;
        assert!(rejected["message"].as_str().unwrap().contains(says), "{token}: {rejected}");
    }
    // A retained one, at the next subscription.
    let topic = format!("offboard/{CORE}/commands/bench/{OPERATION}");
    client.publish(&topic, true, json!({"clientToken": "kept", "entries": entries(&names(5..6))}).to_string());
    client.result("kept", "completed").await;
    world.kill_and_forget(&client).await;
    world.start_agent();
    assert!(client.result("kept", "rejected").await["message"].as_str().unwrap().contains("retain"));
    client.publish(&topic, true, "");
}

#[tokio::test]
async fn what_tools_add_to_a_payload_is_no_fault() {
    let (_world, client) = World::running(10).await;
    for (n, (before, after)) in [("\u{feff}", ""), ("", "\0"), ("\u{feff}", "\r\n\0\0")].into_iter().enumerate() {
        let body = json!({"clientToken": format!("t{n}"), "entries": entries(&names(n..n + 1)), "reason": null});
        client.send_bytes(OPERATION, format!("{before}{body}{after}"));
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
}

#[tokio::test]
async fn a_member_that_occurs_twice_is_named_and_nothing_is_done() {
    let (world, client) = World::running(10).await;
    for (token, payload, name) in [
        ("a", r#"{"clientToken":"a","entries":[{"thingName":"d0001"}],"entries":[{"thingName":"d0002"}]}"#, "entries"),
        ("b", r#"{"clientToken":"b","dryRun":true,"entries":[{"thingName":"d0001"}],"dryRun":false}"#, "dryRun"),
        ("c", r#"{"clientToken":"c","entries":[{"thingName":"d0001","thingName":"d0002"}]}"#, "entries[0].thingName"),
    ] {
        client.send_bytes(OPERATION, payload);
        let rejected = client.result(token, "rejected").await;
        assert_eq!(
            (&rejected["code"], &rejected["reason"]),
            (&json!("ValidationException"), &json!("FIELD_VALIDATION_FAILED"))
        );
        assert_eq!(rejected["fields"], json!([{"name": name, "message": "occurs twice"}]));
    }
    assert_eq!(world.cloud.count(Operation::Disassociate), 0);
}

#[tokio::test]
async fn rejections_are_logged_once_a_minute_for_each_client_and_code() {
    let (world, client) = World::running(10).await;
    for n in 0..20 {
        client.send(OPERATION, &json!({"clientToken": format!("t{n}"), "entries": []}));
    }
    client.result("t19", "rejected").await;
    let eve = world.client("eve").await;
    eve.send(OPERATION, &json!({"clientToken": "e", "entries": [{"thingName": CORE}]}));
    eve.result("e", "rejected").await;
    until("both are logged", || world.log_lines("command rejected") == 2).await;
    let log = world.log();
    assert!(log.contains("client=bench") && log.contains("entries must be a list"), "{log}");
    assert!(log.contains("client=eve") && log.contains("AccessDeniedException"), "{log}");
}

#[tokio::test]
async fn devices_that_the_registry_does_not_know_are_named() {
    let (_world, client) = World::running(60).await;
    client.send(OPERATION, &json!({"clientToken": "t", "entries": [{"thingName": "d0053"}, {"thingName": "D0053"}]}));
    let accepted = client.result("t", "accepted").await;
    assert_eq!((&accepted["unknownCount"], &accepted["unknown"]), (&json!(1), &json!(["D0053"])));
    assert_eq!(client.result("t", "completed").await["unknownCount"], 1);
    client.forget();
    client.send(OPERATION, &json!({"clientToken": "t", "entries": [{"thingName": "d0053"}, {"thingName": "D0053"}]}));
    assert_eq!(client.result("t", "accepted").await, accepted, "a repetition has the same content");
}

#[tokio::test]
async fn what_a_deployment_protects_is_not_disassociated_though_it_was_accepted_before() {
    let (mut world, client) = World::running(5).await;
    world.cloud.offline(true);
    // What the agent accepts while it knows that the cloud is out of reach is not sent.
    client.disassociate("first", &names(4..5));
    client.status("the agent knows", |status| status["cloud"] == "UNREACHABLE").await;
    client.disassociate("t", &names(0..3));
    client.result("t", "accepted").await;
    world.stop_agent();
    world.set("guard.protected", json!(["d0001"]));
    // A client id that is the name of a device.
    world.set("mqtt.clientId", json!("d0002"));
    world.cloud.offline(false);
    world.start_agent();
    let completed = client.result("t", "completed").await;
    assert_eq!((&completed["status"], &completed["succeededCount"]), (&json!("PARTIALLY_SUCCEEDED"), &json!(1)));
    let errors = completed["errorEntries"].as_array().unwrap();
    for (error, name) in errors.iter().zip(["d0001", "d0002"]) {
        assert_eq!((&error["thingName"], &error["code"]), (&json!(name), &json!("AccessDeniedException")));
        assert!(error["message"].as_str().unwrap().contains("guard.protected"), "{error}");
    }
    assert_eq!(errors.len(), 2);
    assert_eq!(
        (world.disassociations("d0000"), world.disassociations("d0001"), world.disassociations("d0002")),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn a_dry_run_says_whether_the_share_is_exceeded() {
    let mut world = World::new(20).await;
    world.set("guard.maxFraction", json!(0.25));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    for (count, exceeded) in [(5, false), (6, true)] {
        let plan = client.ask(OPERATION, json!({"entries": entries(&names(0..count)), "dryRun": true})).await;
        assert_eq!(plan["plan"]["maxFractionExceeded"], exceeded, "{plan}");
    }
}

#[tokio::test]
async fn a_reason_is_for_its_own_client() {
    let (world, client) = World::running(5).await;
    client.send(OPERATION, &json!({"clientToken": "t", "entries": entries(&names(0..1)), "reason": "a secret"}));
    client.result("t", "completed").await;
    let own = client.ask("get-request", json!({"targetClientToken": "t"})).await;
    assert_eq!(own["request"]["reason"], "a secret");
    let eve = world.client("eve").await;
    let other = eve.ask("get-request", json!({"targetClientToken": "t", "targetClient": "bench"})).await;
    assert_eq!((&other["request"]["status"], &other["request"]["reason"]), (&json!("SUCCEEDED"), &Value::Null));
}
