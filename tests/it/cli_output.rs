//! Golden files of the command line: the built binary prints what `docs/screens` shows.
//!
//! `OFFBOARD_WRITE_DOCS=1 cargo test --locked --test it cli_output::` writes the files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::common::{tls::*, *};

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

/// Without what differs from run to run: places, ports, times, sizes.
fn settled(world: &World, text: &str) -> String {
    let home = world.dir.path().display().to_string();
    let endpoint = world.cloud.endpoint();
    let text = text
        .replace(&home, "/greengrass")
        .replace(endpoint.trim_end_matches('/'), "https://greengrass.eu-central-1.amazonaws.com");
    let mut settled = String::new();
    for line in text.lines() {
        let words: Vec<String> = line.split(' ').map(word).collect();
        settled.push_str(words.join(" ").trim_end());
        settled.push('\n');
    }
    let user = Command::new("id").arg("-un").output().unwrap();
    settled.replace(&format!("@{}", String::from_utf8_lossy(&user.stdout).trim()), "@operator")
}

fn word(word: &str) -> String {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_time = !bare.starts_with("4096")
        && bare.len() > 18
        && bare.as_bytes()[4] == b'-'
        && bare.contains('T')
        && bare.ends_with('Z');
    let basic = |text: &str| text.len() == 16 && text.as_bytes()[8] == b'T' && text.ends_with('Z');
    if is_time {
        return word.replace(bare, "2026-11-21T09:00:00.000Z");
    }
    if basic(bare) {
        return word.replace(bare, "20261121T090000Z");
    }
    if let Some((before, port)) = bare.rsplit_once(':')
        && before.contains("localhost")
        && port.parse::<u16>().is_ok()
    {
        return word.replace(bare, &format!("{before}:8883"));
    }
    if let Some((before, port)) = bare.rsplit_once(':')
        && before.contains("127.0.0.1")
        && port.parse::<u16>().is_ok()
    {
        return word.replace(bare, &format!("{before}:1883"));
    }
    word.to_owned()
}

/// Holds it against the file, or writes that.
fn hold(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screens").join(name);
    if std::env::var_os("OFFBOARD_WRITE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    // Free room and seconds differ, and columns are as wide as what is in them.
    let steady = |text: &str| -> Vec<String> {
        let differs = |line: &str| ["data directory", "clock"].iter().any(|start| line.starts_with(start));
        let numbers = |line: &str| line.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let lines = text.lines().map(|line| if differs(line) { numbers(line) } else { line.to_owned() });
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(
        steady(text),
        steady(&found),
        "docs/screens/{name} is out of date: OFFBOARD_WRITE_DOCS=1 cargo test --locked --test it cli_output::"
    );
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
    hold("disassociate.txt", &format!("{plan}{done}{one}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_well_set_up() {
    let (mut world, ..) = with_mutual_tls("", Vec::new()).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    let text = screen(&world, false, &["check"]);
    assert!(text.ends_with("$ echo $?\n0\n"), "{text}");
    hold("check-well.txt", &text);
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
    hold("check-broken.txt", &all);
}
