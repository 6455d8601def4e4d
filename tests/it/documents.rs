//! The examples of `docs/` are what the agent accepts: each is compared with the agent's own
//! topics, configuration and commands.

use std::{collections::BTreeSet, fs, path::PathBuf};

use offboard::{
    domain::{CallKind, ClientId, DeviceState, ThingName},
    protocol::{ResultKind, Topics, metrics::METRICS},
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

/// Every Markdown file of the repository, relative to docs/.
fn markdown() -> Vec<String> {
    let mut all: Vec<String> =
        ["benches", "fuzz", "tests", "tests/sandbox"].iter().map(|dir| format!("../{dir}/README.md")).collect();
    for dir in ["..", "."] {
        let names = fs::read_dir(path(dir)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("{dir}/{name}")));
    }
    all.sort();
    all
}

/// The lines outside of fenced blocks, with their numbers.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    (1..).zip(document.lines()).filter(move |(_, line)| {
        let mark = line.trim_start().get(..3).filter(|mark| ["```", "~~~"].contains(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return true,
            _ => {}
        }
        false
    })
}

/// The anchors that GitHub makes of a document's headings.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(document).filter(|(_, line)| line.starts_with('#')) {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // A heading that occurs again gets a number.
        let repeated = (1..).map(|n| format!("{anchor}-{n}"));
        let free = std::iter::once(anchor.clone()).chain(repeated).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// What a document links to, with the lines; inline links, images and definitions of references.
fn links(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(document) {
        let inline = line.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
        found.extend(inline.chain(definition).map(|link| (number, link.to_owned())));
    }
    found
}

#[test]
fn each_relative_link_leads_to_a_file_and_each_anchor_to_a_heading() {
    let mut count = 0;
    for page in markdown() {
        for (number, link) in links(&text(&page)) {
            if link.starts_with("http") {
                continue;
            }
            let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path(&page) } else { path(&page).parent().unwrap().join(file) };
            assert!(target.exists(), "{page}, line {number}: there is no {link}");
            if !wanted.is_empty() {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                assert!(headings.contains(wanted), "{page}, line {number}: {link} is not among {headings:?}");
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn the_table_of_contents_has_every_page() {
    let listed: BTreeSet<String> = links(&text("SUMMARY.md")).into_iter().map(|(_, link)| link).collect();
    for page in markdown() {
        let link = page.strip_prefix("./").unwrap_or(&page);
        assert!(listed.contains(link) || link == "SUMMARY.md", "docs/SUMMARY.md lacks {link}");
    }
}

/// The rows of the table below a heading of the interface page, cell by cell.
fn table_below(heading: &str) -> Vec<Vec<String>> {
    let page = text("interface.md");
    let section = page.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

/// The words of a cell that are set as code.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Every value below `value` that is no object, with its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(member, &path, found);
            }
        }
        leaf => found.push((path.to_owned(), leaf.clone())),
    }
}

#[test]
fn the_interface_has_every_key_with_its_default() {
    let recipe = fs::read_to_string(path("../recipe.yaml")).unwrap();
    let recipe: Value = serde_saphyr::from_str(&recipe).unwrap();
    let mut keys = Vec::new();
    leaves(&recipe["ComponentConfiguration"]["DefaultConfiguration"]["agent"], "", &mut keys);
    let rows = table_below("### Keys");
    let shown: BTreeSet<&str> = rows.iter().flat_map(|row| codes(&row[0])).collect();
    assert_eq!(shown, keys.iter().map(|(key, _)| key.as_str()).collect());
    for (key, default) in &keys {
        let row = rows.iter().find(|row| codes(&row[0]).contains(&key.as_str())).unwrap();
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        assert!(row[1].contains(&default), "{key}: {default} is not in {:?}", row[1]);
    }
}

#[test]
fn the_interface_has_every_operation_with_its_members() {
    let channels: Value = serde_json::from_str(&text("asyncapi.json")).unwrap();
    let addresses = channels["channels"].as_object().unwrap().values().map(|one| one["address"].as_str().unwrap());
    let operations: BTreeSet<&str> =
        addresses.filter_map(|one| Some(one.split_once("/commands/{client}/")?.1)).collect();
    let rows = table_below("### Operations");
    assert_eq!(rows.iter().flat_map(|row| codes(&row[0])).collect::<BTreeSet<_>>(), operations);
    for row in rows {
        let operation = codes(&row[0])[0];
        let schema: Value = serde_json::from_str(&text(&format!("schemas/{operation}.json"))).unwrap();
        let mut known: BTreeSet<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        known.remove("clientToken");
        let shown: BTreeSet<&str> = codes(&row[1]).into_iter().map(|code| code.split(':').next().unwrap()).collect();
        assert_eq!(shown, known, "{operation}");
    }
}

#[test]
fn the_interface_has_every_word_of_the_messages() {
    /// The lists of words in a schema.
    fn words(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| words(item, found)),
            Value::Object(members) => {
                let list = members.get("enum").and_then(Value::as_array).into_iter().flatten();
                found.extend(list.filter_map(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| words(member, found));
            }
            _ => {}
        }
    }
    let page = text("interface.md");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path("schemas")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Metrics have a page of their own.
        if name != "metrics.json" {
            words(&serde_json::from_str(&text(&format!("schemas/{name}"))).unwrap(), &mut found);
        }
    }
    assert!(found.len() > 30, "{found:?}");
    let missing: Vec<_> = found.iter().filter(|word| !page.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Both runtimes give the deployed binary to the component's user.
#[test]
fn no_document_has_root_run_what_the_components_user_owns() {
    let documents = pages() + &text("../README.md");
    let mut runs = 0;
    for (_, block) in blocks(&documents, "sh") {
        for line in block.lines().filter(|line| line.contains("offboard-aarch64 ") && !line.contains("install ")) {
            assert!(line.starts_with("sudo -u gg"), "{line}");
            runs += 1;
        }
    }
    assert!(runs >= 3, "{runs}");
}

#[test]
fn the_pages_wrap_at_100_columns() {
    for page in markdown().into_iter().filter(|page| !page.contains("sandbox")) {
        let document = text(&page);
        for (number, line) in prose(&document) {
            // A link cannot be broken.
            let may = line.starts_with('|') || !line.trim().contains(' ') || line.chars().count() <= 100;
            assert!(may, "{page}, line {number}: {line}");
        }
    }
}

/// Words of the project's early dialect. docs/metrics.md quotes the agent's output.
#[test]
fn the_pages_use_the_standard_terms() {
    for page in markdown().into_iter().filter(|page| !page.contains("sandbox")) {
        let document = text(&page);
        for (number, line) in prose(&document) {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_lowercase);
            let found = words.find(|word| ["told", "aside", "doubt", "whoever"].contains(&word.as_str()));
            assert_eq!(found, None, "{page}, line {number}: {line}");
        }
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

/// The queries below `value`, each with the title of its panel or the name of its alert: those of
/// the alert rules, and of the dashboard's panels and variables.
fn queries(value: &Value, title: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| queries(item, title, found)),
        Value::Object(members) => {
            let own = ["alert", "title", "label"].iter().find_map(|name| members.get(*name)?.as_str());
            let title = own.unwrap_or(title);
            for (name, member) in members {
                match member.as_str() {
                    Some(query) if ["expr", "query"].contains(&name.as_str()) && query != "prometheus" => {
                        found.push((title.to_owned(), query.to_owned()));
                    }
                    _ => queries(member, title, found),
                }
            }
        }
        _ => {}
    }
}

/// The identifiers of a query, and its matchers: the label and the values that it names.
fn words_of(query: &str) -> (BTreeSet<String>, Vec<(String, Vec<String>)>) {
    let (mut identifiers, mut matchers) = (BTreeSet::new(), Vec::new());
    let mut last = String::new();
    for (n, part) in query.split('"').enumerate() {
        if n % 2 == 1 {
            matchers.push((last.clone(), part.split('|').map(str::to_owned).collect()));
            continue;
        }
        for word in part.split(|c: char| !(c.is_ascii_alphanumeric() || "_$:".contains(c))) {
            // The others are numbers, durations and variables of Grafana.
            if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                word.clone_into(&mut last);
                identifiers.insert(last.clone());
            }
        }
    }
    (identifiers, matchers)
}

fn alert_rules() -> Value {
    serde_saphyr::from_str(&text("examples/prometheus-rules.yaml")).unwrap()
}

#[test]
fn the_alerts_and_the_dashboard_use_metrics_and_labels_that_exist() {
    // Prometheus and the node exporter have these.
    let others = ["up", "node_textfile_mtime_seconds"];
    let agents = METRICS.iter().flat_map(|(name, kind, _)| match *kind {
        "histogram" => vec![format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count")],
        _ => vec![(*name).to_owned()],
    });
    let metrics: BTreeSet<String> = agents.chain(others.map(str::to_owned)).collect();
    let labels = "action answer code command core_device file instance le outcome state status version via";
    let language = "abs and by changes count histogram_quantile increase label_values max max_over_time on or rate sum time unless \
                    vector without";
    let known: BTreeSet<&str> = labels.split(' ').chain(language.split_whitespace()).collect();

    let page = text("metrics.md");
    let answers = page.split("| answer |").nth(1).unwrap().lines().skip(2).map_while(|row| row.split('|').nth(1));
    let answers: Vec<&str> = answers.map(str::trim).chain(["ok"]).collect();
    let states = DeviceState::ALL.iter().map(|state| state.as_str()).chain(["revoked", "pending", "failed"]);
    let values = [("answer", answers), ("outcome", vec!["succeeded", "failed", "silent"]), ("state", states.collect())];

    let mut used = BTreeSet::new();
    for (file, value) in [("rules", alert_rules()), ("dashboard", example("grafana-dashboard.json"))] {
        let mut found = Vec::new();
        queries(&value, "", &mut found);
        assert!(found.len() > 10, "{file}: {found:?}");
        for (title, query) in found {
            let (identifiers, matchers) = words_of(&query);
            let (here, rest): (Vec<_>, Vec<_>) = identifiers.into_iter().partition(|word| metrics.contains(word));
            assert!(!here.is_empty(), "{file}, {title}: {query} has no metric");
            let unknown: Vec<_> = rest.iter().filter(|word| !known.contains(word.as_str())).collect();
            assert!(unknown.is_empty(), "{file}, {title}: {unknown:?}");
            for (label, named) in matchers {
                let Some((_, values)) = values.iter().find(|(name, _)| *name == label) else { continue };
                assert!(named.iter().all(|value| values.contains(&value.as_str())), "{title}: {label} {named:?}");
            }
            if file == "dashboard" && !query.starts_with("label_values") {
                let selectors = query.matches('{').count();
                let chosen = query.matches("core_device=~\"$core_device\"").count();
                assert_eq!((chosen, selectors > 0), (selectors, true), "{title}: {query}");
            }
            used.extend(here);
        }
    }
    let unused: Vec<_> = metrics.difference(&used).filter(|name| !name.ends_with("_sum")).collect();
    assert!(unused.is_empty(), "neither an alert nor a panel uses {unused:?}");
}

#[test]
fn each_alert_names_its_core_device_and_has_a_severity_and_a_test() {
    let (rules, tests) = (alert_rules(), fs::read_to_string(path("../tests/alerts.yaml")).unwrap());
    let groups = rules["groups"].as_array().unwrap();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        assert!(summary.contains("{{ $labels.core_device }}"), "{name}: {summary}");
        assert!(rule["annotations"]["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}");
        // A sum over all core devices would not say which.
        let query = rule["expr"].as_str().unwrap();
        assert!(query.matches("sum").count() == query.matches("sum without (").count(), "{name}: {query}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name}: tests/alerts.yaml does not have it fire");
    }
}
