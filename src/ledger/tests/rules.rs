//! What each rule promises.

use std::collections::BTreeSet;

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
fn guards_refuse_whole_commands() {
    let mut bench =
        Bench::with(r#"{"coreThingName":"MyCore","region":"r","guard":{"protected":["plc-*"],"maxFraction":0.5}}"#);
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
}

/// Devices that the registry doesn't know are no share of it.
#[test]
fn the_guard_of_the_share_counts_known_devices_only() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..11).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.accept(&order("b", Some("t"), change(&names)));
    bench.accept(&order("b", Some("u"), change(&["another"])));
    let mut bench = Bench::with(r#"{"coreThingName":"MyCore","region":"r","guard":{"maxFraction":0.5}}"#);
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (*name, 5)).collect();
    bench.list(&listed);
    let strangers: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    bench.accept(&order("b", Some("t"), change(&strangers.iter().map(String::as_str).take(5).collect::<Vec<_>>())));
    bench.accept(&order("b", Some("u"), change(&names[..3])));
}

#[test]
fn limits_refuse_and_drop_nothing() {
    let mut bench = Bench::with(r#"{"coreThingName":"MyCore","region":"r","limits":{"maxPendingEntries":2}}"#);
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
        window: Window { cleared: seq + 1, fresh: seq + 2 },
        again: Some(Again::default()),
        shut: Vec::new(),
    };
    let taken = bench.run(|tx| take(tx, Lane::Disassociate, &pick, true, &CallToken::from_bits(0)));
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

/// Invariant 8: what was associated anew after the command is left alone.
#[test]
fn a_superseded_entry_is_not_sent() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("b", 5)]);
    bench.accept(&order("x", Some("t"), change(&["a", "b"])));
    let later = bench.now.wall.0 + 1000;
    bench.wait(2000);
    bench.list(&[("a", later), ("b", 5)]);
    assert_eq!(bench.take(9), ["b"]);
    bench.settle(&["b"], &Verdict::Done);
    let request = bench.request("x", "t");
    assert_eq!(request.tally.status(), RequestStatus::PartiallySucceeded);
    let failures = bench.run(|tx| failures(tx, request.seq, None, 9));
    assert_eq!(failures.rows[0].1.fault.code, "Superseded");
    assert_eq!(bench.state("a"), Some(DeviceState::Associated));
}

/// Invariant 3: an entry error succeeds only if the list no longer names the device.
#[test]
fn an_entry_error_is_settled_by_the_next_list() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("b", 5)]);
    bench.accept(&order("x", Some("t"), change(&["a", "b"])));
    let stale = bench.run(|tx| Ok(begin_list(tx)));
    bench.take(9);
    bench.settle(&["a", "b"], &Verdict::Verify(fault("ResourceNotFoundException")));
    bench.finish_list(stale, &[]);
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress, "a list begun before says nothing");
    bench.list(&[("b", 5)]);
    let request = bench.request("x", "t");
    assert_eq!((request.tally.succeeded, request.tally.failed()), (1, 1));
    let failures = bench.run(|tx| failures(tx, request.seq, None, 9));
    assert_eq!(failures.rows[0].1.fault.code, "ResourceNotFoundException");
}

/// Invariant 6, and a list that lags behind.
#[test]
fn a_list_never_undoes_a_younger_outcome() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5)]);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    let list = bench.run(|tx| Ok(begin_list(tx)));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.finish_list(list, &[("a", 5)]);
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociated));
    bench.wait(1000);
    bench.list(&[("a", 5)]);
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociated), "the same association: the list lags");
    bench.list(&[("a", 6)]);
    assert_eq!(bench.state("a"), Some(DeviceState::Associated), "associated anew");
}

#[test]
fn a_sync_that_finds_nothing_changed_writes_nothing() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("b", 6)]);
    let before = bench.store.rows.clone();
    let counts = bench.list(&[("a", 5), ("b", 6)]);
    assert_eq!(before, bench.store.rows);
    assert_eq!((counts.associated, counts.added, counts.removed), (2, 0, 0));
}

#[test]
fn a_sync_request_is_answered_by_a_list_begun_after_it() {
    let mut bench = Bench::new();
    let sync = Change { operation: Operation::Sync, targets: vec![Target::Registry], ..change(&[]) };
    let early = bench.run(|tx| Ok(begin_list(tx)));
    bench.accept(&order("x", Some("t"), sync));
    bench.finish_list(early, &[]);
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
    assert!(bench.run(|tx| sync_wanted(tx)));
    bench.list(&[("a", 1)]);
    assert_eq!(bench.request("x", "t").sync, Some(SyncCounts { associated: 1, added: 1, removed: 0 }));
    assert!(!bench.run(|tx| sync_wanted(tx)));
}

#[test]
fn only_what_may_be_sent_is_taken() {
    let mut bench = Bench::new();
    for n in 0..5 {
        bench.accept(&order("x", Some(&format!("t{n}")), change(&[&format!("d{n}")])));
    }
    let window = Window { cleared: 1, fresh: 3 };
    let pick = Pick::Queue { limit: 9, window, again: None, shut: Vec::new() };
    let taken = bench.run(|tx| take(tx, Lane::Disassociate, &pick, true, &CallToken::from_bits(0)));
    let names: Vec<_> = taken.entries.iter().map(|(target, _)| target.name()).collect();
    assert_eq!(names, ["d0", "d3", "d4"]);
    assert!(taken.gated);
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

/// What may have been done is not told to be canceled, whatever the later calls came to.
#[test]
fn a_doubt_stays_until_it_is_known() {
    for verdict in [Verdict::Unsent(fault("ThrottlingException")), Verdict::Again(fault("InternalFailure"))] {
        let mut bench = Bench::new();
        bench.list(&[("a", 1)]);
        bench.accept(&order("x", Some("t"), change(&["a"])));
        bench.take(9);
        bench.settle(&["a"], &Verdict::Unknown(fault("NoAnswer")));
        bench.take(9);
        bench.settle(&["a"], &verdict);
        let seq = bench.request("x", "t").seq;
        let mut canceled = Canceled::default();
        while !bench.run(|tx| cancel(tx, seq, &mut canceled)) {}
        assert_eq!((canceled.canceled, canceled.in_flight), (0, 1));
    }
}

#[test]
fn who_joins_after_the_answer_is_sent_and_not_failed_with_the_others() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Verify(fault("Perhaps")));
    bench.accept(&order("y", Some("u"), change(&["a"])));
    bench.list(&[("a", 1)]);
    assert_eq!(bench.status("x", "t"), RequestStatus::Failed);
    assert_eq!(bench.status("y", "u"), RequestStatus::InProgress);
    assert_eq!(bench.take(9), ["a"]);
    bench.settle(&["a"], &Verdict::Done);
    assert_eq!(bench.status("y", "u"), RequestStatus::Succeeded);
}

/// What waits behind an association, or is hidden by one, is on its way out all the same.
#[test]
fn a_guard_is_not_gone_around_by_associating_first() {
    let mut bench = Bench::with(r#"{"coreThingName":"MyCore","region":"r","guard":{"maxFraction":0.1}}"#);
    let names: Vec<String> = (0..20).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (*name, 1)).collect();
    for in_flight in [false, true] {
        let mut bench = bench.clone();
        bench.list(&listed);
        bench.accept(&order("x", Some("t"), associate(&names)));
        if in_flight {
            assert_eq!(bench.take_of(Lane::Associate, 99).len(), 20);
        }
        assert_eq!(bench.refuse(&order("x", Some("u"), change(&names))), RejectionCode::AccessDeniedException);
        bench.accept(&order("x", Some("v"), change(&names[..2])));
        assert_eq!(bench.refuse(&order("x", Some("w"), change(&names[2..3]))), RejectionCode::AccessDeniedException);
    }
    bench.list(&listed);
    assert_eq!(bench.refuse(&order("x", Some("u"), change(&names[..3]))), RejectionCode::AccessDeniedException);
}

/// An answer is for the call that it answers: the store may be another one by then, where the opposite is asked for.
#[test]
fn an_answer_ends_nothing_that_was_not_sent_by_its_lane() {
    let mut bench = Bench::new();
    bench.accept(&order("x", Some("t"), associate(&["a"])));
    bench.settle_of(Lane::Disassociate, &["a"], &Verdict::Done);
    bench.settle_of(Lane::Associate, &["a"], &Verdict::Done);
    assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
    let piece = Pick::These(vec![device("a")]);
    let taken = bench.run(|tx| take(tx, Lane::Disassociate, &piece, true, &CallToken::from_bits(0)));
    assert!(taken.entries.is_empty());
}

/// What was in a call when the agent was killed may be done.
#[test]
fn what_a_kill_left_in_flight_is_not_told_canceled() {
    let mut bench = Bench::new();
    let request = bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.take(9);
    open(&mut bench.store).unwrap();
    bench.take(9);
    bench.settle(&["a"], &Verdict::Unsent(fault("ThrottlingException")));
    let mut so_far = Canceled::default();
    while !bench.run(|tx| cancel(tx, request.seq, &mut so_far)) {}
    assert_eq!((so_far.canceled, so_far.in_flight), (0, 1));
}

/// Nobody finds out, then.
#[test]
fn what_a_lane_sent_that_is_off_can_be_cancelled() {
    let mut bench = Bench::new();
    let id = |text: &str| AssetId::new(&format!("externalId:{text}")).unwrap();
    let target = Target::Child { asset: id("parent"), hierarchy: id("line"), child: id("child") };
    let change = Change { operation: Operation::DisassociateAssets, targets: vec![target], ..change(&[]) };
    let request = bench.accept(&order("x", Some("t"), change));
    assert_eq!(bench.take_of(Lane::Assets, 9).len(), 1);
    bench.rules.off = vec![Lane::Assets];
    let mut so_far = Canceled::default();
    while !bench.run(|tx| cancel(tx, request.seq, &mut so_far)) {}
    assert_eq!(so_far.canceled, 1);
    assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut, "outcome unknown");
    assert_eq!(bench.summary().load(Lane::Assets).work, 0);
}

/// A refusal of one resource costs the others nothing, however many entries wait for it.
#[test]
fn what_is_set_aside_is_passed_over_resource_by_resource() {
    let mut bench = Bench::new();
    let id = |text: &str| AssetId::new(&format!("externalId:{text}")).unwrap();
    let accept = |bench: &mut Bench, parent: &str, n: usize| {
        let target = Target::Child { asset: id(parent), hierarchy: id("line"), child: id(&format!("child-{n}")) };
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
            let taken = bench.run(|tx| take(tx, Lane::Assets, &pick, true, &CallToken::from_bits(0)));
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
    let mut verdicts = VecDeque::from([(first.unwrap(), Verdict::Aside(fault("AccessDeniedException")))]);
    bench.run(|tx| settle(tx, Lane::Assets, &mut verdicts));
    assert_eq!(look(&mut bench, &["denied", "busy"]).0, None, "all of it is aside");
    assert_eq!(bench.summary().load(Lane::Assets).retrying, 501);
    assert_eq!(look(&mut bench, &["denied"]), (Some(busy), 1));
    let other = accept(&mut bench, "another", 0);
    assert_eq!(look(&mut bench, &["denied", "busy"]), (Some(other), 1));
}

/// A store of schema 1 has fewer totals; whoever ran that version loses nothing.
#[test]
fn a_store_of_the_first_schema_is_counted_again() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1), ("b", 1), ("c", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a", "b", "x"])));
    bench.take(1);
    bench.settle(&["a"], &Verdict::Again(fault("Later")));
    let counters = schema::meta("counters");
    let text = String::from_utf8(bench.store.rows[&counters].clone()).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text[1..]).unwrap();
    for member in ["loads", "known", "leaving", "associating"] {
        value.as_object_mut().unwrap().remove(member).unwrap();
    }
    bench.store.rows.insert(counters, format!("\u{1}{value}").into_bytes());
    bench.store.rows.insert(schema::meta("schema"), b"\x011".to_vec());
    open(&mut bench.store).unwrap();
    assert_eq!(bench.store.rows[&schema::meta("schema")], b"\x012");
    let load = bench.summary().load(Lane::Disassociate);
    assert_eq!((load.work, load.retrying), (3, 1));
    assert_eq!(bench.take(9).len(), 3);
}

/// The list says how things were before it was asked.
#[test]
fn who_asks_while_a_list_is_read_is_not_told_by_it() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Verify(fault("Perhaps")));
    let list = bench.run(|tx| Ok(begin_list(tx)));
    bench.accept(&order("y", Some("u"), change(&["a"])));
    bench.finish_list(list, &[]);
    assert_eq!(bench.status("x", "t"), RequestStatus::Succeeded);
    assert_eq!(bench.status("y", "u"), RequestStatus::InProgress);
    assert_eq!(bench.take(9), ["a"]);
}

/// `limits.maxDatabaseBytes` is kept by what commands are taken to need.
#[test]
fn an_entry_takes_no_more_than_it_is_counted_for() {
    let long = |c: char| AssetId::new(&format!("externalId:{}", c.to_string().repeat(128))).unwrap();
    let child = Target::Child { asset: long('a'), hierarchy: long('b'), child: long('c') };
    let cases = [
        (Operation::DisassociateClientDevices, device("d"), Lane::Disassociate),
        (Operation::DisassociateClientDevices, device(&"d".repeat(128)), Lane::Disassociate),
        (Operation::DisassociateAssets, child, Lane::Assets),
    ];
    for (operation, target, lane) in cases {
        let name = target.key();
        let room = (4 + 1) * 512 + 4 * name.len() as u64;
        let change = Change { operation, targets: vec![target], ..change(&[]) };
        let mut bench = Bench::new();
        let limit = |bench: &mut Bench| bench.rules.limits.max_database_bytes = bench.summary().live_bytes + room - 1;
        limit(&mut bench);
        assert_eq!(bench.refuse(&order("x", Some("t"), change.clone())), RejectionCode::ThrottlingException);
        bench.rules.limits.max_database_bytes += 1;
        let before = bench.summary().live_bytes;
        bench.accept(&order("x", Some("t"), change));
        assert_eq!(bench.take_of(lane, 9).len(), 1);
        let grown = bench.summary().live_bytes - before;
        assert!(grown <= room, "{grown} bytes for {name}, counted as {room}");
    }
}

#[test]
fn the_outbox_goes_on_past_what_was_forgotten() {
    let mut bench = Bench::new();
    for n in 0..20 {
        bench.accept(&order("x", Some(&format!("t{n}")), change(&["a"])));
    }
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.wait(1000);
    bench.accept(&order("x", Some("later"), change(&["b"])));
    let before = bench.now.wall;
    while !bench.run(|tx| forget_requests(tx, before)) {}
    let (first, last) = bench.run(|tx| owed(tx, 0, 16, 100));
    assert_eq!((first.len(), last), (0, Some(15)), "there may be more behind");
}

#[test]
fn too_many_requests_for_the_same_thing_are_refused() {
    let mut bench = Bench::new();
    let sync = Change { operation: Operation::Sync, targets: vec![Target::Registry], ..change(&[]) };
    let mut group = Group::default();
    let mut store = std::mem::take(&mut bench.store);
    let mut accepted = 0;
    for n in 0..1001 {
        let mut tx = Tx::begin(&store, &mut group, bench.now, &bench.rules).unwrap();
        accepted += usize::from(accept(&mut tx, &order("x", Some(&format!("s{n}")), sync.clone())).unwrap().is_ok());
        tx.end();
    }
    assert_eq!(accepted, 1000);
    accepted = 0;
    for n in 0..300 {
        let mut tx = Tx::begin(&store, &mut group, bench.now, &bench.rules).unwrap();
        accepted += usize::from(accept(&mut tx, &order("x", Some(&format!("t{n}")), change(&["a"]))).unwrap().is_ok());
        tx.end();
    }
    assert_eq!(accepted, 256);
    group.apply(&mut store).unwrap();
}

/// What was rejected because the store failed is not taken, even if the store kept it.
#[test]
fn what_is_disowned_leaves_no_trace() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1), ("b", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    let mut before = bench.store.rows.clone();
    let from = bench.run(|tx| Ok(tx.counters.next_seq));
    let expiring = Change { expires_in: Some(std::time::Duration::from_secs(9)), ..change(&["a", "b"]) };
    bench.accept(&order("x", Some("u"), expiring));
    let mut command = order("x", None, change(&["b"]));
    command.delivery = Some(([7; 32], false));
    bench.accept(&command);
    // Ended before the store failed: what is kept of its end goes, too.
    let names: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.accept(&order("x", Some("v"), change(&names)));
    let seq = bench.request("x", "v").seq;
    let mut canceled = Canceled::default();
    while !bench.run(|tx| cancel(tx, seq, &mut canceled)) {}
    assert_eq!(bench.status("x", "v"), RequestStatus::Canceled);
    while !bench.run(|tx| disown(tx, from)) {}
    bench.owed();
    let mut after = bench.store.rows.clone();
    before.retain(|key, _| key[0] != b'm');
    after.retain(|key, _| key[0] != b'm');
    assert_eq!(before, after);
}

/// Or a crash in between would leave a request of some of its entries, which passes for the whole one.
#[test]
fn what_is_disowned_goes_in_one_piece() {
    let mut bench = Bench::new();
    let before = bench.store.rows.clone();
    let names: Vec<String> = (0..1000).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.accept(&order("x", Some("t"), change(&names)));
    assert!(!bench.run(|tx| disown(tx, 0)));
    bench.owed();
    let left = bench.store.rows.keys().filter(|key| key[0] != b'm' && !before.contains_key(*key));
    assert_eq!(left.count(), 0);
}

#[test]
fn what_is_finished_is_forgotten_in_time() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1)]);
    let empty = bench.store.rows.len();
    bench.accept(&order("x", Some("t"), change(&["a", "b"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.settle(&["b"], &Verdict::Failed(fault("No")));
    for n in [0, 1] {
        bench.run(|tx| delivered(tx, n));
    }
    bench.wait(1000);
    let before = bench.now.wall;
    while !bench.run(|tx| forget_requests(tx, before)) {}
    while !bench.run(|tx| forget_devices(tx, before)) {}
    while !bench.run(|tx| forget_stories(tx, before)) {}
    assert_eq!(bench.store.rows.len(), empty - 2, "the device's two rows are gone too");
}

#[test]
fn lists_go_on_where_they_ended() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..25).map(|n| format!("d{n:02}")).collect();
    let listed: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 5)).collect();
    bench.list(&listed);
    for (n, name) in names.iter().enumerate().take(12) {
        bench.accept(&order("x", Some(&format!("t{n}")), change(&[name])));
    }
    let mut seen = Vec::new();
    let mut next = None;
    loop {
        let page = bench.run(|tx| devices(tx, Some(DeviceState::Associated), next.as_deref(), 5));
        seen.extend(page.rows.into_iter().map(|(name, _)| name));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, names[12..]);
    let client = ClientId::new("x").unwrap();
    let page = bench.run(|tx| requests(tx, Some(&client), None, None, 10));
    let rest = bench.run(|tx| requests(tx, Some(&client), None, page.next.as_deref(), 10));
    let tokens: Vec<_> = page.rows.iter().chain(&rest.rows).map(|(_, r)| r.token.to_string()).collect();
    assert_eq!(tokens, (0..12).rev().map(|n| format!("t{n}")).collect::<Vec<_>>());
}

#[test]
fn retained_device_messages_are_owed_once_a_change() {
    let mut bench = Bench::with(r#"{"coreThingName":"MyCore","region":"r","publishDevices":true}"#);
    bench.list(&[("a", 1)]);
    let first = bench.run(|tx| outdated(tx, None, 9)).remove(0);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.run(|tx| published(tx, &first.thing, first.change));
    let second = bench.run(|tx| outdated(tx, None, 9)).remove(0);
    assert_eq!(second.view.map(|view| view.state), Some(DeviceState::Disassociating), "the older one did not count");
    bench.run(|tx| published(tx, &second.thing, second.change));
    assert!(bench.run(|tx| outdated(tx, None, 9)).is_empty());
}

#[test]
fn a_large_command_is_one_commit_of_many_small_batches() {
    let mut bench = Bench::new();
    let mut group = Group::default();
    testing::accept_many(&bench.store, &mut group, 3000);
    group.apply(&mut bench.store).unwrap();
    assert_eq!(bench.store.rows.iter().filter(|(key, _)| key[0] == b'j').count(), 0, "the journal is struck off");
    assert_eq!(bench.store.rows.iter().filter(|(key, _)| key[0] == b'e').count(), 3000);
    assert!(bench.store.rows.values().all(|value| value.len() <= 4096));
}

#[test]
fn an_audit_misses_no_row() {
    let mut bench = Bench::with(r#"{"coreThingName":"MyCore","region":"r","publishDevices":true}"#);
    bench.list(&[("a", 5), ("b", 5), ("c", 5)]);
    bench.accept(&order("bench", Some("t"), change(&["a", "b", "x"])));
    bench.take(2);
    bench.settle(&["a"], &Verdict::Failed(fault("No")));
    bench.settle(&["b"], &Verdict::Done);
    let whole = bench.store.rows.clone();
    let wrong = |bench: &Bench| {
        let mut group = Group::default();
        let tx = Tx::begin(&bench.store, &mut group, bench.now, &bench.rules).unwrap();
        audit(&tx).unwrap()
    };
    assert_eq!(wrong(&bench), Vec::<String>::new());
    let mut prefixes = BTreeSet::new();
    for key in whole.keys().filter(|key| !matches!(key[..], [b'm', ..])) {
        bench.store.rows.remove(key);
        let wrong = wrong(&bench);
        // Deadlines and retained messages are found by their bytes alone.
        let least = if matches!(key[0], b'x' | b'q') { 1 } else { 2 };
        assert!(wrong.len() >= least, "{:?} is missed: {wrong:?}", String::from_utf8_lossy(key));
        prefixes.insert(key[0]);
        bench.store.rows.clone_from(&whole);
    }
    assert_eq!(prefixes, b"defhkloprstwxq".iter().copied().collect());
}
