//! A broker that forgets, refuses, disconnects, keeps silent or sends nonsense: the agent reports
//! it in few lines, does not spin, and goes on by itself when the broker works again.

use std::time::{Duration, Instant};

use crate::common::{
    fault_broker::{Behavior, FaultBroker},
    *,
};
use bytes::BytesMut;
use rumqttc::{Connect, Packet, QoS, Subscribe};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// What the agent may compute in a test that hardly gives it anything to do.
const IDLE: Duration = Duration::from_secs(5);

/// A world with more lines in the broker's configuration, of which the last counts.
async fn world_with(more: &str, devices: usize) -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::absent(dir.path());
    broker.more = more.into();
    broker.restart().await;
    World::with(dir, broker, devices).await
}

/// A broker's queue for each client that is soon full.
const NARROW: &str = "max_queued_messages 20\nmax_inflight_messages 10\n";

/// A broker that hands over five commands at a time, and keeps the rest, in one way or the other.
const WINDOW: &str = "max_inflight_messages 5\n";
const FORGETFUL: &str = "max_inflight_messages 5\npersistence false\n";

/// Stops the broker with commands in its queue, and one accepted whose result is owed; starts it
/// again.
async fn restart(keeps_sessions: bool) -> (World, Client) {
    let mut world = world_with(if keeps_sessions { WINDOW } else { FORGETFUL }, 30).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    world.cloud.offline(true);
    client.disassociate("owed", &names(20..30));
    client.result("owed", "accepted").await;
    // The broker takes these and cannot hand them over.
    world.pause();
    (0..20).for_each(|n| client.disassociate(&format!("t{n}"), &names(n..n + 1)));
    client.ask_broker().await;
    client.forget();
    world.broker.restart().await;
    world.cloud.offline(false);
    world.resume();
    assert_eq!(client.result("owed", "completed").await["status"], "SUCCEEDED");
    (world, client)
}

/// What holds after a restart of either kind.
async fn all_is_done_once_and_told_anew(world: &World, client: &Client) {
    for n in 0..20 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    assert!(names(0..30).iter().all(|name| world.disassociations(name) == 1));
    // What the broker keeps is what a newcomer sees.
    let late = world.client("late").await;
    late.status("the retained status", |s| s["state"] == "ONLINE" && s["health"] == "OK").await;
    late.ask("list-devices", json!({})).await;
}

#[tokio::test]
async fn a_restart_of_a_broker_that_keeps_sessions_needs_no_repetition() {
    let (world, client) = restart(true).await;
    all_is_done_once_and_told_anew(&world, &client).await;
}

#[tokio::test]
async fn what_a_broker_forgot_at_its_restart_is_repeated_by_the_sender_and_done_once() {
    let (world, client) = restart(false).await;
    // Answers come in order: what the broker still had would have come before this.
    let open = client.ask("list-requests", json!({})).await;
    assert!(open["requests"].as_array().unwrap().len() < 21, "the broker forgot the rest: {open}");
    (0..20).for_each(|n| client.disassociate(&format!("t{n}"), &names(n..n + 1)));
    all_is_done_once_and_told_anew(&world, &client).await;
}

/// Mosquitto's own plugin denies a subscription as Greengrass's broker does; its ACL files cannot.
#[tokio::test]
async fn a_denied_subscription_is_told_and_works_once_the_policy_lets_it() {
    let mut world = denied_subscription().await;
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("it says so", |s| s["state"] == "ONLINE" && !problem_codes(s).is_empty()).await;
    assert_eq!(problem_codes(&status), ["SUBSCRIPTION_DENIED"]);
    let message = status["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("offboard/MyCore/commands/+/+") && message.contains("MyCore-offboard"), "{message}");
    client.disassociate("t", &names(0..1));
    let allow = json!({"commands": [{
        "command": "removeRoleACL", "rolename": "all",
        "acltype": "subscribePattern", "topic": "offboard/+/commands/#",
    }]});
    client.publish("$CONTROL/dynamic-security/v1", false, allow.to_string());
    client.status("it is well again", |s| s["state"] == "ONLINE" && s["health"] == "OK").await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert_eq!(world.log_lines("denies the subscription"), 1);
}

/// On the same connection, which a broker that reads its policies anew does not end.
#[tokio::test]
async fn a_denied_subscription_is_asked_for_again_and_logged_once() {
    let broker = FaultBroker::start(Behavior::DenySubscriptions, "", 10);
    let mut world = broker.world(10).await;
    world.start_agent();
    until("it says so", || {
        let status = broker.status();
        status["problems"].is_array() && problem_codes(&status) == ["SUBSCRIPTION_DENIED"]
    })
    .await;
    until("it asks again", || broker.look(|seen| seen.subscriptions.len()) >= 3).await;
    broker.set(Behavior::Well);
    works(&broker).await;
    until("it is well again", || broker.status()["health"] == "OK").await;
    assert_eq!(broker.look(|seen| seen.connections.len()), 1);
    assert_eq!(world.log_lines("denies the subscription"), 1);
}

/// A command is carried out.
async fn works(broker: &FaultBroker) {
    broker.command(
        "bench",
        "disassociate-client-devices",
        &json!({"clientToken": "t", "entries": entries(&names(0..1))}),
    );
    until("it works", || broker.tokens("bench", "completed") == ["t"]).await;
}

/// Sends again, a few at a time, whatever has not `completed`; as senders do.
async fn repeat(client: &Client, tokens: impl Iterator<Item = usize> + Clone) {
    let start = Instant::now();
    loop {
        let done: std::collections::BTreeSet<String> = client
            .seen()
            .into_iter()
            .filter(|message| message.topic.ends_with("/completed"))
            .map(|message| message.body["clientToken"].as_str().unwrap().to_owned())
            .collect();
        let missing: Vec<usize> = tokens.clone().filter(|n| !done.contains(&format!("t{n}"))).take(10).collect();
        if missing.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{} are not completed", missing.len());
        missing.into_iter().for_each(|n| client.disassociate(&format!("t{n}"), &names(n..n + 1)));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn commands_that_a_full_broker_dropped_are_repeated_and_done_once() {
    for is_away in [true, false] {
        let mut world = world_with(NARROW, 100).await;
        let client = world.client("bench").await;
        world.start_agent();
        client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
        if is_away {
            world.kill();
        } else {
            world.pause();
        }
        (0..100).for_each(|n| client.disassociate(&format!("t{n}"), &names(n..n + 1)));
        client.ask_broker().await;
        client.forget();
        if is_away {
            world.start_agent();
        } else {
            world.resume();
        }
        client.status("the agent is back", |s| s["state"] == "ONLINE").await;
        let open = client.ask("list-requests", json!({})).await["requests"].as_array().unwrap().len();
        assert!((1..100).contains(&open), "{open} of 100 were delivered");
        repeat(&client, 0..100).await;
        assert!(names(0..100).iter().all(|name| world.disassociations(name) == 1));
    }
}

#[tokio::test]
async fn results_that_a_full_broker_dropped_are_told_again_when_asked() {
    let mut world = world_with(NARROW, 100).await;
    let bench = world.client("bench").await;
    world.start_agent();
    bench.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    drop(world.client("away").await);
    let topic = format!("offboard/{CORE}/commands/away/disassociate-client-devices");
    for n in 0..100 {
        let body = json!({"clientToken": format!("t{n}"), "entries": entries(&names(n..n + 1))});
        bench.publish(&topic, false, body.to_string());
        until("it is done", || world.disassociations(&names(n..n + 1)[0]) == 1).await;
    }
    bench.status("all are done", |s| s["openRequests"] == 0 && s["devices"]["DISASSOCIATED"] == 100).await;
    let calls = world.cloud.count(Operation::Disassociate);
    let away = world.client("away").await;
    away.ask_broker().await;
    let results = away.seen().iter().filter(|m| m.topic.ends_with("/completed")).count();
    assert!(results < 100, "the broker dropped some");
    let asked = away.ask("get-request", json!({"targetClientToken": "t99"})).await;
    assert_eq!(asked["request"]["status"], "SUCCEEDED");
    repeat(&away, 0..100).await;
    assert_eq!(world.cloud.count(Operation::Disassociate), calls, "repeated from the store");
}

/// Two agents with one client id throw each other off; so does any other client.
#[tokio::test]
async fn two_agents_with_one_client_id_say_what_to_check_and_do_not_fight() {
    let (mut world, client) = World::running(10).await;
    world.stop_agent();
    world.rust_log = "";
    world.start_agent();
    client.status("it is back", |s| s["state"] == "ONLINE").await;
    let mut dir = Broker::absent(world.dir.path());
    dir.port = world.broker.port;
    let mut other = World::with(tempfile::tempdir().unwrap(), dir, 10).await;
    let (start, before) = (Instant::now(), world.broker.connections("MyCore-offboard"));
    other.start_agent();
    let code = "CONNECTION_UNSTABLE";
    let status = client.status("it says so", |s| s["problems"].is_array() && problem_codes(s).contains(&code)).await;
    let problem = status["problems"].as_array().unwrap().iter().find(|problem| problem["code"] == code).unwrap();
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("client id") && message.contains("MyCore-offboard"), "{message}");
    // Both wait longer and longer: in 15 s each has come back about ten times, not hundreds of
    // times.
    until("they had time to fight", || start.elapsed() > Duration::from_secs(15)).await;
    let connections = world.broker.connections("MyCore-offboard") - before;
    assert!((4..=60).contains(&connections), "{connections} connections in 15 s");
    let lines = world.log().lines().count();
    println!("{connections} connections in 15 s, {lines} lines in the log");
    assert!((1..=40).contains(&lines), "{lines} lines");
    assert!(world.log_lines("MyCore-offboard") > 0 && world.log_lines("client id") > 0);
    assert!(world.computed() < IDLE, "{:?}", world.computed());
    other.kill();
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    client.status("it is well again", |s| s["state"] == "ONLINE" && s["health"] == "OK").await;
}

/// Lets a broker misbehave for so many connections, and then behave well: the agent works again,
/// and has neither logged nor computed too much.
async fn misbehaves_for_a_while(behavior: Behavior, connections: usize, says: &str) {
    let broker = FaultBroker::start(behavior, "", 10);
    let mut world = broker.world(10).await;
    world.rust_log = "";
    world.start_agent();
    let start = Instant::now();
    until("it tries again", || broker.look(|seen| seen.connections.len()) >= connections).await;
    until("it says so", || world.log_lines("not connected to the broker") > 0).await;
    let took = start.elapsed();
    let (lines, bytes) = (world.log().lines().count(), world.log().len());
    println!("{behavior:?}: {connections} connections in {took:?}, {lines} lines, computed {:?}", world.computed());
    assert!(world.log_lines(says) > 0, "{says}");
    assert!(lines <= 16 && bytes < 20_000, "{lines} lines of {bytes} bytes");
    assert!(world.computed() < IDLE, "{:?}", world.computed());
    let longest =
        broker.look(|seen| seen.connections.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default());
    assert!(longest > Duration::from_millis(200), "its waits grow");
    broker.set(Behavior::Well);
    works(&broker).await;
    assert!(world.is_running());
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_told_of_and_found_again() {
    misbehaves_for_a_while(Behavior::Silent, 2, "imeout").await;
}

#[tokio::test]
async fn a_broker_that_answers_nonsense_is_told_of_in_short_lines_and_found_again() {
    misbehaves_for_a_while(Behavior::Noise, 7, "not connected").await;
}

#[tokio::test]
async fn a_broker_that_closes_after_accepting_is_told_of_and_found_again() {
    misbehaves_for_a_while(Behavior::Bounce, 7, "client id").await;
}

/// A client that subscribes to its results and reads none.
async fn deaf_client(port: u16, name: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let mut output = BytesMut::new();
    Packet::Connect(Connect::new(name)).write(&mut output, 1 << 20).unwrap();
    let mut subscribe = Subscribe::new(format!("offboard/{CORE}/results/{name}/#"), QoS::AtLeastOnce);
    subscribe.pkid = 1;
    Packet::Subscribe(subscribe).write(&mut output, 1 << 20).unwrap();
    stream.write_all(&output).await.unwrap();
    // CONNACK and SUBACK.
    stream.read_exact(&mut [0; 4 + 5]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_client_that_does_not_read_its_results_holds_up_nobody() {
    let (world, client) = World::running(1000).await;
    let _deaf = deaf_client(world.broker.port, "deaf").await;
    let before = world.memory();
    world.forget_peak();
    let topic = format!("offboard/{CORE}/commands/deaf/list-devices");
    let question = json!({"clientToken": "q", "maxResults": 100}).to_string();
    // About 15 MB of answers, rejections and results; other clients are answered meanwhile.
    for n in 0..1000 {
        client.publish(&topic, false, question.clone());
        client.publish(&format!("offboard/{CORE}/commands/deaf/nonsense"), false, "{");
        if n % 100 == 0 {
            let body = json!({"clientToken": format!("t{n}"), "entries": entries(&names(n..n + 100))});
            client.publish(
                &format!("offboard/{CORE}/commands/deaf/disassociate-client-devices"),
                false,
                body.to_string(),
            );
            client.disassociate(&format!("t{n}"), &names(n..n + 100));
            assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
        }
    }
    client.ask("list-requests", json!({})).await;
    let after = world.memory();
    println!("before {before:?}, after {after:?}");
    assert!(after.peak < before.now + 32.0, "before {before:?}, after {after:?}");
}

/// The network's buffers are full: the agent leaves such a connection, and the broker is found
/// again.
#[tokio::test]
async fn a_broker_that_stops_reading_is_left_and_found_again() {
    let broker = FaultBroker::start(Behavior::Well, "", 100);
    let mut world = broker.world(1000).await;
    world.set("mqtt.keepAliveSeconds", json!(5));
    world.rust_log = "";
    world.start_agent();
    until("the agent is in sync", || broker.status()["devices"]["ASSOCIATED"] == 1000).await;
    let before = world.memory();
    world.forget_peak();
    broker.set(Behavior::Deaf);
    for n in 0..1000 {
        broker.command("bench", "list-devices", &json!({"clientToken": format!("q{n}"), "maxResults": 100}));
    }
    for n in 0..10 {
        let body = json!({"clientToken": format!("t{n}"), "entries": entries(&names(n * 100..(n + 1) * 100))});
        broker.command("bench", "disassociate-client-devices", &body);
    }
    until("it gives up on the connection", || world.log_lines("not connected") > 0).await;
    broker.set(Behavior::Well);
    until("all are done", || broker.tokens("bench", "completed").len() >= 10).await;
    until("all are answered", || broker.tokens("bench", "accepted").len() >= 1010).await;
    let after = world.memory();
    println!("before {before:?}, after {after:?}, {} lines", world.log().lines().count());
    assert!(after.peak < before.now + 32.0, "before {before:?}, after {after:?}");
    assert!(world.log_lines("not connected") <= 5 && world.computed() < IDLE * 4);
}
