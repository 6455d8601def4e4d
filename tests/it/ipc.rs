//! Greengrass IPC as the third transport, against the sandbox's stand-in for the nucleus's server:
//! commands from AWS IoT Core and from other components, without a broker; and credentials that
//! recover without a restart.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use offboard_sandbox::ipc::{Kind, Nucleus, Service};

use crate::common::*;

mod faults;

const STATUS: &str = "offboard/MyCore/status";

/// What nucleus lite transfers.
const LIMIT: usize = 4900;

/// An agent without a broker on a nucleus.
struct Core {
    world: World,
    nucleus: Nucleus,
}

impl Core {
    /// Not started yet.
    async fn new(kind: Kind, devices: usize) -> Self {
        let mut world = World::new(devices).await;
        world.broker.stop();
        world.set("mqtt.url", json!("none"));
        world.set("ipc", json!({"iotCore": true, "pubsub": true}));
        let credentials = Some((world.cloud.credentials_uri(), world.cloud.authorization_token()));
        let options = offboard_sandbox::ipc::Options { credentials, ..offboard_sandbox::ipc::Options::of(kind) };
        let nucleus = Nucleus::start(world.dir.path(), options).unwrap();
        Self { world, nucleus }
    }

    fn start(&mut self) {
        let variables = self.nucleus.environment().into_iter().map(|(name, value)| format!("{name}={value}"));
        self.world.wrapper = [String::from("env")].into_iter().chain(variables).collect();
        self.world.start_agent();
    }

    /// Started, in sync, and reached by both transports.
    async fn running(kind: Kind, devices: usize) -> Self {
        let mut core = Self::new(kind, devices).await;
        core.start();
        for service in [Service::IotCore, Service::PubSub] {
            core.status(service, "it is in sync", |status| status["lastSyncAt"].is_string()).await;
        }
        core
    }

    fn send(&self, service: Service, client: &str, operation: &str, body: &Value) -> usize {
        let topic = format!("offboard/{CORE}/commands/{client}/{operation}");
        self.nucleus.publish(service, &topic, body.to_string().as_bytes())
    }

    fn disassociate(&self, service: Service, token: &str, names: &[String]) {
        let body = json!({"clientToken": token, "entries": entries(names)});
        assert_eq!(self.send(service, "bench", "disassociate-client-devices", &body), 1, "the agent is subscribed");
    }

    /// Results of that kind for a token, as the sender of that name sees them.
    fn results(&self, service: Service, client: &str, token: &str, kind: &str) -> Vec<Value> {
        let begin = format!("offboard/{CORE}/results/{client}/");
        let messages = self.nucleus.published(service).into_iter();
        let fits = messages.filter(|message| message.topic.starts_with(&begin) && message.topic.ends_with(kind));
        let bodies = fits.map(|message| {
            let body: Value = serde_json::from_slice(&message.payload).unwrap();
            contract::check(contract::schema_of(&message.topic).unwrap(), &body).unwrap();
            body
        });
        bodies.filter(|body| body["clientToken"] == token).collect()
    }

    async fn result(&self, service: Service, token: &str, kind: &str) -> Value {
        self.result_of(service, "bench", token, kind).await
    }

    async fn result_of(&self, service: Service, client: &str, token: &str, kind: &str) -> Value {
        let what = format!("{token} of {client} is {kind} over {service:?}");
        until(&what, || !self.results(service, client, token, kind).is_empty()).await;
        self.results(service, client, token, kind).remove(0)
    }

    async fn ask(&self, service: Service, client: &str, operation: &str, mut body: Value) -> Result<Value, Value> {
        let token = format!("ask-{:016x}", fastrand::u64(..));
        body["clientToken"] = json!(token);
        self.send(service, client, operation, &body);
        let seen = |kind| self.results(service, client, &token, kind).pop();
        until("the question is answered", || seen("accepted").is_some() || seen("rejected").is_some()).await;
        seen("accepted").map_or_else(|| Err(seen("rejected").unwrap()), Ok)
    }

    /// The last status that was published over a transport, when `wanted` takes it.
    async fn status(&self, service: Service, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let last = || {
            let messages = self.nucleus.published(service);
            let last = messages.iter().rev().find(|message| message.topic == STATUS)?;
            let status = serde_json::from_slice(&last.payload).unwrap();
            contract::check("status", &status).unwrap();
            Some(status)
        };
        until(what, || last().as_ref().is_some_and(&wanted)).await;
        last().unwrap()
    }

    /// The status over the local socket.
    fn local_status(&self) -> Value {
        self.offboard(&["status"]).0
    }

    /// What a command on the core prints as JSON, and its exit status.
    fn offboard(&self, words: &[&str]) -> (Value, i32) {
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(words).args(["--output", "json"]).env_clear().stdin(Stdio::null());
        let output = command.env("OFFBOARD_DATA_DIR", self.world.dir.path().join("data")).output().unwrap();
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), output.status.code().unwrap())
    }

    async fn local_problem(&self, code: &str) -> String {
        let found = || {
            let status = self.local_status();
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            problems.into_iter().find(|problem| problem["code"] == code)
        };
        until(&format!("{code} is reported"), || found().is_some()).await;
        found().unwrap()["message"].as_str().unwrap().to_owned()
    }

    async fn no_problem(&self) {
        until("nothing is wrong", || self.local_status()["health"] == "OK").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_devices_by_iot_core_take_three_calls() {
    let core = Core::running(Kind::Lite, 250).await;
    // Nucleus lite transfers no list of 250 names.
    core.disassociate(Service::IotCore, "a", &names(0..125));
    core.disassociate(Service::IotCore, "b", &names(125..250));
    for token in ["a", "b"] {
        let accepted = core.result(Service::IotCore, token, "accepted").await;
        assert_eq!((&accepted["entryCount"], &accepted["unknownCount"]), (&json!(125), &json!(0)));
        assert_eq!(core.result(Service::IotCore, token, "completed").await["status"], "SUCCEEDED");
    }
    assert_eq!(core.world.cloud.count(Operation::Disassociate), 3);
    let local = core.nucleus.published(Service::PubSub);
    assert!(local.iter().all(|message| message.topic == STATUS), "results go where the command came from: {local:?}");
    let (request, _) = core.offboard(&["requests", "a", "--client", "bench", "--via", "iot-core"]);
    assert_eq!((&request["via"], &request["requestedBy"]), (&json!("iot-core"), &json!("bench")));
    let (device, _) = core.offboard(&["devices", "d0007", "--history"]);
    assert!(device["history"].as_array().unwrap().iter().any(|event| event["via"] == "iot-core"), "{device}");
    core.no_problem().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_classic_nucleus_transfers_a_list_whole() {
    let mut core = Core::new(Kind::Classic, 250).await;
    core.world.set("ipc.maxPayloadBytes", json!(131_072));
    core.start();
    core.status(Service::PubSub, "it is in sync", |status| status["lastSyncAt"].is_string()).await;
    core.disassociate(Service::PubSub, "t", &names(0..250));
    assert_eq!(core.result(Service::PubSub, "t", "accepted").await["entryCount"], 250);
    assert_eq!(core.result(Service::PubSub, "t", "completed").await["status"], "SUCCEEDED");
    assert_eq!(core.world.cloud.count(Operation::Disassociate), 3);
    core.no_problem().await;
}

/// Nucleus lite loses what is larger, or closes the connection over it, with all subscriptions.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_larger_than_the_limit_and_what_is_arrives_rejected() {
    let core = Core::running(Kind::Lite, 10).await;
    let padded = |token: &str, size: usize| {
        let body = json!({"clientToken": token, "entries": [{"thingName": "d0001"}], "dryRun": true}).to_string();
        body + &" ".repeat(size)
    };
    let topic = format!("offboard/{CORE}/commands/bench/disassociate-client-devices");
    let at = |token: &str| {
        let text = padded(token, LIMIT);
        text[..LIMIT].to_owned()
    };
    assert_eq!(core.nucleus.publish(Service::PubSub, &topic, at("at").as_bytes()), 1);
    core.result(Service::PubSub, "at", "accepted").await;
    let above = at("above") + " ";
    assert_eq!(core.nucleus.publish(Service::PubSub, &topic, above.as_bytes()), 1);
    let rejected = core.result(Service::PubSub, "above", "rejected").await;
    assert!(rejected["message"].as_str().unwrap().contains("4901 bytes, ipc.maxPayloadBytes is 4900"), "{rejected}");
    let lost = padded("lost", 5000);
    assert_eq!(core.nucleus.publish(Service::IotCore, &topic, lost.as_bytes()), 0, "the nucleus loses it");

    // A rejection that names 20 members with long names, and failures that do not fit.
    let long: Vec<Value> = (0..60).map(|n| json!({"thingName": format!("no name {n} {}", "x".repeat(50))})).collect();
    let body = json!({"clientToken": "bad", "entries": long});
    assert_eq!(core.send(Service::PubSub, "bench", "disassociate-client-devices", &body), 1);
    let rejected = core.result(Service::PubSub, "bad", "rejected").await;
    assert!(rejected["fields"].as_array().is_some_and(|fields| !fields.is_empty()), "{rejected}");
    let unknown: Vec<String> = (0..60).map(|n| format!("unknown-{n:02}-{}", "x".repeat(45))).collect();
    core.disassociate(Service::IotCore, "failures", &unknown);
    let accepted = core.result(Service::IotCore, "failures", "accepted").await;
    let shown = accepted["unknown"].as_array().unwrap().len();
    assert!(accepted["unknownCount"] == 60 && (1..60).contains(&shown), "{accepted}");
    core.result(Service::IotCore, "failures", "completed").await;
    let action = Action::EntryErrors {
        things: names(0..10),
        code: "AccessDeniedException".into(),
        message: "x".repeat(1000),
        omit_name: false,
    };
    core.world.fault(action, Some(1));
    core.disassociate(Service::IotCore, "errors", &names(0..10));
    let completed = core.result(Service::IotCore, "errors", "completed").await;
    let shown = completed["errorEntries"].as_array().unwrap().len();
    assert!(completed["failedCount"] == 10 && (1..10).contains(&shown), "{completed}");
    assert_eq!(completed["errorEntriesTruncated"], true);

    let counts = core.nucleus.counts();
    assert!(counts.largest_payload <= LIMIT, "{counts:?}");
    assert_eq!((counts.broken, counts.accepted), (0, 2), "{counts:?}: one connection for each transport");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_cut_on_its_way_is_named() {
    let core = Core::running(Kind::Lite, 10).await;
    let body = json!({"clientToken": "cut", "entries": entries(&names(0..10))}).to_string();
    let topic = format!("offboard/{CORE}/commands/bench/disassociate-client-devices");
    core.nucleus.publish(Service::IotCore, &topic, &body.as_bytes()[..100]);
    let rejected = core.result(Service::IotCore, "cut", "rejected").await;
    assert_eq!(rejected["reason"], "CANNOT_PARSE");
    assert!(rejected["message"].as_str().unwrap().contains("ends after 100 bytes, before its JSON does"), "{rejected}");
}

/// Nucleus lite refuses to publish meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn results_wait_while_the_core_device_is_offline() {
    let core = Core::running(Kind::Lite, 10).await;
    core.world.fault(Action::Delay(Duration::from_secs(2)), Some(1));
    core.disassociate(Service::IotCore, "t", &names(0..5));
    core.result(Service::IotCore, "t", "accepted").await;
    core.nucleus.offline(true);
    let message = core.local_problem("IPC_UNAVAILABLE").await;
    assert!(message.contains("does not publish to AWS IoT Core (ServiceError: Failed to publish"), "{message}");
    until("it is done", || core.world.cloud.associated(CORE).len() == 5).await;
    core.nucleus.offline(false);
    core.result(Service::IotCore, "t", "completed").await;
    core.no_problem().await;
    assert_eq!(core.nucleus.counts().accepted, 2, "no connection was given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_senders_of_one_name_over_two_transports_are_two_senders() {
    let mut core = Core::new(Kind::Lite, 10).await;
    // Long enough to be canceled before it is sent.
    core.world.set("batch", json!({"lingerMs": 60_000}));
    core.start();
    for service in [Service::IotCore, Service::PubSub] {
        core.status(service, "it is in sync", |status| status["lastSyncAt"].is_string()).await;
    }
    core.disassociate(Service::IotCore, "t", &names(0..3));
    core.result(Service::IotCore, "t", "accepted").await;
    // The same token with another content: no conflict.
    core.disassociate(Service::PubSub, "t", &names(3..4));
    core.result(Service::PubSub, "t", "accepted").await;

    let entry_count = |answer: &Value| answer["request"]["entryCount"].clone();
    let question = json!({"targetClientToken": "t"});
    let own = core.ask(Service::PubSub, "bench", "get-request", question.clone()).await.unwrap();
    assert_eq!((entry_count(&own), &own["request"]["via"]), (json!(1), &json!("pubsub")));
    let named = json!({"targetClientToken": "t", "targetClient": "bench"});
    let own = core.ask(Service::IotCore, "bench", "get-request", named).await.unwrap();
    assert_eq!((entry_count(&own), &own["request"]["via"]), (json!(3), &json!("iot-core")));
    let list = core.ask(Service::PubSub, "bench", "list-requests", json!({})).await.unwrap();
    assert_eq!(list["requests"].as_array().unwrap().len(), 1, "{list}");

    let other = json!({"targetClientToken": "t", "targetClient": "bench", "targetVia": "iot-core"});
    for operation in ["get-request", "cancel"] {
        let refused = core.ask(Service::PubSub, "bench", operation, other.clone()).await.unwrap_err();
        assert_eq!(refused["code"], "AccessDeniedException", "{operation}: {refused}");
    }
    core.send(
        Service::IotCore,
        "other",
        "disassociate-client-devices",
        &json!({"clientToken": "u", "entries": entries(&names(5..6))}),
    );
    core.result_of(Service::IotCore, "other", "u", "accepted").await;
    let unknown =
        core.ask(Service::PubSub, "other", "get-request", json!({"targetClientToken": "u"})).await.unwrap_err();
    assert_eq!(unknown["code"], "ResourceNotFoundException", "{unknown}");

    let canceled = core.ask(Service::PubSub, "bench", "cancel", question).await.unwrap();
    assert_eq!(canceled["canceledCount"], 1);
    core.result(Service::PubSub, "t", "completed").await;
    let open = core.ask(Service::IotCore, "bench", "get-request", json!({"targetClientToken": "t"})).await.unwrap();
    assert_eq!(open["request"]["status"], "IN_PROGRESS");

    // A user of this machine names the transport.
    let (all, _) = core.offboard(&["requests"]);
    let mut vias: Vec<_> = all.as_array().unwrap().iter().map(|one| one["via"].as_str().unwrap().to_owned()).collect();
    vias.sort_unstable();
    assert_eq!(vias, ["iot-core", "iot-core", "pubsub"]);
    let (_, missing) = core.offboard(&["cancel", "t", "--client", "bench"]);
    assert_eq!(missing, 2, "there is none over MQTT");
    let (canceled, status) = core.offboard(&["cancel", "t", "--client", "bench", "--via", "iot-core"]);
    assert_eq!((status, &canceled["canceledCount"]), (0, &json!(3)));
}

/// Of another component, as JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_may_send_json() {
    let core = Core::running(Kind::Classic, 10).await;
    let topic = format!("offboard/{CORE}/commands/com.example.Cell/disassociate-client-devices");
    let body = json!({"clientToken": "t", "entries": entries(&names(0..1))});
    assert_eq!(core.nucleus.publish_json(&topic, &body), 1);
    core.result_of(Service::PubSub, "com.example.Cell", "t", "completed").await;
}

/// The cloud refuses the credentials that the agent has, so that it asks for others.
async fn expire(core: &Core, token: &str, device: usize) {
    let expired = Action::Status {
        status: 403,
        code: Some("ExpiredTokenException".into()),
        message: "The security token included in the request is expired".into(),
        retry_after: None,
    };
    core.world.fault(expired, Some(1));
    core.disassociate(Service::PubSub, token, &names(device..device + 1));
    let completed = core.result(Service::PubSub, token, "completed").await;
    assert_eq!(completed["status"], "SUCCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_says_so_on_both_transports() {
    let mut core = Core::running(Kind::Lite, 10).await;
    let (status, took) = {
        let mut child = core.world.agent.take().unwrap();
        let start = std::time::Instant::now();
        terminate(child.id());
        (child.wait().unwrap(), start.elapsed())
    };
    assert!(status.success() && took < Duration::from_secs(4), "{status}, {took:?}");
    for service in [Service::IotCore, Service::PubSub] {
        core.status(service, "it is offline", |status| status["state"] == "OFFLINE").await;
    }
}

/// Wake-ups of all threads, as the kernel counts them.
fn wake_ups(core: &Core) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", core.world.agent.as_ref().unwrap().id())).unwrap();
    let switches = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::to_owned));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    tasks.map(|task| switches(task.unwrap())).sum()
}

/// The goal is 12 wake-ups a minute; the bound is that of `resource_budget.rs`, for the same
/// reason.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_agent_sleeps_with_both_transports_on() {
    let core = Core::running(Kind::Lite, 10).await;
    // What the start leaves to do is done.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (before, messages) = (wake_ups(&core), core.nucleus.published(Service::IotCore).len());
    let seconds = 30;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let wake_ups = (wake_ups(&core) - before) * 60 / seconds;
    println!("{wake_ups} wake-ups a minute");
    assert!(wake_ups <= 60, "{wake_ups} wake-ups a minute");
    assert_eq!(core.nucleus.published(Service::IotCore).len(), messages, "each message to AWS IoT Core has its price");
}
