//! Tests of the committing thread on a disk that fails: each change that the thread reported as
//! durable exists after a crash.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;
use crate::{
    ledger::testing::{MemDisk, start},
    runtime::clock::Clock,
};

/// A ledger on a disk, to be crashed and opened again.
pub(super) struct Rig {
    pub(super) disk: MemDisk,
    rules: Rules,
    pub(super) ledger: Ledger,
    thread: JoinHandle<()>,
}

impl Rig {
    pub(super) fn new() -> Self {
        let disk = MemDisk::default();
        let rules = rules();
        let (ledger, thread) = start(&disk, &rules);
        Self { disk, rules, ledger, thread }
    }

    /// Power fails, and the agent starts again.
    pub(super) async fn crash(&mut self) {
        self.crash_with(|_| ()).await;
    }

    /// The same, on a disk that `prepare` changes before the start.
    pub(super) async fn crash_with(&mut self, prepare: impl FnOnce(&MemDisk)) {
        self.thread.abort();
        let _ = (&mut self.thread).await;
        self.disk.files.crash_keeping(|_, _| true);
        prepare(&self.disk);
        (self.ledger, self.thread) = start(&self.disk, &self.rules);
    }

    /// The same, on a disk where `count` syncs fail after the first `good` ones. Then it waits for
    /// longer than the agent does before it tries a failed opening again.
    pub(super) async fn crash_with_failing_syncs(&mut self, good: u32, count: u32) {
        self.crash_with(|disk| disk.files.fail_later_syncs(good, count)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    /// The agent stops in order, and starts again.
    pub(super) async fn restart(self) -> Self {
        let Self { disk, rules, ledger, thread } = self;
        drop(ledger);
        thread.await.unwrap();
        let (ledger, thread) = start(&disk, &rules);
        Self { disk, rules, ledger, thread }
    }

    /// The journal says by itself how many bytes the registry has, once all requests have ended.
    pub(super) async fn counts_its_registry_after_a_crash(mut self) {
        self.crash().await;
        let rig = self.restart().await;
        assert!(rig.find("none").await.is_none());
        let counted = rig.ledger.summary().borrow().live_bytes;
        assert_eq!(counted, rig.disk.registry.bytes());
    }

    pub(super) async fn accept(&self, token: &str, change: Change) -> Result<Request, Unavailable> {
        let order = order("bench", Some(token), change);
        self.ledger.run(move |tx| accept(tx, &order)).await.map(Result::unwrap)
    }

    pub(super) async fn find(&self, token: &'static str) -> Option<Request> {
        let (client, token) = (ClientId::new("bench").unwrap(), ClientToken::new(token).unwrap());
        self.ledger.run(move |tx| find_request(tx, &client, &token)).await.unwrap()
    }

    pub(super) async fn take(&self, call_kind: CallKind) -> Vec<String> {
        let pick = Pick::Queue { limit: 9, window: Window::OPEN, again: None, shut: Vec::new() };
        let rule = move |tx: &mut Tx<'_>| take(tx, call_kind, &pick, WallClock::Confirmed, &CallToken::from_bits(0));
        let taken = self.ledger.run(rule).await.unwrap();
        taken.entries.into_iter().map(|(target, _)| target.name().to_owned()).collect()
    }
}

/// Invariant 12: a rejected command leaves no trace, and undoes nothing: neither now nor after a
/// reboot.
#[tokio::test(start_paused = true)]
async fn a_command_whose_sync_failed_supersedes_nothing_and_never_comes_back() {
    for crashes in [false, true] {
        let mut rig = Rig::new();
        rig.accept("t1", change(&["a"])).await.unwrap();
        rig.disk.files.fail_syncs(1);
        rig.accept("t2", associate(&["a"])).await.unwrap_err();
        if crashes {
            rig.crash().await;
        }
        assert_eq!(rig.find("t2").await, None);
        assert_eq!(rig.find("t1").await.map(|request| request.tally.open), Some(1), "it was not superseded");
        assert_eq!(rig.take(CallKind::Associate).await, [""; 0]);
        assert_eq!(rig.take(CallKind::Disassociate).await, ["a"]);
    }
}

/// As long as a part of a command may be on the disk, its sender gets no answer. Others are
/// rejected, of which nothing was written.
#[tokio::test(start_paused = true)]
async fn a_command_is_rejected_when_nothing_of_it_can_come_back() {
    let mut rig = Rig::new();
    rig.accept("t1", change(&["a"])).await.unwrap();
    // The sync of the group, and those that would cut it away.
    rig.disk.files.fail_syncs(3);
    let (client, fresh) = (order("bench", Some("t2"), associate(&["a"])), rig.ledger.clone());
    let unanswered = tokio::spawn(async move { fresh.run(move |tx| accept(tx, &client)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!unanswered.is_finished(), "its group may come back");
    rig.accept("t3", change(&["b"])).await.unwrap_err();
    assert!(rig.ledger.health().borrow().failing.is_some());
    // The attempts go on, also if nobody asks.
    tokio::time::timeout(Duration::from_secs(60), unanswered).await.unwrap().unwrap().unwrap_err();
    rig.crash().await;
    assert_eq!((rig.find("t2").await, rig.find("t3").await), (None, None));
    assert_eq!(rig.find("t1").await.map(|request| request.tally.open), Some(1));
}

/// A defect is no damage: its job fails, and nothing else does.
#[tokio::test(start_paused = true)]
async fn a_rule_that_finds_its_state_inconsistent_fails_alone() {
    let rig = Rig::new();
    rig.accept("t1", change(&["a"])).await.unwrap();
    for panics in [false, true] {
        let (order, ledger) = (order("bench", Some("t2"), associate(&["a"])), rig.ledger.clone());
        let failed = ledger.run(move |tx| -> Result<(), StoreError> {
            accept(tx, &order)?.unwrap();
            assert!(!panics, "a defect of the rule");
            Err(StoreError::Defect("of the rule".into()))
        });
        failed.await.unwrap_err();
        assert!(rig.ledger.health().borrow().defect.as_ref().is_some_and(|what| what.contains("of the rule")));
        assert_eq!(rig.ledger.health().borrow().losses, []);
        assert_eq!(rig.find("t2").await, None);
        assert_eq!(rig.find("t1").await.map(|request| request.tally.open), Some(1), "what it did is undone");
    }
    rig.accept("t3", change(&["b"])).await.unwrap();
}

/// A damaged registry costs no accepted command.
#[tokio::test(start_paused = true)]
async fn what_is_open_survives_the_registry() {
    for crashes in [false, true] {
        let mut rig = Rig::new();
        rig.accept("t1", change(&["a", "b"])).await.unwrap();
        rig.disk.registry.damage();
        if crashes {
            rig.crash().await;
        } else {
            // It is found when a device is looked up.
            rig.accept("t2", change(&["c"])).await.unwrap_err();
        }
        assert_eq!(rig.take(CallKind::Disassociate).await, ["a", "b"]);
        assert!(rig.ledger.health().borrow().losses.iter().all(|loss| loss.lost == Lost::Registry));
        rig.accept("t2", change(&["c"])).await.unwrap();
        rig.crash().await;
        assert_eq!(rig.find("t1").await.map(|request| request.tally.open), Some(2));
        assert!(rig.ledger.health().borrow().failing.is_none());
    }
}

/// A rule and the look at the file's size may find the same damage in one group. After one of these
/// numbers of groups the look is due.
#[tokio::test(start_paused = true)]
async fn a_registry_is_replaced_once_whoever_finds_the_damage() {
    for groups in 250..=260 {
        let rig = Rig::new();
        for _ in 0..groups {
            rig.find("none").await;
        }
        rig.disk.registry.set_size(1 << 30);
        rig.disk.registry.damage();
        rig.accept("t", change(&["a"])).await.unwrap_err();
        rig.accept("t", change(&["a"])).await.unwrap();
        assert_eq!(rig.ledger.health().borrow().losses.len(), 1, "{groups} groups before");
    }
}

/// Copying 100,000 rows takes a second, for which no command waits. A checkpoint does: rows that are
/// written after the copy would be lost.
#[tokio::test(start_paused = true)]
async fn commands_do_not_wait_while_the_registry_is_rewritten_and_a_checkpoint_does() {
    let mut rig = Rig::new();
    rig.disk.registry.set_size(1 << 30);
    rig.disk.registry.hold_copies(true);
    // More than a segment takes, and less than two.
    for n in 0..300 {
        rig.accept(&format!("t{n}"), change(&["a"])).await.unwrap_or_else(|error| panic!("{n}: {error}"));
        assert!(rig.ledger.run(move |tx| cancel(tx, n, &mut Canceled::default())).await.unwrap());
        rig.ledger.run(move |tx| (2 * n..2 * n + 2).try_for_each(|n| delivered(tx, n))).await.unwrap();
    }
    let rows = rig.disk.registry.rows();
    // Before anything fails, since the thread waits for it.
    rig.disk.registry.hold_copies(false);
    assert!(rows <= 1, "{rows} rows: a checkpoint has written to it");
    rig = rig.restart().await;
    assert!(rig.disk.registry.rows() > 300, "a checkpoint was completed");
    for token in ["t0", "t150", "t299"] {
        assert!(rig.find(token).await.is_some(), "{token}");
    }
    assert_eq!(rig.disk.registry.size(), 0, "the copy has taken its place");
}

/// What is settled before a checkpoint and after it is there after a crash at any write.
#[tokio::test(start_paused = true)]
async fn a_clean_stop_leaves_nothing_to_replay() {
    let mut rig = Rig::new();
    rig.accept("t1", change(&["a"])).await.unwrap();
    rig.take(CallKind::Disassociate).await;
    let settled = rig.ledger.run(|tx| {
        let mut verdicts = VecDeque::from([(device("a"), Verdict::Done)]);
        settle(tx, CallKind::Disassociate, &mut verdicts)
    });
    settled.await.unwrap();
    let Rig { disk, rules, ledger, thread } = rig;
    drop(ledger);
    thread.await.unwrap();
    assert!(disk.registry.rows() >= 4, "request, token, device and binding");
    let (ledger, thread) = start(&disk, &rules);
    rig = Rig { disk, rules, ledger, thread };
    assert_eq!(rig.find("t1").await.map(|request| request.tally.succeeded), Some(1));
}

/// Commands that come together may need more room than the segment has while a checkpoint is under
/// way. The checkpoint is completed first, and its rows count.
#[tokio::test(start_paused = true)]
async fn the_rows_of_a_checkpoint_that_was_completed_for_a_large_group_are_counted() {
    let rig = Rig::new();
    for round in 0..3 {
        let mut accepted = Vec::new();
        for command in 0..60 {
            let names: Vec<String> = (0..400).map(|n| format!("device-{command:02}-{n:03}")).collect();
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            // A device's row names its request: its bytes change with each round.
            let token = format!("{}{round}-{command}", "t".repeat(8 * round + 1));
            let order = order("@root", Some(&token), change(&names));
            accepted.push(rig.ledger.submit(Replies::Durable, move |tx| accept(tx, &order)).await.unwrap());
        }
        for accepted in accepted {
            accepted.await.unwrap().unwrap().unwrap();
        }
        let mut settled = Vec::new();
        for _ in 0..24 {
            let (kind, limit) = (CallKind::Disassociate, 1000);
            let pick = Pick::Queue { limit, window: Window::OPEN, again: None, shut: Vec::new() };
            let rule = move |tx: &mut Tx<'_>| {
                let taken = take(tx, kind, &pick, WallClock::Confirmed, &CallToken::from_bits(0))?;
                let mut verdicts: VecDeque<_> =
                    taken.entries.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
                let count = verdicts.len();
                while !verdicts.is_empty() {
                    settle(tx, kind, &mut verdicts)?;
                }
                Ok(count)
            };
            settled.push(rig.ledger.submit(Replies::Durable, rule).await.unwrap());
        }
        for settled in settled {
            assert_eq!(settled.await.unwrap().unwrap(), 1000);
        }
    }
    rig.counts_its_registry_after_a_crash().await;
}

/// What ends while a checkpoint is under way was open when it began, so that the checkpoint does not
/// move it to the registry; its journal keeps it until the next one does.
#[tokio::test(start_paused = true)]
async fn requests_that_end_during_a_checkpoint_survive_a_crash_after_it() {
    const REQUESTS: u64 = 400;
    let mut rig = Rig::new();
    let named = |n: u64| order("@root", Some(&format!("t{n}")), change(&[&format!("d{n}")]));
    for n in 0..REQUESTS {
        let order = named(n);
        rig.ledger.run(move |tx| accept(tx, &order)).await.unwrap().unwrap();
    }
    for seq in (0..REQUESTS).rev() {
        let canceled = rig.ledger.run(move |tx| cancel(tx, seq, &mut Canceled::default()));
        assert!(canceled.await.unwrap());
    }
    assert!(rig.disk.registry.rows() > 1, "a checkpoint was completed");
    rig.crash().await;
    for n in 0..REQUESTS {
        let order = named(n);
        let found = rig.ledger.run(move |tx| find_request(tx, &order.client, order.token.as_ref().unwrap()));
        assert_eq!(found.await.unwrap().map(|found| found.tally.canceled), Some(1), "request {n}");
    }
}

/// A row that a checkpoint wrote counts once, also if its object changed while the checkpoint was
/// under way and the power failed after it.
#[tokio::test(start_paused = true)]
async fn rows_that_were_settled_during_a_checkpoint_count_once_after_a_crash() {
    let rig = Rig::new();
    let mut settled = Vec::new();
    for n in 0..6000 {
        let order = order("@root", Some(&format!("t{n}")), change(&[&format!("d{}", n % 500)]));
        let pick = Pick::Queue { limit: 1, window: Window::OPEN, again: None, shut: Vec::new() };
        let rule = move |tx: &mut Tx<'_>| {
            accept(tx, &order)?.unwrap();
            let taken = take(tx, CallKind::Disassociate, &pick, WallClock::Confirmed, &CallToken::from_bits(0))?;
            let mut verdicts = taken.entries.into_iter().map(|(target, _)| (target, Verdict::Done)).collect();
            settle(tx, CallKind::Disassociate, &mut verdicts)
        };
        settled.push(rig.ledger.submit(Replies::Durable, rule).await.unwrap());
    }
    for settled in settled {
        settled.await.unwrap().unwrap();
    }
    assert!(rig.disk.registry.rows() > 3000, "checkpoints were completed");
    rig.counts_its_registry_after_a_crash().await;
}

/// A group takes memory for each object that it changes, until it is durable: commands that arrive
/// together do not make it larger than one of them does.
#[tokio::test(start_paused = true)]
async fn long_commands_that_arrive_together_become_durable_in_several_groups() {
    let rig = Rig::new();
    let names: Vec<String> = (0..6000).map(|n| format!("d{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let [one, two, three, four] = [0, 1, 2, 3].map(|n| change(&names[n * 1500..(n + 1) * 1500]));
    let commits = || rig.ledger.stats().commits.iter().sum::<u64>();
    let before = commits();
    let accepted =
        tokio::join!(rig.accept("1", one), rig.accept("2", two), rig.accept("3", three), rig.accept("4", four));
    assert!(accepted.0.is_ok() && accepted.1.is_ok() && accepted.2.is_ok() && accepted.3.is_ok());
    assert_eq!(commits() - before, 2, "the first two make a group of more than 2,000 changes");
}

/// What waits is not held up to the end of a job that has many steps with many changes each.
#[tokio::test(start_paused = true)]
async fn a_job_with_many_changes_lets_others_run_between_its_steps() {
    let rig = Rig::new();
    let names: Vec<String> = (0..9000).map(|n| format!("d{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let seq = rig.accept("long", change(&names)).await.unwrap().seq;
    let ended = std::sync::Mutex::new(Vec::new());
    let cancel = async {
        let mut so_far = Canceled::default();
        rig.ledger.run_steps(move |tx| Ok(crate::ledger::Step::when(cancel(tx, seq, &mut so_far)?, ()))).await.unwrap();
        ended.lock().unwrap().push("the cancel");
    };
    let accept = async {
        rig.accept("short", change(&["a"])).await.unwrap();
        ended.lock().unwrap().push("the command");
    };
    tokio::join!(cancel, accept);
    assert_eq!(*ended.lock().unwrap(), ["the command", "the cancel"]);
}

/// A kill undoes no more than the last half second, also if unsynced changes follow one another so
/// closely that the thread is never idle for as long.
#[tokio::test]
async fn unsynced_changes_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::simulated(tokio::time::Instant::now(), std::sync::Arc::default());
    let (ledger, closed) = Ledger::start(dir.path(), rules(), clock.clone()).unwrap();
    let order = order("bench", Some("the-token"), change(&["a"]));
    ledger.run_unsynced(move |tx| accept(tx, &order)).await.unwrap().unwrap();
    // The time passes for the thread, but not for its timer.
    clock.suspend(Duration::from_millis(500));
    ledger.run_unsynced(|_| Ok(())).await.unwrap();
    let is_written = std::fs::read_dir(dir.path().join("journal")).unwrap().any(|file| {
        let path = file.unwrap().path();
        path.is_file() && std::fs::read(path).unwrap().windows(9).any(|bytes| bytes == b"the-token")
    });
    assert!(is_written);
    drop(ledger);
    closed.await.unwrap();
}
