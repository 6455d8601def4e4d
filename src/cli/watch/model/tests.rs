//! What the model keeps of answers, and how it handles keys.

use serde_json::json;

use super::*;

/// A message with the members that all messages of its type have.
fn read<T: serde::de::DeserializeOwned>(message: serde_json::Value) -> T {
    serde_json::from_value(message).unwrap()
}

fn status() -> StatusMessage {
    read(json!({"state": "ONLINE", "version": "0", "health": "OK", "problems": [], "cloud": "REACHABLE", "devices": {},
        "pendingEntries": 0, "openRequests": 0, "startedAt": "x"}))
}

fn requests(tokens: &[&str]) -> Option<Reply<RequestsResponse>> {
    let row = |token: &&str| json!({"clientToken": token, "requestedBy": "b", "operation": "sync", "status": "FAILED", "acceptedAt": "x"});
    let rows: Vec<_> = tokens.iter().map(row).collect();
    Some(Ok(read(json!({"requests": rows}))))
}

fn learn(model: &mut Model, tokens: &[&str]) {
    let wanted = model.wanted(24);
    let news = News {
        status: status(),
        counters: None,
        in_flight: None,
        connected: Some(true),
        requests: requests(tokens),
        devices: None,
        detail: None,
    };
    model.learn(&wanted, news, Duration::ZERO);
}

#[test]
fn the_selection_stays_with_its_row() {
    let mut model = Model::default();
    learn(&mut model, &["b", "a"]);
    learn(&mut model, &["c", "b", "a"]);
    assert_eq!(model.requests.selected, 0, "at the top the newest is selected");
    model.press(Key::Down);
    learn(&mut model, &["d", "c", "b", "a"]);
    assert_eq!(model.requests.selected, 2);
    model.press(Key::Enter);
    assert_eq!(model.detail, Some(Detail::Request { client: "b".into(), via: String::new(), token: "b".into() }));
    assert_eq!(model.press(Key::Escape), Effect::Ask);
    learn(&mut model, &["d"]);
    assert_eq!(model.requests.selected, 0);
    learn(&mut model, &[]);
    assert_eq!(
        (model.press(Key::Enter), model.press(Key::Down), model.detail.is_none()),
        (Effect::Draw, Effect::Draw, true)
    );
    assert_eq!(model.press(Key::Escape), Effect::Quit);
}

#[test]
fn no_more_is_asked_than_is_shown() {
    let mut model = Model::default();
    let tokens: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    learn(&mut model, &tokens.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((model.wanted(24).requests, model.wanted(24).devices), (24, 24));
    for _ in 0..50 {
        model.press(Key::PageDown);
    }
    assert_eq!(model.wanted(24).requests, MAX_ROWS);
}

#[test]
fn an_answer_to_an_earlier_choice_is_not_shown() {
    let mut model = Model::default();
    let earlier = model.wanted(24);
    assert_eq!((model.press(Key::Char('s')), model.state()), (Effect::Ask, Some("DISASSOCIATING")));
    model.press(Key::Char('?'));
    let news = News {
        status: status(),
        counters: None,
        in_flight: None,
        connected: Some(true),
        requests: None,
        devices: Some(Ok(read(json!({"devices": [{"thingName": "d1", "state": "ASSOCIATED", "changedAt": "x"}]})))),
        detail: Some(Err("it is gone".into())),
    };
    model.learn(&earlier, news, Duration::ZERO);
    assert!(model.devices.rows.is_empty() && model.reply.is_none());
}
