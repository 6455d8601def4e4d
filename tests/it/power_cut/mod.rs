//! A power cut at any moment: writes that were not flushed are dropped or torn, the agent opens its
//! store again by itself, and keeps every command that it acknowledged.
//!
//! How: the built agent runs once beside a real broker under `strace`, with every byte that it
//! writes. Its calls become a log of what happened to the files below its data directory, and of
//! what it promised on its socket to the broker (`accepted`, `completed`, PUBACK). Then, for each
//! of many places in the log, the directory is made as the medium would hold it had power failed
//! there, opened through the library, and held against the promises made until then.
//!
//! What the models cover ([`medium`]): writes that no finished `fsync` or `fdatasync` covers are
//! lost; or each of them is with probability one half on the medium, whole, cut at a multiple of
//! 512 bytes, or with some of its pages only, within the length that was synced or beyond it.
//! `sync_file_range` promises nothing. Names are durable at once, or as far as their directory was
//! synced: of later changes none, those up to some moment, or any.
//!
//! What they don't: a device that acknowledges a flush and does not carry it out, or that damages
//! what lies beside a sector it was writing, as some SD cards do; a file system's own faults;
//! errors of the disk while the agent runs.
//!
//! * `OFFBOARD_CUTS=1000 cargo test --locked --test it power_cut:: -- --nocapture` is the long
//!   form; the short one makes 50 cuts, each with half of the models.
//! * `OFFBOARD_SEED` chooses the cuts and what survives of each.
//! * A failure keeps its recording and prints how to repeat that one cut.

mod check;
mod files;
mod medium;
mod mqtt;
mod recording;
mod trace;

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use check::Found;
use files::Base;
use medium::{MODELS, Model, Names, Writes};
use recording::{Recording, open, record, record_recovery};

use crate::common::{
    groups,
    seed::{seed, variable},
};

/// One recording for all tests of this file.
fn recorded() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(|| match env::var_os("OFFBOARD_TRACE") {
        Some(kept) => Recording::read(fs::read_to_string(kept).unwrap(), Base::default()),
        None => tokio::runtime::Runtime::new().unwrap().block_on(record()),
    })
}

/// Memory, where there is some: it is the model that says what is durable, not this disk.
fn scratch() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { env::temp_dir() }
}

/// One store to be opened.
struct Case {
    cut: usize,
    model: usize,
    random: u64,
}

/// In how many places, if that was asked for: the long form.
fn asked() -> Option<usize> {
    variable("OFFBOARD_CUTS")
}

fn cuts() -> usize {
    asked().unwrap_or(50)
}

fn cases(recording: &Recording) -> Vec<Case> {
    if let Ok(one) = env::var("OFFBOARD_REPLAY") {
        let parts: Vec<u64> = one.split(':').map(|part| part.parse().unwrap()).collect();
        return vec![Case { cut: parts[0] as usize, model: parts[1] as usize, random: parts[2] }];
    }
    let mut random = fastrand::Rng::with_seed(seed());
    let cuts = recording.points.choose(cuts(), &mut random);
    println!("{} cuts, {} models", cuts.len(), MODELS.len());
    let mut cases = Vec::new();
    for (n, cut) in cuts.into_iter().enumerate() {
        // The short form takes every second model, by turns.
        let models = (0..MODELS.len()).filter(|model| asked().is_some() || (n + model).is_multiple_of(2));
        cases.extend(models.map(|model| Case { cut, model, random: random.u64(..) }));
    }
    cases
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let _turn = groups::busy();
    let recording = recorded();
    recording.assert_rich();
    let start = Instant::now();
    let cases = cases(recording);
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut sum, mut failures) = (Found::default(), Vec::new());
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let medium = recording.medium(case.cut, MODELS[case.model], case.random);
            match open(&medium, &recording.promises, case.cut) {
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
    let kept = if failures.is_empty() { PathBuf::new() } else { recording.keep(seed()) };
    for (case, wrong) in failures.iter().take(variable("OFFBOARD_SHOW").unwrap_or(10)) {
        let Case { cut, model, random } = case;
        eprintln!(
            "power cut before line {cut}, {:?}: {:#?}\n  look again: OFFBOARD_TRACE={} OFFBOARD_REPLAY={cut}:{model}:{random} cargo test \
             --locked --test it at_any_moment",
            MODELS[*model],
            wrong.iter().take(5).collect::<Vec<_>>(),
            kept.display()
        );
    }
    assert!(failures.is_empty(), "{} of {} stores are not as they were promised", failures.len(), cases.len());
}

/// The control: were the `fdatasync` of the journal or of the registry left out, the test would
/// have to see it.
#[test]
fn without_one_of_the_syncs_the_same_cuts_lose_commands() {
    let _turn = groups::busy();
    let recording = recorded();
    let promises = recording.promises.iter();
    let mut promised: Vec<usize> = promises
        .flat_map(|one| one.acknowledged.into_iter().chain(one.completed.as_ref().map(|(at, _)| *at)))
        .collect();
    promised.sort_unstable();
    let mut cuts: Vec<usize> = promised.iter().step_by(promised.len() / 20).map(|at| at + 1).collect();
    // Between the checkpoint of a clean stop and the `fsync` of sled's whole file that follows it,
    // all finished commands are in the registry only. Few other cuts are at such a moment.
    let largest = recording.promises.iter().max_by_key(|promise| promise.change.targets.len());
    let completed = largest.and_then(|promise| promise.completed.as_ref()).map(|(at, _)| *at);
    let whole = completed.and_then(|at| recording.whole_sync_after(at));
    cuts.push(whole.expect("the first life ends with a clean stop"));
    for without in ["data/journal/", "data/store/"] {
        for writes in [Writes::Lost, Writes::Inside, Writes::Beyond] {
            let model = Model { without_sync_data: Some(without), ..Model::new(writes, Names::AtOnce) };
            let (mut lost, mut gone) = (0, 0);
            for cut in &cuts {
                if let Err(wrong) = open(&recording.medium(*cut, model, *cut as u64), &recording.promises, *cut) {
                    lost += 1;
                    gone += wrong.iter().filter(|one| one.ends_with("was acknowledged and is gone")).count();
                }
            }
            let cuts = cuts.len();
            println!("without the sync of {without}, {writes:?}: {lost} of {cuts} cuts fail, {gone} commands are gone");
            // Where chance keeps half of the writes, the few of the registry may all be among them.
            let least = if writes == Writes::Lost { cuts / 2 } else { cuts / 4 };
            assert!(lost > least && gone > 0, "{without}, {writes:?}: {lost} of {cuts} cuts: the test sees nothing");
        }
    }
}

/// A second cut, while the agent recovers from the first.
#[test]
fn a_power_cut_during_the_recovery_from_another_loses_nothing_either() {
    let _turn = groups::busy();
    let recording = recorded();
    let mut random = fastrand::Rng::with_seed(seed() ^ 1);
    let model = Model::new(Writes::Beyond, Names::AtOnce);
    let (mut opened, mut checked) = (0, 0);
    let mut firsts = recording.points.choose((cuts() / 50).max(1), &mut random);
    // While the store is made, too.
    let acknowledged = recording.promises.iter().filter_map(|promise| promise.acknowledged).min().unwrap();
    let birth = recording.points.before(acknowledged);
    firsts.extend((0..firsts.len()).map(|_| birth[random.usize(0..birth.len())]));
    for cut in firsts {
        let first = random.u64(..);
        let medium = recording.medium(cut, model, first);
        let recovery = tokio::runtime::Runtime::new().unwrap().block_on(record_recovery(&medium));
        for second in recovery.points.choose(if asked().is_some() { 10 } else { 5 }, &mut random) {
            for (n, model) in MODELS.iter().enumerate() {
                let again = random.u64(..);
                match open(&recovery.medium(second, *model, again), &recording.promises, cut) {
                    Ok(found) => checked += found.acknowledged,
                    Err(wrong) => panic!(
                        "power cuts before line {cut} ({first}) and in the recovery before line {second}, model {n} ({again}): \
                         {:#?}\n  look again: OFFBOARD_TRACE={} OFFBOARD_SEED={}; the recovery: {}",
                        wrong.iter().take(5).collect::<Vec<_>>(),
                        recording.keep(seed()).display(),
                        seed(),
                        recovery.keep(seed() ^ 1).display()
                    ),
                }
                opened += 1;
            }
        }
    }
    println!("{opened} stores opened after a cut in a recovery; {checked} acknowledged commands checked");
    assert!(opened > 0);
}
