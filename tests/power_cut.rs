//! A power cut at any moment: writes that were not flushed are dropped or torn, the agent opens its store again by
//! itself, and keeps every command that it acknowledged.
//!
//! How: the built agent runs once beside a real broker under `strace`, with every byte that it writes. Its calls become
//! a log of what happened to the files below its data directory, and of what it promised on its socket to the broker
//! (`accepted`, `completed`, PUBACK). Then, for each of many places in the log, the directory is made as the medium
//! would hold it had power failed there, opened through the library, and held against the promises made until then.
//!
//! What the models cover ([`medium`]): writes that no finished `fsync` or `fdatasync` covers are lost; or each of them is
//! with probability one half on the medium, whole, cut at a multiple of 512 bytes, or with some of its pages only,
//! within the length that was synced or beyond it. `sync_file_range` promises nothing. Names are durable at once, or as
//! far as their directory was synced: of later changes none, those up to some moment, or any.
//!
//! What they don't: a device that acknowledges a flush and does not carry it out, or that damages what lies beside a
//! sector it was writing, as some SD cards do; a file system's own faults; a second cut while the agent recovers from
//! the first. The agent is recorded on a good disk: errors of the disk are another test.
//!
//! * `OFFBOARD_CUTS=1000 cargo test --test power_cut -- --nocapture` is the long form; 50 cuts are the short one.
//! * `OFFBOARD_SEED` chooses the cuts and what survives of each.
//! * A failure keeps its recording and says how to look at that one cut again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

mod common;

#[path = "power_cut/check.rs"]
mod check;
#[path = "power_cut/files.rs"]
mod files;
#[path = "power_cut/medium.rs"]
mod medium;
#[path = "power_cut/mqtt.rs"]
mod mqtt;
#[path = "power_cut/trace.rs"]
mod trace;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use check::{Found, Promise, check};
use common::*;
use files::Files;
use medium::{MODELS, Model, Names, Writes};

/// The directory that is replayed, by a name that is found in the trace; it holds the agent's data directory.
const MEDIUM: &str = "/power-cut-medium";

/// Entries of the large command: its writes go through the ledger's journal.
const LARGE: usize = 1000;

/// sled's segments: a file is written in pieces of this size, and a free one is used again.
const SEGMENT: usize = 512 * 1024;

struct Recording {
    trace: PathBuf,
    files: Files,
    promises: Arc<Vec<Promise>>,
    points: Points,
}

/// Where power may fail: right before these lines of the trace.
struct Points {
    all: Vec<usize>,
    /// Right before and after the begin and the end of each sync, and each acknowledgement.
    vital: Vec<usize>,
}

/// One recording for all tests of this file.
fn recording() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let kept = env::var_os("OFFBOARD_TRACE").map(PathBuf::from);
        Recording::read(kept.unwrap_or_else(|| runtime.block_on(record())))
    })
}

/// The agent's life, with everything that makes its store move: many small commands, a large one, repetitions,
/// failures, an outage, and three starts, since it is at its start that sled writes a snapshot and deletes the one before.
async fn record() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let path = dir.join(format!("power-cut-{}.trace", std::process::id()));
    let _ = fs::remove_file(&path);
    let mut world = World::new(LARGE + 200).await;
    let root = world.dir.path().join(MEDIUM.trim_matches('/'));
    fs::create_dir(&root).unwrap();
    world.set("dataDir", json!(root.join("data")));
    let strace = "/usr/bin/strace";
    assert!(Path::new(strace).exists(), "strace is not installed: run tests/run, which installs what the tests need");
    let calls = "trace=%file,%desc,%network";
    // All of every write: sled's are at most a segment.
    let words = [strace, "-f", "-A", "-yy", "-xx", "-s", "4000000", "-e", calls, "-o", path.to_str().unwrap()];
    world.wrapper = words.map(str::to_owned).into();
    let client = world.client("bench").await;
    let in_sync = |status: &Value| status["state"] == "ONLINE" && status["lastSyncAt"].is_string();

    world.start_agent();
    client.status("the agent is in sync", in_sync).await;
    for n in 0..10 {
        client.disassociate(&format!("alone-{n}"), &names(n..n + 1));
        client.result(&format!("alone-{n}"), "completed").await;
    }
    // Company: several in one group, for the same devices, and one again.
    for n in 0..30 {
        client.disassociate(&format!("company-{n}"), &names(10 + n / 2..12 + n));
    }
    client.disassociate("company-3", &names(11..15));
    client.result("company-29", "completed").await;
    world.cloud.offline(true);
    client.disassociate("large", &names(200..200 + LARGE));
    client.result("large", "accepted").await;
    for n in 0..5 {
        client.disassociate(&format!("outage-{n}"), &names(60 + n..63 + n));
        client.result(&format!("outage-{n}"), "accepted").await;
    }
    client.ask("cancel", json!({"targetClientToken": "outage-4"})).await;
    world.cloud.offline(false);
    client.result("large", "completed").await;
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
    client.result("late-0", "completed").await;
    assert!(world.stop_agent().0.success());
    path
}

impl Recording {
    fn read(trace: PathBuf) -> Self {
        let text = fs::read_to_string(&trace).unwrap();
        let calls = trace::read(&text);
        let marker = trace::escape(MEDIUM);
        let first = calls.iter().find(|call| call.name == "mkdir" && call.text.contains(&marker)).unwrap();
        let data = trace::path(first.arguments()[0]);
        let root = &data[..data.find(MEDIUM).unwrap() + MEDIUM.len()];
        let files = files::read(&calls, root);
        let promises = check::promises(&mqtt::marks(&calls));
        let points = Points::of(&files, &promises);
        Self { trace, files, promises: Arc::new(promises), points }
    }

    /// What the recording has to hold for the test to mean anything.
    fn assert_rich(&self) {
        let count = |wanted: fn(&files::What) -> bool| self.files.ops.iter().filter(|op| wanted(&op.what)).count();
        let db = |inode: usize| self.files.is_named(inode, "data/store/db");
        let starts = self.files.ops.iter().filter_map(|op| match op.what {
            files::What::Write { inode, at, .. } if db(inode) && at % SEGMENT == 0 => Some(at),
            _ => None,
        });
        let starts: Vec<usize> = starts.collect();
        let again = starts.len() - starts.iter().collect::<BTreeSet<_>>().len();
        let told = self.promises.iter().filter(|promise| promise.completed.is_some()).count();
        let synced = count(|what| matches!(what, files::What::Sync { .. }));
        let renames = count(|what| matches!(what, files::What::Name { names, .. } if names.len() == 2));
        let deleted = count(|what| matches!(what, files::What::Name { names, .. } if names[0].1.is_none()));
        println!(
            "recorded: {} operations on files, of which {synced} syncs; {again} segments begun again; {renames} snapshots; \
             {} commands, {told} of them completed; {} places to cut, {} of them beside a sync or an acknowledgement",
            self.files.ops.len(),
            self.promises.len(),
            self.points.all.len(),
            self.points.vital.len()
        );
        let unsynced = self.most_unsynced();
        println!("at most {unsynced} bytes of sled's file were not synced at any moment");
        assert!(unsynced < SEGMENT, "{unsynced} bytes unsynced: sled may have called durable what was not");
        assert!(again > 0, "no segment was used again: the store did not grow enough");
        assert!(renames >= 2 && deleted > renames, "no snapshot replaced another");
        assert!(synced > 50 && told == self.promises.len(), "{synced} syncs, {told} completed");
    }

    /// The most bytes of sled's log that no sync covered at any moment. A whole segment of one byte is none: at its start
    /// sled makes free segments unreadable.
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

    /// Cuts power before line `cut`, and checks what is left.
    fn replay(&self, cut: usize, model: Model, random: u64) -> Result<Found, Vec<String>> {
        let medium = medium::at(&self.files, cut, model, &mut fastrand::Rng::with_seed(random));
        let dir = tempfile::tempdir_in(scratch()).unwrap();
        medium.unpack(dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(&dir.path().join("data"), &self.promises, cut))
    }
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

    /// So many of them: the vital ones first, the others evenly; all of them again and again if that is not enough.
    fn choose(&self, count: usize, random: &mut fastrand::Rng) -> Vec<usize> {
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

/// Memory, where there is some: it is the model that says what is durable, not this disk.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { env::temp_dir() }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One store to be opened.
struct Case {
    cut: usize,
    model: usize,
    random: u64,
}

fn cases(recording: &Recording) -> Vec<Case> {
    if let Ok(one) = env::var("OFFBOARD_REPLAY") {
        let parts: Vec<u64> = one.split(':').map(|part| part.parse().unwrap()).collect();
        return vec![Case { cut: parts[0] as usize, model: parts[1] as usize, random: parts[2] }];
    }
    let seed = number("OFFBOARD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let cuts = recording.points.choose(number("OFFBOARD_CUTS").unwrap_or(50) as usize, &mut random);
    println!("OFFBOARD_SEED={seed}: {} cuts, {} models", cuts.len(), MODELS.len());
    let models = 0..MODELS.len();
    cuts.into_iter()
        .flat_map(|cut| models.clone().map(move |model| (cut, model)))
        .map(|(cut, model)| Case { cut, model, random: random.u64(..) })
        .collect()
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let recording = recording();
    recording.assert_rich();
    let start = Instant::now();
    let cases = cases(recording);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut sum, mut failures) = (Found::default(), Vec::new());
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match recording.replay(case.cut, MODELS[case.model], case.random) {
                Ok(found) => {
                    sum.acknowledged += found.acknowledged;
                    sum.completed += found.completed;
                }
                Err(wrong) => failures.push((case, wrong)),
            }
        }
        (sum, failures)
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let acknowledged: usize = done.iter().map(|(sum, _)| sum.acknowledged).sum();
    let completed: usize = done.iter().map(|(sum, _)| sum.completed).sum();
    println!(
        "{} stores opened; {acknowledged} acknowledged commands checked, {completed} of them with their outcome; {:.1} s",
        cases.len(),
        start.elapsed().as_secs_f64()
    );
    let failures: Vec<_> = done.iter().flat_map(|(_, failures)| failures).collect();
    for (n, model) in MODELS.iter().enumerate() {
        let count = failures.iter().filter(|(case, _)| case.model == n).count();
        if count > 0 {
            println!("{count} failures of model {n}, {model:?}");
        }
    }
    for (case, wrong) in failures.iter().take(number("OFFBOARD_SHOW").unwrap_or(10) as usize) {
        let Case { cut, model, random } = case;
        eprintln!(
            "power cut before line {cut}, {:?}: {:#?}\n  look again: OFFBOARD_TRACE={} OFFBOARD_REPLAY={cut}:{model}:{random} cargo test \
             --test power_cut",
            MODELS[*model],
            wrong.iter().take(5).collect::<Vec<_>>(),
            recording.trace.display()
        );
    }
    assert!(failures.is_empty(), "{} of {} stores are not as they were promised", failures.len(), cases.len());
}

/// The control: were the product's own `fdatasync` left out, the test would have to see it.
#[test]
fn without_the_products_own_sync_the_same_cuts_lose_commands() {
    let recording = recording();
    let told: Vec<usize> = recording.promises.iter().filter_map(|promise| promise.acknowledged).collect();
    for writes in [Writes::Lost, Writes::Inside, Writes::Beyond] {
        let model = Model { without_sync_data: true, ..Model::new(writes, Names::AtOnce) };
        let cuts: Vec<usize> = told.iter().step_by(told.len() / 10).map(|at| at + 1).collect();
        let lost = cuts.iter().filter(|cut| recording.replay(**cut, model, **cut as u64).is_err()).count();
        println!("without the product's sync, {writes:?}: {lost} of {} cuts lose commands", cuts.len());
        assert!(lost * 2 > cuts.len(), "{writes:?}: {lost} of {} cuts: the test sees nothing", cuts.len());
    }
}
