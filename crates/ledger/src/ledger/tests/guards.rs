//! What the guards refuse, at the acceptance and before each call.

use super::*;

#[test]
fn guards_refuse_whole_commands() {
    let mut bench = Bench::with(Rules { guard: guard(&["plc-*"], 0.5), ..rules() });
    let refused = RejectionCode::AccessDeniedException;
    assert_eq!(bench.refuse(&order("b", None, change(&["d0"]))), refused, "never synced");
    let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 5)).collect();
    bench.list(&listed);
    assert_eq!(bench.refuse(&order("b", None, change(&["d0", "plc-1"]))), refused);
    assert_eq!(bench.refuse(&order("b", None, change(&["MyCore"]))), refused);
    assert_eq!(bench.refuse(&order("b", None, change(&["MyCore-offboard"]))), refused);
    assert_eq!(bench.refuse(&order("b", None, change(&["d0", "d1", "d2", "d3", "d4", "d5"]))), refused);
    bench.accept(&order("b", Some("t"), change(&["d0", "d1", "d2"])));
    assert_eq!(bench.refuse(&order("b", None, change(&["d3", "d4", "d5"]))), refused, "with what is open");
    bench.accept(&order("b", Some("u"), Change { force: true, ..change(&["d3", "d4", "d5"]) }));
    let forced = Change { force: true, ..change(&["plc-1"]) };
    assert_eq!(bench.refuse(&order("b", None, forced)), refused, "force does not lift protection");
    let plan = bench.run(|tx| plan(tx, &change(&["d0", "d9", "new", "plc-1"])));
    assert_eq!((plan.entries, plan.new, plan.unknown.0, plan.guarded.1), (4, 3, 2, vec!["plc-1".to_owned()]));
    assert!(plan.max_fraction_exceeded);
    let plan = bench.run(|tx| super::plan(tx, &associate(&["d9"])));
    assert!(!plan.max_fraction_exceeded, "an association disassociates nothing");
}

/// A device that a deployment protects is not sent, although its command was accepted before.
#[test]
fn guards_are_asked_again_before_each_sending() {
    let mut bench = Bench::new();
    bench.list(&[("plc-1", 5), ("d0", 5), ("d1", 5)]);
    bench.accept(&order("b", Some("t"), change(&["plc-1", "d0", "d1"])));
    bench.accept(&order("b", Some("u"), change(&["plc-1"])));
    bench.accept(&order("b", Some("back"), associate(&["plc-2"])));
    assert_eq!(bench.take(1), ["plc-1"]);
    bench.settle(&["plc-1"], &Verdict::Unsent(fault("Unreachable")));
    bench.rules.guard = guard(&["plc-*", "d1"], 1.0);
    assert_eq!(bench.take(9), ["d0"]);
    assert_eq!(bench.take_of(CallKind::Associate, 9), ["plc-2"], "a guard keeps nobody from coming back");
    for (token, names) in [("t", vec!["plc-1", "d1"]), ("u", vec!["plc-1"])] {
        let seq = bench.request("b", token).seq;
        let failures = bench.run(|tx| failures(tx, seq, None, 9)).rows;
        let failed: Vec<_> = failures.iter().map(|(_, failure)| failure.target.name()).collect();
        assert_eq!(failed, names);
        for (_, failure) in &failures {
            assert_eq!(failure.fault.code, "AccessDeniedException");
            assert!(failure.fault.message.contains("guard.protected"), "{}", failure.fault.message);
        }
    }
    assert_eq!(bench.status("b", "u"), RequestStatus::Failed);
}

/// What was sent before may be done already: the next list shows it, and it is not sent again.
#[test]
fn what_was_sent_before_a_guard_came_is_looked_up_and_not_sent_again() {
    for done in [true, false] {
        let mut bench = Bench::new();
        bench.list(&[("plc-1", 5)]);
        bench.accept(&order("b", Some("t"), change(&["plc-1"])));
        bench.take(9);
        bench.settle(&["plc-1"], &Verdict::Unknown(fault("NoResponse")));
        bench.rules.guard = guard(&["plc-*"], 1.0);
        assert!(bench.take(9).is_empty());
        assert_eq!(bench.status("b", "t"), RequestStatus::InProgress);
        bench.list(if done { &[] } else { &[("plc-1", 5)] });
        let expected = if done { RequestStatus::Succeeded } else { RequestStatus::Failed };
        assert_eq!(bench.status("b", "t"), expected);
        assert!(bench.take(9).is_empty());
        let seq = bench.request("b", "t").seq;
        let failures = bench.run(|tx| failures(tx, seq, None, 9)).rows;
        assert!(failures.iter().all(|(_, failure)| failure.fault.code == "AccessDeniedException"), "{failures:?}");
    }
}

/// Devices that the registry does not know do not count for `guard.maxFraction`.
#[test]
fn the_guard_of_the_share_counts_known_devices_only() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..11).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.accept(&order("b", Some("t"), change(&names)));
    bench.accept(&order("b", Some("u"), change(&["another"])));
    let mut bench = Bench::with(Rules { guard: guard(&[], 0.5), ..rules() });
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (*name, 5)).collect();
    bench.list(&listed);
    let strangers: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    bench.accept(&order("b", Some("t"), change(&strangers.iter().map(String::as_str).take(5).collect::<Vec<_>>())));
    bench.accept(&order("b", Some("u"), change(&names[..3])));
}

/// A disassociation that is queued behind an association counts for the guard, too.
#[test]
fn a_guard_is_not_gone_around_by_associating_first() {
    let mut bench = Bench::with(Rules { guard: guard(&[], 0.1), ..rules() });
    let names: Vec<String> = (0..20).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (*name, 1)).collect();
    for in_flight in [false, true] {
        let mut bench = bench.clone();
        bench.list(&listed);
        bench.accept(&order("x", Some("t"), associate(&names)));
        if in_flight {
            assert_eq!(bench.take_of(CallKind::Associate, 99).len(), 20);
        }
        assert_eq!(bench.refuse(&order("x", Some("u"), change(&names))), RejectionCode::AccessDeniedException);
        bench.accept(&order("x", Some("v"), change(&names[..2])));
        assert_eq!(bench.refuse(&order("x", Some("w"), change(&names[2..3]))), RejectionCode::AccessDeniedException);
    }
    bench.list(&listed);
    assert_eq!(bench.refuse(&order("x", Some("u"), change(&names[..3]))), RejectionCode::AccessDeniedException);
}
