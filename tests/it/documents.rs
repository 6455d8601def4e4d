//! The examples of `docs/` are what the agent accepts: each is compared with the agent's own
//! topics, configuration and commands.

use std::{collections::BTreeSet, fs, path::PathBuf};

use offboard::{
    domain::{CallKind, ClientId, DeviceState, ThingName},
    protocol::{ResultKind, Topics, metrics::METRICS},
};
use serde_json::{Value, json};

mod monitoring;
mod pages;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn example(name: &str) -> Value {
    serde_json::from_str(&text(&format!("examples/{name}"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn topics() -> Topics {
    Topics::new("offboard", &ThingName::new("MyCore").unwrap())
}

/// What the agent publishes to, for a client of that name.
fn published(client: &str) -> Vec<String> {
    let (topics, client) = (topics(), ClientId::new(client).unwrap());
    let kinds = [ResultKind::Accepted, ResultKind::Rejected, ResultKind::Completed];
    let mut all: Vec<String> =
        kinds.into_iter().map(|kind| topics.result(&client, "disassociate-client-devices", kind)).collect();
    all.extend([topics.status(), topics.device(&ThingName::new("sensor-7").unwrap())]);
    all
}

fn command(client: &str) -> String {
    let topic = format!("offboard/MyCore/commands/{client}/disassociate-client-devices");
    assert_eq!(topics().parse_command(&topic).unwrap().client.unwrap().name(), client);
    topic
}

/// As IAM, IoT Core and client-device-auth read a `*`: it crosses slashes, too.
fn allows(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| allows(rest, &tail[at..]))
        }),
    }
}

/// As MQTT matches a topic with a filter.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// The pages for operators.
const PAGES: [&str; 2] = ["greengrass.md", "greengrass-lite.md"];

/// Both pages, one after the other.
fn pages() -> String {
    PAGES.map(text).concat()
}

/// The fenced blocks in that language, each with the text before it.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("```{language}\n");
    let starts = document.match_indices(&fence).map(|(at, _)| at);
    starts.map(|at| (&document[..at], document[at + fence.len()..].split("```").next().unwrap())).collect()
}

#[test]
fn each_example_in_a_document_is_its_file() {
    let mut shown = BTreeSet::new();
    for document in PAGES.map(text) {
        for language in ["json", "yaml"] {
            for (before, block) in blocks(&document, language) {
                let name = before.trim_end().rsplit('`').nth(1).and_then(|name| name.strip_prefix("docs/examples/"));
                let name = name.unwrap_or_else(|| panic!("a block that names no file: {block}"));
                assert_eq!(block, text(&format!("examples/{name}")), "{name}");
                shown.insert(name.to_owned());
            }
        }
    }
    for entry in fs::read_dir(path("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".json") {
            example(&name);
        }
        let linked = (pages() + &text("metrics.md")).contains(&format!("(examples/{name})"));
        assert!(shown.contains(&name) || linked, "{name} is in no document");
    }
}

#[test]
fn the_role_has_what_the_agent_calls_and_no_more() {
    let statement = example("token-exchange-role-policy.json")["Statement"][0].clone();
    let always = [CallKind::Disassociate, CallKind::List].map(|kind| kind.traits().action);
    assert_eq!(statement["Action"], json!(always));
    let if_used = &example("sitewise-role-policy.json")["Statement"];
    let switched = CallKind::ALL.into_iter().filter(|kind| kind.traits().service.hosts().switch.is_some());
    let allowed: Vec<&Value> = if_used.as_array().unwrap().iter().map(|statement| &statement["Action"]).collect();
    assert_eq!(allowed, switched.map(|kind| kind.traits().action).collect::<Vec<_>>());
    for kind in CallKind::ALL {
        assert!(pages().contains(kind.traits().action), "{kind:?} needs a permission that no page names");
    }
    let resource = statement["Resource"].as_str().unwrap().replace("${credentials-iot:ThingName}", "MyCore");
    let of = |core: &str| format!("arn:aws:greengrass:eu-central-1:123456789012:coreDevices:{core}");
    assert!(allows(&resource, &of("MyCore")) && !allows(&resource, &of("AnotherCore")), "each core for itself");
}

fn merge_of(component: &str) -> Value {
    let merge = &example("deployment.json")["components"][component]["configurationUpdate"]["merge"];
    serde_json::from_str(merge.as_str().expect("the API wants a string")).unwrap()
}

/// What a configuration in an example comes to on the core.
fn configured(agent: &Value) -> offboard::config::Config {
    let env = |name: &str| match name {
        "AWS_IOT_THING_NAME" => Some("MyCore".to_owned()),
        "AWS_REGION" => Some("eu-central-1".to_owned()),
        _ => None,
    };
    let (config, unknown) = offboard::config::parse(&agent.to_string(), env).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    config
}

#[test]
fn the_deployment_configures_the_agent() {
    let deployment = example("deployment.json");
    assert_eq!(deployment["components"]["com.offboard.Agent"]["componentVersion"], env!("CARGO_PKG_VERSION"));
    for line in pages().lines().filter(|line| line.contains("com.offboard.Agent=")) {
        let version = line.split("com.offboard.Agent=").nth(1).unwrap().split_whitespace().next().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "{line}");
    }
    let merge = merge_of("com.offboard.Agent");
    assert_eq!(merge.as_object().unwrap().keys().collect::<Vec<_>>(), ["agent", "brokerCaFile"]);
    let mqtt = configured(&merge["agent"]).mqtt.unwrap();
    assert!(mqtt.tls && mqtt.identity.is_some());
    assert_eq!(mqtt.ca_file, None, "the copy of brokerCaFile is used, whose path changes with the version");
    let versions = pages();
    let mut versions = versions.split("artifacts/com.offboard.Agent/").skip(1);
    assert!(versions.all(|rest| rest.starts_with(env!("CARGO_PKG_VERSION"))), "a path of another version");
}

/// Every string and every list below `value`.
fn values<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| values(item, found)),
        Value::Object(members) => members.values().for_each(|item| values(item, found)),
        _ => {}
    }
}

#[test]
fn nucleus_lite_is_configured_the_same_by_a_file_and_by_a_deployment() {
    let merge = example("lite.json");
    let file: Value = serde_saphyr::from_str(&text("examples/lite-config.yaml")).unwrap();
    assert_eq!(file, json!({"services": {"com.offboard.Agent": {"configuration": merge}}}));
    let mqtt = configured(&merge["agent"]).mqtt.unwrap();
    assert!(mqtt.tls && mqtt.ca_file.is_some() && mqtt.identity.is_some());
    let acl = text("examples/mosquitto.acl");
    assert!(acl.contains(&format!("\nuser {}\n", mqtt.client_id)), "the client id is the user name");
    // What nucleus lite 2.6.0 cannot pass on.
    let mut found = Vec::new();
    values(&merge, &mut found);
    for value in found {
        assert!(!value.is_string() || !value.to_string().contains('\''), "{value}");
        assert!(!value.is_array() || value.to_string().len() <= 1024, "{value}");
    }
}

/// The resources of a device group's policy, for a thing of that name.
fn resources(policy: &str, operation: &str, thing: &str) -> Vec<String> {
    let auth = merge_of("aws.greengrass.clientdevices.Auth");
    let statements = auth["deviceGroups"]["policies"][policy].as_object().unwrap().clone();
    let fitting = statements.values().filter(|one| one["operations"].as_array().unwrap().contains(&json!(operation)));
    fitting
        .flat_map(|one| one["resources"].as_array().unwrap().clone())
        .map(|one| one.as_str().unwrap().replace("${iot:Connection.Thing.ThingName}", thing))
        .collect()
}

fn granted(policy: &str, operation: &str, thing: &str, resource: &str) -> bool {
    resources(policy, operation, thing).iter().any(|pattern| allows(pattern, resource))
}

#[test]
fn the_device_groups_let_the_agent_work_and_tie_a_command_to_its_sender() {
    let agent = configured(&json!({})).mqtt.unwrap().client_id;
    let definitions = &merge_of("aws.greengrass.clientdevices.Auth")["deviceGroups"]["definitions"];
    let rule = |group: &str| definitions[group]["selectionRule"].as_str().unwrap().to_owned();
    assert!(allows(rule("Offboard").strip_prefix("thingName: ").unwrap(), &agent), "by its default name");
    assert!(!allows(rule("Operators").strip_prefix("thingName: ").unwrap(), &agent));
    let policy = "OffboardAgent";
    assert!(granted(policy, "mqtt:connect", &agent, &format!("mqtt:clientId:{agent}")));
    // A filter is compared by its text.
    assert!(granted(policy, "mqtt:subscribe", &agent, &format!("mqtt:topicfilter:{}", topics().commands())));
    for topic in published("bench-tool") {
        assert!(granted(policy, "mqtt:publish", &agent, &format!("mqtt:topic:{topic}")), "{topic}");
    }
    assert!(!granted(policy, "mqtt:publish", &agent, &format!("mqtt:topic:{}", command("bench-tool"))));

    let (policy, tool) = ("OffboardOperator", "bench-tool");
    let publish = |topic: &str| granted(policy, "mqtt:publish", tool, &format!("mqtt:topic:{topic}"));
    assert!(publish(&command(tool)) && !publish(&command("another")));
    // Allowed by the policy, whose `*` crosses slashes, and received by no client.
    let around = "offboard/MyCore/commands/another/x/commands/bench-tool/sync";
    assert!(publish(around) && topics().parse_command(around).is_none() && !matches(&topics().commands(), around));
    let subscribe = |filter: &str| granted(policy, "mqtt:subscribe", tool, &format!("mqtt:topicfilter:{filter}"));
    assert!(subscribe("offboard/MyCore/results/bench-tool/#") && subscribe("offboard/MyCore/status"));
    assert!(!subscribe("offboard/MyCore/results/another/#") && !subscribe("offboard/#"));
}

#[test]
fn the_bridge_maps_every_topic_one_way() {
    let mapping = example("bridge.json")["mqttTopicMapping"].clone();
    let ways: Vec<(String, bool)> = mapping
        .as_object()
        .unwrap()
        .values()
        .map(|one| (one["topic"].as_str().unwrap().to_owned(), one["source"] == "IotCore"))
        .collect();
    let lines = text("examples/mosquitto-bridge.conf");
    let lines = lines.lines().filter_map(|line| line.strip_prefix("topic "));
    let mosquittos: Vec<(String, bool)> = lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(words[2], "1", "with QoS 1");
            (words[0].to_owned(), words[1] == "in")
        })
        .collect();
    for (name, ways) in [("Greengrass", ways), ("Mosquitto", mosquittos)] {
        let way = |topic: &str| -> Vec<bool> {
            ways.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, down)| *down).collect()
        };
        assert_eq!(way(&command("fleet")), [true], "{name}");
        for topic in published("fleet") {
            assert_eq!(way(&topic), [false], "{name}: {topic}");
        }
        assert!(way("offboard/AnotherCore/commands/fleet/sync").is_empty(), "{name}: another core's");
    }
}

#[test]
fn who_commands_a_fleet_does_so_in_its_own_name() {
    let policy = example("fleet-sender-policy.json");
    let resource = |action: &str| {
        let statements = policy["Statement"].as_array().unwrap();
        let statement = statements.iter().find(|one| one["Action"] == action).unwrap();
        statement["Resource"].as_str().unwrap().replace("${iot:Connection.Thing.ThingName}", "fleet")
    };
    let topic = |topic: &str| format!("arn:aws:iot:eu-central-1:123456789012:topic/{topic}");
    assert!(allows(&resource("iot:Publish"), &topic(&command("fleet"))));
    assert!(!allows(&resource("iot:Publish"), &topic(&command("another"))));
    let result = topics().result(&ClientId::new("fleet").unwrap(), "sync", ResultKind::Accepted);
    assert!(allows(&resource("iot:Receive"), &topic(&result)));
    // IoT Core's limits: 256 bytes, and 7 slashes.
    assert!(result.matches('/').count() <= 7);
}

/// The ways by Greengrass IPC: the deployment turns on what the page says, and the policy ties a
/// command to its sender.
#[test]
fn the_shortest_way_is_configured_without_a_broker_and_ties_a_command_to_its_sender() {
    let deployment = example("deployment-ipc.json");
    let component = &deployment["components"]["com.offboard.Agent"];
    assert_eq!(component["componentVersion"], env!("CARGO_PKG_VERSION"));
    let merge: Value = serde_json::from_str(component["configurationUpdate"]["merge"].as_str().unwrap()).unwrap();
    let file: Value = serde_saphyr::from_str(&text("examples/lite-ipc.yaml")).unwrap();
    for agent in [&merge["agent"], &file["services"]["com.offboard.Agent"]["configuration"]["agent"]] {
        let config = configured(agent);
        assert!(config.mqtt.is_none() && config.ipc.iot_core && !config.ipc.pubsub, "{agent}");
        assert_eq!(config.ipc.max_payload_bytes, 4900);
    }
    let policy = example("iot-core-sender-policy.json");
    let resource = policy["Statement"][0]["Resource"].as_str().unwrap().replace("${aws:username}", "alice");
    let topic = |topic: &str| format!("arn:aws:iot:eu-central-1:123456789012:topic/{topic}");
    assert!(allows(&resource, &topic(&command("alice"))) && !allows(&resource, &topic(&command("another"))));
    // A command around the policy is no command.
    let around = "offboard/MyCore/commands/another/x/commands/alice/sync";
    assert!(allows(&resource, &topic(around)) && topics().parse_command(around).is_none());
}

/// A resource is compared with the text of a filter.
#[test]
fn the_access_control_of_the_recipe_and_of_one_core_device_allow_what_the_agent_does_and_no_more() {
    let recipe: Value = serde_saphyr::from_str(&fs::read_to_string(path("../recipe.yaml")).unwrap()).unwrap();
    let of_recipe = &recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"];
    let narrow = &example("access-control.json")["accessControl"];
    for (control, others) in [(of_recipe, true), (narrow, false)] {
        let services = control.as_object().unwrap();
        assert_eq!(services.len(), 2, "{control}");
        for (service, id, operations) in [
            ("mqttproxy", "mqttproxy:1", ["PublishToIoTCore", "SubscribeToIoTCore"]),
            ("pubsub", "pubsub:1", ["PublishToTopic", "SubscribeToTopic"]),
        ] {
            let policies = services[&format!("aws.greengrass.ipc.{service}")].as_object().unwrap();
            // A narrower list takes the place of the recipe's only under the same id.
            let policy = &policies[&format!("com.offboard.Agent:{id}")];
            assert_eq!(policies.len(), 1);
            assert_eq!(policy["operations"], json!(operations.map(|name| format!("aws.greengrass#{name}"))));
            let allowed = |text: &str| {
                let resources = policy["resources"].as_array().unwrap();
                resources.iter().any(|resource| allows(resource.as_str().unwrap(), text))
            };
            let result = topics().result(&ClientId::new("alice").unwrap(), "sync", ResultKind::Accepted);
            assert!(allowed(&topics().commands()) && allowed(&topics().status()) && allowed(&result));
            assert!(!allowed("other/MyCore/status"));
            assert_eq!(allowed("offboard/AnotherCore/commands/+/+"), others);
        }
    }
}

#[test]
fn the_commands_are_ones_that_the_agent_takes() {
    let core = ThingName::new("MyCore").unwrap();
    for (example, operation) in [
        ("command", "disassociate-client-devices"),
        ("command", "associate-client-devices"),
        ("disassociate-assets", "disassociate-assets"),
        ("disassociate-project-assets", "disassociate-project-assets"),
    ] {
        let payload = text(&format!("examples/{example}.json"));
        let (token, parsed) = offboard::protocol::parse_command(&core, operation, payload.as_bytes(), 100_000);
        assert!(token.is_some() && parsed.is_ok(), "{operation}: {:?}", parsed.err());
    }
}
