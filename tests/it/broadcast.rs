//! Broadcasts: one command for every core device, to which only those respond that know a named
//! device.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
};

use offboard_sandbox::ipc::{Kind, Nucleus, Service};
use rumqttc::MqttOptions;

use crate::common::*;

const OPERATION: &str = "disassociate-client-devices";
const CORES: [&str; 3] = ["Core1", "Core2", "Core3"];

/// Three agents on one broker, each with a cloud of its own.
struct Fleet {
    cores: Vec<World>,
    client: Client,
}

impl Fleet {
    /// Started and in sync. `Core1` has d0000 to d0009 and `shared`, `Core2` has `shared` and
    /// `second`, `Core3` has `third`. `set` changes the configuration of a core.
    async fn running(set: impl Fn(usize, &mut World)) -> Self {
        let mut cores: Vec<World> = Vec::new();
        for (n, name) in CORES.into_iter().enumerate() {
            let mut world = World::new(0).await;
            world.cloud = Cloud::start(Options::default()).await.unwrap();
            let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
            let own = match n {
                0 => [names(0..10), vec!["shared".into()]].concat(),
                1 => vec!["shared".into(), "second".into()],
                _ => vec!["third".into()],
            };
            world.cloud.associate_at(name, own, long_ago);
            world.set("coreThingName", json!(name));
            world.set("cloud.greengrassEndpoint", json!(world.cloud.endpoint()));
            world.set("acceptBroadcast", json!(true));
            if let Some(first) = cores.first() {
                world.broker.stop();
                world.set("mqtt.url", json!(format!("mqtt://127.0.0.1:{}", first.broker.port)));
            }
            set(n, &mut world);
            cores.push(world);
        }
        let client = cores[0].client("bench").await;
        client.subscribe("offboard/+/results/bench/#");
        client.subscribe("offboard/+/status");
        let mut fleet = Self { cores, client };
        for n in 0..3 {
            fleet.cores[n].start_agent();
        }
        for n in 0..3 {
            fleet.until_in_sync(n).await;
        }
        fleet
    }

    async fn until_in_sync(&self, n: usize) {
        let topic = format!("offboard/{}/status", CORES[n]);
        let synced = |m: &Message| (m.topic == topic && m.body["lastSyncAt"].is_string()).then_some(());
        self.client.wait("the agent is in sync", synced).await;
    }

    fn broadcast(&self, operation: &str, body: &Value) {
        self.broadcast_bytes(operation, body.to_string());
    }

    fn broadcast_bytes(&self, operation: &str, body: impl Into<Vec<u8>>) {
        self.client.publish(&format!("offboard/all/commands/bench/{operation}"), false, body);
    }

    fn of(&self, n: usize, token: &str, kind: &str) -> Option<Value> {
        let begin = format!("offboard/{}/results/", CORES[n]);
        let mut seen = self.client.seen().into_iter();
        let fits = |m: &Message| {
            m.topic.starts_with(&begin) && m.topic.ends_with(&format!("/{kind}")) && m.body["clientToken"] == token
        };
        seen.find(fits).map(|message| message.body)
    }

    async fn result(&self, n: usize, token: &str, kind: &str) -> Value {
        until(&format!("{token} is {kind} by {}", CORES[n]), || self.of(n, token, kind).is_some()).await;
        self.of(n, token, kind).unwrap()
    }

    /// Waits until a core device has handled what was sent before: it answers in order.
    async fn caught_up(&self, n: usize) {
        let token = format!("ask-{:016x}", fastrand::u64(..));
        let topic = format!("offboard/{}/commands/bench/list-devices", CORES[n]);
        self.client.publish(&topic, false, json!({"clientToken": token, "maxResults": 1}).to_string());
        self.result(n, &token, "accepted").await;
    }

    /// The results for a token, as core and kind.
    async fn results(&self, token: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for n in 0..3 {
            self.caught_up(n).await;
            for kind in ["accepted", "rejected", "completed"] {
                if self.of(n, token, kind).is_some() {
                    found.push((n, kind.to_owned()));
                }
            }
        }
        found
    }

    fn calls(&self) -> Vec<usize> {
        self.cores.iter().map(|core| core.cloud.count(Operation::Disassociate)).collect()
    }

    /// What `offboard disassociate` prints, and its exit status.
    fn everywhere(&self, words: &[&str]) -> (String, String, i32) {
        let url = format!("mqtt://127.0.0.1:{}", self.cores[0].broker.port);
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).arg("disassociate").args(words).args(["--everywhere", "--mqtt-url", &url]);
        let output = command.args(["--client-id", "console"]).env_clear().stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
    }
}

fn of_things(token: &str, things: &[&str]) -> Value {
    let entries: Vec<Value> = things.iter().map(|thing| json!({"thingName": thing})).collect();
    json!({"clientToken": token, "entries": entries})
}

// A command is waited for by blocking, and the clouds have to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_core_devices_know_it_and_disassociate_it_and_the_third_stays_silent() {
    let fleet = Fleet::running(|_, _| ()).await;
    let words = ["shared", "nowhere", "--token", "t", "--collect", "3"];
    let (out, err, status) = fleet.everywhere(&words);
    let table = "core   accepted  outcome\nCore1  1         SUCCEEDED: 1 of 1 entries\n\
                 Core2  1         SUCCEEDED: 1 of 1 entries\nno core device that answered knows: nowhere\n";
    assert_eq!((out.as_str(), err.as_str(), status), (table, "", 0));
    assert_eq!(fleet.calls(), [1, 1, 0]);
    for (n, left) in [(0, 10), (1, 1), (2, 1)] {
        assert_eq!(fleet.cores[n].cloud.associated(CORES[n]).len(), left, "{}", CORES[n]);
    }
    // Again with its token: the same requests, and no other call.
    let (out, _, status) = fleet.everywhere(&words);
    assert_eq!((out.as_str(), status), (table, 0));
    let (out, _, status) = fleet.everywhere(&["shared", "--token", "u", "--collect", "1", "--output", "json"]);
    let none: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((none["cores"].as_array().unwrap().len(), &none["unknown"], status), (0, &json!(["shared"]), 3));
    assert_eq!(fleet.calls(), [1, 1, 0]);
    // The third one has no request, of anybody.
    let data = fleet.cores[2].dir.path().join("data");
    let mut command = Command::new(&product()[0]);
    let requests = command.args(["requests", "--output", "json"]).env_clear().env("OFFBOARD_DATA_DIR", data).output();
    assert_eq!(serde_json::from_slice::<Value>(&requests.unwrap().stdout).unwrap(), json!([]));
}

/// Each broadcast has 100 names, and the queue of the client has few places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_names_are_broadcast() {
    let fleet = Fleet::running(|_, _| ()).await;
    let list = fleet.cores[0].dir.path().join("list");
    let names = names(1000..5000).join("\n");
    std::fs::write(&list, format!("{names}\nshared\n")).unwrap();
    let words = ["--from-file", list.to_str().unwrap(), "--token", "t", "--collect", "8", "--output", "json"];
    let (out, err, _) = fleet.everywhere(&words);
    let answers: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    assert_eq!(answers["cores"].as_array().unwrap().len(), 2, "{answers}");
    assert_eq!(fleet.calls(), [1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_everywhere_changes_nothing() {
    let fleet = Fleet::running(|_, _| ()).await;
    let (out, _, status) = fleet.everywhere(&["shared", "d0001", "--dry-run", "--collect", "2"]);
    let table = "core   accepted  outcome\nCore1  2         would make 1 calls\nCore2  1         would make 1 calls\n";
    assert_eq!((out.as_str(), status), (table, 0));
    assert_eq!(fleet.calls(), [0, 0, 0]);
}

#[tokio::test]
async fn a_broadcast_is_done_once_on_each_core_device_over_a_kill() {
    let mut fleet = Fleet::running(|_, _| ()).await;
    // The call of the first one hangs, so that it is killed between `accepted` and the end.
    fleet.cores[0].fault(Action::Hang, None);
    let broadcast = of_things("t", &["shared", "second"]);
    fleet.broadcast(OPERATION, &broadcast);
    let accepted = fleet.result(0, "t", "accepted").await;
    assert_eq!((&accepted["entryCount"], &accepted["unknown"]), (&json!(1), &json!(["second"])));
    assert_eq!(fleet.result(1, "t", "completed").await["succeededCount"], 2);
    until("the call hangs", || fleet.calls()[0] == 1).await;
    fleet.cores[0].kill();
    fleet.cores[0].cloud.clear_faults();
    fleet.client.forget();
    fleet.cores[0].start_agent();
    assert_eq!(fleet.result(0, "t", "completed").await["status"], "SUCCEEDED");
    // Repeated after a kill, also by a core device that finished it before.
    fleet.cores[1].kill();
    fleet.client.forget();
    fleet.cores[1].start_agent();
    fleet.until_in_sync(1).await;
    let calls = fleet.calls();
    fleet.broadcast(OPERATION, &broadcast);
    for n in 0..2 {
        assert_eq!(fleet.result(n, "t", "completed").await["status"], "SUCCEEDED");
    }
    let kinds = |n: usize| [(n, "accepted".to_owned()), (n, "completed".to_owned())];
    assert_eq!(fleet.results("t").await, [kinds(0), kinds(1)].concat());
    assert_eq!(fleet.calls(), calls, "a repetition makes no call");
    for (core, thing) in [(0, "shared"), (1, "shared"), (1, "second")] {
        assert_eq!(fleet.cores[core].disassociations(thing), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_concerns_no_device_of_a_core_device_has_no_response() {
    let fleet = Fleet::running(|_, _| ()).await;
    let long = "x".repeat(129);
    fleet.broadcast(OPERATION, &of_things("long", &["shared", &long]));
    fleet.broadcast(OPERATION, &json!({"clientToken": "more", "entries": [{"thingName": "shared"}], "dryrun": true}));
    fleet.broadcast(OPERATION, &json!({"clientToken": "none", "entries": []}));
    fleet.broadcast_bytes(OPERATION, r#"{"clientToken":"cut","entries":[{"thingName":"sha"#);
    fleet.broadcast_bytes(OPERATION, format!(r#"{{"clientToken":"large","reason":"{}"}}"#, "x".repeat(150_000)));
    fleet.broadcast(OPERATION, &of_things("others", &["nowhere"]));
    // All core devices would respond to these.
    for operation in ["sync", "list-devices", "list-requests", "cancel", "associate-client-devices", "nothing"] {
        fleet.broadcast(operation, &json!({"clientToken": operation}));
    }
    // Senders that no policy ties to a name.
    for level in ["@root", "$x", &long] {
        let body = of_things("nobody", &["shared"]).to_string();
        fleet.client.publish(&format!("offboard/all/commands/{level}/{OPERATION}"), false, body);
    }
    for token in ["long", "more", "none", "cut", "large", "others", "sync", "list-devices", "nothing", "nobody"] {
        assert_eq!(fleet.results(token).await, [], "{token}");
    }
    let rejected = fleet.client.seen().into_iter().find(|message| message.topic.ends_with("/rejected"));
    assert!(rejected.is_none(), "{rejected:?}");
    assert_eq!(fleet.calls(), [0, 0, 0]);
    // Nor does anybody else get a response.
    let log = fleet.cores[0].log();
    assert!(log.contains("broadcast ignored") && !log.contains("command rejected"), "{log}");
    // It goes on as usual.
    fleet.broadcast(OPERATION, &of_things("t", &["shared"]));
    fleet.result(0, "t", "completed").await;
}

#[tokio::test]
async fn a_device_is_shown_by_the_core_devices_that_have_it() {
    let fleet = Fleet::running(|_, _| ()).await;
    fleet.broadcast("get-device", &json!({"clientToken": "before", "thingName": "shared"}));
    let accepted = |n: usize| (n, "accepted".to_owned());
    fleet.result(1, "before", "accepted").await;
    assert_eq!(fleet.results("before").await, [accepted(0), accepted(1)]);
    assert_eq!(fleet.of(0, "before", "accepted").unwrap()["device"]["state"], "ASSOCIATED");
    fleet.broadcast(OPERATION, &of_things("t", &["shared"]));
    for n in 0..2 {
        fleet.result(n, "t", "completed").await;
    }
    // The registry keeps it as disassociated.
    fleet.broadcast("get-device", &json!({"clientToken": "after", "thingName": "shared"}));
    assert_eq!(fleet.results("after").await, []);
}

#[tokio::test]
async fn a_retained_broadcast_is_not_carried_out() {
    let mut fleet = Fleet::running(|_, _| ()).await;
    // It is retained for subscriptions that come later; those that exist get it as a new one.
    for core in &mut fleet.cores {
        core.stop_agent();
    }
    let topic = format!("offboard/all/commands/bench/{OPERATION}");
    fleet.client.publish(&topic, true, of_things("kept", &["third"]).to_string());
    fleet.client.ask_broker().await;
    // Another name, and so a new session.
    fleet.cores[2].set("mqtt.clientId", json!("another"));
    fleet.client.forget();
    fleet.cores[2].start_agent();
    fleet.until_in_sync(2).await;
    until("it is logged", || fleet.cores[2].log().contains("broadcast ignored")).await;
    assert!(fleet.of(2, "kept", "accepted").is_none() && fleet.of(2, "kept", "rejected").is_none());
    assert_eq!(fleet.calls(), [0, 0, 0]);
    fleet.client.publish(&topic, true, "");
}

#[tokio::test]
async fn a_token_with_another_content_is_a_conflict_only_where_the_broadcast_matters() {
    let fleet = Fleet::running(|_, _| ()).await;
    fleet.broadcast(OPERATION, &of_things("t", &["shared"]));
    for n in 0..2 {
        fleet.result(n, "t", "completed").await;
    }
    fleet.client.forget();
    fleet.broadcast(OPERATION, &of_things("t", &["d0001"]));
    assert_eq!(fleet.result(0, "t", "rejected").await["code"], "ConflictException");
    assert_eq!(fleet.results("t").await, [(0, "rejected".to_owned())]);
    // A command to one core device is another command than a broadcast of the same payload.
    fleet.client.forget();
    let own = format!("offboard/Core1/commands/bench/{OPERATION}");
    fleet.client.publish(&own, false, of_things("t", &["shared"]).to_string());
    assert_eq!(fleet.result(0, "t", "rejected").await["code"], "ConflictException");
    assert_eq!(fleet.calls(), [1, 1, 0]);
}

#[tokio::test]
async fn guards_hold_for_broadcasts_on_each_core_device() {
    let fleet = Fleet::running(|n, world| {
        if n == 0 {
            world.set("guard.protected", json!(["shared", "third"]));
        }
    })
    .await;
    fleet.broadcast(OPERATION, &of_things("t", &["shared", "third"]));
    let rejected = fleet.result(0, "t", "rejected").await;
    assert_eq!(rejected["code"], "AccessDeniedException");
    assert!(rejected["message"].as_str().unwrap().contains("1 protected by guard.protected"), "{rejected}");
    for n in 1..3 {
        assert_eq!(fleet.result(n, "t", "completed").await["status"], "SUCCEEDED");
    }
    // The guards of a core device do not concern devices of others.
    fleet.broadcast(OPERATION, &of_things("u", &["third", "d0001"]));
    assert_eq!(fleet.result(0, "u", "completed").await["succeededCount"], 1);
    assert!(fleet.cores[0].cloud.associated("Core1").contains_key("shared"));
}

#[tokio::test]
async fn an_agent_that_accepts_no_broadcast_gets_none() {
    let fleet = Fleet::running(|n, world| world.set("acceptBroadcast", json!(n == 1))).await;
    fleet.broadcast(OPERATION, &of_things("t", &["shared", "third"]));
    fleet.result(1, "t", "completed").await;
    let kinds = ["accepted", "completed"].map(|kind| (1, kind.to_owned()));
    assert_eq!(fleet.results("t").await, kinds);
    assert_eq!(fleet.calls(), [0, 1, 0]);
}

/// The documented policy of a broker upstream, where a fleet is commanded.
#[tokio::test]
async fn by_the_recommended_policy_one_client_broadcasts_and_no_other() {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/mosquitto-upstream.acl");
    let mut world = World::new(3).await;
    world.broker.more = format!("acl_file {}\n", policy.display());
    world.broker.restart().await;
    world.set("acceptBroadcast", json!(true));
    world.set("mqtt.username", json!("MyCore-bridge"));
    let connect = async |name: &str| {
        let mut options = MqttOptions::new(format!("{name}-test"), "127.0.0.1", world.broker.port);
        options.set_credentials(name, "");
        Client::connect_with(options, name).await
    };
    let (dispatcher, other) = (connect("dispatcher").await, connect("other").await);
    world.start_agent();
    dispatcher.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    let all = |name: &str| format!("offboard/all/commands/{name}/{OPERATION}");
    other.publish(&all("other"), false, of_things("a", &["d0000"]).to_string());
    other.publish(&all("dispatcher"), false, of_things("b", &["d0000"]).to_string());
    other.ask("list-devices", json!({})).await;
    assert!(world.cloud.associated(CORE).contains_key("d0000"));
    dispatcher.publish(&all("dispatcher"), false, of_things("c", &["d0001"]).to_string());
    assert_eq!(dispatcher.result("c", "completed").await["status"], "SUCCEEDED");
    // Each of them commands single core devices.
    other.disassociate("d", &names(2..3));
    assert_eq!(other.result("d", "completed").await["status"], "SUCCEEDED");
    assert_eq!(world.cloud.associated(CORE).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_the_local_socket_may_be_a_broadcast() {
    let mut world = World::new(3).await;
    world.set("mqtt.url", json!("none"));
    for accepts in [false, true] {
        world.set("acceptBroadcast", json!(accepts));
        world.start_agent();
        let mut stream = None;
        until("the socket is open", || {
            stream = UnixStream::connect(world.dir.path().join("data/agent.sock")).ok();
            stream.is_some()
        })
        .await;
        let mut lines = BufReader::new(stream.unwrap());
        lines.get_mut().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut ask = |line: Value| {
            lines.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
            let mut answer = String::new();
            lines.read_line(&mut answer).unwrap();
            serde_json::from_str::<Value>(&answer).unwrap()
        };
        let line = |token: &str, thing: &str| json!({"operation": OPERATION, "broadcast": true, "payload": of_things(token, &[thing])});
        if !accepts {
            let rejected = ask(line("off", "d0000"));
            assert!(rejected["payload"]["message"].as_str().unwrap().contains("acceptBroadcast"), "{rejected}");
            world.stop_agent();
            continue;
        }
        until("the agent is in sync", || ask(json!({"operation": "status"}))["payload"]["lastSyncAt"].is_string())
            .await;
        assert_eq!(ask(line("t", "nowhere"))["payload"]["code"], "ResourceNotFoundException");
        assert_eq!(ask(line("t", "d0000"))["result"], "accepted");
        until("it is done", || !world.cloud.associated(CORE).contains_key("d0000")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcasts_arrive_by_greengrass_ipc() {
    let mut world = World::new(4).await;
    world.broker.stop();
    world.set("mqtt.url", json!("none"));
    world.set("ipc", json!({"iotCore": true, "pubsub": true}));
    world.set("acceptBroadcast", json!(true));
    let credentials = Some((world.cloud.credentials_uri(), world.cloud.authorization_token()));
    let options = offboard_sandbox::ipc::Options { credentials, ..offboard_sandbox::ipc::Options::of(Kind::Lite) };
    let nucleus = Nucleus::start(world.dir.path(), options).unwrap();
    let variables = nucleus.environment().into_iter().map(|(name, value)| format!("{name}={value}"));
    world.wrapper = [String::from("env")].into_iter().chain(variables).collect();
    world.start_agent();
    let published = |service: Service, kind: &str, token: &str| {
        let begin = format!("offboard/{CORE}/results/bench/");
        let fits = |topic: &str| topic.starts_with(&begin) && topic.ends_with(kind);
        nucleus.published(service).into_iter().filter(|message| fits(&message.topic)).any(|message| {
            serde_json::from_slice::<Value>(&message.payload).is_ok_and(|body| body["clientToken"] == token)
        })
    };
    let status = format!("offboard/{CORE}/status");
    for (service, thing) in [(Service::IotCore, "d0000"), (Service::PubSub, "d0001")] {
        until("it is in sync", || {
            nucleus.published(service).iter().any(|message| {
                message.topic == status
                    && serde_json::from_slice::<Value>(&message.payload)
                        .is_ok_and(|status| status["lastSyncAt"].is_string())
            })
        })
        .await;
        let send = |token: &str, thing: &str| {
            let topic = format!("offboard/all/commands/bench/{OPERATION}");
            nucleus.publish(service, &topic, of_things(token, &[thing]).to_string().as_bytes())
        };
        assert_eq!((send("silent", "nowhere"), send("t", thing)), (1, 1), "the agent is subscribed");
        until("it is done", || published(service, "/completed", "t")).await;
        assert!(!published(service, "/accepted", "silent") && !published(service, "/rejected", "silent"));
        assert_eq!(world.disassociations(thing), 1);
    }
}
