//! Which tests may run at the same time, where that is not all of them.
//!
//! The tests of this binary are threads of one process, `RUST_TEST_THREADS` at a time. Two kinds of
//! them must not meet:
//!
//! * a *busy* test keeps all processors at work for a long time: a flood, for instance. At most
//!   [`MOST_BUSY`] of them run at a time, so that none needs longer than it is given.
//! * a *measured* test fails when the agent takes longer, or shares less work, than it should. It
//!   runs beside all others except busy ones.
//!
//! A test says at its beginning what it is, by [`busy`] or [`measured`], and keeps what it gets.
//! All others need nothing: they share no directory, port, environment variable or process.
//!
//! `cargo nextest` makes a process of each test, so `.config/nextest.toml` has the same two kinds
//! as a test group; a test here compares them.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// How many busy tests run at a time.
pub const MOST_BUSY: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Busy,
    Measured,
}

struct State {
    next_ticket: u64,
    /// In the order of their arrival; a test that waits holds up those that came after it, so that
    /// none waits for ever.
    waiting: VecDeque<u64>,
    busy: usize,
    measured: usize,
}

struct Groups {
    state: Mutex<State>,
    changed: Condvar,
}

impl Groups {
    const fn new() -> Self {
        let state = State { next_ticket: 0, waiting: VecDeque::new(), busy: 0, measured: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// A test that failed while it held the lock has left it whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, kind: Kind) -> Turn<'_> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        let must_wait = |state: &mut State| {
            let has_room = match kind {
                Kind::Busy => state.measured == 0 && state.busy < MOST_BUSY,
                Kind::Measured => state.busy == 0,
            };
            state.waiting.front() != Some(&ticket) || !has_room
        };
        state = self.changed.wait_while(state, must_wait).unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front();
        match kind {
            Kind::Busy => state.busy += 1,
            Kind::Measured => state.measured += 1,
        }
        drop(state);
        // The next one may fit, too.
        self.changed.notify_all();
        Turn { groups: self, kind }
    }
}

static GROUPS: Groups = Groups::new();

/// Keeps other tests away until it is dropped.
#[must_use = "the turn ends when this is dropped"]
pub struct Turn<'a> {
    groups: &'a Groups,
    kind: Kind,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.groups.lock();
        match self.kind {
            Kind::Busy => state.busy -= 1,
            Kind::Measured => state.measured -= 1,
        }
        drop(state);
        self.groups.changed.notify_all();
    }
}

/// For a test that keeps all processors at work: waits until no measured test runs, and fewer than
/// [`MOST_BUSY`] busy ones. It blocks the thread, so it is called before anything else in the test.
pub fn busy() -> Turn<'static> {
    GROUPS.enter(Kind::Busy)
}

/// For a test that measures time or work: waits until no busy test runs. Called like [`busy`].
pub fn measured() -> Turn<'static> {
    GROUPS.enter(Kind::Measured)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::Path,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn busy_tests_meet_no_measured_one_and_are_few_at_a_time() {
        let groups = Groups::new();
        let (busy, measured, most_measured) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for n in 0..16 {
                let (groups, busy, measured, most_measured) = (&groups, &busy, &measured, &most_measured);
                scope.spawn(move || {
                    for _ in 0..20 {
                        // Pairs of each kind.
                        let kind = if n / 2 % 2 == 0 { Kind::Busy } else { Kind::Measured };
                        let _turn = groups.enter(kind);
                        let mine = if kind == Kind::Busy { busy } else { measured };
                        let now = 1 + mine.fetch_add(1, Ordering::SeqCst);
                        match kind {
                            Kind::Busy => {
                                assert!(now <= MOST_BUSY);
                                assert_eq!(measured.load(Ordering::SeqCst), 0);
                            }
                            Kind::Measured => {
                                assert_eq!(busy.load(Ordering::SeqCst), 0);
                                most_measured.fetch_max(now, Ordering::SeqCst);
                            }
                        }
                        thread::sleep(Duration::from_micros(200));
                        mine.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most_measured.load(Ordering::SeqCst) > 1, "measured tests run beside each other");
    }

    /// The tests that call [`busy`] or [`measured`], as `module::test`.
    fn in_the_sources() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
        let files = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let (dirs, mut all): (Vec<_>, Vec<_>) = files(&root).partition(|path| path.is_dir());
        all.extend(dirs.iter().filter(|dir| !dir.ends_with("common")).flat_map(|dir| files(dir)));
        let mut found = BTreeSet::new();
        for path in all {
            let module = path.strip_prefix(&root).unwrap().with_extension("");
            let module = module.to_str().unwrap().replace('/', "::");
            let module = module.strip_suffix("::mod").unwrap_or(&module);
            let mut test = "";
            let text = fs::read_to_string(&path).unwrap();
            for line in text.lines() {
                let code = line.trim_start();
                if let Some(rest) = code.strip_prefix("async ").unwrap_or(code).strip_prefix("fn ") {
                    test = rest.split('(').next().unwrap();
                }
                if code.contains("groups::busy()") || code.contains("groups::measured()") {
                    found.insert(format!("{module}::{test}"));
                }
            }
        }
        found
    }

    /// A test binary of nextest's own processes has no lock in common: the file has to know the
    /// tests.
    #[test]
    fn the_profile_for_nextest_has_the_same_tests() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".config/nextest.toml");
        let text = fs::read_to_string(file).unwrap();
        let named: BTreeSet<String> =
            text.split("test(=").skip(1).map(|rest| rest.split(')').next().unwrap().to_owned()).collect();
        assert_eq!(named, in_the_sources(), "left: .config/nextest.toml, right: the tests in tests/it");
    }
}
