//! Malformed commands: each kind is rejected with its code and the member that is wrong, and none
//! of them stops the agent from answering.

use crate::common::{seed::seed, *};

/// Operation, payload, code, reason, and the member that is named.
const BAD: &[(&str, &str, &str, &str, &str)] = &[
    ("disassociate-client-devices", "", "ValidationException", "CANNOT_PARSE", ""),
    ("disassociate-client-devices", "{", "ValidationException", "CANNOT_PARSE", ""),
    ("disassociate-client-devices", "\u{0}\u{1}", "ValidationException", "CANNOT_PARSE", ""),
    ("disassociate-client-devices", "{} {}", "ValidationException", "CANNOT_PARSE", ""),
    ("disassociate-client-devices", "[]", "ValidationException", "FIELD_VALIDATION_FAILED", ""),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"d0001"}],"\ud800":1,"dryRun":true}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"d0001","\udc00":1,"thingName":"d0002"}]}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "entries[0]",
    ),
    ("disassociate-client-devices", "{}", "ValidationException", "FIELD_VALIDATION_FAILED", "entries"),
    ("disassociate-client-devices", r#"{"entries":[]}"#, "ValidationException", "FIELD_VALIDATION_FAILED", "entries"),
    ("disassociate-client-devices", r#"{"entries":{}}"#, "ValidationException", "FIELD_VALIDATION_FAILED", "entries"),
    (
        "disassociate-client-devices",
        r#"{"entries":["a"]}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "entries[0]",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{}]}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "entries[0].thingName",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"},{"thingName":"a b"}]}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "entries[1].thingName",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"}],"dryrun":true}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "dryrun",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"}],"coreDeviceThingName":"Other"}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "coreDeviceThingName",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"}],"expiresInSeconds":0}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "expiresInSeconds",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"}],"issuedAt":"yesterday"}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "issuedAt",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"}],"force":"true"}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "force",
    ),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"a"}],"clientToken":"with space"}"#,
        "ValidationException",
        "FIELD_VALIDATION_FAILED",
        "clientToken",
    ),
    ("disassociate-client-devices", r#"{"entries":[{"thingName":"MyCore"}]}"#, "AccessDeniedException", "", ""),
    (
        "disassociate-client-devices",
        r#"{"entries":[{"thingName":"MyCore-offboard"}],"force":true}"#,
        "AccessDeniedException",
        "",
        "",
    ),
    ("sync", r#"{"force":true}"#, "ValidationException", "FIELD_VALIDATION_FAILED", "force"),
    ("reboot", "{}", "ValidationException", "UNKNOWN_OPERATION", ""),
    ("cancel", "{}", "ValidationException", "FIELD_VALIDATION_FAILED", "targetClientToken"),
    ("cancel", r#"{"targetClientToken":"nobody"}"#, "ResourceNotFoundException", "", "targetClientToken"),
    ("get-request", r#"{"targetClientToken":"nobody"}"#, "ResourceNotFoundException", "", "targetClientToken"),
    ("get-device", r#"{"thingName":"nobody"}"#, "ResourceNotFoundException", "", ""),
    ("list-devices", r#"{"maxResults":0}"#, "ValidationException", "FIELD_VALIDATION_FAILED", "maxResults"),
    ("list-devices", r#"{"state":"GONE"}"#, "ValidationException", "FIELD_VALIDATION_FAILED", "state"),
    ("list-devices", r#"{"nextToken":"foreign"}"#, "ValidationException", "FIELD_VALIDATION_FAILED", "nextToken"),
];

#[tokio::test]
async fn each_kind_of_bad_payload_is_told_what_is_wrong() {
    let (world, client) = World::running(10).await;
    for (operation, payload, code, reason, field) in BAD {
        client.forget();
        client.send_bytes(operation, *payload);
        let suffix = format!("/{operation}/rejected");
        let rejected = client.wait(payload, |m| m.topic.ends_with(&suffix).then(|| m.body.clone())).await;
        assert_eq!(rejected["code"], *code, "{payload}: {rejected}");
        assert_eq!(rejected["reason"].as_str().unwrap_or_default(), *reason, "{payload}: {rejected}");
        if !field.is_empty() {
            assert_eq!(rejected["fields"][0]["name"], *field, "{payload}: {rejected}");
        }
        assert!(!rejected["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(world.cloud.count(Operation::Disassociate), 0);
}

#[tokio::test]
async fn what_is_too_large_or_retained_is_rejected() {
    let (world, client) = World::running(10).await;
    let topic = format!("offboard/{CORE}/commands/bench/disassociate-client-devices");
    client.send_bytes("disassociate-client-devices", vec![b' '; 130_001]);
    let rejected = client.wait("rejected", |m| m.topic.ends_with("/rejected").then(|| m.body.clone())).await;
    assert!(rejected["message"].as_str().unwrap().contains("130001 bytes"), "{rejected}");
    client.forget();
    // Only a new subscription gets it with the flag that says so.
    client.publish(&topic, true, json!({"clientToken": "r", "entries": [{"thingName": "d0001"}]}).to_string());
    client.result("r", "completed").await;
    client.forget();
    client.publish(&topic, true, json!({"clientToken": "r2", "entries": [{"thingName": "d0002"}]}).to_string());
    client.result("r2", "completed").await;
    client.forget();
    let mut world = world;
    world.kill();
    world.start_agent();
    let rejected = client.wait("rejected", |m| m.topic.ends_with("/rejected").then(|| m.body.clone())).await;
    assert!(rejected["message"].as_str().unwrap().contains("retain"), "{rejected}");
    client.publish(&topic, true, "");
}

#[tokio::test]
async fn ten_thousand_random_payloads_leave_it_answering() {
    let (mut world, client) = World::running(10).await;
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let operations =
        ["disassociate-client-devices", "sync", "cancel", "get-request", "list-devices", "x", "list-requests"];
    let template =
        r#"{"clientToken":"t","entries":[{"thingName":"x"}],"force":true,"maxResults":5,"targetClientToken":"t"}"#;
    for n in 0..10_000 {
        let payload: Vec<u8> = if random.bool() {
            (0..random.usize(..200)).map(|_| random.u8(..)).collect()
        } else {
            // A command with some of its bytes changed gets further than noise.
            let mut bytes = template.as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes
        };
        client.send_bytes(operations[random.usize(..operations.len())], payload);
        if n % 500 == 499 {
            // The test's own client must not run ahead of the broker's queue.
            client.ask("list-devices", json!({})).await;
            client.forget();
        }
    }
    assert!(world.is_running());
    client.disassociate("last", &names(0..1));
    assert_eq!(client.result("last", "completed").await["status"], "SUCCEEDED");
}
