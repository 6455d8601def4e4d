//! What docs/ shows is what the agent takes: each example is a file, and is held against the agent's own topics,
//! configuration and commands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use offboard::{
    model::{ClientId, Lane, ThingName},
    wire::{ResultKind, Topics},
};
use serde_json::{Value, json};

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
    assert_eq!(topics().parse_command(&topic).unwrap().client.unwrap().as_str(), client);
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

#[test]
fn each_example_in_a_document_is_its_file() {
    let document = text("greengrass.md");
    let mut shown = BTreeSet::new();
    for part in document.split("```json\n").skip(1) {
        let block = part.split("```").next().unwrap();
        let before = &document[..part.as_ptr() as usize - document.as_ptr() as usize - "```json\n".len()];
        let name = before.trim_end().rsplit('`').nth(1).and_then(|name| name.strip_prefix("docs/examples/"));
        let name = name.unwrap_or_else(|| panic!("a block of JSON that names no file: {block}"));
        assert_eq!(block, text(&format!("examples/{name}")), "{name}");
        shown.insert(name.to_owned());
    }
    for entry in fs::read_dir(path("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".json") {
            example(&name);
            assert!(shown.contains(&name), "{name} is shown nowhere");
        } else {
            assert!(document.contains(&format!("(examples/{name})")), "{name} is linked to nowhere");
        }
    }
}

#[test]
fn the_role_has_what_the_agent_calls_and_no_more() {
    let statement = example("token-exchange-role-policy.json")["Statement"][0].clone();
    let always = [Lane::Disassociate, Lane::List].map(|lane| lane.traits().action);
    assert_eq!(statement["Action"], json!(always));
    let if_used = &example("sitewise-role-policy.json")["Statement"];
    for (n, lane) in [Lane::Assets, Lane::ProjectAssets].into_iter().enumerate() {
        assert_eq!(if_used[n]["Action"], lane.traits().action);
    }
    for lane in Lane::ALL {
        assert!(
            text("greengrass.md").contains(lane.traits().action),
            "{lane:?} needs a permission that is told nowhere"
        );
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
    for line in text("greengrass.md").lines().filter(|line| line.contains("com.offboard.Agent=")) {
        let version = line.split("com.offboard.Agent=").nth(1).unwrap().split_whitespace().next().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "{line}");
    }
    let merge = merge_of("com.offboard.Agent");
    assert_eq!(merge.as_object().unwrap().keys().collect::<Vec<_>>(), ["agent", "brokerCaFile"]);
    let mqtt = configured(&merge["agent"]).mqtt.unwrap();
    assert!(mqtt.tls && mqtt.identity.is_some());
    assert_eq!(mqtt.ca_file.unwrap().to_str(), Some("broker-ca.pem"), "where the recipe's install step puts it");
    assert!(!configured(&example("lite.json")["agent"]).mqtt.unwrap().tls);
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
    // Let by the policy, whose `*` crosses slashes, and taken by nobody.
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
        let (token, parsed) = offboard::wire::parse_command(&core, operation, payload.as_bytes(), 100_000);
        assert!(token.is_some() && parsed.is_ok(), "{operation}: {:?}", parsed.err());
    }
}
