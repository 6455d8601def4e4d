//! The commands of the command line against a running agent, over its local socket and without a
//! broker.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    process::{Command, Output, Stdio},
};

use crate::common::{terminal::Terminal, *};

mod input;
mod over_broker;

/// A world whose agent has no broker, and is in sync.
async fn running(devices: usize) -> World {
    let mut world = World::new(devices).await;
    world.set("mqtt.url", json!("none"));
    world.start_agent();
    until("the agent is in sync", || {
        let status = offboard(&world, &["status", "--output", "json"]);
        serde_json::from_slice::<Value>(&status.stdout).is_ok_and(|status| status["lastSyncAt"].is_string())
    })
    .await;
    world
}

fn command(world: &World, words: &[&str]) -> Command {
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(words).env_clear().env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
    command
}

fn offboard(world: &World, words: &[&str]) -> Output {
    command(world, words).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn printed(output: &Output, status: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}{err}");
    (out, err)
}

#[track_caller]
fn json_of(output: &Output, status: i32) -> Value {
    let body: Value = serde_json::from_str(&printed(output, status).0).unwrap();
    // The JSON form prints messages as they cross the broker; their members say which schema is
    // theirs.
    let name = [("startedAt", "status"), ("changedAt", "device"), ("completedAt", "completed"), ("code", "rejected")]
        .into_iter()
        .find(|(member, _)| {
            body[member].is_string() && body["requestedBy"].as_str().is_none_or(|_| *member == "changedAt")
        });
    if let Some((_, name)) = name {
        contract::check(name, &body).unwrap();
    }
    body
}

fn me() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    format!("@{}", String::from_utf8(id.stdout).unwrap().trim())
}

// A command is waited for by blocking, and the cloud has to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_taken_off_and_back_without_a_broker() {
    let world = running(10).await;
    let (out, err) =
        printed(&offboard(&world, &["disassociate", "d0001", "d0002", "--token", "t", "--reason", "sold"]), 0);
    assert_eq!((out.as_str(), err.as_str()), ("SUCCEEDED: 2 of 2 entries\n", "accepted as t\n"));
    assert_eq!(world.cloud.associated(CORE).len(), 8);
    let request = json_of(&offboard(&world, &["requests", "t", "--output", "json"]), 0);
    assert_eq!((&request["requestedBy"], &request["reason"]), (&json!(me()), &json!("sold")));
    let device = json_of(&offboard(&world, &["devices", "d0001", "--output", "json"]), 0);
    assert_eq!((&device["state"], &device["requestedBy"]), (&json!("DISASSOCIATED"), &json!(me())));
    let completed = json_of(&offboard(&world, &["associate", "d0001", "--output", "json"]), 0);
    assert_eq!(completed["succeededCount"], 1);
    assert!(world.cloud.associated(CORE).contains_key("d0001"));
    let (out, _) = printed(&offboard(&world, &["sync"]), 0);
    assert_eq!(out, "SUCCEEDED: 9 associated, 0 added, 0 removed\n");
    let (out, _) = printed(&offboard(&world, &["devices", "--state", "DISASSOCIATED"]), 0);
    assert!(out.lines().nth(1).unwrap().starts_with("d0002  DISASSOCIATED") && out.lines().count() == 2, "{out}");
    let (out, _) = printed(&offboard(&world, &["devices", "d0001", "--history", "--output", "json"]), 0);
    let device: Value = serde_json::from_str(&out).unwrap();
    let events = device["history"].as_array().unwrap();
    let history: Vec<_> = events.iter().map(|event| (&event["event"], &event["client"], &event["message"])).collect();
    let [asked, done] = [json!("REQUESTED"), json!("SUCCEEDED")];
    let [off, back] = [json!("disassociate-client-devices"), json!("associate-client-devices")];
    let (me, nothing) = (json!(me()), Value::Null);
    let expected = [(&asked, &me, &off), (&done, &me, &nothing), (&asked, &me, &back), (&done, &me, &nothing)];
    assert_eq!(history, expected);
    let (out, _) = printed(&offboard(&world, &["devices", "d0001", "--history"]), 0);
    assert!(out.lines().any(|line| line.ends_with("disassociate-client-devices")), "{out}");
    let (out, _) = printed(&offboard(&world, &["requests"]), 0);
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.lines().next().unwrap().starts_with("token"), "{out}");
    printed(&offboard(&world, &["status"]), 0);
    let (out, _) = printed(&offboard(&world, &["status", "--metrics"]), 0);
    for line in [
        "# TYPE offboard_requests_total counter",
        "offboard_requests_total{status=\"SUCCEEDED\"} 3",
        "offboard_entries_total{outcome=\"succeeded\"} 3",
        "offboard_cloud_calls_total{action=\"greengrass:BatchDisassociateClientDeviceFromCoreDevice\",answer=\"ok\"} 1",
        "offboard_devices{state=\"DISASSOCIATED\"} 1",
        "# TYPE offboard_commit_seconds histogram",
    ] {
        assert!(out.lines().any(|one| one == line), "{line} is not in\n{out}");
    }
}

/// 1: it failed; which entries failed and why is printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_told_in_a_table() {
    let world = running(300).await;
    let failing = Action::EntryErrors {
        things: vec!["d0001".into(), "d0007".into()],
        code: "AccessDeniedException".into(),
        message: "not \u{1b}[2Jyours".into(),
        omit_name: false,
    };
    world.fault(failing, None);
    let file = world.dir.path().join("names.txt");
    std::fs::write(&file, format!("# retired\n\n{}\n", names(0..250).join("\n"))).unwrap();
    let (out, _) = printed(&offboard(&world, &["disassociate", "--from-file", file.to_str().unwrap()]), 1);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "PARTIALLY_SUCCEEDED: 248 of 250 entries");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["failed", "code", "message"]);
    assert_eq!(lines[2], "d0001   AccessDeniedException  not \u{fffd}[2Jyours");
    assert_eq!(lines.len(), 4);
    assert_eq!(world.cloud.count(Operation::Disassociate), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_come_from_standard_input_and_a_dry_run_does_nothing() {
    let world = running(10).await;
    let mut child = command(&world, &["disassociate", "--from-file", "-", "--dry-run", "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"d0001\nstranger\n").unwrap();
    let plan = json_of(&child.wait_with_output().unwrap(), 0);
    assert_eq!((&plan["entryCount"], &plan["unknown"]), (&json!(2), &json!(["stranger"])));
    assert_eq!(world.cloud.count(Operation::Disassociate), 0);
    let (out, _) = printed(&offboard(&world, &["disassociate", "d0001", "stranger", "--dry-run"]), 0);
    assert_eq!(out, "2 entries in 1 calls to the cloud\n1 not in the registry: stranger\n");
}

/// 2: the agent did not take it. Over the socket somebody sees and cancels what others asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_is_told_and_what_waits_is_cancelled() {
    let mut world = running(10).await;
    let (_, err) = printed(&offboard(&world, &["disassociate", "d0001", "--token", "a b"]), 2);
    assert_eq!(
        err,
        "rejected: clientToken must be 1 to 64 characters, none of them white space or a control character (ValidationException)\n  \
         clientToken must be 1 to 64 characters, none of them white space or a control character\n"
    );
    // A program gets the message itself.
    for words in [&["disassociate", "d0001", "--token", "a b"][..], &["cancel", "a b"]] {
        let rejected = json_of(&offboard(&world, &[words, &["--output", "json"]].concat()), 2);
        assert_eq!(rejected["code"], "ValidationException", "{rejected}");
    }
    printed(&offboard(&world, &["disassociate", CORE]), 2);
    printed(&offboard(&world, &["cancel", "nothing"]), 2);
    printed(&offboard(&world, &["devices", "nothing"]), 2);

    world.stop_agent();
    let port = world.broker.port;
    world.set("mqtt.url", json!(format!("mqtt://127.0.0.1:{port}")));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    world.fault(Action::Hang, None);
    client.disassociate("t", &names(0..1));
    until("the call hangs", || world.cloud.count(Operation::Disassociate) == 1).await;
    client.disassociate("u", &names(1..2));
    client.result("u", "accepted").await;
    let (out, _) = printed(&offboard(&world, &["requests", "--status", "IN_PROGRESS"]), 0);
    assert!(out.contains("u      bench") && out.contains("t      bench"), "{out}");
    let (out, _) = printed(&offboard(&world, &["cancel", "u", "--client", "bench"]), 0);
    assert_eq!(out, "1 entries withdrawn; 0 were sent, and end with the cloud's response\n");
    assert_eq!(client.result("u", "completed").await["status"], "CANCELED");
    // What is asked here stays here.
    let accepted =
        json_of(&offboard(&world, &["disassociate", "d0005", "--no-wait", "--token", "v", "--output", "json"]), 0);
    assert_eq!(accepted["clientToken"], "v");
    world.cloud.clear_faults();
    client.result("t", "completed").await;
    until("it is done", || printed(&offboard(&world, &["requests", "v"]), 0).0.contains("SUCCEEDED")).await;
    client.ask_broker().await;
    assert!(client.results("v", "accepted").is_empty() && client.results("v", "completed").is_empty());
}

/// 3: no agent answers. 64: usage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_agent_that_is_what_is_told() {
    let mut world = World::new(0).await;
    for word in ["status", "devices", "sync"] {
        let (_, err) = printed(&offboard(&world, &[word]), 3);
        assert!(err.contains("agent.sock") && err.contains("name the agent's by --data-dir"), "{err}");
    }
    let nowhere = command(&world, &["status"]).env_remove("OFFBOARD_DATA_DIR").output().unwrap();
    assert!(printed(&nowhere, 3).1.contains("--data-dir"));
    for words in [&["disassociate"][..], &["frobnicate"], &["requests", "t", "--status", "FAILED"], &[]] {
        printed(&offboard(&world, words), 64);
    }
    let (_, err) = printed(&offboard(&world, &["disassociate", "--from-file", "/nonexistent"]), 64);
    assert!(err.contains("/nonexistent"), "{err}");
    // One that was killed leaves its socket.
    world.set("mqtt.url", json!("none"));
    world.start_agent();
    until("it answers", || offboard(&world, &["status"]).status.code() != Some(3)).await;
    world.kill();
    assert!(printed(&offboard(&world, &["status"]), 3).1.contains("no agent listens there"));
    world.start_agent();
    until("another takes its place", || offboard(&world, &["status"]).status.code() != Some(3)).await;
    let mode = std::fs::metadata(world.dir.path().join("data/agent.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    world.stop_agent();
    assert!(!world.dir.path().join("data/agent.sock").exists());
}

/// A command that was accepted over the socket survives a kill as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_done_without_its_asker() {
    let mut world = running(10).await;
    world.fault(Action::Hang, None);
    let mut child = command(&world, &["disassociate", "d0003", "--token", "t"]).stderr(Stdio::piped()).spawn().unwrap();
    until("the call hangs", || world.cloud.count(Operation::Disassociate) == 1).await;
    let signaled = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
    assert!(signaled.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut err = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut err).unwrap();
    assert!(err.contains("the agent continues the request; offboard requests t shows"), "{err}");
    world.kill();
    world.cloud.clear_faults();
    world.start_agent();
    until("it is done", || {
        let output = offboard(&world, &["requests", "t"]);
        String::from_utf8_lossy(&output.stdout).contains("SUCCEEDED")
    })
    .await;
    // The same token again is the same request, answered at once.
    assert_eq!(
        printed(&offboard(&world, &["disassociate", "d0003", "--token", "t"]), 0).0,
        "SUCCEEDED: 1 of 1 entries\n"
    );
    assert_eq!(world.disassociations("d0003"), 1);
}

/// Who has gone leaves no place occupied, though what was asked waits for days.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_goes_makes_room_for_others() {
    let world = running(30).await;
    world.fault(Action::Hang, None);
    for name in names(0..20) {
        let mut child = command(&world, &["disassociate", &name, "--token", &name]).spawn().unwrap();
        until("it is accepted", || offboard(&world, &["requests", &name, "--timeout", "30"]).status.success()).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    printed(&offboard(&world, &["status", "--timeout", "30"]), 0);
}

/// A second one on the same data does not take the first one's socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_leaves_the_socket_to_the_first() {
    let world = running(3).await;
    let mut second = command(&world, &["run"])
        .env("OFFBOARD_CONFIG", world.config.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has tried to open both by the time that it reports the store.
    let log = std::io::BufReader::new(second.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(log).map(Result::unwrap);
    assert!(lines.any(|line| line.contains("another agent") || line.contains("another process")));
    let (out, _) = printed(&offboard(&world, &["sync"]), 0);
    assert!(out.starts_with("SUCCEEDED"), "{out}");
    second.kill().unwrap();
    second.wait().unwrap();
    printed(&offboard(&world, &["sync"]), 0);
}

/// Garbage, silence and a line without an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_not_confused() {
    use std::os::unix::net::UnixStream;
    let world = running(10).await;
    let path = world.dir.path().join("data/agent.sock");
    let ask = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let _ = stream.write_all(bytes);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
        answer
    };
    for (line, expected) in [
        (&b"garbage\n"[..], "CANNOT_PARSE"),
        (b"{\"operation\":\"reboot\"}\n", "UNKNOWN_OPERATION"),
        (b"{\"operation\":\"sync\",\"payload\":[]}\n", "ValidationException"),
        (b"{\"operation\":\"status\"}\n{\"operation\":\"list-devices\"}\n", "\"devices\":[{"),
    ] {
        let answer = ask(line);
        assert!(answer.contains(expected), "{answer}");
    }
    assert_eq!(ask(b"no end"), "");
    assert!(ask(&vec![b'x'; 9 << 20]).contains("longer than 8388608 bytes"));
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(&path).unwrap()).collect();
    drop(silent);
    printed(&offboard(&world, &["status"]), 0);
    // As large as it may be: more names than a message on the broker holds.
    let many: Vec<_> = (0..60_000).map(|n| format!("device-with-a-long-name-{n:06}")).collect();
    let file = world.dir.path().join("many.txt");
    std::fs::write(&file, many.join("\n")).unwrap();
    let plan = json_of(
        &offboard(&world, &["disassociate", "--from-file", file.to_str().unwrap(), "--dry-run", "--output", "json"]),
        0,
    );
    assert_eq!((&plan["entryCount"], &plan["cloudCallCount"]), (&json!(60_000), &json!(600)));
}

/// A command that reached the agent is carried out, whether or not somebody waits for its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_without_an_answer_can_be_repeated_by_its_token() {
    let world = running(10).await;
    world.pause();
    let (_, err) = printed(&offboard(&world, &["associate", "d9999", "--timeout", "1"]), 3);
    world.resume();
    let token = err.split("--token ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let token = token.unwrap_or_else(|| panic!("{err}"));
    let (out, _) = printed(&offboard(&world, &["associate", "d9999", "--token", token]), 0);
    assert_eq!(out, "SUCCEEDED: 1 of 1 entries\n");
    assert_eq!(world.cloud.count(Operation::Associate), 1);
}

/// On a terminal somebody is asked before more than half of the devices go, and sees how far it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_asked_and_sees_a_bar() {
    let world = running(20).await;
    let all = names(0..15);
    let words: Vec<&str> = ["disassociate", "--token", "t"].into_iter().chain(all.iter().map(String::as_str)).collect();
    let ask = async || {
        let terminal = Terminal::with(command(&world, &words).env("TERM", "vt100"));
        let question = "these are more than half of the 20 devices; disassociate them? [y/N]";
        terminal.shows("the question", |lines| lines.iter().any(|line| line.contains(question))).await;
        terminal
    };
    let mut terminal = ask().await;
    terminal.press("n\r");
    assert_eq!(terminal.end().await.code(), Some(1));
    assert_eq!(world.cloud.count(Operation::Disassociate), 0);
    world.fault(Action::Delay(std::time::Duration::from_secs(2)), None);
    let mut terminal = ask().await;
    terminal.press("y\r");
    terminal.shows("how far it is", |lines| lines.iter().any(|line| line.contains("0/15"))).await;
    let end = terminal.shows("the end", |lines| lines.iter().any(|line| line == "SUCCEEDED: 15 of 15 entries")).await;
    assert!(!end.iter().any(|line| line.contains("0/15")), "the bar is gone: {end:#?}");
    assert!(terminal.end().await.success());
}

/// Where root warns of the program file that it runs: a copy on a file system of its own, seen by
/// the command alone.
fn as_root_from(prepare: &str, user: u32) -> Output {
    assert!(is_root(), "root is warned: sudo tests/run --test it commands::");
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o mode=0755 tmpfs /mnt && mkdir -p /mnt/a/b && cp \"$0\" /mnt/a/b/offboard && cd /mnt/a && \
         {prepare} && exec setpriv --reuid={user} --regid={user} --clear-groups /mnt/a/b/offboard status --data-dir /mnt/none"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, env!("CARGO_BIN_EXE_offboard")]).current_dir(dir.path());
    command.output().unwrap()
}

#[test]
fn root_is_warned_of_a_program_that_another_user_can_exchange() {
    for (prepare, user, warned) in [
        ("true", 0, None),
        ("chmod 0500 b/offboard", 0, None),
        (
            "chown 65534 b/offboard",
            0,
            Some("/mnt/a/b/offboard belongs to user 65534; run it as that user (sudo -u '#65534'"),
        ),
        ("chown 65534 b", 0, Some("/mnt/a/b belongs to user 65534")),
        ("chown 65534 .", 0, Some("/mnt/a belongs to user 65534")),
        ("chmod g+w b/offboard", 0, Some("its group or others may write to /mnt/a/b/offboard (mode 0775)")),
        ("chmod 1777 b", 0, Some("its group or others may write to /mnt/a/b (mode 1777)")),
        ("chmod 0777 /mnt", 0, Some("may write to /mnt (mode 0777)")),
        // The user whose file it is has nothing to fear, and neither has another one than root.
        ("chown 65534 b/offboard", 65534, None),
        ("chmod 0777 b", 65534, None),
    ] {
        let output = as_root_from(prepare, user);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "it goes on as without the warning: {prepare}: {text}");
        assert_eq!(text.contains("warning: root runs /mnt/a/b/offboard"), warned.is_some(), "{prepare}: {text}");
        assert!(warned.is_none_or(|why| text.contains(why)), "{prepare}: {text}");
        assert!(output.stdout.is_empty());
    }
}
