//! README.md shows what happens: each of its blocks is run, or compared with the schemas and the
//! agent's parsers.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

use crate::common::{contract::check, *};

/// How long nothing is seen of a command until it is sent again, as the README says.
const AGAIN: Duration = Duration::from_secs(5);

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The fenced blocks with what language they say they are in.
fn blocks() -> Vec<(String, String)> {
    let text = document("README.md");
    let parts: Vec<&str> = text.split("```").collect();
    assert!(parts.len() % 2 == 1, "a block is left open");
    let fenced = parts.chunks(2).filter_map(|pair| pair.get(1));
    fenced.map(|block| block.split_once('\n').unwrap()).map(|(kind, text)| (kind.into(), text.into())).collect()
}

/// The one block of that kind with that in it.
fn block(kind: &str, with: &str) -> String {
    let found: Vec<_> = blocks().into_iter().filter(|(is, text)| is == kind && text.contains(with)).collect();
    assert_eq!(found.len(), 1, "{kind} with {with}: {found:?}");
    found.into_iter().next().unwrap().1
}

#[test]
fn each_block_has_its_test() {
    let known = [
        ("", "bench tool ── command"),
        // These two are run in tests/sandbox/tests/demo.rs; all of it by `tests/run`, which is the
        // next.
        ("sh", "cargo demo"),
        ("sh", ". target/demo/env"),
        ("sh", "tests/run"),
        ("sh", "OFFBOARD_CONFIG="),
        ("sh", "mosquitto_pub"),
        ("", "/accepted {"),
        ("sh", "offboard disassociate sensor-7"),
        ("json", "\"state\":\"ONLINE\""),
    ];
    for (kind, text) in blocks() {
        let fits = known.iter().filter(|(is, with)| *is == kind && text.contains(with));
        assert_eq!(fits.count(), 1, "no test knows what this is:\n{text}");
    }
    assert_eq!(blocks().len(), known.len());
    assert!(document(".cargo/config.toml").contains("demo ="), "cargo demo");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/run").exists());
}

#[test]
fn the_configuration_is_one() {
    let text = block("sh", "OFFBOARD_CONFIG=");
    let json = text.split('\'').nth(1).unwrap();
    let (_, unknown) = offboard::config::parse(json, |_| None).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_status_is_one() {
    let status = serde_json::from_str(&block("json", "\"state\":\"ONLINE\"")).unwrap();
    check("status", &status).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(document("README.md").contains(r#"`{"state":"OFFLINE"}`"#));
    check("status", &json!({"state": "OFFLINE"})).unwrap();
}

#[test]
fn the_table_of_operations_has_all_their_members() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas");
    let members = |operation: &str| -> BTreeSet<String> {
        let schema: Value =
            serde_json::from_str(&fs::read_to_string(schemas.join(format!("{operation}.json"))).unwrap()).unwrap();
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let text = document("README.md");
    let table =
        text.split("| operation | payload beside `clientToken` |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut shown = BTreeSet::new();
    for row in table.lines().filter(|row| row.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split(" | ");
        let operation = cells.next().unwrap().trim().trim_matches('`').to_owned();
        let cell = cells.next().unwrap();
        let named: BTreeSet<String> = cell
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|code| code.split(':').next().unwrap().to_owned())
            .filter(|word| word.chars().next().is_some_and(char::is_lowercase))
            .collect();
        let known = members(&operation);
        assert!(named.is_subset(&known), "{operation}: {named:?}, and it has {known:?}");
        // Where a row refers to another one, the other one has them.
        if !cell.contains("same") && !cell.contains("from `force` on") {
            let missing: Vec<_> =
                known.iter().filter(|name| !named.contains(*name) && name.as_str() != "clientToken").collect();
            assert!(missing.is_empty(), "{operation}: {missing:?} are not named");
        }
        shown.insert(operation);
    }
    let all = offboard::domain::Operation::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(shown, all);
}

#[test]
fn the_commands_that_docs_shows_are_valid() {
    for (example, operation) in [
        ("command", "disassociate-client-devices"),
        ("command", "associate-client-devices"),
        ("disassociate-assets", "disassociate-assets"),
        ("disassociate-project-assets", "disassociate-project-assets"),
    ] {
        check(operation, &serde_json::from_str(&document(&format!("docs/examples/{example}.json"))).unwrap()).unwrap();
    }
}

/// A world with the devices that the README names.
async fn world_of_sensors() -> World {
    let mut world = World::new(10).await;
    let sensors = (6..10).map(|n| format!("sensor-{n}"));
    world.cloud.associate_at(
        CORE,
        sensors.collect::<Vec<_>>(),
        std::time::SystemTime::now() - Duration::from_secs(3600),
    );
    world.start_agent();
    let client = world.client("watcher").await;
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    world
}

/// A line with all times made one.
fn timeless(line: &str) -> String {
    let mut parts = line.split("At\":\"");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_once('"').unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
        text += &format!("At\":\"…\"{rest}");
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_command_is_answered_as_shown() {
    let world = world_of_sensors().await;
    let mut script = block("sh", "mosquitto_pub");
    for tool in ["mosquitto_sub ", "mosquitto_pub "] {
        script = script.replace(tool, &format!("{tool}-p {} ", world.broker.port));
    }
    let publish = &script[script.find("mosquitto_pub").unwrap()..];
    let shell = |script: &str| {
        Command::new("sh").args(["-ec", script]).process_group(0).stdout(Stdio::piped()).spawn().unwrap()
    };
    // Waits for what the script leaves in the background, so that its group has a leader until the
    // end.
    let mut child = shell(&format!("{script}\nwait"));
    let (sender, lines) = sync_channel(10);
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let shown = block("", "/accepted {");
    let start = Instant::now();
    for (n, expected) in shown.lines().enumerate() {
        let line = loop {
            assert!(start.elapsed() < PATIENCE, "nothing comes");
            match lines.recv_timeout(AGAIN) {
                // Its `accepted` came before anybody listened.
                Ok(line) if n == 0 && line.contains("/completed ") => {}
                Ok(line) => break line,
                // It was answered before anybody listened.
                Err(RecvTimeoutError::Timeout) => assert!(shell(publish).wait().unwrap().success()),
                Err(RecvTimeoutError::Disconnected) => panic!("mosquitto_sub has ended"),
            }
        };
        assert_eq!(timeless(&line), timeless(expected));
        for one in [line.as_str(), expected] {
            let (topic, payload) = one.split_once(' ').unwrap();
            check(contract::schema_of(topic).unwrap(), &serde_json::from_str(payload).unwrap()).unwrap();
        }
    }
    let kill = Command::new("kill").args(["-TERM", "--", &format!("-{}", child.id())]).status().unwrap();
    assert!(kill.success());
    child.wait().unwrap();
    let sent = script.split('\'').find(|part| part.contains("clientToken")).unwrap();
    check("disassociate-client-devices", &serde_json::from_str(sent).unwrap()).unwrap();
    assert_eq!(world.disassociations("sensor-7"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_for_the_core_itself_work() {
    let world = world_of_sensors().await;
    fs::write(world.dir.path().join("retired.txt"), "sensor-9\n").unwrap();
    let run = |line: &str| {
        let script = format!("offboard() {{ {} \"$@\"; }}\n{line}", product().join(" "));
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("OFFBOARD_DATA_DIR", world.dir.path().join("data"))
            .current_dir(world.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{line}: {text}");
        text
    };
    run("offboard disassociate sensor-6 --token retire-7");
    // The full screen has a terminal in tests/it/watch.rs.
    for line in block("sh", "offboard disassociate sensor-7").lines().filter(|line| !line.contains("offboard watch")) {
        println!("{line}\n{}", run(line));
    }
    assert_eq!(
        (world.disassociations("sensor-7"), world.disassociations("sensor-8"), world.disassociations("sensor-9")),
        (1, 1, 0)
    );
    assert!(world.cloud.associated(CORE).contains_key("sensor-7"), "and back");
}
