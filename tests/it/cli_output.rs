//! Golden files of the command line: the built binary prints what `docs/screens` shows.
//!
//! `INSTA_UPDATE=always cargo test --locked --test it cli_output::` writes the files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::common::{screens::*, tls::*, *};

/// Runs a command as a person would, and gives the prompt, what it said, and its exit status.
fn screen(world: &World, known: bool, words: &[&str]) -> String {
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(words).env_clear().stdin(Stdio::null()).current_dir(world.dir.path());
    command.env("OFFBOARD_CONFIG", world.config.to_string()).env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
    if known {
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", world.cloud.credentials_uri());
        command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", world.cloud.authorization_token());
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let status = output.status.code().unwrap();
    let shown: Vec<&str> = words.iter().copied().filter(|word| !["--timeout", "3"].contains(word)).collect();
    let said = format!(
        "$ offboard {}\n{}{}$ echo $?\n{status}\n",
        shown.join(" "),
        text(&output.stderr),
        text(&output.stdout)
    );
    settled(world, &said)
}

/// Without the places of this run.
fn settled(world: &World, text: &str) -> String {
    let home = world.dir.path().display().to_string();
    let endpoint = world.cloud.endpoint();
    let user = Command::new("id").arg("-un").output().unwrap();
    let text = text
        .replace(&home, "/greengrass")
        .replace(endpoint.trim_end_matches('/'), "https://greengrass.eu-central-1.amazonaws.com")
        .replace(&format!("@{}", String::from_utf8_lossy(&user.stdout).trim()), "@operator");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Compares the text with the golden file, without free room and seconds.
fn assert_output(name: &str, text: &str) {
    assert_screen(name, text, |text| {
        let differs = |line: &str| ["data directory", "clock"].iter().any(|start| line.starts_with(start));
        let line = |line: &str| words(&if differs(line) { without_digits(line) } else { line.to_owned() });
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_two_hundred_and_fifty_fail() {
    let (world, _client) = World::running(300).await;
    let failing = Action::EntryErrors {
        things: vec!["d0017".into(), "d0204".into()],
        code: "ResourceInUseException".into(),
        message: "the client device is being moved by another operation".into(),
        omit_name: false,
    };
    world.fault(failing, None);
    fs::write(world.dir.path().join("retired.txt"), names(0..250).join("\n")).unwrap();
    let plan = screen(&world, false, &["disassociate", "--from-file", "retired.txt", "--dry-run"]);
    let done =
        screen(&world, false, &["disassociate", "--from-file", "retired.txt", "--token", "line-3", "--reason", "sold"]);
    let one = screen(&world, false, &["devices", "d0017", "--history"]);
    assert!(done.contains("PARTIALLY_SUCCEEDED: 248 of 250 entries"), "{done}");
    assert_output("disassociate", &format!("{plan}{done}{one}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_well_set_up() {
    let (mut world, ..) = with_mutual_tls("", Vec::new()).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    let text = screen(&world, false, &["check"]);
    assert!(text.ends_with("$ echo $?\n0\n"), "{text}");
    assert_output("check-well", &text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_broken_set_ups() {
    let mut all = String::new();
    let mut add = |what: &str, text: String| all.push_str(&format!("# {what}\n{text}\n"));
    let check = ["check", "--timeout", "3"];
    let (mut world, ..) = with_mutual_tls("", Vec::new()).await;
    let data = world.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let right = world.config["mqtt"]["caFile"].clone();
    let other = world.dir.path().join("other.pem");
    fs::write(&other, authority("another authority").pem()).unwrap();
    world.set("mqtt.caFile", json!(other));
    add("mqtt.caFile is another authority's", screen(&world, true, &check));
    world.set("mqtt.caFile", right);
    add("the token exchange service is not there", screen(&world, false, &check));
    world.cloud.inject(Fault { operation: Some(Operation::List), times: None, action: Action::Deny });
    add("the role lacks a permission", screen(&world, true, &check));
    world.cloud.clear_faults();
    world.cloud.set_clock_offset(-3600);
    add("this device's clock is an hour ahead", screen(&world, true, &check));
    let world = denied_subscription().await;
    add("the broker's policy lacks the subscription", screen(&world, true, &check));
    assert_eq!(all.matches("$ echo $?\n1\n").count(), 5, "{all}");
    assert_output("check-broken", &all);
}
