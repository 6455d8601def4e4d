//! A device's history: what it shows, that it stays small, and that it is forgotten in time.

use super::*;
use crate::{
    domain::{Event, EventKind},
    ledger::{pending::DeviceRow, registry::rows},
};

fn shown(bench: &mut Bench, name: &str) -> Vec<(i64, &'static str)> {
    events_of(bench, name).iter().map(|event| (event.at.0, event.kind.as_str())).collect()
}

fn events_of(bench: &mut Bench, name: &str) -> Vec<Event> {
    let name = thing(name);
    bench.run(|tx| history(tx, &name))
}

#[test]
fn a_history_shows_who_asked_what_was_answered_and_what_lists_showed() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5)]);
    assert_eq!(shown(&mut bench, "a"), [], "the first list names all there is");
    bench.wait(1);
    bench.accept(&order("tool", Some("t1"), change(&["a"])));
    assert_eq!(shown(&mut bench, "a"), [(1_000_001, "REQUESTED")], "while it is open, too");
    bench.wait(1);
    bench.take(100);
    bench.settle(&["a"], &Verdict::Again(fault("Busy")));
    bench.wait(1);
    bench.take(100);
    bench.settle(&["a"], &Verdict::Done);
    bench.wait(1);
    bench.list(&[("a", 1_000_004)]);
    bench.wait(1);
    bench.list(&[]);
    let expected = [
        (1_000_001, "REQUESTED"),
        (1_000_002, "ANSWERED"),
        (1_000_003, "SUCCEEDED"),
        (1_000_004, "LISTED"),
        (1_000_005, "UNLISTED"),
    ];
    assert_eq!(shown(&mut bench, "a"), expected);
}

/// The wall clock of a gateway is set back by the first answer of a time server, for example.
#[test]
fn a_step_of_the_clock_does_not_change_the_order_of_a_history() {
    let mut bench = Bench::new();
    bench.list(&[]);
    bench.wait(1);
    bench.list(&[("a", 5)]);
    bench.wait(1);
    bench.now.wall.0 -= 500_000;
    bench.accept(&order("tool", Some("t1"), change(&["a"])));
    bench.wait(1);
    bench.take(100);
    bench.settle(&["a"], &Verdict::Again(fault("Busy")));
    let open = [(1_000_001, "LISTED"), (500_002, "REQUESTED"), (500_003, "ANSWERED")];
    assert_eq!(shown(&mut bench, "a"), open);
    bench.wait(1);
    bench.now.wall.0 -= 400_000;
    bench.take(100);
    bench.settle(&["a"], &Verdict::Done);
    assert_eq!(shown(&mut bench, "a"), [&open[..], &[(100_004, "SUCCEEDED")]].concat());
}

#[test]
fn a_history_stays_small_and_keeps_the_latest() {
    let mut bench = Bench::new();
    let long = "\u{1}".repeat(2000);
    for n in 0..60 {
        let token = format!("t{n:02}{}", "\u{10ffff}".repeat(60));
        bench.accept(&order(&"c".repeat(128), Some(&token), change(&["a"])));
        bench.take(100);
        bench.settle(&["a"], &Verdict::Failed(Fault::new(&"\u{1}".repeat(128), &long)));
        let largest = bench.view().history().values().map(|events| serde_json::to_vec(events).unwrap().len()).max();
        assert!(largest.is_some_and(|bytes| bytes <= 3 << 10), "{largest:?} bytes");
    }
    let events = events_of(&mut bench, "a");
    assert!(events.len() >= 2, "at least the last request and its end");
    assert!(matches!(&events.last().unwrap().kind, crate::domain::EventKind::Ended { asked, .. }
        if asked.token.as_str().starts_with("t59")));
}

#[test]
fn a_history_shows_at_most_20_events() {
    let mut bench = Bench::new();
    for n in 0..30 {
        bench.accept(&order("tool", Some(&format!("t{n}")), change(&["a"])));
        bench.take(100);
        bench.settle(&["a"], &Verdict::Done);
        bench.wait(1);
    }
    assert_eq!(shown(&mut bench, "a").len(), 20);
}

#[test]
fn a_history_is_forgotten_event_by_event() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5)]);
    for token in ["t1", "t2"] {
        bench.accept(&order("tool", Some(token), change(&["a"])));
        bench.take(100);
        bench.settle(&["a"], &Verdict::Failed(fault("No")));
        bench.wait(1000);
    }
    bench.forget_devices(500);
    assert_eq!(shown(&mut bench, "a"), [(1_001_000, "REQUESTED"), (1_001_000, "FAILED")]);
    bench.forget_devices(1001);
    assert_eq!(shown(&mut bench, "a"), []);
    assert!(bench.view().history().is_empty(), "and leaves nothing");
}

/// The history is forgotten with the tombstone of its device; younger events are forgotten by
/// themselves.
#[test]
fn a_history_is_forgotten_with_its_device() {
    let mut bench = Bench::new();
    for name in ["a", "b"] {
        bench.accept(&order("tool", Some(name), change(&[name])));
        bench.take(100);
        bench.settle(&[name], &Verdict::Done);
    }
    bench.wait(1000);
    let request = bench.accept(&order("tool", Some("t"), change(&["b"])));
    let mut so_far = Canceled::default();
    while !bench.run(|tx| cancel(tx, request.seq, &mut so_far)) {}
    bench.forget_devices(0);
    assert_eq!(shown(&mut bench, "a").len(), 2, "as long as its tombstone");
    bench.forget_devices(500);
    assert_eq!((shown(&mut bench, "a").len(), shown(&mut bench, "b").len()), (0, 2));
    bench.forget_devices(1001);
    assert!(bench.view().history().is_empty(), "and leaves nothing");
}

/// A registry of a hundred thousand devices is not read every two minutes for nothing.
#[test]
fn without_a_row_that_is_old_enough_retention_reads_none() {
    let mut bench = Bench::new();
    bench.accept(&order("tool", Some("a"), change(&["a"])));
    bench.take(100);
    bench.wait(1000);
    bench.settle(&["a"], &Verdict::Done);
    bench.forget_devices(500);
    // A row that only a walk finds, because no rule set it.
    let event = Event { at: Timestamp(0), kind: EventKind::Listed };
    let row = DeviceRow { events: vec![(1, event)], ..DeviceRow::default() };
    let (key, row) = rows::of_device(&thing("z"), &row);
    let row = row.unwrap();
    bench.image.state.counters.registry_bytes += (key.len() + row.len()) as u64;
    bench.image.registry.rows.insert(key, row);
    let is_there = |bench: &Bench| bench.image.history().contains_key(&thing("z"));
    bench.forget_devices(1000);
    assert!(is_there(&bench), "the oldest row that is known is of 1000");
    bench.forget_devices(1001);
    assert!(!is_there(&bench) && bench.image.history().is_empty());
    // A device that changes is known again.
    bench.accept(&order("tool", Some("b"), change(&["b"])));
    bench.take(100);
    bench.settle(&["b"], &Verdict::Done);
    bench.wait(1000);
    bench.forget_devices(2001);
    assert!(bench.image.history().is_empty());
}
