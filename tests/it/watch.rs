//! `offboard watch` on a pseudo terminal of 80x24, with keys pressed.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::common::{screens::*, terminal::Terminal, *};

/// Keys as a terminal sends them.
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";
const ESCAPE: &str = "\x1b";
const TAB: &str = "\t";

fn command(world: &World, words: &[&str]) -> Command {
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(words).env_clear().env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
    command
}

/// `offboard watch` on a serial console: a VT100, no UTF-8.
fn watch(world: &World) -> Terminal {
    Terminal::with(command(world, &["watch"]).env("TERM", "vt100"))
}

/// A screen without the numbers, the bars, and the error of the connection.
fn steady(screen: &str) -> String {
    let is_bar = |line: &&str| line.starts_with("calls ") || line.starts_with("errors ");
    let lines: Vec<&str> = screen.lines().filter(|line| !is_bar(line)).collect();
    let text = words(&without_digits(&lines.join("\n"))).replace(['#', '.'], "");
    let (before, rest) = text.split_once("the cloud does not answer").unwrap();
    let (_, after) = rest.split_once("=>REQUESTS").unwrap();
    format!("{before} {after}")
}

/// A cloud that takes its time, and some requests: one that is done, one of which a part failed,
/// one on its way.
async fn working() -> (World, Client) {
    let mut world = World::new(1000).await;
    world.set("batch.maxEntries", json!(25));
    let client = world.client("bench-tool").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client.disassociate("retire-7", &names(0..1));
    client.result("retire-7", "completed").await;
    let failing = Action::EntryErrors {
        things: vec!["d0011".into(), "d0017".into()],
        code: "AccessDeniedException".into(),
        message: "not \u{1b}[2Jyours".into(),
        omit_name: false,
    };
    world.fault(failing, None);
    client.disassociate("line-2", &names(10..20));
    client.result("line-2", "completed").await;
    world.cloud.clear_faults();
    world.fault(Action::Delay(Duration::from_millis(500)), None);
    client.disassociate("line-3-sold", &names(100..350));
    client.result("line-3-sold", "accepted").await;
    (world, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_watches_the_agent_at_work() {
    let (mut world, client) = working().await;
    let mut terminal = watch(&world);
    let lines = terminal
        .shows("a request half done", |lines| {
            lines.iter().any(|line| line.starts_with("> line-3-sold") && line.contains("[####"))
        })
        .await;
    assert!(lines[0].starts_with(" offboard ") && lines[0].contains("agent ONLINE"), "{lines:#?}");
    assert!(lines[0].contains("cloud REACHABLE"), "{lines:#?}");
    world.cloud.offline(true);
    client.status("the cloud is away", |status| status["cloud"] == "UNREACHABLE").await;
    let lines = terminal.shows("the cloud is away", |lines| lines[0].contains("cloud UNREACHABLE")).await;
    assert_screen("watch", &format!("$ offboard watch\n{}\n", lines.join("\n")), steady);
    assert!(lines.iter().all(|line| line.is_ascii()) && lines.len() == 24, "{lines:#?}");
    assert!(lines[1].starts_with("pending ") && lines[1].contains("open requests 1"), "{lines:#?}");
    assert!(lines[3].starts_with("ASSOCIATED ") && lines[3].contains("DISASSOCIATING "), "{lines:#?}");
    let row = |begin: &str| lines.iter().find(|line| line.starts_with(begin)).unwrap();
    assert!(row("  line-2 ").ends_with("PARTIALLY_SUCCEEDED 8/10"), "{lines:#?}");
    assert!(row("  retire-7 ").ends_with("SUCCEEDED 1/1"), "{lines:#?}");
    assert!(row("  d0000 ").contains("DISASSOCIATED  bench-tool"), "{lines:#?}");
    assert!(lines[23].starts_with("q quit"), "{lines:#?}");

    // A request with what failed of it.
    terminal.press(DOWN);
    terminal.line("> line-2 ").await;
    terminal.press(ENTER);
    terminal.line(" request line-2 of bench-tool").await;
    let failed = terminal.line("d0011 ").await;
    assert!(failed.contains("AccessDeniedException") && failed.contains("not ?[2Jyours"), "{failed}");
    terminal.line("  10 entries: 8 succeeded, 2 failed, 0 open").await;
    terminal.press(ESCAPE);
    terminal.line("> line-2 ").await;
    terminal.press(UP);
    terminal.line("> line-3-sold ").await;

    // Devices of a state, and one of them.
    terminal.press(TAB);
    terminal.line("=>DEVICES                any state").await;
    terminal.press("s");
    terminal.line("=>DEVICES                DISASSOCIATING").await;
    terminal.shows("the last one", |lines| lines.iter().any(|line| line.starts_with("> d0"))).await;
    terminal.press("j");
    let chosen = terminal.shows("the next one", |lines| {
        lines.iter().position(|line| line.starts_with("> d0")).is_some_and(|at| lines[at - 1].starts_with("  d0"))
    });
    let chosen = chosen.await.iter().find_map(|line| line.strip_prefix("> ")?.get(..5).map(str::to_owned)).unwrap();
    terminal.press(ENTER);
    terminal.line(&format!(" device {chosen}")).await;
    assert!(terminal.line("clientToken").await.ends_with("line-3-sold"));
    assert!(terminal.line("state").await.ends_with("DISASSOCIATING"));
    terminal.press("?");
    terminal.line("q, Ctrl-C ").await;
    terminal.press(ESCAPE);
    terminal.line("=>DEVICES                DISASSOCIATING").await;

    // The network is back.
    world.cloud.clear_faults();
    world.cloud.offline(false);
    let done = |line: &String| line.starts_with("  line-3-sold ") && line.ends_with(" SUCCEEDED 250/250");
    terminal.shows("the request is done", |lines| lines.iter().any(done)).await;
    terminal.shows("nothing is on its way", |lines| lines.contains(&"  none".to_owned())).await;

    // The agent goes and comes.
    world.kill();
    let lines = terminal.shows("the agent has gone", |lines| lines[0].contains("NO AGENT")).await;
    assert!(lines.iter().any(done), "what was known stays: {lines:#?}");
    world.start_agent();
    terminal.shows("the agent is back", |lines| lines[0].contains("agent ONLINE")).await;
    terminal.press("q");
    assert_eq!(terminal.end().await.code(), Some(0));
    terminal.is_as_before().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_out_gives_the_terminal_back() {
    let mut world = World::new(3).await;
    world.set("mqtt.url", json!("none"));
    world.start_agent();
    until("it answers", || command(&world, &["sync"]).output().unwrap().status.success()).await;
    for keys in ["q", ESCAPE, "\x03"] {
        let mut terminal = watch(&world);
        terminal.line("> ").await;
        assert!(terminal.is_taken());
        terminal.press(keys);
        assert_eq!(terminal.end().await.code(), Some(0));
        terminal.is_as_before().await;
    }
    let mut terminal = watch(&world);
    terminal.line("> ").await;
    terminate(terminal.child.id());
    assert_eq!(terminal.end().await.code(), Some(0));
    terminal.is_as_before().await;
    // A window that is made larger, and too small, and back again.
    let mut terminal = Terminal::with(command(&world, &["watch"]).env("TERM", "xterm").env("LANG", "C.UTF-8"));
    for (rows, width, last) in [(40, 132, "q quit"), (10, 20, ""), (24, 80, "q quit")] {
        terminal.resize(rows, width);
        terminal.press("r");
        let small = |lines: &[String]| lines[0].starts_with("this terminal is to");
        terminal
            .shows("the new size", |lines| {
                if last.is_empty() { small(lines) } else { !small(lines) && lines.last().unwrap().starts_with(last) }
            })
            .await;
    }
    terminal.press("q");
    terminal.end().await;
    terminal.is_as_before().await;
}

/// 64: no terminal; 3: no agent, which is printed where the shell's prompt comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_terminal_or_an_agent_that_is_what_is_told() {
    let world = World::new(0).await;
    let output = command(&world, &["watch"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().contains("offboard status") && output.stdout.is_empty());
    let mut terminal = Terminal::with(command(&world, &["watch"]).env("TERM", "dumb"));
    assert_eq!(terminal.end().await.code(), Some(64));
    terminal.line("watch needs a terminal").await;
    let mut terminal = watch(&world);
    assert_eq!(terminal.end().await.code(), Some(3));
    terminal.is_as_before().await;
    let is_printed = |lines: &[String]| lines.concat().contains("there is no such directory");
    terminal.shows("why it ended", is_printed).await;
    let mut terminal = Terminal::with(&mut command(&world, &["watch", "--output", "json"]));
    assert_eq!(terminal.end().await.code(), Some(64));
}

/// What answers on the socket in the place of an agent, with texts and numbers of our own, until it
/// is asked to be silent.
fn stand_in(world: &World, silent: &'static AtomicBool) {
    let dir = world.dir.path().join("data");
    std::fs::create_dir_all(&dir).unwrap();
    let listener = UnixListener::bind(dir.join("agent.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut calls = 0;
        for line in lines.map_while(Result::ok) {
            while silent.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let asked: Value = serde_json::from_str(&line).unwrap();
            let payload = match asked["operation"].as_str().unwrap() {
                "status" => {
                    json!({"state": "ONLINE", "version": "9\u{1b}[2J", "health": "OK", "problems": [], "cloud": "REACHABLE",
                    "devices": {}, "pendingEntries": 0, "openRequests": 0, "startedAt": "x", "newMember": 1})
                }
                "metrics" => {
                    calls += 10;
                    let counter = |result: &str, value: u64| json!({"name": "offboard_cloud_calls_total", "labels": {"answer": result}, "value": value});
                    let in_flight = json!({"name": "offboard_entries_in_flight", "labels": {}, "value": 100});
                    json!({"at": "x", "metrics": [counter("ok", calls), counter("throttled", calls / 10), in_flight]})
                }
                "list-requests" => {
                    assert!(asked["payload"]["maxResults"].as_u64().unwrap() <= 100);
                    json!({"requests": [{"clientToken": "Pr\u{fc}fung\u{9b}2J", "operation": "sync", "status": "FAILED",
                        "acceptedAt": "x", "newMember": [1]}], "nextToken": "more"})
                }
                _ => json!({"devices": []}),
            };
            if writeln!(stream, "{}", json!({"result": "accepted", "payload": payload})).is_err() {
                return;
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_errors_a_minute_are_drawn() {
    static SILENT: AtomicBool = AtomicBool::new(false);
    let world = World::new(0).await;
    stand_in(&world, &SILENT);
    let mut terminal = Terminal::with(command(&world, &["watch"]).env("TERM", "xterm").env("LC_ALL", "C.UTF-8"));
    let lines = terminal.shows("some calls", |lines| lines[4].ends_with(" 33 a minute")).await;
    assert!(lines[0].starts_with(" offboard 9?[2J "), "{lines:#?}");
    assert!(lines[1].contains("in flight 100"), "{lines:#?}");
    assert!(lines[4].contains('█') && lines[5].contains('▁') && lines[5].ends_with(" 3 a minute"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("> Pr\u{fc}fung?2J ")), "{lines:#?}");
    SILENT.store(true, Ordering::Relaxed);
    terminal.shows("that it is silent", |lines| lines[0].contains("NO ANSWER for ")).await;
    // Keys are taken all the same.
    terminal.press("?");
    terminal.line("q, Ctrl-C ").await;
    terminal.press("q");
    assert_eq!(terminal.end().await.code(), Some(0));
    terminal.is_as_before().await;
}
