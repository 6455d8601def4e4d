//! Tests of single rules of the ledger.

use super::*;

#[test]
fn a_request_runs_from_accepted_to_completed() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("b", 5), ("c", 5)]);
    bench.accept(&order("bench", Some("t"), change(&["a", "b", "x"])));
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociating));
    assert_eq!(bench.state("x"), Some(DeviceState::Disassociating));
    assert_eq!(bench.take(100), ["a", "b", "x"]);
    bench.settle(&["a"], &Verdict::Done);
    assert_eq!(bench.status("bench", "t"), RequestStatus::InProgress);
    bench.settle(&["b", "x"], &Verdict::Failed(fault("No")));
    assert_eq!(bench.status("bench", "t"), RequestStatus::PartiallySucceeded);
    assert_eq!(bench.owed(), [("t".into(), false), ("t".into(), true)]);
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociated));
    assert_eq!(bench.state("b"), Some(DeviceState::Associated));
    let request = bench.request("bench", "t");
    let failures = bench.run(|tx| failures(tx, request.seq, None, 1));
    assert_eq!(failures.rows[0].1.target, device("b"));
    let rest = bench.run(|tx| super::failures(tx, request.seq, failures.next.as_deref(), 9));
    assert_eq!((rest.rows.len(), rest.next), (1, None));
}

#[test]
fn a_token_stands_for_one_content() {
    let mut bench = Bench::new();
    let first = bench.accept(&order("bench", Some("t"), change(&["a", "b"])));
    assert_eq!(bench.accept(&order("bench", Some("t"), change(&["b", "a"]))).seq, first.seq);
    assert_eq!(bench.refuse(&order("bench", Some("t"), change(&["a"]))), RejectionCode::ConflictException);
    assert_ne!(bench.accept(&order("other", Some("t"), change(&["a"]))).seq, first.seq);
    bench.take(9);
    bench.settle(&["a", "b"], &Verdict::Done);
    let before = bench.owed().len();
    bench.accept(&order("bench", Some("t"), change(&["a", "b"])));
    let owed = bench.owed();
    assert_eq!(owed[before..], [("t".into(), false), ("t".into(), true)]);
}

#[test]
fn without_a_token_only_a_redelivery_is_the_same_request() {
    let mut bench = Bench::new();
    let mut command = order("bench", None, change(&["a"]));
    command.delivery = Some(([7; 32], false));
    let first = bench.accept(&command);
    command.delivery = Some(([7; 32], true));
    command.fresh_token = ClientToken::new("made-2").unwrap();
    assert_eq!(bench.accept(&command).seq, first.seq);
    bench.run(|tx| acknowledged(tx, &[7; 32], first.seq));
    let second = bench.accept(&command);
    assert_ne!(second.seq, first.seq);
    bench.run(|tx| acknowledged(tx, &[7; 32], first.seq));
    assert_eq!(bench.accept(&command).seq, second.seq, "the first one's acknowledgement is not the second one's");
}

/// The checkpoint logs again which commands the broker may deliver once more.
#[test]
fn a_redelivery_is_recognised_after_a_checkpoint() {
    let mut bench = Bench::new();
    let mut command = order("bench", None, change(&["a"]));
    command.delivery = Some(([7; 32], false));
    let first = bench.accept(&command);
    bench.checkpoint();
    command.delivery = Some(([7; 32], true));
    assert_eq!(bench.accept(&command).seq, first.seq);
}

#[test]
fn five_requests_for_the_same_devices_are_one_piece_of_work() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..50).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.accept(&order("bench", Some("t0"), change(&names)));
    assert_eq!(bench.take(100).len(), 50);
    for n in 1..5 {
        bench.accept(&order("bench", Some(&format!("t{n}")), change(&names)));
    }
    assert!(bench.take(100).is_empty() || bench.take(100).len() == 50, "no device twice in a call");
    bench.settle(&names, &Verdict::Done);
    assert!(bench.take(100).is_empty());
    for n in 0..5 {
        assert_eq!(bench.status("bench", &format!("t{n}")), RequestStatus::Succeeded);
    }
}

#[test]
fn names_that_the_registry_does_not_know_are_counted_and_reported_the_same_each_time() {
    let mut bench = Bench::new();
    bench.list(&[("Device-1", 5)]);
    let strangers: Vec<String> = (0..150).map(|n| format!("device-{n:03}")).collect();
    let names: Vec<&str> = strangers.iter().map(String::as_str).chain(["Device-1"]).collect();
    let request = bench.accept(&order("b", Some("t"), change(&names)));
    assert_eq!(request.unknown, Some(150));
    let unknown = bench.run(|tx| unknown_names(tx, &request));
    assert_eq!(unknown, strangers[..100]);
    let again = bench.accept(&order("b", Some("u"), change(&names[..1])));
    assert_eq!(again.unknown, Some(1), "an open request for it does not make it known");
    let known = bench.accept(&order("b", Some("v"), change(&["Device-1"])));
    assert_eq!((known.unknown, bench.run(|tx| unknown_names(tx, &known))), (Some(0), Vec::new()));
}

/// A command that ends very many entries of others would hold up everybody.
#[test]
fn an_opposite_command_ends_a_limited_number_of_entries() {
    let mut bench = Bench::new();
    bench.trusting = true;
    let names: Vec<String> = (0..1000).map(|n| format!("d{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for n in 0..11 {
        bench.accept(&order("b", Some(&format!("t{n}")), change(&names)));
    }
    let code = bench.refuse(&order("b", Some("back"), associate(&names)));
    assert_eq!(code, RejectionCode::ThrottlingException);
    bench.accept(&order("b", Some("some"), associate(&names[..900])));
    assert_eq!(bench.request("b", "t0").tally.open, 100);
}

#[test]
fn limits_refuse_and_drop_nothing() {
    let mut bench = Bench::with(limited_to(2));
    bench.accept(&order("b", Some("t"), change(&["a", "b"])));
    assert_eq!(bench.refuse(&order("b", None, change(&["c"]))), RejectionCode::ThrottlingException);
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.accept(&order("b", Some("u"), change(&["c"])));
    let code = bench.refuse(&order("b", None, change(&["x", "y", "z"])));
    assert_eq!(code, RejectionCode::ValidationException, "it would never be taken, however often it is sent");
}

#[test]
fn who_asked_later_does_not_go_out_at_the_place_of_who_is_gone() {
    let mut bench = Bench::new();
    bench.accept(&order("x", Some("first"), change(&["a"])));
    bench.accept(&order("y", Some("second"), change(&["a", "b"])));
    let seq = bench.request("x", "first").seq;
    bench.run(|tx| cancel(tx, seq, &mut Canceled::default()));
    // The first one had its list, the second has not.
    let pick = Pick::Queue {
        limit: 9,
        window: Window { cleared: seq + 1, fresh: seq + 2, generation: None },
        again: Some(Again::default()),
        shut: Vec::new(),
    };
    let taken = bench.run(|tx| take(tx, CallKind::Disassociate, &pick, WallClock::Confirmed, &CallToken::from_bits(0)));
    assert!(taken.entries.is_empty() && taken.gated && !taken.more, "{taken:?}");
    assert_eq!(bench.take(9), ["a", "b"]);
}

#[test]
fn a_cancel_withdraws_what_was_not_sent() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1), ("b", 1), ("c", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a", "b", "c"])));
    bench.accept(&order("y", Some("u"), change(&["b"])));
    assert_eq!(bench.take(1), ["a"]);
    let seq = bench.request("x", "t").seq;
    let mut canceled = Canceled::default();
    while !bench.run(|tx| cancel(tx, seq, &mut canceled)) {}
    assert_eq!((canceled.canceled, canceled.in_flight), (2, 1));
    assert_eq!(bench.state("c"), Some(DeviceState::Associated));
    assert_eq!(bench.take(9), ["a", "b"], "the other request keeps its share");
    bench.settle(&["a", "b"], &Verdict::Done);
    assert_eq!(bench.status("x", "t"), RequestStatus::PartiallySucceeded);
    assert_eq!(bench.status("y", "u"), RequestStatus::Succeeded);
}

#[test]
fn what_expires_is_not_sent_and_what_was_sent_is_looked_after() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1), ("b", 1)]);
    let soon = Change { expires_in: Some(std::time::Duration::from_secs(10)), ..change(&["a", "b"]) };
    bench.accept(&order("x", Some("t"), soon));
    assert_eq!(bench.take(1), ["a"]);
    bench.wait(9_999);
    bench.expire();
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
    bench.wait(1);
    bench.expire();
    assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut);
    assert!(bench.take(9).is_empty());
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociating), "the agent goes on to find out");
    assert_eq!(bench.state("b"), Some(DeviceState::Associated));
    bench.list(&[("b", 1)]);
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociated));
}

#[test]
fn a_clock_that_jumps_ends_nothing_before_its_time() {
    let mut bench = Bench::new();
    let soon = Change { expires_in: Some(std::time::Duration::from_secs(10)), ..change(&["a"]) };
    bench.accept(&order("x", Some("t"), soon));
    bench.now.wall.0 += 1_000_000_000;
    bench.expire();
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
    bench.wait(10_000);
    bench.expire();
    assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut);
}

#[test]
fn only_what_may_be_sent_is_taken() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.accept(&order("x", Some(&format!("t{n}")), change(&[&format!("d{n}")])));
    }
    let mut take = |generation| {
        let window = Window { cleared: 1, fresh: 3, generation };
        let pick = Pick::Queue { limit: 9, window, again: None, shut: Vec::new() };
        let taken =
            bench.run(|tx| take(tx, CallKind::Disassociate, &pick, WallClock::Confirmed, &CallToken::from_bits(0)));
        assert!(taken.gated);
        taken.entries.iter().map(|(target, _)| target.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(take(Some(1)), [""; 0], "that registry is lost, and what its lists showed with it");
    assert_eq!(take(Some(0)), ["d0", "d3", "d4"]);
}

#[test]
fn a_clock_that_jumps_back_does_not_stop_the_deadlines() {
    let mut bench = Bench::new();
    bench.now.wall.0 = 2_000_000_000_000;
    let soon = Change { expires_in: Some(std::time::Duration::from_secs(10)), ..change(&["a"]) };
    bench.accept(&order("x", Some("t"), soon));
    bench.now.wall.0 = 1_700_000_000_000;
    bench.now.mono.0 += 9_999;
    bench.expire();
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
    bench.now.mono.0 += 1;
    bench.expire();
    assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut);
}

/// A response settles only the call that it belongs to. The registry may have been replaced during
/// the call, and a request for the opposite operation may be open.
#[test]
fn an_answer_ends_nothing_that_was_not_sent_by_its_lane() {
    let mut bench = Bench::new();
    bench.accept(&order("x", Some("t"), associate(&["a"])));
    bench.settle_of(CallKind::Disassociate, &["a"], &Verdict::Done);
    bench.settle_of(CallKind::Associate, &["a"], &Verdict::Done);
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
    let piece = Pick::These(vec![device("a")]);
    let taken =
        bench.run(|tx| take(tx, CallKind::Disassociate, &piece, WallClock::Confirmed, &CallToken::from_bits(0)));
    assert!(taken.entries.is_empty());
}

/// What was in a call when the agent was killed may be done.
#[test]
fn what_a_kill_left_in_flight_is_not_reported_as_canceled() {
    let mut bench = Bench::new();
    let request = bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.take(9);
    let now = bench.now;
    bench.image.state.begin_run(now);
    bench.take(9);
    bench.settle(&["a"], &Verdict::Unsent(fault("ThrottlingException")));
    let mut so_far = Canceled::default();
    while !bench.run(|tx| cancel(tx, request.seq, &mut so_far)) {}
    assert_eq!((so_far.canceled, so_far.in_flight), (0, 1));
}

/// A sender's clock that is fast does not give a command more time.
#[test]
fn a_command_from_the_future_expires_as_one_from_now() {
    let mut bench = Bench::new();
    let issued = bench.now.wall.after(Duration::from_secs(6 * 3600));
    let late = Change { issued_at: Some(issued), expires_in: Some(Duration::from_secs(5)), ..change(&["a"]) };
    let request = bench.accept(&order("x", Some("t"), late));
    assert_eq!(request.expires_at, Some(bench.now.wall.after(Duration::from_secs(5))));
    // A reboot: the wall clock decides.
    bench.now.boot += 1;
    bench.now.wall = bench.now.wall.after(Duration::from_secs(8));
    bench.now.mono.0 = 0;
    assert_eq!(bench.take(9), [""; 0]);
    assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut);
}

/// Nothing finds out the outcome of a call whose kind is off.
#[test]
fn what_a_lane_sent_that_is_off_can_be_cancelled() {
    let mut bench = Bench::new();
    let id = |text: &str| AssetId::new(&format!("externalId:{text}")).unwrap();
    let target = Target::child(id("parent"), id("line"), id("child"));
    let change = Change { operation: Operation::DisassociateAssets, targets: vec![target], ..change(&[]) };
    let request = bench.accept(&order("x", Some("t"), change));
    assert_eq!(bench.take_of(CallKind::Assets, 9).len(), 1);
    bench.rules.off = vec![CallKind::Assets];
    let mut so_far = Canceled::default();
    while !bench.run(|tx| cancel(tx, request.seq, &mut so_far)) {}
    assert_eq!((so_far.canceled, so_far.in_flight), (0, 1), "it may have been carried out");
    assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut, "outcome unknown");
    assert_eq!(bench.summary().load(CallKind::Assets).work, 0);
}

/// A refusal of one resource costs the others nothing, however many entries wait for it.
#[test]
fn what_is_parked_is_passed_over_resource_by_resource() {
    let mut bench = Bench::new();
    let id = |text: &str| AssetId::new(&format!("externalId:{text}")).unwrap();
    let accept = |bench: &mut Bench, parent: &str, n: usize| {
        let target = Target::child(id(parent), id("line"), id(&format!("child-{n}")));
        let change = Change { operation: Operation::DisassociateAssets, targets: vec![target.clone()], ..change(&[]) };
        bench.accept(&order("x", Some(&format!("{parent}-{n}")), change));
        target
    };
    let look = |bench: &mut Bench, shut: &[&str]| {
        let shut = shut.iter().map(|scope| format!("externalId:{scope}")).collect();
        let pick = Pick::Queue { limit: 1, window: Window::OPEN, again: Some(Again::default()), shut };
        let mut tries = 0;
        loop {
            tries += 1;
            let taken =
                bench.run(|tx| take(tx, CallKind::Assets, &pick, WallClock::Confirmed, &CallToken::from_bits(0)));
            if !taken.entries.is_empty() || !taken.more {
                let parent = taken.entries.into_iter().next().map(|(target, _)| target);
                return (parent, tries);
            }
        }
    };
    for n in 0..500 {
        accept(&mut bench, "denied", n);
    }
    let busy = accept(&mut bench, "busy", 0);
    let (first, _) = look(&mut bench, &[]);
    let mut verdicts = VecDeque::from([(first.unwrap(), Verdict::Parked(fault("AccessDeniedException")))]);
    bench.run(|tx| settle(tx, CallKind::Assets, &mut verdicts));
    assert_eq!(look(&mut bench, &["denied", "busy"]).0, None, "all of it is parked");
    assert_eq!(bench.summary().load(CallKind::Assets).retrying, 501);
    assert_eq!(look(&mut bench, &["denied"]), (Some(busy), 1));
    let other = accept(&mut bench, "another", 0);
    assert_eq!(look(&mut bench, &["denied", "busy"]), (Some(other), 1));
}

#[test]
fn too_many_requests_for_the_same_thing_are_refused() {
    let mut bench = Bench::new();
    let sync = Change { operation: Operation::Sync, targets: vec![Target::Registry], ..change(&[]) };
    bench.trusting = true;
    let mut accepted = 0;
    for n in 0..1001 {
        let order = order("x", Some(&format!("s{n}")), sync.clone());
        accepted += usize::from(bench.run(|tx| accept(tx, &order)).is_ok());
    }
    assert_eq!(accepted, 1000);
    accepted = 0;
    for n in 0..300 {
        let order = order("x", Some(&format!("t{n}")), change(&["a"]));
        accepted += usize::from(bench.run(|tx| accept(tx, &order)).is_ok());
    }
    assert_eq!(accepted, 256);
}
