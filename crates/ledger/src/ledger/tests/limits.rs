//! Limits, the share of them that one client has, and how much one step does.

use super::*;

/// `limits.maxDatabaseBytes` is kept by what commands are taken to need.
#[test]
fn an_entry_takes_no_more_than_it_is_counted_for() {
    let long = |c: char| AssetId::new(&format!("externalId:{}", c.to_string().repeat(128))).unwrap();
    let child = Target::child(long('a'), long('b'), long('c'));
    let cases = [
        (Operation::DisassociateClientDevices, device("d"), CallKind::Disassociate),
        (Operation::DisassociateClientDevices, device(&"d".repeat(128)), CallKind::Disassociate),
        (Operation::DisassociateAssets, child, CallKind::Assets),
    ];
    for (operation, target, call_kind) in cases {
        let name = target.key();
        let room = 1024 + 2 * 64 + 512;
        let change = Change { operation, targets: vec![target], ..change(&[]) };
        let mut bench = Bench::new();
        let limit = |bench: &mut Bench| bench.rules.limits.max_database_bytes = bench.summary().live_bytes + room - 1;
        limit(&mut bench);
        assert_eq!(bench.refuse(&order("x", Some("t"), change.clone())), RejectionCode::ThrottlingException);
        bench.rules.limits.max_database_bytes += 1;
        let before = bench.summary().live_bytes;
        bench.accept(&order("x", Some("t"), change));
        assert_eq!(bench.take_of(call_kind, 9).len(), 1);
        let grown = bench.summary().live_bytes - before;
        assert!(grown <= room, "{grown} bytes for {name}, counted as {room}");
    }
}

/// One client that floods leaves half of each limit to others, as long as there are others.
#[test]
fn a_client_holds_at_most_half_of_a_limit_while_others_ask() {
    let mut bench = Bench::with(limited_to(10));
    bench.accept(&order("quiet", Some("q"), change(&["a"])));
    for n in 0..5 {
        bench.accept(&order("flood", Some(&format!("f{n}")), change(&[&format!("d{n}")])));
    }
    let more = order("flood", Some("f5"), change(&["d5"]));
    assert_eq!(bench.refuse(&more), RejectionCode::ThrottlingException);
    bench.accept(&order("quiet", Some("r"), change(&["b", "c", "d", "e"])));
    // Half of those that may wait for one device, too.
    let mut bench = Bench::new();
    bench.trusting = true;
    bench.accept(&order("quiet", Some("q"), change(&["a"])));
    for n in 0..128 {
        bench.accept(&order("flood", Some(&format!("f{n}")), change(&["a"])));
    }
    assert_eq!(bench.refuse(&order("flood", Some("more"), change(&["a"]))), RejectionCode::ThrottlingException);
    bench.accept(&order("quiet", Some("r"), change(&["a"])));
    // Of the requests for a sync.
    let mut bench = Bench::new();
    bench.trusting = true;
    let sync = || Change { operation: Operation::Sync, targets: vec![Target::Registry], ..change(&[]) };
    bench.accept(&order("quiet", Some("q"), sync()));
    for n in 0..500 {
        bench.accept(&order("flood", Some(&format!("f{n}")), sync()));
    }
    assert_eq!(bench.refuse(&order("flood", Some("more"), sync())), RejectionCode::ThrottlingException);
    bench.accept(&order("quiet", Some("r"), sync()));
    // A single client may use the whole limit.
    let mut bench = Bench::with(limited_to(10));
    for n in 0..10 {
        bench.accept(&order("flood", Some(&format!("f{n}")), change(&[&format!("d{n}")])));
    }
    // Until another client asks: what becomes free is for that one.
    assert_eq!(bench.refuse(&order("quiet", Some("q"), change(&["a"]))), RejectionCode::ThrottlingException);
    bench.take(1);
    bench.settle(&["d0"], &Verdict::Done);
    assert_eq!(bench.refuse(&order("flood", Some("more"), change(&["b"]))), RejectionCode::ThrottlingException);
    bench.accept(&order("quiet", Some("q"), change(&["a"])));
}

/// A sender that cannot receive its results, and repeats its command for ever, fills no outbox.
#[test]
fn repetitions_of_one_command_owe_a_limited_number_of_answers() {
    let mut bench = Bench::new();
    bench.trusting = true;
    let first = order("deaf", Some("t"), change(&["a"]));
    bench.accept(&first);
    bench.take(1);
    bench.settle(&["a"], &Verdict::Done);
    for owed in bench.view().owed() {
        bench.run(|tx| delivered(tx, owed.n));
    }
    bench.checkpoint();
    let answers = (0..1000).filter(|_| bench.run(|tx| accept(tx, &first)).is_ok()).count();
    assert_eq!((answers, bench.view().owed().len()), (32, 64), "two messages for each");
    // As soon as the broker has them, it is answered again.
    for owed in bench.view().owed() {
        bench.run(|tx| delivered(tx, owed.n));
    }
    bench.accept(&first);
}

/// However many requests wait for a device, a step after a list ends a limited number of entries.
#[test]
fn a_step_after_a_list_ends_a_limited_number_of_entries() {
    let mut bench = Bench::new();
    bench.trusting = true;
    let names: Vec<String> = (0..20).map(|n| format!("d{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for n in 0..100 {
        bench.accept(&order("x", Some(&format!("t{n}")), change(&names)));
    }
    bench.take(20);
    let mut lost = names.iter().map(|name| (device(name), Verdict::AwaitList(fault("Unknown")))).collect();
    while !VecDeque::is_empty(&lost) {
        bench.run(|tx| settle(tx, CallKind::Disassociate, &mut lost));
    }
    let list = bench.run(|tx| Ok(begin_list(tx)));
    let (mut after, mut steps) = ((0, 0), Vec::new());
    loop {
        let before = bench.summary().pending_entries;
        let done = bench.run(|tx| settle_by_list(tx, CallKind::Disassociate, list, WallClock::Confirmed, &mut after));
        steps.push(before - bench.summary().pending_entries);
        if done {
            break;
        }
    }
    assert_eq!((bench.summary().pending_entries, steps.iter().max()), (0, Some(&500)), "{steps:?}");
    // The same of entries that expire while they are looked for.
    let soon = Change { expires_in: Some(Duration::from_secs(1)), ..change(&names) };
    for n in 0..100 {
        bench.accept(&order("x", Some(&format!("u{n}")), soon.clone()));
    }
    bench.wait(2000);
    let mut steps = Vec::new();
    while bench.summary().pending_entries > 0 {
        let before = bench.summary().pending_entries;
        assert_eq!(bench.take(20), [""; 0]);
        steps.push(before - bench.summary().pending_entries);
    }
    assert_eq!(steps, [400; 5]);
}

/// Requests of the last hour are never forgotten early, so that a flood could take all the room
/// from others.
#[test]
fn a_client_has_half_of_the_database_while_others_ask() {
    let mut bench = Bench::new();
    bench.rules.limits.max_database_bytes = 200 << 10;
    let ends = |bench: &mut Bench, client: &str, token: &str| {
        let order = order(client, Some(token), change(&["a"]));
        let accepted = bench.run(|tx| accept(tx, &order)).map_err(|rejection| rejection.message);
        bench.take(1);
        bench.settle(&["a"], &Verdict::Done);
        for owed in bench.view().owed() {
            bench.run(|tx| delivered(tx, owed.n));
        }
        accepted.map(drop)
    };
    bench.accept(&order("quiet", Some("t"), change(&["z"])));
    bench.take(1);
    let why = (0..1000).find_map(|n| ends(&mut bench, "flood", &format!("f{n}")).err()).unwrap();
    let bytes = bench.image.state.bytes_of(&ClientId::new("flood").unwrap());
    assert!((100 << 10..102 << 10).contains(&bytes), "half, and one command: {bytes}");
    assert!(why.contains("half of limits.maxDatabaseBytes"), "{why}");
    for n in 0..50 {
        ends(&mut bench, "quiet", &format!("q{n}")).unwrap();
    }
    assert!(ends(&mut bench, "flood", "again").is_err());
}

/// As above, where the registry has the requests.
#[test]
fn what_the_registry_has_of_a_client_counts_until_it_is_forgotten() {
    let mut bench = Bench::new();
    bench.accept(&order("bench", Some("t1"), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    for owed in bench.view().owed() {
        bench.run(|tx| delivered(tx, owed.n));
    }
    let client = ClientId::new("bench").unwrap();
    bench.checkpoint();
    assert!(bench.image.state.requests().is_empty(), "only the registry has it");
    let stored = bench.image.state.bytes_of(&client);
    assert!((100..1000).contains(&stored), "{stored}");
    let before = bench.elapsed() + 1;
    bench.forget_requests(before);
    assert_eq!(bench.image.state.bytes_of(&client), 0);
}
