//! Another program in the agent's place, on the socket or on the broker: what it sends reaches a
//! terminal as plain text, and root does not act on it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::chown, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::common::{terminal::Terminal, *};

/// All that a terminal obeys, once: a control sequence, C1 controls, a line end, and what turns the
/// direction of writing.
const EVIL: &str = "\u{1b}[2J\u{9b}2J\u{7f}\r\nforged 1\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}";

fn is_evil(c: char) -> bool {
    c.is_control() && c != '\n' || EVIL[8..].chars().any(|evil| !evil.is_ascii() && evil == c)
}

/// Answers on the socket of a data directory as `answer` says, by operation and payload.
fn impostor(data: &Path, answer: impl Fn(&str, &Value) -> Option<Vec<u8>> + Send + Sync + 'static) {
    let listener = UnixListener::bind(data.join("agent.sock")).unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut write = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let asked: Value = serde_json::from_str(&line).unwrap();
                    if let Some(bytes) = answer(asked["operation"].as_str().unwrap(), &asked["payload"]) {
                        let _ = write.write_all(&bytes);
                    }
                }
            });
        }
    });
}

fn line(result: &str, payload: &Value) -> Option<Vec<u8>> {
    Some(format!("{}\n", json!({"result": result, "payload": payload})).into_bytes())
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    (dir, data)
}

fn command(data: &Path, words: &[&str]) -> Command {
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(words).env_clear().env("OFFBOARD_DATA_DIR", data).stdin(Stdio::null());
    command
}

/// What it said on both ends, as text.
fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
}

fn evil_status() -> Value {
    json!({
        "state": EVIL, "version": EVIL, "health": EVIL, "cloud": EVIL, "startedAt": EVIL, "lastSyncAt": EVIL,
        "devices": {"ASSOCIATED": 3, EVIL: 7}, "pendingEntries": 1, "openRequests": 1, EVIL: {EVIL: EVIL},
        "problems": [{"code": EVIL, "message": EVIL, "since": EVIL}],
    })
}

fn evil(operation: &str, payload: &Value) -> Option<Vec<u8>> {
    let token = payload["clientToken"].clone();
    let one = json!({"clientToken": EVIL, "requestedBy": EVIL, "operation": EVIL, "status": EVIL, "acceptedAt": EVIL,
        "reason": EVIL, "entryCount": 2, "succeededCount": 1, "failedCount": 1, EVIL: EVIL,
        "errorEntries": [{"thingName": EVIL, "code": EVIL, "message": EVIL}]});
    let device = json!({"thingName": EVIL, "state": EVIL, "changedAt": EVIL, "lastError": {"code": EVIL, "message": EVIL}, EVIL: {EVIL: EVIL}});
    let body = match operation {
        "status" => evil_status(),
        "metrics" => json!({"at": "", "metrics": [
            {"name": "offboard_info", "labels": {"version": EVIL}, "value": 1.0},
            {"name": "offboard_info", "labels": {format!("a=\"1\"}} 1{EVIL}forged{{b"): "x"}, "value": 1.0},
            {"name": format!("offboard_commit_seconds_x{EVIL}"), "value": 1.0},
        ]}),
        "get-request" => json!({"clientToken": token, "request": one}),
        "list-requests" => json!({"clientToken": token, "requests": [one]}),
        "get-device" => {
            json!({"clientToken": token, "device": device, "history": [{"at": EVIL, "event": EVIL, "message": EVIL}]})
        }
        "list-devices" => json!({"clientToken": token, "devices": [device]}),
        "cancel" => json!({"clientToken": token, "canceledCount": EVIL, "inFlightCount": [EVIL]}),
        _ if payload["dryRun"] == true => json!({"clientToken": token, "plan": {"entryCount": 1, "cloudCallCount": 1,
            "unknownCount": 1, "unknown": [EVIL], "guardedCount": 0, "guarded": [EVIL], "maxFractionExceeded": false}}),
        _ => {
            return line(
                "rejected",
                &json!({"operation": EVIL, "code": EVIL, "message": EVIL, "fields": [{"name": EVIL, "message": EVIL}]}),
            );
        }
    };
    line("accepted", &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_the_socket_says_is_obeyed_by_a_terminal() {
    let (_dir, data) = directory();
    impostor(&data, evil);
    for words in [
        &["status"][..],
        &["status", "--metrics"],
        &["requests"],
        &["requests", "t"],
        &["devices"],
        &["devices", "d", "--history"],
        &["cancel", "t"],
        &["disassociate", "d1"],
        &["disassociate", "d1", "--dry-run"],
        &["associate", "d1"],
        &["sync"],
        &["check"],
    ] {
        for output in ["table", "json"] {
            let output = command(&data, &[words, &["--output", output]].concat()).output().unwrap();
            let said = said(&output);
            assert!(!said.is_empty() && !said.contains(is_evil), "{words:?}: {said:?}");
            assert!(!said.lines().any(|line| line.starts_with("forged")), "{words:?}: {said:?}");
            assert!(!said.contains(" 7 ") && !said.contains("7 \u{fffd}"), "a state that there is not: {said:?}");
        }
    }
    let metrics = command(&data, &["status", "--metrics"]).output().unwrap();
    assert_eq!(said(&metrics).lines().filter(|line| !line.starts_with('#')).count(), 1, "{}", said(&metrics));
    // JSON keeps what it says, written as numbers.
    let devices = command(&data, &["devices", "--output", "json"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&devices.stdout).unwrap()[0]["thingName"], EVIL);
    let terminal = Terminal::with(command(&data, &["watch"]).env("TERM", "vt100"));
    let screen = terminal.shows("the screen", |lines| lines.iter().any(|line| line.contains("agent ?"))).await;
    assert!(!screen.iter().any(|line| line.starts_with("forged")), "{screen:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_answer_is_cut_and_cleaned_and_an_endless_line_takes_little_memory() {
    let (_dir, data) = directory();
    impostor(&data, |_, _| Some(format!("{}{}\n", EVIL.replace('\n', ""), "x".repeat(10_000)).into_bytes()));
    let output = command(&data, &["status"]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("something other than the agent answers") && said.len() < 400 && !said.contains(is_evil),
        "{said:?}"
    );

    let (_dir, data) = directory();
    impostor(&data, |_, _| Some(vec![b'x'; 200 << 20]));
    // Far less than the line, and far more than a command takes.
    let limited = ["sh", "-c", "ulimit -v 120000; exec \"$@\"", "sh"].map(str::to_owned);
    let words: Vec<String> = limited.into_iter().chain(product()).chain(["status".to_owned()]).collect();
    let output = Command::new(&words[0]).args(&words[1..]).env("OFFBOARD_DATA_DIR", &data).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", self::said(&output));
    assert!(self::said(&output).contains("something other than the agent answers"), "{}", self::said(&output));
}

/// A rejection without a token is the answer to what was asked, and answers without an end are not
/// collected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_without_a_token_is_told() {
    let (_dir, data) = directory();
    impostor(&data, |_, _| {
        line("rejected", &json!({"code": "ValidationException", "message": "it is too large", "operation": ""}))
    });
    for words in [&["disassociate", "d1"][..], &["disassociate", "d1", "--token", "t"], &["devices"], &["sync"]] {
        let output = command(&data, words).output().unwrap();
        assert_eq!(
            (output.status.code(), said(&output).contains("it is too large")),
            (Some(2), true),
            "{}",
            said(&output)
        );
    }
    let (_dir, data) = directory();
    impostor(&data, |_, _| line("accepted", &json!({"clientToken": "another"})).map(|line| line.repeat(100_000)));
    let output = command(&data, &["devices"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("without an end"), "{}", said(&output));
}

#[tokio::test]
async fn a_rejection_without_a_token_is_told_over_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path()).await;
    // Not the client of other tests, which holds all that it sees against the contract.
    let publish = |topic: &str, body: &Value, more: &[&str]| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-p", &broker.port.to_string(), "-q", "1", "-t", topic, "-m", &body.to_string()]).args(more);
        assert!(command.status().unwrap().success());
    };
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let results = format!("offboard/{CORE}/results/laptop");
    let over = |words: &[&str]| {
        let broker = ["--mqtt-url", &url, "--core-device-thing-name", CORE, "--client-id", "laptop"];
        let mut command = command(dir.path(), &[words, &broker].concat());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let asking = over(&["sync", "--timeout", "30"]);
    let rejection = json!({"operation": "sync", "code": "ValidationException", "message": "it is too large"});
    let publishing = async {
        loop {
            publish(&format!("{results}/sync/rejected"), &rejection, &[]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let output = tokio::select! {
        output = asking => output.unwrap(),
        () = publishing => unreachable!(),
    };
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("it is too large"), "{}", said(&output));
    // A status in the agent's name is cleaned, too.
    publish(&format!("offboard/{CORE}/status"), &evil_status(), &["-r"]);
    for form in ["table", "json"] {
        let output = over(&["status", "--output", form]).await.unwrap();
        assert!(said(&output).contains('3') && !said(&output).contains(is_evil), "{:?}", said(&output));
        assert!(!said(&output).lines().any(|line| line.starts_with("forged")), "{:?}", said(&output));
    }
}

/// The end of a request is seen by looking, too: the agent's own word on it may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_status_ends_the_waiting() {
    let _turn = groups::measured();
    let (_dir, data) = directory();
    impostor(&data, |operation, payload| {
        let token = payload["clientToken"].clone();
        let plan = json!({"entryCount": 1, "cloudCallCount": 1, "unknownCount": 0, "unknown": [], "guardedCount": 0,
            "guarded": [], "maxFractionExceeded": false});
        match operation {
            "get-request" => line(
                "accepted",
                &json!({"clientToken": token, "operation": operation, "request": {"clientToken": payload["targetClientToken"],
                    "operation": "disassociate-client-devices", "status": "FAILED", "entryCount": 1, "succeededCount": 0,
                    "failedCount": 1, "acceptedAt": "2026-11-20T21:36:59.123Z", "completedAt": "2026-11-20T21:37:00.123Z",
                    "errorEntries": [{"thingName": "d1", "code": "Code", "message": "why"}]}}),
            ),
            "status" => {
                let mut status = evil_status();
                status["devices"] = json!({"ASSOCIATED": 9});
                line("accepted", &status)
            }
            _ if payload["dryRun"] == true => line("accepted", &json!({"clientToken": token, "plan": plan})),
            _ => {
                let at = "2026-11-20T21:36:59.123Z";
                line(
                    "accepted",
                    &json!({"clientToken": token, "operation": operation, "entryCount": 1, "acceptedAt": at}),
                )
            }
        }
    });
    let start = Instant::now();
    let mut terminal = Terminal::with(command(&data, &["disassociate", "d1", "--token", "t"]).env("TERM", "vt100"));
    assert_eq!(terminal.end().await.code(), Some(1));
    let took = start.elapsed();
    terminal.shows("the outcome", |lines| lines.iter().any(|line| line == "FAILED: 0 of 1 entries")).await;
    terminal.shows("the reason", |lines| lines.iter().any(|line| line.contains("why"))).await;
    assert!(took < Duration::from_secs(8), "{took:?}");
    let output = command(&data, &["disassociate", "d1", "--token", "t"]).output().unwrap();
    assert_eq!((output.status.code(), said(&output).contains("why")), (Some(1), true), "{}", said(&output));
}

/// Only root and the owner of the data directory are taken for the agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_listens_in_another_ones_directory_is_not_asked() {
    let mut world = World::new(1).await;
    world.set("mqtt.url", json!("none"));
    let data = world.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    give_to_nobody(&data);
    world.wrapper = as_nobody();
    world.start_agent();
    until("it answers", || command(&data, &["status"]).output().unwrap().status.code() != Some(3)).await;
    chown(&data, Some(12345), Some(12345)).unwrap();
    let output = command(&data, &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let expected =
        "nobody (uid 65534) listens there and is neither root nor the owner of the data directory, uid 12345";
    assert!(said(&output).contains(expected), "{}", said(&output));
}

/// Root's `check` neither connects to a host nor opens a file that the agent of another user names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roots_check_uses_no_host_and_no_file_that_another_user_names() {
    let mut world = World::new(1).await;
    let data = world.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    give_to_nobody(&data);
    // Opened, this is waited for without an end.
    let pipe = world.dir.path().join("authority.pem");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::Mode::RWXU | rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO,
    )
    .unwrap();
    let config = world.dir.path().join("config.json");
    world.set("mqtt.url", json!("none"));
    world.wrapper = as_nobody();
    world.start_agent();
    until("it answers", || command(&data, &["status"]).output().unwrap().status.code() != Some(3)).await;
    world.set("mqtt.url", json!("mqtts://localhost:1"));
    world.set("mqtt.caFile", json!(pipe));
    fs::write(&config, world.config.to_string()).unwrap();
    chown(&config, Some(65534), Some(65534)).unwrap();
    let config = config.to_str().unwrap();
    for directory in [true, false] {
        let mut check = command(&data, &["check", "--config", config, "--timeout", "3"]);
        if !directory {
            check.env_remove("OFFBOARD_DATA_DIR");
        }
        let mut child = check.stdout(Stdio::piped()).spawn().unwrap();
        until("it ends, and does not wait at the pipe", || child.try_wait().unwrap().is_some()).await;
        let said = said(&child.wait_with_output().unwrap());
        assert!(said.contains("not tried: nobody (uid 65534) gave the configuration"), "{said}");
        assert!(said.contains(&format!("run: sudo -u nobody offboard check --config {config}")), "{said}");
    }
    // The same of what the agent itself says.
    world.kill();
    world.set("mqtt.caFile", json!("/nonexistent.pem"));
    world.start_agent();
    until("it answers", || command(&data, &["status"]).output().unwrap().status.code() != Some(3)).await;
    let shown = said(&command(&data, &["check", "--timeout", "3"]).output().unwrap());
    assert!(shown.contains("from the running agent") && shown.contains("not tried: nobody"), "{shown}");
    assert!(shown.contains(&format!("sudo -u nobody offboard check --data-dir {}", data.display())), "{shown}");
    world.kill();
    // Root's own word counts as ever.
    chown(config, Some(0), Some(0)).unwrap();
    fs::write(config, world.config.to_string()).unwrap();
    let own = command(&data, &["check", "--config", config, "--timeout", "3"]).output().unwrap();
    assert!(said(&own).contains("/nonexistent.pem"), "{}", said(&own));
}
