//! What a broadcast does on one core device.

use super::*;

fn broadcast(bench: &mut Bench, token: Option<&str>, names: &[&str]) -> Option<Result<Request, RejectionCode>> {
    let order = order("ops", token, change(names));
    bench.run(|tx| accept_broadcast(tx, &order)).map(|accepted| accepted.map_err(|rejection| rejection.code))
}

#[test]
fn a_broadcast_becomes_a_request_for_the_own_devices_and_names_the_others() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("gone", 5)]);
    bench.accept(&order("ops", None, change(&["gone"])));
    bench.take(9);
    bench.settle(&["gone"], &Verdict::Done);
    // Its association is under way, and the cloud lists it not yet.
    bench.accept(&order("ops", Some("on"), associate(&["new"])));
    assert_eq!(broadcast(&mut bench, Some("t"), &["gone", "x"]), None, "no device of this core device");
    let request = broadcast(&mut bench, Some("t"), &["x", "a", "gone", "new"]).unwrap().unwrap();
    assert_eq!((request.tally.entries, request.unknown), (2, Some(2)));
    let others = bench.run(|tx| unknown_names(tx, &request));
    assert_eq!(others, ["x", "gone"]);
    let plan = bench.run(|tx| plan_broadcast(tx, &change(&["a", "x"]))).unwrap();
    assert_eq!((plan.entries, plan.unknown), (1, (1, vec!["x".to_owned()])));
    assert_eq!(bench.run(|tx| plan_broadcast(tx, &change(&["x"]))), None);
}

#[test]
fn a_repeated_broadcast_is_the_same_request_also_when_its_devices_are_gone() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("b", 5)]);
    let first = broadcast(&mut bench, Some("t"), &["a", "x"]).unwrap().unwrap();
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.checkpoint();
    let owed = bench.owed().len();
    assert_eq!(broadcast(&mut bench, Some("t"), &["x", "a"]).unwrap().unwrap().seq, first.seq);
    assert_eq!(bench.owed().len(), owed + 2, "accepted and completed again");
    // Other content matters only to a core device that it concerns.
    assert_eq!(broadcast(&mut bench, Some("t"), &["a"]), None);
    assert_eq!(broadcast(&mut bench, Some("t"), &["b"]), Some(Err(RejectionCode::ConflictException)));
    // A command to this core device alone is another one.
    assert_eq!(bench.refuse(&order("ops", Some("t"), change(&["a", "x"]))), RejectionCode::ConflictException);
}

#[test]
fn guards_are_about_the_own_devices() {
    let mut bench = Bench::with(Rules { guard: guard(&["p-*"], 1.0), ..rules() });
    bench.list(&[("p-1", 5), ("a", 5)]);
    let denied = Some(Err(RejectionCode::AccessDeniedException));
    assert_eq!(broadcast(&mut bench, None, &["p-1", "a"]), denied);
    assert!(broadcast(&mut bench, None, &["p-2", "a"]).unwrap().is_ok(), "p-2 is another core device's");
    assert_eq!(broadcast(&mut bench, None, &["MyCore"]), None);
}
