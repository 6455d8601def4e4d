//! What is stored: its pages, its retention, and the time that counts for it and for deadlines.

use super::*;

#[test]
fn what_is_finished_is_forgotten_in_time() {
    let mut bench = Bench::new();
    let empty = bench.contents();
    bench.list(&[("a", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a", "b"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.settle(&["b"], &Verdict::Failed(fault("No")));
    for n in [0, 1] {
        bench.run(|tx| delivered(tx, n));
    }
    bench.wait(1000);
    let before = bench.elapsed();
    bench.forget_requests(before);
    bench.forget_devices(before);
    assert_eq!(bench.contents(), empty, "the device is gone, too");
}

/// The journal may still have a request that a checkpoint moved to the registry. The group that
/// forgets the request removes it there, too.
#[test]
fn a_forgotten_request_is_gone_from_the_journal_too() {
    let mut bench = Bench::new();
    bench.trusting = true;
    finish(&mut bench, "x", "t");
    let mut replayed = bench.image.state.clone();
    bench.checkpoint();
    bench.wait(1000);
    let before = bench.elapsed();
    bench.forget_requests(before);
    read(&bench.written, |image| drop(replayed.replay(image))).unwrap();
    assert!(replayed.requests().is_empty());
}

/// A request may be forgotten while a checkpoint writes its rows. They count no more, and the next
/// checkpoint deletes all of them, also those that a crash left of the last one.
#[test]
fn the_rows_of_a_request_that_is_forgotten_during_a_checkpoint_do_not_count() {
    let mut bench = Bench::new();
    bench.trusting = true;
    let empty = bench.image.registry.rows.clone();
    finish(&mut bench, "x", "t");
    let Image { state, registry } = &mut bench.image;
    let mut checkpoint = Checkpoint::begin(state, Binding::default(), registry);
    while checkpoint.step(state, registry, Duration::ZERO).unwrap() != Step::Done {}
    bench.wait(1000);
    let before = bench.elapsed();
    bench.forget_requests(before);
    checkpoint.complete(&mut bench.image.state);
    testing::recount_bytes(&bench.image);
    bench.image.registry.rows.retain(|key, _| key[0] != b'r');
    bench.forget_devices(before);
    bench.checkpoint();
    let left = bench.image.registry.rows.keys().filter(|key| !empty.contains_key(*key) && key[0] != b'm');
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&Vec<u8>>::new());
}

/// A token may be used again once its request is forgotten. The rows of both may change in one
/// checkpoint.
#[test]
fn a_token_that_is_used_again_names_the_later_request() {
    let mut bench = Bench::new();
    bench.trusting = true;
    let finish = |bench: &mut Bench| {
        let seq = bench.accept(&order("x", Some("t"), change(&["a"]))).seq;
        bench.take(9);
        bench.settle(&["a"], &Verdict::Done);
        for owed in bench.view().owed() {
            bench.run(|tx| delivered(tx, owed.n));
        }
        seq
    };
    let first = finish(&mut bench);
    bench.checkpoint();
    bench.wait(1000);
    let before = bench.elapsed();
    bench.forget_requests(before);
    let second = finish(&mut bench);
    bench.checkpoint();
    let (client, token) = (ClientId::new("x").unwrap(), ClientToken::new("t").unwrap());
    let found = bench.run(|tx| find_request(tx, &client, &token)).map(|request| request.seq);
    assert_eq!((first < second, found), (true, Some(second)));
}

/// A request for one device, from its acceptance to the delivery of its results.
fn finish(bench: &mut Bench, client: &str, token: &str) {
    bench.accept(&order(client, Some(token), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    for owed in bench.view().owed() {
        bench.run(|tx| delivered(tx, owed.n));
    }
}

/// One client's flood does not make the agent forget the tokens of others, nor anything of the last
/// hour.
#[test]
fn early_forgetting_begins_with_the_client_that_takes_most_room_and_spares_the_last_hour() {
    let mut bench = Bench::new();
    bench.trusting = true;
    for n in 0..5 {
        finish(&mut bench, "quiet", &format!("q{n}"));
    }
    for n in 0..60 {
        finish(&mut bench, "flood", &format!("f{n}"));
    }
    bench.wait(10_000_000);
    for n in 60..90 {
        finish(&mut bench, "flood", &format!("f{n}"));
    }
    let known = |bench: &mut Bench, client: &str| {
        let client = ClientId::new(client).unwrap();
        bench.run(|tx| requests(tx, Some(&client), None, None, 1000)).rows.len()
    };
    let hour_ago = bench.elapsed() - 3_600_000;
    let goal = bench.summary().live_bytes * 3 / 4;
    let mut early = Early::new(hour_ago, goal);
    while !bench.run(|tx| early.step(tx)) {}
    assert!(bench.summary().live_bytes <= goal);
    let left = known(&mut bench, "flood");
    assert!((31..90).contains(&left), "{left} left");
    assert_eq!(known(&mut bench, "quiet"), 5);

    // However short the room is.
    let mut early = Early::new(hour_ago, 0);
    while !bench.run(|tx| early.step(tx)) {}
    assert_eq!((known(&mut bench, "flood"), known(&mut bench, "quiet")), (30, 0));
    testing::recount(&bench.image, &bench.rules);
}

/// What was asked for again, and withdrawn, is forgotten all the same.
#[test]
fn a_tombstone_waits_for_what_is_asked_of_its_device() {
    let mut bench = Bench::new();
    bench.accept(&order("x", Some("t1"), change(&["a", "b"])));
    bench.take(9);
    bench.settle(&["a", "b"], &Verdict::Done);
    bench.wait(1000);
    let request = bench.accept(&order("x", Some("t2"), change(&["a"])));
    let before = bench.elapsed();
    bench.forget_devices(before);
    assert_eq!((bench.state("a"), bench.state("b")), (Some(DeviceState::Disassociating), None));
    let mut so_far = Canceled::default();
    while !bench.run(|tx| cancel(tx, request.seq, &mut so_far)) {}
    assert_eq!(bench.state("a"), Some(DeviceState::Disassociated));
    bench.forget_devices(before);
    assert_eq!(bench.state("a"), None);
}

/// Invariant 2: an owed message keeps its request, however long the broker is away.
#[test]
fn a_request_is_not_forgotten_while_a_message_of_it_is_owed() {
    let mut bench = Bench::new();
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    bench.wait(1000);
    let before = bench.elapsed();
    bench.forget_requests(before);
    let mut early = Early::new(before, 0);
    while !bench.run(|tx| early.step(tx)) {}
    assert_eq!(bench.owed(), [("t".into(), false), ("t".into(), true)]);
    for n in [0, 1] {
        bench.run(|tx| delivered(tx, n));
    }
    bench.forget_requests(before);
    assert!(bench.view().requests().is_empty());
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
    let mut bench = Bench::with(Rules { publish_devices: true, ..rules() });
    bench.list(&[("a", 1)]);
    let first = bench.run(|tx| outdated(tx, None, 9)).remove(0);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.run(|tx| published(tx, &first.thing, first.change));
    let second = bench.run(|tx| outdated(tx, None, 9)).remove(0);
    assert_eq!(second.view.map(|view| view.state), Some(DeviceState::Disassociating), "the older one did not count");
    bench.checkpoint();
    bench.run(|tx| published(tx, &second.thing, second.change));
    assert!(bench.run(|tx| outdated(tx, None, 9)).is_empty());
}

/// A gateway that boots with a clock of its own, which is corrected later, forgets nothing early:
/// neither a step of the wall clock nor the time between two boots makes anything older that the
/// cloud did not confirm.
#[test]
fn a_step_of_the_clock_forgets_no_token_and_ends_no_request() {
    const DAY: i64 = 86_400_000;
    let mut bench = Bench::new();
    let soon = Change { expires_in: Some(std::time::Duration::from_secs(600)), ..change(&["b"]) };
    bench.accept(&order("x", Some("done"), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::Done);
    for n in [0, 1] {
        bench.run(|tx| delivered(tx, n));
    }
    bench.accept(&order("x", Some("open"), soon));
    let forget = |bench: &mut Bench| {
        let week = 7 * 86_400_000;
        let before = bench.run(|tx| Ok(tx.elapsed())).saturating_sub(week);
        bench.forget_requests(before);
        bench.forget_devices(before);
        let mut next = 0;
        while !bench.run(|tx| expire(tx, WallClock::Wrong, &mut next)) {}
        bench.view().requests().len()
    };
    // Two weeks behind at the next boot, then set; then a year ahead while it runs.
    for (boot, wall) in [(2, -14 * DAY), (2, 0), (3, 365 * DAY), (3, 0)] {
        bench.now = Now { wall: Timestamp(1_000_000 + wall), boot, ..bench.now };
        bench.now.mono.0 = 1000 + bench.now.mono.0 % 1000;
        assert_eq!(forget(&mut bench), 2, "boot {boot}, {wall} ms off");
        assert_eq!(bench.status("x", "open"), RequestStatus::InProgress);
    }
    // Nor does a step that nobody noticed yet.
    for wall in [0, 30 * DAY, 0] {
        bench.now.wall = Timestamp(1_000_000 + wall);
        bench.run(|tx| {
            tx.confirm_clock();
            Ok(())
        });
        assert_eq!(forget(&mut bench), 2, "{wall} ms off");
    }
    // The cloud confirmed the clock before and after eight days without power: these have passed.
    bench.run(|tx| {
        tx.confirm_clock();
        Ok(())
    });
    bench.now = Now { wall: Timestamp(bench.now.wall.0 + 8 * DAY), boot: 4, ..bench.now };
    assert_eq!(forget(&mut bench), 2, "not confirmed yet");
    bench.run(|tx| {
        tx.confirm_clock();
        Ok(())
    });
    assert_eq!(forget(&mut bench), 1, "the finished one is forgotten");
    assert_eq!(bench.status("x", "open"), RequestStatus::TimedOut);
}

/// A deadline does not end by a clock that was wrong when the command came, and was set since.
#[test]
fn a_deadline_does_not_end_by_a_time_of_acceptance_that_was_wrong() {
    const HOUR: u64 = 3_600_000;
    let right = Timestamp(2_000_000_000);
    let within_an_hour =
        |issued_at| Change { expires_in: Some(Duration::from_millis(HOUR)), issued_at, ..change(&["a"]) };
    for (issued_at, boot) in [(None, 0), (Some(right), 0), (None, 1), (Some(right), 1)] {
        let mut bench = Bench::new();
        bench.now.wall = right.before(Duration::from_millis(14 * 24 * HOUR));
        bench.accept(&Order { clock_confirmed: false, ..order("x", Some("t"), within_an_hour(issued_at)) });
        bench.wait(1000);
        // NTP sets the clock, and the cloud confirms it.
        bench.now = Now { wall: right.after(Duration::from_secs(1)), boot, ..bench.now };
        bench.expire();
        assert_eq!(bench.status("x", "t"), RequestStatus::InProgress, "issued at {issued_at:?}, boot {boot}");
        bench.wait(HOUR);
        bench.expire();
        assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut, "issued at {issued_at:?}, boot {boot}");
    }
    // It ends by the time that the sender named where the clock was right all along, and is not
    // sent either before the cloud's first answer.
    for is_sent in [false, true] {
        let mut bench = Bench::new();
        bench.now.wall = right;
        let long_ago = right.before(Duration::from_millis(2 * HOUR));
        bench.accept(&order("x", Some("t"), within_an_hour(Some(long_ago))));
        if is_sent {
            assert!(bench.run(|tx| expire(tx, WallClock::Unconfirmed, &mut 0)));
            assert_eq!(bench.status("x", "t"), RequestStatus::InProgress);
            let pick = Pick::Queue { limit: 9, window: Window::OPEN, again: None, shut: Vec::new() };
            let kind = CallKind::Disassociate;
            let token = CallToken::from_bits(0);
            let taken = bench.run(|tx| take(tx, kind, &pick, WallClock::Unconfirmed, &token));
            assert_eq!(taken.entries, []);
        } else {
            bench.expire();
        }
        assert_eq!(bench.status("x", "t"), RequestStatus::TimedOut);
    }
}

/// However many requests have one deadline, one round ends them.
#[test]
fn ten_thousand_requests_with_one_deadline_end_in_one_round() {
    let mut bench = Bench::new();
    bench.trusting = true;
    for n in 0..10_000 {
        let name = format!("d{n}");
        let soon = Change { expires_in: Some(std::time::Duration::from_secs(60)), ..change(&[&name]) };
        bench.accept(&order("x", Some(&format!("t{n}")), soon));
    }
    bench.wait(60_000);
    let (mut next, mut steps) = (0, 1);
    while !bench.run(|tx| expire(tx, WallClock::Confirmed, &mut next)) {
        steps += 1;
    }
    assert_eq!(bench.view().totals().open_requests, 0);
    assert!(steps <= 6, "{steps} steps");
}

/// Rows of requests that are forgotten stay until the next checkpoint, and neither end a round nor
/// hide other requests.
#[test]
fn forgotten_rows_hide_no_other_request() {
    let mut bench = Bench::new();
    bench.trusting = true;
    // In memory, with the lowest numbers.
    bench.accept(&order("open", Some("o1"), change(&["o1"])));
    bench.accept(&order("open", Some("o2"), change(&["o2"])));
    for n in 0..10 {
        finish(&mut bench, "old", &format!("t{n}"));
    }
    bench.wait(10_000_000);
    let before = bench.elapsed();
    for n in 0..1500 {
        finish(&mut bench, "new", &format!("n{n}"));
    }
    bench.checkpoint();
    bench.forget_requests(before);
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = bench.run(|tx| requests(tx, None, None, cursor.as_deref(), 3));
        seen.extend(page.rows.iter().map(|(_, request)| request.token.to_string()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 1502, "every request is on one page");
    // The ten rows on the first page of the registry are forgotten.
    bench.wait(10_000_000);
    let hour_ago = bench.elapsed();
    let mut early = Early::new(hour_ago, 0);
    while !bench.run(|tx| early.step(tx)) {}
    let client = ClientId::new("new").unwrap();
    assert_eq!(bench.run(|tx| requests(tx, Some(&client), None, None, 1000)).rows.len(), 0);
}
