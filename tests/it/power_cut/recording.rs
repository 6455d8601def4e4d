//! The agent's run under `strace`, as a log that can be cut anywhere.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use super::{
    check::{self, Found, Promise, check},
    files::{self, Base, Files},
    medium::{self, Model},
    mqtt, scratch, trace,
};
use crate::common::*;

/// The directory that is replayed, by a name that is found in the trace; it holds the agent's data
/// directory.
const MEDIUM: &str = "/power-cut-medium";

/// Entries of the large command: until it has ended, it fills a segment of the journal, and a
/// checkpoint begins.
const LARGE: usize = 4000;

/// sled's segments: a file is written in pieces of this size.
const SEGMENT: usize = 1024 * 1024;

pub struct Recording {
    trace: String,
    files: Files,
    pub promises: Arc<Vec<Promise>>,
    pub points: Points,
}

/// Where power may fail: right before these lines of the trace.
pub struct Points {
    all: Vec<usize>,
    /// Right before and after the begin and the end of each sync, and each acknowledgement.
    vital: Vec<usize>,
}

/// A world whose agent keeps its data below the directory that is replayed, and runs under
/// `strace`.
async fn traced(devices: usize) -> (World, PathBuf, PathBuf) {
    let mut world = World::new(devices).await;
    let root = world.dir.path().join(MEDIUM.trim_matches('/'));
    fs::create_dir(&root).unwrap();
    world.set("dataDir", json!(root.join("data")));
    let (trace, calls) = (world.dir.path().join("trace"), "trace=%file,%desc,%network");
    // All of every write: sled's are at most a segment.
    let words = [strace(), "-f", "-A", "-yy", "-xx", "-s", "4000000", "-e", calls, "-o", trace.to_str().unwrap()];
    world.wrapper = words.map(str::to_owned).into();
    (world, root, trace)
}

/// The agent's life, with everything that makes its store move: many small commands, one that fills
/// a segment of the journal, repetitions, failures, an outage, and three starts, since it is at its
/// start that sled writes a snapshot and deletes the one before, and at a clean stop that a
/// checkpoint is made.
pub async fn record() -> Recording {
    let (mut world, _, trace) = traced(LARGE + 200).await;
    let client = world.client("bench").await;
    let in_sync = |status: &Value| status["state"] == "ONLINE" && status["lastSyncAt"].is_string();

    world.start_agent();
    client.status("the agent is in sync", in_sync).await;
    for n in 0..10 {
        client.disassociate(&format!("alone-{n}"), &names(n..n + 1));
        client.result(&format!("alone-{n}"), "completed").await;
    }
    // Several in one group, for the same devices, and one again.
    for n in 0..30 {
        client.disassociate(&format!("shared-{n}"), &names(10 + n / 2..12 + n));
    }
    client.disassociate("shared-3", &names(11..15));
    for n in 0..30 {
        client.result(&format!("shared-{n}"), "completed").await;
    }
    world.cloud.offline(true);
    client.disassociate("large", &names(200..200 + LARGE));
    client.result("large", "accepted").await;
    for n in 0..5 {
        client.disassociate(&format!("outage-{n}"), &names(60 + n..63 + n));
        client.result(&format!("outage-{n}"), "accepted").await;
    }
    client.ask("cancel", json!({"targetClientToken": "outage-4"})).await;
    world.cloud.offline(false);
    for token in ["large", "outage-0", "outage-1", "outage-2", "outage-3", "outage-4"] {
        client.result(token, "completed").await;
    }
    assert!(world.stop_agent().0.success());

    client.forget();
    world.start_agent();
    client.status("the agent is in sync again", in_sync).await;
    let action = Action::EntryErrors {
        things: names(80..83),
        code: "No".into(),
        message: "Not this one".into(),
        omit_name: false,
    };
    world.fault(action, Some(1));
    client.disassociate("partly", &names(78..90));
    assert_eq!(client.result("partly", "completed").await["status"], "PARTIALLY_SUCCEEDED");
    client.send("sync", &json!({"clientToken": "sync"}));
    client.result("sync", "completed").await;
    world.cloud.offline(true);
    client.disassociate("over-the-stop", &names(90..130));
    client.result("over-the-stop", "accepted").await;
    assert!(world.stop_agent().0.success());

    client.forget();
    world.start_agent();
    for n in 0..10 {
        client.disassociate(&format!("late-{n}"), &names(130 + n..140));
        client.result(&format!("late-{n}"), "accepted").await;
    }
    world.cloud.offline(false);
    client.result("over-the-stop", "completed").await;
    for n in 0..10 {
        client.result(&format!("late-{n}"), "completed").await;
    }
    assert!(world.stop_agent().0.success());
    Recording::read(fs::read_to_string(trace).unwrap(), Base::default())
}

/// The agent's start on what a power cut left, and nothing else: a recovery, as a log that can be
/// cut in its turn.
pub async fn record_recovery(medium: &medium::Medium) -> Recording {
    let (mut world, root, trace) = traced(0).await;
    medium.unpack(&root);
    let base = Base::read(&root);
    world.cloud.offline(true);
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is there", |status| status["state"] == "ONLINE").await;
    assert!(world.stop_agent().0.success());
    Recording::read(fs::read_to_string(trace).unwrap(), base)
}

impl Recording {
    pub fn read(trace: String, base: Base) -> Self {
        let calls = trace::read(&trace);
        let marker = trace::escape(MEDIUM);
        let first = calls.iter().find(|call| call.name == "mkdir" && call.text.contains(&marker)).unwrap();
        let data = trace::path(first.arguments()[0]);
        let root = &data[..data.find(MEDIUM).unwrap() + MEDIUM.len()];
        let files = files::read(&calls, root, base);
        let marks = mqtt::marks(&calls);
        let contract = Contract::default();
        for mark in &marks {
            match &mark.what {
                mqtt::What::Command { topic, payload } => contract.sent(topic, payload),
                mqtt::What::Published { topic, payload } => contract.received(topic, payload),
                mqtt::What::Acknowledged(_) => {}
            }
        }
        contract.verify();
        let promises = check::promises(&marks);
        let points = Points::of(&files, &promises);
        Self { trace, files, promises: Arc::new(promises), points }
    }

    /// Writes the trace to where it stays, and returns the path.
    pub fn keep(&self, seed: u64) -> PathBuf {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("power-cut-{seed}.trace"));
        fs::write(&path, &self.trace).unwrap();
        path
    }

    /// What the recording has to hold for the test to mean anything.
    pub fn assert_rich(&self) {
        let ops = &self.files.ops;
        let on = |wanted: fn(&Self, &files::What) -> bool| ops.iter().filter(|op| wanted(self, &op.what)).count();
        // A segment of the journal begins with its header.
        let begun: Vec<usize> = ops
            .iter()
            .filter_map(|op| match &op.what {
                files::What::Write { inode, at: 0, bytes }
                    if self.files.is_below(*inode, "data/journal/segment-") && bytes.iter().any(|byte| *byte != 0) =>
                {
                    Some(*inode)
                }
                _ => None,
            })
            .collect();
        let again = begun.len() - begun.iter().collect::<BTreeSet<_>>().len();
        let syncs = on(|_, what| matches!(what, files::What::Sync { .. }));
        let of_db = on(
            |this, what| matches!(what, files::What::Sync { inode, data_only: true } if this.files.is_named(*inode, "data/store/db")),
        );
        let snapshots = on(
            |_, what| matches!(what, files::What::Name { names, .. } if names.len() == 2 && names[1].0.starts_with("snap.")),
        );
        let completed = self.promises.iter().filter(|promise| promise.completed.is_some()).count();
        println!(
            "recorded: {} operations on files, of which {syncs} syncs, {of_db} of them sled's; {} segments of the journal \
             begun, {again} of them again; {snapshots} snapshots of sled; {} commands, {completed} of them completed; {} places to \
             cut, {} of them beside a sync or an acknowledgement",
            ops.len(),
            begun.len(),
            self.promises.len(),
            self.points.all.len(),
            self.points.vital.len()
        );
        let unsynced = self.most_unsynced();
        println!("at most {unsynced} bytes of sled's file were not synced at any moment");
        assert!(unsynced < SEGMENT, "{unsynced} bytes unsynced: sled may have called durable what was not");
        // One at the birth, one at each of three clean stops, and one because a segment was full.
        assert!(begun.len() >= 5 && again >= 2, "{begun:?}: too few checkpoints");
        assert!(of_db >= 10 && snapshots >= 2, "sled was hardly written to");
        assert!(syncs > 50 && completed == self.promises.len(), "{syncs} syncs, {completed} completed");
    }

    /// The most bytes of sled's log that no sync covered at any moment. A whole segment of one byte
    /// is none: at its start sled makes free segments unreadable.
    fn most_unsynced(&self) -> usize {
        let db = |inode: usize| self.files.is_named(inode, "data/store/db");
        let (mut most, mut open) = (0, Vec::new());
        for op in &self.files.ops {
            match &op.what {
                files::What::Write { inode, bytes, .. } if db(*inode) && bytes.iter().any(|byte| *byte != bytes[0]) => {
                    open.push((op.end, bytes.len()));
                }
                files::What::Sync { inode, .. } if db(*inode) => open.retain(|(end, _)| *end >= op.begin),
                _ => {}
            }
            most = most.max(open.iter().map(|(_, length)| length).sum());
        }
        most
    }

    /// The first line after `line` at which an `fsync` of sled's file begins: its other syncs are
    /// `fdatasync`.
    pub fn whole_sync_after(&self, line: usize) -> Option<usize> {
        let is_whole = |op: &&files::Op| match op.what {
            files::What::Sync { inode, data_only } => !data_only && self.files.is_named(inode, "data/store/db"),
            _ => false,
        };
        self.files.ops.iter().filter(is_whole).map(|op| op.begin).filter(|begin| *begin > line).min()
    }

    /// What is on the medium when power fails before line `cut`.
    pub fn medium(&self, cut: usize, model: Model, random: u64) -> medium::Medium {
        medium::at(&self.files, cut, model, &mut fastrand::Rng::with_seed(random))
    }
}

/// Opens what is on a medium, and holds it against what had been promised before line `cut` of the
/// recording that made the promises.
pub fn open(medium: &medium::Medium, promises: &Arc<Vec<Promise>>, cut: usize) -> Result<Found, Vec<String>> {
    let dir = tempfile::tempdir_in(scratch()).unwrap();
    medium.unpack(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(check(&dir.path().join("data"), promises, cut))
}

impl Points {
    fn of(files: &Files, promises: &[Promise]) -> Self {
        let (mut all, mut vital) = (BTreeSet::new(), BTreeSet::new());
        for op in &files.ops {
            all.extend([op.begin + 1, op.end + 1]);
            if matches!(op.what, files::What::Sync { .. }) {
                vital.extend([op.begin, op.begin + 1, op.end, op.end + 1]);
            }
        }
        for promise in promises {
            for at in promise.acknowledged.into_iter().chain(promise.completed.as_ref().map(|(at, _)| *at)) {
                vital.extend([at, at + 1]);
            }
        }
        all.extend(&vital);
        Self { all: all.into_iter().collect(), vital: vital.into_iter().collect() }
    }

    /// Those before a line.
    pub fn before(&self, line: usize) -> &[usize] {
        &self.all[..self.all.partition_point(|at| *at < line)]
    }

    /// So many of them: the vital ones first, the others evenly; all of them again and again if
    /// that is not enough.
    pub fn choose(&self, count: usize, random: &mut fastrand::Rng) -> Vec<usize> {
        let spread = |from: &[usize], count: usize, random: &mut fastrand::Rng| -> Vec<usize> {
            let (step, phase) = (from.len() as f64 / count as f64, random.f64());
            (0..count).map(|n| from[(((n as f64 + phase) * step) as usize).min(from.len() - 1)]).collect()
        };
        if count < self.vital.len() {
            return spread(&self.all, count, random);
        }
        let mut chosen = Vec::new();
        while chosen.len() + self.all.len() <= count {
            chosen.extend(&self.all);
        }
        let left = count - chosen.len();
        if chosen.is_empty() {
            let others: Vec<usize> = self.all.iter().filter(|at| !self.vital.contains(at)).copied().collect();
            chosen.extend(&self.vital);
            chosen.extend(spread(&others, left - self.vital.len(), random));
        } else if left > 0 {
            chosen.extend(spread(&self.all, left, random));
        }
        chosen
    }
}
