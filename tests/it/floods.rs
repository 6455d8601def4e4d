//! Floods of commands: accepted ones are carried out, the others are throttled, other clients are
//! answered, and neither memory nor log grow.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use crate::common::*;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};

/// What the agent may take more than before, MiB; the ledger's records of what it has accepted are
/// in it.
const GROWTH: f64 = 48.0;

/// What one of the floods may take at most; a loaded machine needs it.
const LONG: Duration = Duration::from_secs(240);

const OPERATION: &str = "disassociate-client-devices";

/// What a client was sent, by token.
#[derive(Default)]
struct Results {
    accepted: BTreeSet<String>,
    completed: BTreeMap<String, String>,
    /// Codes with the number of rejections.
    rejected: BTreeMap<String, usize>,
    rejected_tokens: BTreeSet<String>,
    /// Throttled without a time to come back.
    no_time: usize,
    /// Rejected since too much is pending, and not since too much came at once.
    pending: usize,
}

impl Results {
    fn note(&mut self, topic: &str, payload: &[u8]) {
        let body: Value = serde_json::from_slice(payload).unwrap();
        let token = body["clientToken"].as_str().unwrap_or_default().to_owned();
        match topic.rsplit_once('/').unwrap().1 {
            "accepted" => _ = self.accepted.insert(token),
            "completed" => _ = self.completed.insert(token, body["status"].as_str().unwrap().to_owned()),
            "rejected" => {
                let code = body["code"].as_str().unwrap().to_owned();
                let waits = body["retryAfterSeconds"].as_u64().is_some_and(|seconds| seconds > 0);
                self.no_time += usize::from(code == "ThrottlingException" && !waits);
                self.pending += usize::from(body["message"].as_str().unwrap().contains("limits.maxPendingEntries"));
                *self.rejected.entry(code).or_default() += 1;
                self.rejected_tokens.insert(token);
            }
            other => panic!("{other}"),
        }
    }

    fn answered(&self) -> usize {
        self.accepted.union(&self.rejected_tokens).count()
    }
}

/// A client that sends as fast as it can, and keeps no more of the answers than it has to.
struct Flooder {
    name: &'static str,
    mqtt: AsyncClient,
    results: Arc<Mutex<Results>>,
    /// PUBACKs.
    taken: Arc<Mutex<usize>>,
    contract: Arc<Contract>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Flooder {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.contract.verify();
        }
    }
}

impl Flooder {
    async fn connect(world: &World, name: &'static str, reads: bool) -> Self {
        let mut options = MqttOptions::new(format!("{name}-flood"), "127.0.0.1", world.broker.port);
        options.set_max_packet_size(2 << 20, 2 << 20).set_inflight(100);
        let (mqtt, mut event_loop) = AsyncClient::new(options, 100);
        let (results, taken): (Arc<Mutex<Results>>, Arc<Mutex<usize>>) = Default::default();
        let contract: Arc<Contract> = Arc::default();
        let (keep, count, hold) = (Arc::clone(&results), Arc::clone(&taken), Arc::clone(&contract));
        let task = tokio::spawn(async move {
            loop {
                match event_loop.poll().await.unwrap() {
                    Event::Incoming(Incoming::Publish(publish)) => {
                        hold.received(&publish.topic, &publish.payload);
                        keep.lock().unwrap().note(&publish.topic, &publish.payload);
                    }
                    Event::Incoming(Incoming::PubAck(_)) => *count.lock().unwrap() += 1,
                    _ => {}
                }
            }
        });
        if reads {
            mqtt.subscribe(format!("offboard/{CORE}/results/{name}/#"), QoS::AtLeastOnce).await.unwrap();
        }
        Self { name, mqtt, results, taken, contract, task }
    }

    /// Returns when the broker has all of it.
    async fn send(&self, qos: QoS, operation: &str, payloads: impl Iterator<Item = String>) {
        let topic = format!("offboard/{CORE}/commands/{}/{operation}", self.name);
        let (before, mut sent) = (*self.taken.lock().unwrap(), 0);
        for payload in payloads {
            self.contract.sent(&topic, payload.as_bytes());
            self.mqtt.publish(&topic, qos, false, payload).await.unwrap();
            sent += usize::from(qos != QoS::AtMostOnce);
        }
        // What comes after is taken after.
        self.mqtt.publish("flood/end", QoS::AtLeastOnce, false, "").await.unwrap();
        sent += 1;
        self.until("the broker has it", || *self.taken.lock().unwrap() - before >= sent).await;
    }

    async fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < LONG, "waited in vain until {what}: {}", self.summary());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn look<R>(&self, look: impl FnOnce(&Results) -> R) -> R {
        look(&self.results.lock().unwrap())
    }

    fn summary(&self) -> String {
        self.look(|results| {
            format!(
                "{} accepted, {} completed, rejected {:?}",
                results.accepted.len(),
                results.completed.len(),
                results.rejected
            )
        })
    }

    /// Every accepted one has come to its end, and well.
    async fn completes(&self) {
        self.until("what was accepted is done", || {
            self.look(|results| results.completed.len() >= results.accepted.len())
        })
        .await;
        self.look(|results| {
            assert!(results.completed.values().all(|status| status == "SUCCEEDED"));
            assert!(results.completed.keys().eq(&results.accepted));
            assert_eq!(results.no_time, 0, "a throttled one has a time to come back");
        });
    }
}

fn one(n: usize) -> String {
    json!({"clientToken": format!("t{n}"), "entries": [{"thingName": format!("d{:04}", n % 10_000)}]}).to_string()
}

/// A world with a small limit, where the cloud is away, so that what is accepted stays pending.
async fn full_world() -> (World, Client) {
    let mut world = World::new(10_000).await;
    world.set("limits.maxPendingEntries", json!(5000));
    world.set("rate", json!({"callsPerSecond": 1000, "burst": 1000}));
    world.rust_log = "";
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    client.ask("list-devices", json!({})).await;
    (world, client)
}

/// A query is answered; while the flood is being worked off it may be throttled for a second.
async fn answers(client: &Client) {
    for n in 0..60 {
        let token = format!("well-{n}-{:08x}", fastrand::u32(..));
        client.send("list-requests", &json!({"clientToken": token}));
        let is_answered = client
            .wait("an answer", |m| (m.body["clientToken"] == *token).then(|| m.topic.ends_with("/accepted")))
            .await;
        if is_answered {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("throttled again and again");
}

/// The agent answers others, its memory is within its bounds, and its log is short.
async fn is_well(world: &World, client: &Client, before: Memory, start: Instant, what: &str) {
    answers(client).await;
    let (after, seconds) = (world.memory(), start.elapsed().as_secs());
    let lines = world.log().lines().count();
    println!(
        "{what}: {seconds} s, memory {:.1} MiB before, {:.1} at most, {:.1} after, {lines} log lines",
        before.now, after.peak, after.now
    );
    assert!(after.peak < before.now + GROWTH, "{what}: before {before:?}, after {after:?}");
    let most = usize::try_from(seconds + 2).unwrap() * LINES_A_SECOND;
    assert!(lines <= most, "{what}: {lines} lines in {seconds} s");
}

/// Errors, all others, and the one that counts what was left out.
const LINES_A_SECOND: usize = 40 + 20 + 1;

fn begin(world: &World) -> (Memory, Instant) {
    world.forget_peak();
    (world.memory(), Instant::now())
}

#[tokio::test]
async fn each_of_fifty_thousand_commands_is_accepted_and_done_or_told_to_wait() {
    let _turn = groups::busy();
    const COMMANDS: usize = 50_000;
    let (world, client) = full_world().await;
    let flooder = Flooder::connect(&world, "flood", true).await;
    let (before, start) = begin(&world);
    world.cloud.offline(true);
    flooder.send(QoS::AtLeastOnce, OPERATION, (0..COMMANDS).map(one)).await;
    flooder.until("each is answered", || flooder.look(Results::answered) >= COMMANDS).await;
    println!("{}", flooder.summary());
    assert_eq!(flooder.look(|results| results.rejected.keys().cloned().collect::<Vec<_>>()), ["ThrottlingException"]);
    // In smaller portions the rest is taken until enough is pending.
    for wave in 0.. {
        let (from, seen) = (COMMANDS + wave * 500, flooder.look(|results| results.pending));
        flooder.send(QoS::AtLeastOnce, OPERATION, (from..from + 500).map(one)).await;
        flooder.until("each is answered", || flooder.look(Results::answered) >= from + 500).await;
        if flooder.look(|results| results.pending) >= seen + 500 {
            break;
        }
    }
    assert_eq!(flooder.look(|results| results.accepted.len()), 5000, "as many as limits.maxPendingEntries lets in");
    world.cloud.offline(false);
    flooder.completes().await;
    is_well(&world, &client, before, start, "50,000 commands at QoS 1").await;
}

#[tokio::test]
async fn a_flood_that_nobody_promised_anything_is_thinned_and_leaves_the_agent_well() {
    let _turn = groups::busy();
    let (world, client) = full_world().await;
    let flooder = Flooder::connect(&world, "flood", true).await;
    let (before, start) = begin(&world);
    flooder.send(QoS::AtMostOnce, OPERATION, (0..50_000).map(one)).await;
    // Commands come in order: when this one is answered nothing of the flood is left to be taken.
    flooder.send(QoS::AtLeastOnce, OPERATION, std::iter::once(one(50_000))).await;
    flooder
        .until("the last is answered", || {
            flooder.look(|results| results.accepted.contains("t50000") || results.rejected_tokens.contains("t50000"))
        })
        .await;
    flooder.completes().await;
    println!("{}", flooder.summary());
    is_well(&world, &client, before, start, "50,000 commands at QoS 0").await;
}

#[tokio::test]
async fn five_hundred_commands_of_a_hundred_kilobytes_are_accepted_or_told_to_wait() {
    let _turn = groups::busy();
    const COMMANDS: usize = 500;
    let (world, client) = full_world().await;
    let flooder = Flooder::connect(&world, "flood", true).await;
    let (before, start) = begin(&world);
    let large = |n: usize| {
        let from = n * 2000 % 8000;
        let mut text =
            json!({"clientToken": format!("t{n}"), "entries": entries(&names(from..from + 2000))}).to_string();
        text.extend(std::iter::repeat_n(' ', 100_000 - text.len()));
        text
    };
    flooder.send(QoS::AtLeastOnce, OPERATION, (0..COMMANDS).map(large)).await;
    flooder.until("each is answered", || flooder.look(Results::answered) >= COMMANDS).await;
    flooder.completes().await;
    println!("{}", flooder.summary());
    assert_eq!(flooder.look(|results| results.rejected.keys().cloned().collect::<Vec<_>>()), ["ThrottlingException"]);
    is_well(&world, &client, before, start, "500 commands of 100 kB at QoS 1").await;
}

#[tokio::test]
async fn twenty_thousand_commands_of_garbage_leave_the_agent_well_whether_or_not_somebody_reads_the_rejections() {
    let _turn = groups::busy();
    const COMMANDS: usize = 20_000;
    let (world, client) = full_world().await;
    let (before, start) = begin(&world);
    for reads in [false, true] {
        let flooder = Flooder::connect(&world, "flood", reads).await;
        let garbage = |n: usize| format!("{{\"clientToken\": \"t{n}\", \"nonsense\": {n}}}");
        flooder.send(QoS::AtLeastOnce, OPERATION, (0..COMMANDS).map(garbage)).await;
        if reads {
            flooder.until("each is answered", || flooder.look(Results::answered) >= COMMANDS).await;
            assert_eq!(flooder.look(|results| results.accepted.len()), 0);
        }
    }
    is_well(&world, &client, before, start, "40,000 commands of garbage").await;
}

/// With calls that fail as fast as they can be made, and commands and rejections at the same time.
#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_told_of() {
    let _turn = groups::busy();
    const COMMANDS: usize = 10_000;
    let mut world = World::new(10_000).await;
    world.set("retry", json!({"baseMs": 1, "capMs": 1}));
    world.set("rate", json!({"callsPerSecond": 1000, "burst": 1000}));
    world.set("batch", json!({"maxEntries": 10}));
    world.rust_log = "";
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    let flooder = Flooder::connect(&world, "flood", true).await;
    let (before, start) = begin(&world);
    let failing =
        Action::Status { status: 500, code: Some("Broken".into()), message: "out of order".into(), retry_after: None };
    world.fault(failing, Some(500));
    for n in 0..COMMANDS {
        let payloads = [one(n), "{".to_owned()].into_iter();
        if n % 100 == 0 {
            flooder.send(QoS::AtLeastOnce, OPERATION, payloads).await;
        } else {
            let topic = format!("offboard/{CORE}/commands/flood/{OPERATION}");
            for payload in payloads {
                flooder.contract.sent(&topic, payload.as_bytes());
                flooder.mqtt.publish(&topic, QoS::AtLeastOnce, false, payload).await.unwrap();
            }
        }
    }
    flooder.until("each is answered", || flooder.look(Results::answered) >= COMMANDS).await;
    flooder.completes().await;
    let calls = world.cloud.count(Operation::Disassociate);
    println!("{calls} calls, {} lines, {}", world.log().lines().count(), flooder.summary());
    until("it logs what it left out", || world.log_lines("left_out=") > 0).await;
    is_well(&world, &client, before, start, "20,000 commands, half of them garbage, and failing calls").await;
}

/// The store's file is a multiple of what is in it until it is rewritten, and a small one is never
/// rewritten: commands that were rejected for it would be rejected for ever.
#[tokio::test]
async fn the_limit_on_the_store_counts_what_is_in_it_and_not_its_file() {
    let mut world = World::new(10).await;
    world.set("limits.maxDatabaseBytes", json!(4 << 20));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    for n in 0..1200 {
        let token = format!("t{n}");
        client.disassociate(&token, &[format!("x{n}")]);
        let answered = client
            .wait(&token, |message| {
                let is_completed = message.topic.ends_with("/completed");
                (message.body["clientToken"] == token.as_str() && !is_completed).then(|| message.clone())
            })
            .await;
        assert!(answered.topic.ends_with("/accepted"), "{n}: {}", answered.body);
        client.forget();
    }
}
