//! Tests of a start after a damage, a failed sync or a power cut: the journal, the registry and the
//! memory agree on what is there, what is forgotten, and what is owed.

use std::time::Duration;

use super::{
    committing::Rig,
    failing::{change_of, many},
    *,
};
use crate::ledger::{
    pending::Settled,
    registry::{rows, store::Store},
};

/// A checkpoint that a crash cut short may have written a request that was forgotten since, also
/// into the registry that replaced a damaged one, and also if the part of the journal is damaged
/// that says so.
#[tokio::test(start_paused = true)]
async fn what_was_forgotten_after_the_registry_was_replaced_stays_forgotten() {
    for is_damaged in [false, true] {
        let mut rig = Rig::new();
        rig.accept("t", change(&["a"])).await.unwrap();
        rig.take(CallKind::Disassociate).await;
        let settled = rig.ledger.run(|tx| {
            settle(tx, CallKind::Disassociate, &mut VecDeque::from([(device("a"), Verdict::Done)]))?;
            (0..2).try_for_each(|n| delivered(tx, n))
        });
        settled.await.unwrap();
        let before = rig.disk.files.bytes(0);
        rig.disk.registry.damage();
        rig.accept("u", change(&["b"])).await.unwrap_err();
        let request = rig.find("t").await.unwrap();
        let replaced = rig.disk.files.bytes(0);
        let mut rows = Vec::new();
        rows::of_request(Settled { request, failures: Vec::new(), unknown: Vec::new() }, &mut rows);
        rig.disk.registry.clone().apply(&rows).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let forgotten = rig.ledger.run(|tx| forget_requests(tx, tx.elapsed(), &mut 0));
        assert!(forgotten.await.unwrap());
        assert_eq!(rig.find("t").await, None);
        if is_damaged {
            let pages = before.chunks(4096).zip(replaced.chunks(4096));
            let changed: Vec<usize> =
                pages.enumerate().filter(|(_, (was, is))| was != is).map(|(page, _)| page).collect();
            assert!(!changed.is_empty());
            changed.into_iter().for_each(|page| rig.disk.files.flip(0, page as u64 * 4096 + 60, 0));
        }
        rig.crash().await;
        assert_eq!(rig.find("t").await, None, "damaged: {is_damaged}");
    }
}

/// A pending command was superseded by its opposite, whose entry was taken for a call; then the part
/// of the journal was damaged that says so.
async fn with_damaged_supersession() -> Rig {
    let rig = Rig::new();
    rig.accept("older", change(&["a"])).await.unwrap();
    let before = rig.disk.files.bytes(0);
    rig.accept("opposite", associate(&["a"])).await.unwrap();
    let after = rig.disk.files.bytes(0);
    assert_eq!(rig.take(CallKind::Associate).await, ["a"]);
    let frame = before.iter().zip(&after).position(|(before, after)| before != after).unwrap();
    rig.disk.files.flip(0, frame as u64 + 60, 0);
    rig
}

/// What was mended after [`with_damaged_supersession`] stays so after a list and another start.
async fn is_mended_for_good(mut rig: Rig) {
    let ended = rig.find("older").await.unwrap();
    assert_eq!((ended.tally.open, rig.find("opposite").await), (0, None));
    let owed = rig.ledger.run(|tx| owed(tx, Via::Mqtt, 0, 9, 9)).await.unwrap().0;
    assert_eq!(owed.iter().filter(|owed| owed.completed).count(), 1, "its end is reported");
    let list = rig.ledger.run_unsynced(|tx| Ok(begin_list(tx))).await.unwrap();
    let listed = rig.ledger.run(move |tx| {
        let (mut counts, page) = (SyncCounts::default(), [(thing("a"), Some(Timestamp(5)))]);
        while !apply_page(tx, list, &page, &mut 0, &mut counts)? {}
        while !settle_by_list(tx, CallKind::Associate, list, WallClock::Confirmed, &mut (0, 0))? {}
        while !end_list(tx, list, counts)? {}
        Ok(())
    });
    listed.await.unwrap();
    rig.crash().await;
    assert_eq!(rig.find("older").await, Some(ended));
    assert_eq!(rig.take(CallKind::Disassociate).await, [""; 0]);
}

/// What a start mended after a damage of the journal stays as it was reported: the next start does
/// not mend it again, by what has gone on since.
#[tokio::test(start_paused = true)]
async fn what_was_mended_is_not_mended_again() {
    let mut rig = with_damaged_supersession().await;
    for good in 0..6 {
        rig.crash_with_failing_syncs(good, 1000).await;
    }
    rig.crash().await;
    is_mended_for_good(rig).await;
}

/// Where the disk has no room for the segment of that checkpoint, the ledger works all the same, and
/// makes the checkpoint when there is room.
#[tokio::test(start_paused = true)]
async fn what_was_mended_without_room_is_made_durable_when_there_is_room() {
    let mut rig = with_damaged_supersession().await;
    rig.crash_with(|disk| {
        [1, 2].into_iter().for_each(|free| disk.files.remove(free));
        disk.files.set_full(true);
    })
    .await;
    assert_eq!(rig.find("older").await.map(|request| request.tally.open), Some(0));
    let failing = || rig.ledger.health().borrow().failing.clone();
    assert_eq!(failing(), Some(StoreError::Full));
    rig.disk.files.set_full(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    rig.find("older").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(failing(), None);
    is_mended_for_good(rig).await;
}

/// A registry that takes no row keeps such a ledger closed, and costs nothing.
#[tokio::test(start_paused = true)]
async fn what_was_mended_waits_for_a_registry_that_takes_rows() {
    let mut rig = with_damaged_supersession().await;
    rig.crash_with(|disk| disk.registry.set_full(true)).await;
    rig.ledger.run(|_| Ok(())).await.unwrap_err();
    assert_eq!(rig.ledger.health().borrow().failing, Some(StoreError::Full));
    rig.disk.registry.set_full(false);
    tokio::time::sleep(Duration::from_secs(6)).await;
    is_mended_for_good(rig).await;
}

/// The registry of an old copy of the journal has more checkpoints than the journal. That is one
/// loss, and not one at each start.
#[tokio::test(start_paused = true)]
async fn an_old_copy_of_the_journal_is_one_loss() {
    let finish_and_restart = async |rig: Rig, token: &str| {
        let order = order("bench", Some(token), change(&["a"]));
        let finished = rig.ledger.run(move |tx| {
            accept(tx, &order)?.unwrap();
            let pick = Pick::Queue { limit: 9, window: Window::OPEN, again: None, shut: Vec::new() };
            take(tx, CallKind::Disassociate, &pick, WallClock::Confirmed, &CallToken::from_bits(0))?;
            settle(tx, CallKind::Disassociate, &mut VecDeque::from([(device("a"), Verdict::Done)]))
        });
        finished.await.unwrap();
        rig.restart().await
    };
    let mut rig = finish_and_restart(Rig::new(), "t1").await;
    let old = rig.disk.files.snapshot();
    for token in ["t2", "t3"] {
        rig = finish_and_restart(rig, token).await;
    }
    rig.disk.files = old;
    // The registry takes no row, not even the one that binds it.
    rig.crash_with(|disk| disk.registry.set_full(true)).await;
    rig.ledger.run(|_| Ok(())).await.unwrap_err();
    rig.disk.registry.set_full(false);
    // Power fails in the checkpoint by which the opening makes durable what it mended.
    for good in 0..6 {
        rig.crash_with_failing_syncs(good, 1000).await;
        let health = rig.ledger.health().borrow().clone();
        assert!(health.losses.len() == 1 || health.failing.is_some(), "{good} syncs: {health:?}");
    }
    rig.crash().await;
    rig.find("t1").await.unwrap();
    for _ in 0..2 {
        rig = rig.restart().await;
        rig.find("t1").await.unwrap();
        assert_eq!(rig.ledger.health().borrow().losses, []);
    }
}

/// A request that the old copy has open, and that the registry has as finished, is finished: no list
/// would show that its call was made.
#[tokio::test(start_paused = true)]
async fn an_old_copy_of_the_journal_opens_no_request_that_has_finished() {
    let mut rig = Rig::new();
    let id = |text: &str| AssetId::new(&format!("externalId:{text}")).unwrap();
    let target = Target::child(id("line"), id("parts"), id("pump"));
    let change = Change { operation: Operation::DisassociateAssets, targets: vec![target.clone()], ..change(&[]) };
    rig.accept("t", change).await.unwrap();
    let old = rig.disk.files.snapshot();
    let take_all = |tx: &mut Tx<'_>| {
        let pick = Pick::Queue { limit: 9, window: Window::OPEN, again: None, shut: Vec::new() };
        take(tx, CallKind::Assets, &pick, WallClock::Confirmed, &CallToken::from_bits(0))
    };
    assert_eq!(rig.ledger.run(take_all).await.unwrap().entries.len(), 1);
    let settled = rig.ledger.run(move |tx| {
        settle(tx, CallKind::Assets, &mut VecDeque::from([(target.clone(), Verdict::Done)]))?;
        // The broker has both messages.
        (0..2).try_for_each(|n| delivered(tx, n))
    });
    settled.await.unwrap();
    for _ in 0..2 {
        // Each stop makes a checkpoint, if there is anything to move.
        rig = rig.restart().await;
        rig.accept("other", super::change(&["a"])).await.unwrap();
        rig.take(CallKind::Disassociate).await;
        let settled = rig
            .ledger
            .run(|tx| settle(tx, CallKind::Disassociate, &mut VecDeque::from([(device("a"), Verdict::Done)])));
        settled.await.unwrap();
    }
    rig = rig.restart().await;
    rig.find("t").await.unwrap();
    rig.disk.files = old;
    rig.crash().await;
    assert_eq!(rig.find("t").await.map(|request| request.tally.succeeded), Some(1));
    assert_eq!(rig.ledger.run(take_all).await.unwrap().entries, []);
    assert_eq!(rig.ledger.summary().borrow().open_requests, 0);
    let owed = rig.ledger.run(|tx| owed(tx, Via::Mqtt, 0, 9, 9)).await.unwrap().0;
    assert_eq!(owed.iter().filter(|owed| owed.completed).count(), 1, "its sender may not know yet");
    rig.crash().await;
    assert_eq!(rig.find("t").await.map(|request| request.tally.succeeded), Some(1));
}

/// After damage of the journal a checkpoint makes the repaired state durable. It logs again
/// everything that is open, also where one of its syncs fails.
#[tokio::test(start_paused = true)]
async fn a_sync_that_fails_while_an_opening_mends_costs_no_command() {
    for good in 0..12 {
        let mut rig = Rig::new();
        let accept_many = async |rig: &Rig, commands: std::ops::Range<usize>| {
            for command in commands {
                let names: Vec<String> = (0..400).map(|n| format!("device-{command}-{n:03}")).collect();
                rig.accept(&format!("t{command}"), change_of(&names)).await.unwrap();
            }
        };
        accept_many(&rig, 0..5).await;
        let before = rig.disk.files.bytes(0);
        rig.find("none").await;
        rig.accept("lost", change(&["a"])).await.unwrap();
        let frame = before.iter().zip(&rig.disk.files.bytes(0)).position(|(was, is)| was != is).unwrap();
        accept_many(&rig, 5..6).await;
        rig.disk.files.flip(0, frame as u64 + 60, 0);
        rig.crash_with_failing_syncs(good, 1).await;
        for starts in 0..3 {
            let open: Vec<u32> = [rig.find("t0").await, rig.find("t3").await, rig.find("t5").await]
                .map(|request| request.map_or(0, |request| request.tally.open))
                .into();
            assert_eq!(open, [400; 3], "{good} syncs, {starts} starts");
            let status = rig.ledger.summary().borrow().pending_entries;
            assert_eq!(status, 6 * 400, "{good} syncs, {starts} starts");
            rig.crash().await;
        }
    }
}

/// The journal brings back nothing that a checkpoint moved to the registry, also if the sync failed
/// by which the checkpoint would have become complete: its rows would count twice.
#[tokio::test(start_paused = true)]
async fn what_moved_does_not_come_back_after_a_failed_sync() {
    for good in 0..16 {
        let rig = Rig::new();
        let finish = async |token: &str, names: &[String]| {
            let order = order("@root", Some(token), change_of(names));
            rig.ledger.run(move |tx| accept(tx, &order)).await?.unwrap();
            let settled = rig.ledger.run(|tx| {
                let pick = Pick::Queue { limit: 1000, window: Window::OPEN, again: None, shut: Vec::new() };
                let taken = take(tx, CallKind::Disassociate, &pick, WallClock::Confirmed, &CallToken::from_bits(0))?;
                let mut verdicts = taken.entries.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
                settle(tx, CallKind::Disassociate, &mut verdicts)
            });
            settled.await
        };
        let mut commands = 0..60;
        let has_begun = |_: &usize| rig.disk.registry.rows() > 100;
        for command in commands.by_ref().take_while(|command| !has_begun(command)) {
            finish(&format!("t{command}"), &many(400 * command, 400)).await.unwrap();
        }
        rig.disk.files.fail_later_syncs(good, 1);
        let run = || rig.ledger.summary().borrow().run;
        let before = run();
        for command in commands.take_while(|_| run() == before) {
            // It may be rejected for the failure.
            let _ = finish(&format!("t{command}"), &many(400 * command, 400)).await;
        }
        finish("last", &many(0, 1)).await.unwrap();
        rig.counts_its_registry_after_a_crash().await;
    }
}
