//! Messages that are too large, in either direction: they neither stop other messages nor take
//! memory.

use std::{process::Command, time::Duration};

use crate::common::*;

const OPERATION: &str = "disassociate-client-devices";

fn command_topic(client: &str) -> String {
    format!("offboard/{CORE}/commands/{client}/{OPERATION}")
}

/// A payload of `size` bytes that begins with a token.
fn payload(token: &str, size: usize) -> String {
    let head = format!("{{\"clientToken\":\"{token}\",\"reason\":\"");
    format!("{head}{}\"}}", "x".repeat(size - head.len() - 2))
}

/// Publishes by a client without a limit of its own.
fn publish_file(world: &World, topic: &str, content: &str, more: &[&str]) {
    let file = world.dir.path().join("payload");
    std::fs::write(&file, content).unwrap();
    let port = world.broker.port.to_string();
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-f"])
        .arg(&file)
        .args(more)
        .status()
        .expect("mosquitto_pub is not installed: run tests/run, which installs what the tests need");
    assert!(status.success());
}

async fn completes(client: &Client, token: &str, device: usize) {
    client.disassociate(token, &names(device..device + 1));
    assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_retained_message_above_a_mebibyte_is_rejected_at_each_start_and_stops_nobody() {
    let (mut world, client) = World::running(20).await;
    let eve = world.client("eve").await;
    publish_file(&world, &command_topic("eve"), &payload("large", 1_048_600), &["-r"]);
    let rejected = eve.result("large", "rejected").await;
    assert_eq!((&rejected["code"], &rejected["reason"]), (&json!("ValidationException"), &json!("OTHER")));
    assert!(rejected["message"].as_str().unwrap().contains("1048600 bytes"), "{rejected}");
    for device in 0..5 {
        completes(&client, &format!("a{device}"), device).await;
    }

    // The broker delivers it at each subscription, with the flag that says that it is retained.
    world.kill();
    world.broker.restart().await;
    eve.forget();
    world.start_agent();
    eve.result("large", "rejected").await;
    for device in 5..10 {
        completes(&client, &format!("b{device}"), device).await;
    }
    let status = client.status("the topic is named", |s| problem_codes(s).contains(&"MESSAGE_TOO_LARGE")).await;
    let problems = status["problems"].as_array().unwrap();
    let problem = problems.iter().find(|problem| problem["code"] == "MESSAGE_TOO_LARGE").unwrap();
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains(&command_topic("eve")) && message.contains("mosquitto_pub -r -n"), "{message}");
    publish_file(&world, &command_topic("eve"), "", &["-r"]);
    assert!(!world.log().contains("session was dropped"));
}

#[tokio::test]
async fn large_messages_between_others_commands_cost_none_of_them_an_answer() {
    let (world, client) = World::running(200).await;
    for n in 0..120 {
        if n % 10 == 0 {
            publish_file(&world, &command_topic("eve"), &payload(&format!("large{n}"), 1_100_000), &[]);
        }
        client.disassociate(&format!("t{n}"), &names(n..n + 1));
    }
    for n in 0..120 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
}

#[tokio::test]
async fn memory_does_not_grow_with_a_message() {
    let (mut world, client) = World::running(10).await;
    let eve = world.client("eve").await;
    world.forget_peak();
    let before = world.memory();
    publish_file(&world, &command_topic("eve"), &payload("huge", 100 << 20), &[]);
    let rejected = eve.result("huge", "rejected").await;
    assert!(rejected["message"].as_str().unwrap().contains("104857600 bytes"), "{rejected}");
    let after = world.memory();
    assert!(after.peak - before.now < 8.0, "{} MiB at the peak, {} before", after.peak, before.now);
    completes(&client, "t", 0).await;
    assert!(world.is_running());
}

/// An agent in sync with 1,000 devices, at a broker that takes less than the agent is configured
/// for.
async fn with_small_broker() -> (World, Client) {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::absent(dir.path());
    broker.more = "max_packet_size 9000".into();
    broker.restart().await;
    let mut world = World::with(dir, broker, 1000).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    (world, client)
}

/// The broker ends the connection at a message above its own limit (MQTT 3.1.1 has no other way).
#[tokio::test]
async fn a_broker_that_takes_less_than_configured_gets_shorter_messages() {
    let (world, client) = with_small_broker().await;

    // The response to a query: some 100 devices do not fit.
    let answered = client.ask("list-devices", json!({})).await;
    let devices = answered["devices"].as_array().unwrap();
    assert!(!devices.is_empty() && answered["nextToken"].is_string(), "{answered}");
    let status = client.status("it is reported", |s| problem_codes(s).contains(&"MESSAGE_REFUSED")).await;
    let text = status["problems"].to_string();
    assert!(text.contains("list-devices/accepted") && text.contains("limits.maxPayloadBytes"), "{text}");
    // What follows is not cut off again.
    let connections = world.log().matches("not connected to the broker").count();
    for device in 0..5 {
        completes(&client, &format!("t{device}"), device).await;
    }
    client.ask("list-devices", json!({})).await;
    assert_eq!(world.log().matches("not connected to the broker").count(), connections);
}

/// The same with a result that has to arrive.
#[tokio::test]
async fn a_result_that_the_broker_does_not_take_is_shortened_and_others_arrive() {
    let (world, client) = with_small_broker().await;
    let (code, message) = ("ValidationException".to_owned(), "m".repeat(500));
    world.fault(Action::EntryErrors { things: names(0..100), code, message, omit_name: false }, None);
    client.disassociate("many", &names(0..100));
    let completed = client.result("many", "completed").await;
    assert_eq!((&completed["status"], &completed["failedCount"]), (&json!("FAILED"), &json!(100)));
    assert_eq!(completed["errorEntriesTruncated"], true);
}

/// Metrics can be neither shortened nor put on hold one by one.
#[tokio::test]
async fn metrics_that_the_broker_does_not_take_end_no_more_connections() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::absent(dir.path());
    broker.more = "max_packet_size 2500".into();
    broker.restart().await;
    let mut world = World::with(dir, broker, 20).await;
    world.set("metrics.intervalSeconds", json!(1));
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("it is reported", |s| problem_codes(s).contains(&"MESSAGE_REFUSED")).await;
    let text = status["problems"].to_string();
    assert!(text.contains("/metrics") && text.contains("held back"), "{text}");
    // The connection lives on, while further metrics are due.
    client.status("the connection holds", |s| !problem_codes(s).contains(&"CONNECTION_UNSTABLE")).await;
    let connections = world.broker.connections("MyCore-offboard");
    tokio::time::sleep(Duration::from_secs(4)).await;
    completes(&client, "t", 0).await;
    assert_eq!(world.broker.connections("MyCore-offboard"), connections);
}
