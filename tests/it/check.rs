//! `offboard check` on working and broken set-ups, with the agent running and without.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use crate::common::{tls::*, *};

/// `check` on the world's configuration, with the credentials that `known` says.
fn check(world: &World, known: bool, words: &[&str]) -> Output {
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).arg("check").args(words).env_clear().stdin(Stdio::null());
    command.env("OFFBOARD_CONFIG", world.config.to_string()).env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
    if known {
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", world.cloud.credentials_uri());
        command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", world.cloud.authorization_token());
    }
    command.output().unwrap()
}

/// Each check with its result, and what was said of `what`.
#[track_caller]
fn checks_of(output: &Output, status: i32, what: &str) -> (Vec<(String, String)>, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let member = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let checks = value["checks"].as_array().unwrap();
    let message = checks.iter().find(|one| one["check"] == what).map(|one| member(one, "message"));
    (checks.iter().map(|one| (member(one, "check"), member(one, "result"))).collect(), message.unwrap_or_default())
}

fn wrong(checks: &[(String, String)]) -> Vec<(&str, &str)> {
    checks.iter().filter(|(_, result)| result != "ok").map(|(what, result)| (what.as_str(), result.as_str())).collect()
}

const JSON: &[&str] = &["--output", "json"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_well_set_up_is_told_with_the_agent_and_without() {
    let mut world = with_mutual_tls("", Vec::new()).await.0;
    let (checks, broker) = checks_of(&check(&world, true, JSON), 0, "broker");
    assert_eq!(wrong(&checks), [("data directory", "warning"), ("agent", "warning")], "it was never started");
    assert!(
        broker.contains("subscribed to offboard/MyCore/commands/+/+, published to offboard/MyCore/status"),
        "{broker}"
    );
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    let (checks, cloud) = checks_of(&check(&world, false, JSON), 0, "cloud");
    assert_eq!(wrong(&checks), []);
    assert_eq!(cloud, "the list call is allowed; 10 devices are associated");
    let (_, certificates) = checks_of(&check(&world, false, JSON), 0, "certificates");
    assert!(
        certificates.starts_with("4 checked; the first to end: ") && certificates.contains(" is valid until "),
        "{certificates}"
    );
    let table = check(&world, false, &[]);
    let table = String::from_utf8(table.stdout).unwrap();
    let names: Vec<_> = table.lines().map(|line| line.split("  ").next().unwrap().trim()).collect();
    let expected = [
        "check",
        "configuration",
        "data directory",
        "store",
        "certificates",
        "broker",
        "credentials",
        "cloud",
        "clock",
        "quota",
        "agent",
    ];
    assert_eq!(names, expected);
}

/// Wrong authority, no credentials, no permission, a clock that is off: by the agent's own word,
/// and in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_with_what_to_do() {
    for running in [false, true] {
        let mut world = with_mutual_tls("", Vec::new()).await.0;
        let other = world.dir.path().join("other.pem");
        fs::write(&other, authority("another authority").pem()).unwrap();
        let right = world.config["mqtt"]["caFile"].clone();
        world.set("mqtt.caFile", json!(other));
        let client = world.client("bench").await;
        if running {
            world.start_agent();
            until("it says so", || world.log_lines("check mqtt.caFile") > 0).await;
        }
        let quick = ["--output", "json", "--timeout", "3"];
        let (checks, broker) = checks_of(&check(&world, true, &quick), 1, "broker");
        assert!(wrong(&checks).contains(&("broker", "error")) && broker.contains("check mqtt.caFile"), "{broker}");
        assert!(wrong(&checks).contains(&("certificates", "error")), "{checks:?}");
        if running {
            world.stop_agent();
            world.set("mqtt.caFile", right);
            world.start_agent();
            client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
        } else {
            world.set("mqtt.caFile", right);
        }

        world.cloud.inject(Fault { operation: Some(Operation::List), times: None, action: Action::Deny });
        let (checks, cloud) = checks_of(&check(&world, true, &quick), 1, "cloud");
        assert!(wrong(&checks).contains(&("cloud", "error")), "{checks:?}");
        assert!(cloud.contains("lacks greengrass:ListClientDevicesAssociatedWithCoreDevice"), "{cloud}");
        world.cloud.clear_faults();

        world.cloud.set_clock_offset(-3600);
        let (checks, clock) = checks_of(&check(&world, true, JSON), 1, "clock");
        assert!(
            wrong(&checks).contains(&("clock", "error")) && clock.contains("ahead of the cloud's; set it"),
            "{clock}"
        );
        world.cloud.set_clock_offset(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_that_is_what_is_told() {
    let mut world = World::new(10).await;
    let (checks, credentials) = checks_of(&check(&world, false, JSON), 1, "credentials");
    assert!(wrong(&checks).contains(&("credentials", "error")), "{checks:?}");
    assert!(credentials.contains("check the token exchange service"), "{credentials}");
    world.set("mqtt.url", json!("mqtt://127.0.0.1:1"));
    let (checks, broker) = checks_of(&check(&world, true, JSON), 1, "broker");
    assert!(wrong(&checks).contains(&("broker", "error")) && broker.contains("check that the broker runs"), "{broker}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_and_a_data_directory_for_all_are_told() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new(10).await;
    let data = world.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    world.set("retyr", json!({}));
    let (checks, directory) = checks_of(&check(&world, true, JSON), 0, "data directory");
    assert_eq!(wrong(&checks), [("configuration", "warning"), ("data directory", "warning"), ("agent", "warning")]);
    assert!(directory.ends_with("its mode is 755, other users may read it; run chmod 700 on it"), "{directory}");
    fs::create_dir(data.join("journal")).unwrap();
    fs::write(data.join("journal/segment-0"), vec![0x5a; 20_000]).unwrap();
    let (checks, _) = checks_of(&check(&world, true, JSON), 1, "store");
    assert!(wrong(&checks).contains(&("store", "error")), "{checks:?}");
    world.set("rate.burst", json!(0));
    let (checks, configuration) = checks_of(&check(&world, true, JSON), 1, "configuration");
    assert_eq!(
        (wrong(&checks), configuration.as_str()),
        (vec![("configuration", "error")], "rate.burst must be a whole number from 1 to 1000, not 0")
    );
    let program = product();
    let nothing = Command::new(&program[0])
        .args(&program[1..])
        .args(["check", "--data-dir", "/nothing"])
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_support_bundle_has_what_helps_and_no_secret() {
    let mut world = World::new(10).await;
    world.set("mqtt.username", json!("somebody"));
    world.set("mqtt.password", json!("hunter2"));
    world.set("token", json!("hunter3"));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client.disassociate("retire", &["d0001".into(), "stranger".into()]);
    client.result("retire", "completed").await;
    let file = world.dir.path().join("bundle.tar");
    let data = world.dir.path().join("data");
    let bundle = || {
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).arg("support-bundle").arg("--file").arg(&file).arg("--data-dir").arg(&data);
        command.env_clear().output().unwrap()
    };
    let output = bundle();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| {
        let output =
            Command::new("tar").arg("-xOf").arg(&file).arg(format!("offboard-support/{name}")).output().unwrap();
        assert!(output.status.success(), "{name}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(read("requests.json").contains("retire") && read("devices.json").contains("REQUESTED"));
    assert!(read("status.json").contains("ONLINE") && read("check.json").contains("the list call is allowed"));
    assert!(read("metrics.prom").contains("offboard_entries_total") && read("version.txt").starts_with("offboard "));
    let configuration = read("configuration.json");
    assert!(configuration.contains("somebody") && !configuration.contains("hunter"), "{configuration}");
    let again = bundle();
    let text = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten: {text}");
    assert!(text.contains("bundle.tar exists already, and is not overwritten; remove it, or name another"), "{text}");
}

/// Two agents with one name on a broker throw each other off it: one that runs is never tried in
/// its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_runs_is_asked_and_never_replaced() {
    let (mut world, client) = World::running(10).await;
    // By the configuration alone, which is another than the running agent's.
    world.set("batch.lingerMs", json!(7));
    let asked = |config: &str| {
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(["check", "--output", "json"]).env_clear().env("OFFBOARD_CONFIG", config);
        command.output().unwrap()
    };
    let (checks, agent) = checks_of(&asked(&world.config.to_string()), 0, "agent");
    assert!(agent.starts_with("version "), "{agent}");
    assert_eq!(wrong(&checks), [("configuration", "warning")], "it has to be restarted");
    // An empty variable counts as unset, so that the agent itself is asked.
    let asked_of = |variable: Option<&str>| {
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(["check", "--output", "json"]).env_clear();
        command.env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
        command.envs(variable.map(|value| ("OFFBOARD_CONFIG", value))).output().unwrap()
    };
    let without = checks_of(&asked_of(None), 0, "agent");
    assert_eq!(checks_of(&asked_of(Some("")), 0, "agent"), without);
    // Its socket is gone, and it is there all the same.
    fs::remove_file(world.dir.path().join("data/agent.sock")).unwrap();
    let (checks, agent) = checks_of(&asked(&world.config.to_string()), 1, "agent");
    assert_eq!(wrong(&checks).last(), Some(&("agent", "error")), "{checks:?}");
    assert!(agent.contains("an agent may run there, and cannot be reached"), "{agent}");
    // It runs on another data directory than this one.
    let other = tempfile::tempdir().unwrap();
    world.set("dataDir", json!(other.path()));
    let (checks, broker) = checks_of(&asked(&world.config.to_string()), 1, "broker");
    assert!(wrong(&checks).contains(&("broker", "warning")), "{checks:?}");
    assert!(
        broker.contains("not tested, because the retained status there (offboard/MyCore/status) is ONLINE"),
        "{broker}"
    );
    assert!(!client.seen().iter().any(|message| message.body["state"] == "OFFLINE"), "nobody threw it off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_support_bundle_is_written_when_the_store_is_broken_too() {
    let mut world = World::new(10).await;
    let data = world.dir.path().join("data");
    {
        let (client, _) = (world.client("first").await, world.start_agent());
        client.status("there is a store", |status| status["state"] == "ONLINE").await;
        world.stop_agent();
    }
    crate::common::sample::rewrite_headers(&data, crate::common::sample::SCHEMA, 99);
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it says so", |status| store_problems(status) == ["STORE_TOO_NEW"]).await;
    let file = world.dir.path().join("bundle.tar");
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).arg("support-bundle").arg("--file").arg(&file).arg("--data-dir").arg(&data);
    let output = command.env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = Command::new("tar").arg("-xOf").arg(&file).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains("STORE_TOO_NEW") && text.contains("newer version"), "{text}");
}

/// A recipe's default is an empty text for what is unset, and what the agent shows of it is read
/// again by `check`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recipes_own_default_configuration_is_checked_on_a_core() {
    let path = format!("recipe/com.offboard.Agent-{}.yaml", env!("CARGO_PKG_VERSION"));
    let recipe: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut world = World::new(10).await;
    let own = world.config.clone();
    world.config = recipe["ComponentConfiguration"]["DefaultConfiguration"]["agent"].clone();
    assert_eq!((&world.config["mqtt"]["username"], &world.config["mqtt"]["password"]), (&json!(""), &json!("")));
    for key in ["coreThingName", "region", "dataDir"] {
        world.set(key, own[key].clone());
    }
    world.set("mqtt.url", own["mqtt"]["url"].clone());
    world.set("cloud.greengrassEndpoint", own["cloud"]["greengrassEndpoint"].clone());
    for key in ["mqtt.caFile", "mqtt.certFile", "mqtt.keyFile"] {
        world.set(key, json!(""));
    }
    let client = world.client("bench").await;
    world.start_agent();
    // The first list is read at a random time within 120 s, or when a client asks for it.
    client.status("it is there", |status| status["state"] == "ONLINE").await;
    client.send("sync", &json!({"clientToken": "s"}));
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    // As a person on the core does: by the data directory alone.
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(["check", "--output", "json", "--data-dir"]).arg(world.dir.path().join("data"));
    let (checks, _) = checks_of(&command.env_clear().output().unwrap(), 0, "agent");
    assert_eq!(wrong(&checks), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_the_network_can_read_is_warned_of() {
    let mut world = World::new(10).await;
    world.set("mqtt.username", json!("somebody"));
    world.set("mqtt.password", json!("hunter2"));
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    assert_eq!(problem_codes(&status), Vec::<&str>::new(), "it stays on this machine");
    world.stop_agent();
    // Not this machine by its name; it need not be there.
    world.set("mqtt.url", json!("mqtt://no-such-broker.invalid:1884"));
    world.start_agent();
    until("it is logged", || world.log_lines("PASSWORD_NOT_ENCRYPTED") == 1).await;
    until("the socket is there", || world.dir.path().join("data/agent.sock").exists()).await;
    let warned = ("password".to_owned(), "warning".to_owned());
    let quick = ["--output", "json", "--timeout", "3"];
    let (checks, message) = checks_of(&check(&world, true, &quick), 1, "password");
    assert!(checks.contains(&warned), "{checks:?}");
    assert!(message.contains("no-such-broker.invalid:1884") && message.contains("mqtts://"), "{message}");
    let program = product();
    let mut status = Command::new(&program[0]);
    status.args(&program[1..]).args(["status", "--output", "json", "--data-dir"]).arg(world.dir.path().join("data"));
    let status: Value = serde_json::from_slice(&status.env_clear().output().unwrap().stdout).unwrap();
    assert!(problem_codes(&status).contains(&"PASSWORD_NOT_ENCRYPTED"), "{status}");
    assert!(!status.to_string().contains("hunter2") && !world.log().contains("hunter2"));
    world.stop_agent();
    let (checks, _) = checks_of(&check(&world, true, &quick), 1, "password");
    assert!(checks.contains(&warned), "without an agent: {checks:?}");
}

#[test]
fn a_user_in_the_address_of_a_command_is_pointed_to_the_options_for_it() {
    let program = product();
    let mut status = Command::new(&program[0]);
    status.args(&program[1..]).args(["status", "--mqtt-url", "mqtt://user:hunter2@broker", "--client-id", "me"]);
    let output = status.args(["--core-device-thing-name", CORE]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("--username") && text.contains("OFFBOARD_MQTT_PASSWORD"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_without_the_form_of_one_is_warned_of() {
    let mut world = World::new(10).await;
    world.set("region", json!("eu-central1"));
    let (_, message) = checks_of(&check(&world, true, JSON), 0, "configuration");
    assert!(message.contains("region \"eu-central1\"") && message.contains("eu-central-1"), "{message}");
}

/// An agent that cannot write has no socket, or that of an earlier run: it has not "stopped".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_read_only_disk_the_commands_say_that_it_is_the_disk() {
    for known in [false, true] {
        let (mut world, disk, client) = World::on_disk(10, 24).await;
        if known {
            world.start_agent();
            client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
            world.kill_and_forget(&client).await;
        }
        disk.remount("ro");
        world.start_agent();
        client.status("it says so", |status| store_problems(status) == ["STORE_FAILING"]).await;
        let program = product();
        let wrapper = disk.wrapper();
        let mut status = Command::new(&wrapper[0]);
        status
            .args(&wrapper[1..])
            .args(&program)
            .args(["status", "--data-dir"])
            .arg(world.dir.path().join("disk/data"));
        let output = status.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{text}");
        if known {
            assert!(text.contains("file system is read-only") && text.contains("mount it writable"), "{text}");
        } else {
            assert!(text.contains("no such directory"), "{text}");
        }
    }
}

/// An agent that starts, and one that was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_without_an_agent_is_told_from_an_agent_without_a_socket() {
    let (mut world, client) = World::running(10).await;
    let data = world.dir.path().join("data");
    let says = || {
        let program = product();
        let mut status = Command::new(&program[0]);
        status.args(&program[1..]).args(["status", "--data-dir"]).arg(&data);
        String::from_utf8(status.output().unwrap().stderr).unwrap()
    };
    fs::remove_file(data.join("agent.sock")).unwrap();
    assert!(says().contains("an agent runs there, and has not opened its socket"), "{}", says());
    world.kill_and_forget(&client).await;
    assert!(says().contains("there is no agent's socket"), "{}", says());
    world.start_agent();
    client.status("it is back", |status| status["state"] == "ONLINE").await;
    until("the socket is there", || data.join("agent.sock").exists()).await;
    world.kill();
    assert!(says().contains("it was killed and has not been started again"), "{}", says());
}
