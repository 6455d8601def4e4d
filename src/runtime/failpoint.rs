//! Failpoints: places where a test has the process killed, as `OFFBOARD_FAILPOINT=name:n` says, at
//! the n-th pass. Without the feature `failpoints`, which no release can have, they are nothing.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests; no release has it");

/// All of them, in the order of the way that a command takes.
#[cfg(feature = "failpoints")]
pub const NAMES: &[&str] = &[
    // Opening: before it is in use.
    "open-bound",
    // A group of jobs: to be written; written; synced, and nobody has been answered.
    "commit-before-write",
    "commit-before-sync",
    "commit-synced",
    // A checkpoint: another segment has begun; the registry has all rows; it says so; the journal
    // says so.
    "checkpoint-begun",
    "checkpoint-written",
    "checkpoint-bound",
    "checkpoint-complete",
    // A command is durable, or refused: before its answer, before its PUBACK, after it.
    "inbox-before-answer",
    "inbox-before-acknowledging",
    "inbox-acknowledged",
    // A call: its entries are noted as sent; the answer is there; the answer is written down.
    "uplink-taken",
    "uplink-answered",
    "uplink-settled",
    // A result: handed to the connection; acknowledged by the broker, and not yet forgotten.
    "outbox-published",
    "outbox-delivered",
    // A list: between two pages; what it does not name is removed; before it ends.
    "sync-between-pages",
    "sync-removed",
    "sync-before-end",
    // Retention: within a transaction; after it.
    "maintenance-forgetting",
    "maintenance-forgot",
];

/// The parts of the agent that [`fail`] ends, with `publishDevices`, `metrics.intervalSeconds` and
/// `localAccess.mosquittoDynamicSecurity` set.
#[cfg(feature = "failpoints")]
pub const PARTS: &[&str] = &[
    "ledger",
    "connection to the broker",
    "inbox of the broker",
    "inbox of the local socket",
    "local socket",
    "results of the local socket",
    "dispatcher",
    "reconciler",
    "maintenance",
    "outbox",
    "device messages",
    "local access",
    "status",
    "metrics",
    "watch on the store",
];

/// Passes the failpoint `name`.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);
    assert!(NAMES.contains(&name), "{name} is not in the list");
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("OFFBOARD_FAILPOINT").ok()?;
        let (name, n) = text.split_once(':')?;
        Some((name.to_owned(), n.parse().ok()?))
    });
    if let Some((wanted, n)) = wanted
        && wanted == name
        && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *n
    {
        eprintln!("killed at {name}:{n}");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Panics if the file that `OFFBOARD_PANIC` names has the name of this part of the agent in it.
#[cfg(feature = "failpoints")]
pub(crate) fn fail(part: &str) {
    let Some(file) = std::env::var_os("OFFBOARD_PANIC") else { return };
    if std::fs::read_to_string(file).is_ok_and(|wanted| wanted == part) {
        #[expect(clippy::panic, reason = "this is what it is for")]
        {
            panic!("failpoint");
        }
    }
}

/// Runs a part of the agent, which panics when [`fail`] says so.
#[cfg(feature = "failpoints")]
pub(crate) async fn failing(name: &'static str, part: impl Future<Output = ()>) {
    let look = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            fail(name);
        }
    };
    tokio::select! {
        () = part => {}
        () = look => {}
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn fail(_: &str) {}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn failing<F: Future<Output = ()>>(_: &'static str, part: F) -> F {
    part
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn pass(_: &'static str) {}
