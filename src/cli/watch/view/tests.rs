//! The screen as text at several sizes.

use std::time::Duration;

use ratatui_core::{backend::TestBackend, terminal::Terminal};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::cli::watch::{
    keys::Key,
    model::{Detail, News, Opened, Reply},
};

/// The content of a terminal of that size, without trailing spaces.
fn screen(model: &Model, (width, height): (u16, u16), ascii: bool) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let drawn = |frame: &mut ratatui_core::terminal::Frame<'_>| _ = draw(frame.buffer_mut(), model, ascii);
    terminal.draw(drawn).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn usual(model: &Model) -> Vec<String> {
    let lines = screen(model, (80, 24), true);
    assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
    lines
}

fn read<T: DeserializeOwned>(message: Value) -> T {
    serde_json::from_value(message).unwrap()
}

fn news(status: Value) -> News {
    let status = read(status);
    News { status, counters: None, in_flight: None, connected: Some(true), requests: None, devices: None, detail: None }
}

fn learn(model: &mut Model, seconds: u64, news: News) {
    let wanted = model.wanted(24);
    model.learn(&wanted, news, Duration::from_secs(seconds));
}

fn problem(code: &str, message: &str) -> Value {
    json!({"code": code, "message": message, "since": "2026-11-20T21:37:00.123Z"})
}

fn status() -> Value {
    json!({
        "state": "ONLINE", "version": "0.1.0", "health": "DEGRADED", "cloud": "UNREACHABLE", "pendingEntries": 300,
        "openRequests": 2, "lastSyncAt": "2026-11-20T21:37:00.123Z", "startedAt": "2026-11-20T21:36:59.123Z",
        "devices": {"ASSOCIATED": 700, "ASSOCIATING": 0, "DISASSOCIATED": 12, "DISASSOCIATING": 300},
        "problems": [problem("CLOUD_UNREACHABLE", "the cloud cannot be reached: connection refused; check the network")],
    })
}

fn request(token: &str, status: &str, counts: [u64; 3]) -> Value {
    json!({
        "clientToken": token, "requestedBy": "bench-tool", "operation": "disassociate-client-devices", "status": status,
        "entryCount": counts[0], "succeededCount": counts[1], "failedCount": counts[2], "acceptedAt": "x",
    })
}

fn device(name: &str, error: Option<&str>) -> Value {
    json!({
        "thingName": name, "state": "DISASSOCIATING", "requestedBy": "bench-tool", "changedAt": "x",
        "lastError": error.map(|code| json!({"code": code, "message": "no"})),
    })
}

fn rows<A: DeserializeOwned>(list: &str, rows: &[Value]) -> Option<Reply<A>> {
    Some(Ok(read(json!({list: rows}))))
}

/// The model of an agent in the middle of its work.
fn working() -> Model {
    let mut model = Model::default();
    for (seconds, counters) in [(0, (0, 0)), (1, (40, 0)), (6, (60, 5)), (11, (60, 5)), (16, (61, 6))] {
        learn(&mut model, seconds, News { counters: Some(counters), ..news(status()) });
    }
    let requests = rows(
        "requests",
        &[
            request("retire-7", "IN_PROGRESS", [250, 120, 2]),
            request("line-3", "PARTIALLY_SUCCEEDED", [100_000, 99_998, 2]),
            request("5f0e8f6a-99aa-4d1c-9a53-0fd4a4a3b1ab", "SUCCEEDED", [1, 1, 0]),
        ],
    );
    let devices = rows("devices", &[device("d0001", None), device("d0002", Some("ResourceNotFoundException"))]);
    let news = News { counters: Some((61, 6)), in_flight: Some(100), requests, devices, ..news(status()) };
    learn(&mut model, 17, news);
    model
}

#[test]
fn an_agent_at_work_fits_a_serial_console() {
    let lines = usual(&working());
    let expected = "\x20offboard 0.1.0   agent ONLINE   health DEGRADED   cloud UNREACHABLE
pending 300   in flight 100   open requests 2
broker connected   cloud's list read 2026-11-20T21:37:00.123Z
ASSOCIATED 700   ASSOCIATING 0   DISASSOCIATED 12   DISASSOCIATING 300
calls   #=_. 61 a minute
errors  _._. 6 a minute
! CLOUD_UNREACHABLE since 2026-11-20T21:37:00.123Z: the cloud cannot be reached:
  connection refused; check the network
=>REQUESTS            asked by     to           done
> retire-7            bench-tool   disassociate [####......] 122/250 2 failed
  line-3              bench-tool   disassociate PARTIALLY_SUCCEEDED 99998/100000
  5f0e8f6a-99aa-4d1c~ bench-tool   disassociate SUCCEEDED 1/1




  DEVICES                any state      asked by       last error
  d0001                  DISASSOCIATING bench-tool
  d0002                  DISASSOCIATING bench-tool     ResourceNotFoundException




q quit  Tab list  Up/Down select  Enter open  s state  p problems  ? help";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn no_part_writes_over_another() {
    let mut model = working();
    let long = "x".repeat(128);
    let mut status = status();
    status["devices"] =
        json!({"ASSOCIATED": 100_000, "ASSOCIATING": 100_000, "DISASSOCIATED": 100_000, "DISASSOCIATING": 100_000});
    status["problems"] = (0..9).map(|n| problem("STORE_FAILING", &format!("{n} {long}"))).collect();
    let mut one = request(&long[..64], "IN_PROGRESS", [100_000, 1, 99_998]);
    one["requestedBy"] = long.clone().into();
    let requests = rows("requests", &vec![one; 30]);
    let mut other = device(&long, Some("AccessDeniedException"));
    other["requestedBy"] = long.clone().into();
    let devices = rows("devices", &vec![other; 30]);
    learn(&mut model, 18, News { requests, devices, ..news(status) });
    let lines = usual(&model);
    assert_eq!(lines[3], "ASSOCIATED 100000 ASSOCIATING 100000 DISASSOCIATED 100000 DISASSOCIATING 100000");
    assert!(lines[9].ends_with("~ (p: all of 9)"), "{lines:#?}");
    let token = format!("> {}~ {}~ disassociate [###.] 99999/100000 99998 failed", &long[..18], &long[..11]);
    assert_eq!(lines[11], token);
    let thing = format!("  {}~ DISASSOCIATING {}~ AccessDeniedException", &long[..21], &long[..13]);
    assert_eq!(lines[18], thing);
    for (width, height) in [(60, 16), (132, 50), (200, 16), (80, 25)] {
        let lines = screen(&model, (width, height), true);
        assert!(lines[usize::from(height) - 1].starts_with("q quit"), "{lines:#?}");
    }
    assert!(screen(&model, (59, 24), true)[0].contains("too small"));
    screen(&model, (1, 1), true);
}

#[test]
fn what_is_shown_is_old_when_nobody_answers() {
    let mut model = working();
    model.silent = 4;
    assert_eq!(usual(&model)[0], " offboard 0.1.0   NO ANSWER for 4 s; what is shown is old");
    model.lose("/data/agent.sock: there is no agent's socket".into(), Duration::from_secs(20));
    let lines = usual(&model);
    assert_eq!(lines[0], " offboard 0.1.0   NO AGENT; trying again; what is shown is old");
    assert_eq!(lines[6], "! /data/agent.sock: there is no agent's socket");
    assert!(lines[4].starts_with("calls   #=_.? "), "{}", lines[4]);
    assert!(lines.iter().any(|line| line.starts_with("> retire-7")));
    learn(&mut model, 21, news(status()));
    assert!(usual(&model)[0].contains("agent ONLINE"));
    let nothing = usual(&Model::default());
    assert_eq!(nothing[0], " offboard asking the agent");
    assert_eq!(nothing[4], "calls   not known");
}

#[test]
fn a_text_from_outside_stays_where_it_is() {
    let mut model = Model::default();
    let evil = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}x";
    let mut status = status();
    status["problems"] = json!([problem(evil, evil)]);
    status["version"] = evil.into();
    let mut one = request(evil, evil, [1, 0, 0]);
    one["requestedBy"] = evil.into();
    let (requests, devices) = (rows("requests", &[one]), rows("devices", &[device(evil, Some(evil))]));
    learn(&mut model, 0, News { requests, devices, ..news(status) });
    for ascii in [true, false] {
        let lines = screen(&model, (80, 24), ascii);
        assert!(!lines.join("").contains(char::is_control), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("> ?[2J")), "{lines:#?}");
    }
    model.press(Key::Enter);
    assert_eq!(model.detail, Some(Detail::Request { client: evil.into(), via: String::new(), token: evil.into() }));
    assert!(usual(&model)[3].starts_with(" request ?[2J"));
}

#[test]
fn a_request_is_looked_into() {
    let mut model = working();
    model.press(Key::Enter);
    assert_eq!(usual(&model)[4], "asking the agent");
    let failed: Vec<Value> = (0..40)
        .map(|n| json!({"thingName": format!("d{n:04}"), "code": "AccessDeniedException", "message": "y".repeat(80)}))
        .collect();
    let mut one = request("retire-7", "PARTIALLY_SUCCEEDED", [250, 210, 40]);
    one["errorEntries"] = failed.into();
    one["reason"] = "line 3 was sold".into();
    let answer = read(json!({"request": one, "nextToken": "more"}));
    let detail = Some(Ok(Opened::Request(Box::new(answer))));
    learn(&mut model, 18, News { detail, ..news(status()) });
    let lines = usual(&model);
    assert_eq!(lines[3], " request retire-7 of bench-tool");
    assert_eq!(lines[8], "  250 entries: 210 succeeded, 40 failed, 0 open");
    assert!(lines[7].contains("line 3 was sold"), "{lines:#?}");
    // The message is longer than the line, and continues in the next one.
    assert!(lines[10].starts_with("d0000   AccessDeniedException"), "{lines:#?}");
    assert!(lines[11].starts_with("  yyyy"), "{lines:#?}");
    assert!(lines[23].starts_with("Esc back") && lines[23].ends_with("lines 1-19 of 127"), "{lines:#?}");
    for _ in 0..20 {
        model.press(Key::PageDown);
    }
    let lines = usual(&model);
    assert_eq!(lines[22], "and more: offboard requests TOKEN --all shows them");
    assert!(lines[23].ends_with("lines 109-127 of 127"), "{lines:#?}");
}

#[test]
fn a_device_and_all_problems_and_the_keys_are_shown() {
    let mut model = working();
    model.press(Key::Tab);
    assert!(usual(&model)[16].starts_with("=>DEVICES"));
    model.press(Key::Down);
    model.press(Key::Enter);
    let answer = read(json!({"device": device("d0002", Some("ResourceNotFoundException"))}));
    let detail = Some(Ok(Opened::Device(Box::new(answer))));
    learn(&mut model, 18, News { detail, ..news(status()) });
    let lines = usual(&model);
    assert_eq!(lines[3], " device d0002");
    assert!(lines.contains(&"lastError    ResourceNotFoundException: no".to_owned()), "{lines:#?}");
    learn(&mut model, 19, News { detail: Some(Err("it is gone (Code)".into())), ..news(status()) });
    assert_eq!(usual(&model)[4], "it is gone (Code)");
    model.press(Key::Char('p'));
    assert!(usual(&model)[4].starts_with("! CLOUD_UNREACHABLE since"));
    model.press(Key::Char('?'));
    let lines = usual(&model);
    assert!(lines[4].starts_with("Tab ") && lines.iter().any(|line| line.starts_with("q, Ctrl-C")), "{lines:#?}");
    model.press(Key::Escape);
    assert!(usual(&model)[16].starts_with("=>DEVICES"));
}

#[test]
fn the_selected_row_is_in_sight() {
    let mut model = Model::default();
    let all: Vec<Value> = (0..50).map(|n| request(&format!("t{n}"), "SUCCEEDED", [1, 1, 0])).collect();
    learn(&mut model, 0, News { requests: rows("requests", &all), ..news(status()) });
    for _ in 0..30 {
        model.press(Key::Down);
        let wanted = format!("> t{} ", model.requests.selected);
        assert!(usual(&model).iter().any(|line| line.starts_with(&wanted)), "{wanted}");
    }
}

#[test]
fn what_is_refused_is_shown_beside_what_is_not() {
    let mut model = working();
    let refused = Some(Err("the store is full (InternalServerException)".to_owned()));
    learn(&mut model, 18, News { requests: refused, ..news(status()) });
    let lines = usual(&model);
    assert_eq!(lines[6], "! requests: the store is full (InternalServerException)");
    assert!(lines[0].contains("agent ONLINE"));
}
