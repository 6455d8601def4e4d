//! Tests of the committing thread on a disk that has no room, or a part that cannot be written.

use super::{committing::Rig, *};
use crate::ledger::{
    job::{Replies, Step as When},
    journal::Files as _,
};

/// Names of devices.
pub(super) fn many(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|n| format!("device-{n:06}")).collect()
}

pub(super) fn change_of(names: &[String]) -> Change {
    change(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Settles the next entry; false if there was none.
async fn settle_one(rig: &Rig) -> bool {
    let kind = CallKind::Disassociate;
    let pick = Pick::Queue { limit: 1, window: Window::OPEN, again: None, shut: Vec::new() };
    let taken = rig.ledger.run(move |tx| take(tx, kind, &pick, WallClock::Confirmed, &CallToken::from_bits(0)));
    let entries = taken.await.unwrap().entries;
    let is_some = !entries.is_empty();
    let mut verdicts: VecDeque<_> = entries.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
    rig.ledger.run(move |tx| settle(tx, kind, &mut verdicts)).await.unwrap();
    is_some
}

/// A job with several groups that fails half way begins anew, or its result would count what was
/// undone.
#[tokio::test(start_paused = true)]
async fn a_cancel_counts_no_entry_whose_group_was_undone() {
    for fails in [|rig: &Rig| rig.disk.files.fail_syncs(1), |rig: &Rig| rig.disk.files.fail_writes(1)] {
        let rig = Rig::new();
        let seq = rig.accept("t", change_of(&many(0, 9000))).await.unwrap().seq;
        let cancel = || {
            let mut so_far = Canceled::default();
            let rule = move |tx: &mut Tx<'_>| Ok(When::when(cancel(tx, seq, &mut so_far)?, so_far));
            rig.ledger.run_steps(rule)
        };
        fails(&rig);
        let first = cancel().await;
        let canceled = match first {
            Ok(first) => first.canceled,
            Err(_) => cancel().await.unwrap().canceled,
        };
        assert_eq!(canceled, 9000);
        assert_eq!(rig.find("t").await.map(|request| request.tally.open), Some(0));
        assert_eq!(rig.take(CallKind::Disassociate).await, [""; 0]);
    }
}

/// Nobody else wakes who delivers messages: the broker has acknowledged this one, and the journal
/// says that it is owed.
#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_undone_is_looked_for_again() {
    let rig = Rig::new();
    rig.accept("t1", change(&["a"])).await.unwrap();
    let is_owed = || rig.ledger.run_unsynced(|tx| Ok(tx.state.owed().keys().next().copied()));
    let n = is_owed().await.unwrap().unwrap();
    let mut outgoing = rig.ledger.outgoing();
    outgoing.mark_unchanged();
    rig.disk.files.fail_writes(1);
    let _answer = rig.ledger.submit(Replies::AtOnce, move |tx| delivered(tx, n)).await.unwrap();
    rig.accept("t2", change(&["b"])).await.unwrap_err();
    assert!(outgoing.has_changed().unwrap());
    assert_eq!(is_owed().await.unwrap(), Some(n));
}

/// The outbox and the list gate start again when the number of the opening changes. Undoing changes
/// from before an opening does not give that number to another one.
#[tokio::test(start_paused = true)]
async fn each_opening_has_a_number_of_its_own_whatever_is_undone() {
    let rig = Rig::new();
    let run = || rig.ledger.summary().borrow().run;
    rig.accept("t1", change(&["a"])).await.unwrap();
    let mut runs = vec![run()];
    // The journal has this change, and it is not synced.
    rig.ledger.run_unsynced(|tx| delivered(tx, 0)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.disk.files.fail_writes(1);
    rig.accept("t2", change(&["b"])).await.unwrap_err();
    runs.push(run());
    rig.disk.files.fail_syncs(1);
    rig.accept("t2", change(&["b"])).await.unwrap_err();
    runs.push(run());
    assert_eq!(rig.ledger.run_unsynced(|tx| Ok(tx.state.owed().len())).await.unwrap(), 1, "undone, too");
    assert!(runs.is_sorted_by(|earlier, later| earlier < later), "{runs:?}");
}

/// Without room for more open entries the disk takes no more of them, says so, and what is open is
/// carried out all the same, over the change to another segment.
#[tokio::test(start_paused = true)]
async fn without_room_for_more_what_was_accepted_is_carried_out() {
    let rig = Rig::new();
    rig.accept("t1", change_of(&many(0, 20_000))).await.unwrap();
    rig.disk.files.set_full(true);
    rig.accept("t2", change_of(&many(20_000, 40_000))).await.unwrap_err();
    assert_eq!(rig.ledger.health().borrow().failing, Some(StoreError::Full));
    for n in 0..400 {
        assert!(settle_one(&rig).await, "{n}");
    }
    let order = order("bench", Some("t3"), change_of(&many(60_000, 1)));
    let refused = rig.ledger.run(move |tx| accept(tx, &order)).await.unwrap();
    assert_eq!(refused.unwrap_err().code, RejectionCode::ThrottlingException);
    assert_eq!(rig.find("t1").await.map(|request| request.tally.succeeded), Some(400));
    rig.disk.files.set_full(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(settle_one(&rig).await);
    rig.accept("t2", change_of(&many(20_000, 40_000))).await.unwrap();
    assert_eq!(rig.ledger.health().borrow().failing, None);
}

/// A part of a page cannot be written where the rest of it cannot be read.
#[tokio::test(start_paused = true)]
async fn a_segment_on_bad_sectors_is_left_for_another_one() {
    for restarts in [false, true] {
        let mut rig = Rig::new();
        rig.accept("t1", change(&["a"])).await.unwrap();
        let bytes = rig.disk.files.bytes(0);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 4096 + 1;
        (used..bytes.len() / 4096).for_each(|page| rig.disk.files.break_page(0, page as u64 * 4096));
        if restarts {
            rig.crash().await;
        }
        let mut accepted = false;
        for _ in 0..3 {
            accepted |= rig.accept("t2", change(&["b"])).await.is_ok();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert!(accepted, "restarts: {restarts}");
        rig.crash().await;
        for token in ["t1", "t2"] {
            assert_eq!(rig.find(token).await.map(|request| request.tally.open), Some(1), "{token}");
        }
    }
}

/// What the registry has of a request whose messages are owed is counted once.
#[tokio::test(start_paused = true)]
async fn starts_count_no_row_twice() {
    let mut rig = Rig::new();
    for n in 0..50 {
        rig.accept(&format!("t{n}"), change(&["a"])).await.unwrap();
        assert!(settle_one(&rig).await);
    }
    let mut counted = Vec::new();
    for _ in 0..4 {
        rig = rig.restart().await;
        rig.find("none").await;
        counted.push(rig.ledger.summary().borrow().live_bytes);
    }
    assert!(counted.iter().all(|bytes| *bytes == counted[0]), "{counted:?}");
}

/// The segments that a burst needed are given back, and a checkpoint does not wait until one of
/// them is full.
#[tokio::test(start_paused = true)]
async fn after_a_burst_the_journal_is_as_small_as_before() {
    let rig = Rig::new();
    rig.disk.registry.have_one_handle();
    let lengths = || rig.disk.files.list().unwrap().into_iter().map(|(_, length)| length).collect::<Vec<_>>();
    rig.accept("first", change(&["a"])).await.unwrap();
    let before = lengths();
    rig.accept("t", change_of(&many(0, 60_000))).await.unwrap();
    assert!(lengths().iter().any(|length| *length > 8 << 20));
    let seq = rig.find("t").await.unwrap().seq;
    let mut so_far = Canceled::default();
    let canceled = rig.ledger.run_steps(move |tx| Ok(When::when(cancel(tx, seq, &mut so_far)?, so_far)));
    canceled.await.unwrap();
    for n in 0..2000 {
        rig.accept(&format!("s{n}"), change(&["a"])).await.unwrap();
        assert!(settle_one(&rig).await);
        let deliver = |tx: &mut Tx<'_>| {
            let (messages, _) = owed(tx, Via::Mqtt, 0, 1000, 100)?;
            messages.iter().try_for_each(|message| delivered(tx, message.n))
        };
        rig.ledger.run(deliver).await.unwrap();
    }
    assert_eq!(lengths(), before);
}
