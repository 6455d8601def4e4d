//! Random sequences of operations, failures, kills and crashes, against a model of what has to come
//! back.

use std::collections::BTreeSet;

use super::*;

/// What has to be, and what may be, in the journal.
#[derive(Default)]
struct Model {
    /// Groups that are durable, by checkpoint: those of the older ones may come back or not, as
    /// `Recovered::checkpoint` says.
    synced: Vec<(u64, Vec<u8>)>,
    /// Groups that were appended since.
    unsynced: Vec<(u64, Vec<u8>)>,
    /// Sequence numbers that never come back.
    cut: BTreeSet<u64>,
    /// All sequence numbers that an append returned and that were durable or cut away at any time.
    used: BTreeSet<u64>,
    /// Groups of `synced` that the checkpoint under way frees.
    before_switch: Option<usize>,
    /// The last `complete` failed: its frame counts or not.
    maybe_complete: Option<usize>,
    checkpoint: u64,
}

struct Run {
    rng: fastrand::Rng,
    files: MemFiles,
    model: Model,
    journal: Option<Journal<MemFiles>>,
    next: u64,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let files = MemFiles::new(seed);
        let rng = fastrand::Rng::with_seed(seed);
        fastrand::seed(seed);
        Self { rng, files, model: Model::default(), journal: None, next: 0, trace: Vec::new() }
    }

    fn payload(&mut self) -> Vec<u8> {
        self.next += 1;
        let length = if self.rng.u8(..4) == 0 { self.rng.usize(..12_000) } else { self.rng.usize(..600) };
        let mut payload = self.next.to_le_bytes().to_vec();
        // Zeros and ones: what pages hold anyway, and what they do not.
        payload.resize(8 + length, self.rng.u8(..2));
        payload
    }

    /// Opens until it succeeds, and compares.
    fn open(&mut self) {
        self.journal = None;
        let mut attempts = 0;
        let opened = loop {
            attempts += 1;
            assert!(attempts < 50, "the journal cannot be opened");
            match try_open(&self.files) {
                Ok(opened) => break opened,
                Err(error) => {
                    self.trace.push(format!("opening failed: {error}"));
                    if self.rng.bool() {
                        self.crash();
                    }
                }
            }
        };
        self.trace.push(format!("opened: {} groups", opened.replayed.len()));
        assert!(opened.recovered.damage.is_none(), "{:?}", opened.recovered.damage);
        let found: Vec<(u64, Vec<u8>)> = opened.replayed.into_iter().map(Option::unwrap).collect();
        let model = &mut self.model;
        let checkpoint = opened.recovered.checkpoint;
        if checkpoint != model.checkpoint {
            assert_eq!(checkpoint, model.checkpoint + 1);
            let freed = model.maybe_complete.expect("the checkpoint may be complete");
            model.synced.drain(..freed);
            model.checkpoint = checkpoint;
        }
        let all: Vec<_> = model.synced.iter().chain(&model.unsynced).cloned().collect();
        let show = |groups: &[(u64, Vec<u8>)]| groups.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>();
        assert!(found.len() >= model.synced.len(), "{:?} of {:?}", show(&found), show(&model.synced));
        assert!(all.starts_with(&found), "{:?} is no prefix of {:?}", show(&found), show(&all));
        assert!(found.iter().all(|(sequence, _)| !model.cut.contains(sequence)));
        model.synced = found;
        model.used.extend(model.synced.iter().map(|(sequence, _)| *sequence));
        model.unsynced.clear();
        (model.before_switch, model.maybe_complete) = (None, None);
        assert_eq!(opened.journal.synced(), opened.journal.appended());
        self.journal = Some(opened.journal);
    }

    fn crash(&mut self) {
        self.trace.push("crash".into());
        self.files.crash(&mut self.rng);
    }

    fn step(&mut self) {
        let Some(mut journal) = self.journal.take() else { return self.open() };
        let action = self.rng.u8(..100);
        if self.rng.u8(..12) == 0 {
            match self.rng.u8(..3) {
                0 => self.files.fail_writes(1),
                1 => self.files.fail_syncs(1 + self.rng.u32(..3)),
                _ => self.files.fail_later_syncs(self.rng.u32(..4), 1 + self.rng.u32(..2)),
            }
        }
        match action {
            0..45 => {
                let payload = self.payload();
                if Journal::<MemFiles>::footprint(payload.len() as u64) > journal.room() {
                    self.switch(&mut journal);
                } else if let Ok(sequence) = journal.append(&payload) {
                    assert!(!self.model.used.contains(&sequence), "{sequence} is used again");
                    assert!(self.model.synced.last().is_none_or(|(last, _)| *last < sequence));
                    self.trace.push(format!("append {sequence}, {} bytes", payload.len()));
                    self.model.unsynced.push((sequence, payload));
                }
            }
            45..65 => {
                self.sync(&mut journal);
            }
            65..75 => self.switch(&mut journal),
            75..83 => {
                if let Some(freed) = self.model.before_switch
                    && !journal.must_cut
                {
                    self.trace.push("complete".into());
                    if journal.complete().is_ok() {
                        self.settle(&journal);
                        self.model.synced.drain(..freed);
                        self.model.checkpoint += 1;
                        (self.model.before_switch, self.model.maybe_complete) = (None, None);
                    } else {
                        self.trace.push("complete failed".into());
                        self.model.maybe_complete = Some(freed);
                    }
                }
            }
            83..86 => {
                self.trace.push("close".into());
                let _ = journal.close();
                // Its first sync may have succeeded, and its `Close` frame have failed.
                self.settle(&journal);
            }
            86..93 => {
                self.trace.push("kill".into());
                return;
            }
            _ => {
                self.crash();
                return;
            }
        }
        if journal.must_cut && self.rng.u8(..4) > 0 {
            self.cut(&mut journal);
        }
        self.journal = Some(journal);
    }

    /// What the journal says is synced.
    fn settle(&mut self, journal: &Journal<MemFiles>) {
        let model = &mut self.model;
        let count = model.unsynced.partition_point(|(sequence, _)| *sequence <= journal.synced());
        model.used.extend(model.unsynced[..count].iter().map(|(sequence, _)| *sequence));
        model.synced.extend(model.unsynced.drain(..count));
    }

    fn sync(&mut self, journal: &mut Journal<MemFiles>) -> bool {
        let is_synced = journal.sync().is_ok();
        self.trace.push(format!("sync: {is_synced}"));
        if is_synced {
            self.settle(journal);
        }
        is_synced
    }

    fn switch(&mut self, journal: &mut Journal<MemFiles>) {
        if self.sync(journal) {
            let switched = journal.switch(0);
            self.trace.push(format!("switch: {switched:?}"));
            if let Ok(number) = switched {
                assert_eq!(number, self.model.checkpoint + 1);
                self.model.before_switch = Some(self.model.synced.len());
            }
        }
    }

    fn cut(&mut self, journal: &mut Journal<MemFiles>) {
        let cut = journal.cut();
        self.trace.push(format!("cut: {cut:?}"));
        if cut.is_ok() {
            let gone = std::mem::take(&mut self.model.unsynced);
            self.model.used.extend(gone.iter().map(|(sequence, _)| *sequence));
            self.model.cut.extend(gone.iter().map(|(sequence, _)| *sequence));
            self.model.maybe_complete = None;
        }
    }
}

/// Prints what led to a failure.
impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.trace.join("\n"));
        }
    }
}

/// `JOURNAL_SEEDS` is the number of seeds to try.
#[test]
fn what_was_synced_comes_back_and_what_was_cut_away_does_not() {
    let seeds = std::env::var("JOURNAL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(250);
    for seed in 0..seeds {
        let mut run = Run::new(seed);
        run.trace.push(format!("seed {seed}"));
        for _ in 0..150 {
            run.step();
        }
        run.open();
        let segments = run.files.list().unwrap().len();
        assert!(segments < 40, "{segments} segments");
    }
}
