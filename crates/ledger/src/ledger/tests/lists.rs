//! What a list of the cloud settles, and what it leaves alone.

use super::*;

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
    bench.settle(&["a", "b"], &Verdict::AwaitList(fault("ResourceNotFoundException")));
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

/// Or a command from before the newer association would be carried out.
#[test]
fn a_list_that_lags_takes_no_association_back() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5)]);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    let later = bench.now.wall.0 + 1000;
    bench.wait(2000);
    let list = bench.run(|tx| Ok(begin_list(tx)));
    let page = |at| [(thing("a"), Some(Timestamp(at)))];
    for at in [later, 5] {
        assert!(bench.run(|tx| apply_page(tx, list, &page(at), &mut 0, &mut SyncCounts::default())));
    }
    assert_eq!(bench.take(9), [""; 0]);
    let request = bench.request("x", "t");
    let failures = bench.run(|tx| failures(tx, request.seq, None, 9));
    assert_eq!(failures.rows[0].1.fault.code, "Superseded");
}

#[test]
fn a_sync_that_finds_nothing_changed_writes_nothing() {
    let mut bench = Bench::new();
    bench.list(&[("a", 5), ("b", 6)]);
    let (before, written) = (bench.contents(), bench.transactions);
    let counts = bench.list(&[("a", 5), ("b", 6)]);
    assert!(bench.transactions > written && bench.written.is_empty());
    assert_eq!(bench.contents(), before);
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
    assert!(bench.run(|tx| sync_wanted(tx)).is_some());
    bench.list(&[("a", 1)]);
    assert_eq!(bench.request("x", "t").sync, Some(SyncCounts { associated: 1, added: 1, removed: 0 }));
    assert!(bench.run(|tx| sync_wanted(tx)).is_none());
}

/// An entry that may have been done is not reported as canceled, whatever the later calls return.
#[test]
fn an_unknown_outcome_stays_until_it_is_known() {
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
    bench.settle(&["a"], &Verdict::AwaitList(fault("Perhaps")));
    bench.accept(&order("y", Some("u"), change(&["a"])));
    bench.list(&[("a", 1)]);
    assert_eq!(bench.status("x", "t"), RequestStatus::Failed);
    assert_eq!(bench.status("y", "u"), RequestStatus::InProgress);
    assert_eq!(bench.take(9), ["a"]);
    bench.settle(&["a"], &Verdict::Done);
    assert_eq!(bench.status("y", "u"), RequestStatus::Succeeded);
}

/// A list shows the state before a request that was accepted after the list began.
#[test]
fn who_asks_while_a_list_is_read_is_not_settled_by_it() {
    let mut bench = Bench::new();
    bench.list(&[("a", 1)]);
    bench.accept(&order("x", Some("t"), change(&["a"])));
    bench.take(9);
    bench.settle(&["a"], &Verdict::AwaitList(fault("Perhaps")));
    let list = bench.run(|tx| Ok(begin_list(tx)));
    bench.accept(&order("y", Some("u"), change(&["a"])));
    bench.finish_list(list, &[]);
    assert_eq!(bench.status("x", "t"), RequestStatus::Succeeded);
    assert_eq!(bench.status("y", "u"), RequestStatus::InProgress);
    assert_eq!(bench.take(9), ["a"]);
}
