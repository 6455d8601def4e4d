//! Failpoints: places at which a test kills the process, at the n-th pass, as
//! `OFFBOARD_FAILPOINT=name:n` says. Without the feature `failpoints`, which no release can have,
//! they do nothing.

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("the feature `failpoints` is for tests; no release has it");

/// All failpoints, in the order of the data flow.
#[cfg(feature = "failpoints")]
pub const NAMES: &[&str] = &[
    // The store is opened: before it is used.
    "open-bound",
    // A group of jobs: before it is written; written; synced, before any job has its result.
    "commit-before-write",
    "commit-before-sync",
    "commit-synced",
    // A checkpoint: another segment has begun; the registry has all rows; the registry is marked
    // complete; the journal is marked complete.
    "checkpoint-begun",
    "checkpoint-written",
    "checkpoint-bound",
    "checkpoint-complete",
    // A command is durable, or rejected: before its response is sent, before its PUBACK, after its
    // PUBACK.
    "inbox-before-answer",
    "inbox-before-acknowledging",
    "inbox-acknowledged",
    // A call: its entries are stored as sent; the response has arrived; the response is stored.
    "dispatcher-taken",
    "dispatcher-answered",
    "dispatcher-settled",
    // A result: handed to the connection; acknowledged by the broker and not yet forgotten.
    "outbox-published",
    "outbox-delivered",
    // A list: between two pages; the devices that it does not name are removed; before it ends.
    "sync-between-pages",
    "sync-removed",
    "sync-before-end",
    // Retention: within a transaction; after it.
    "maintenance-forgetting",
    "maintenance-forgot",
];

/// The parts of the agent that [`fail`] can end, if `publishDevices`, `metrics.intervalSeconds` and
/// `localAccess.mosquittoDynamicSecurity` are set.
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
pub fn pass(name: &'static str) {
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

/// Panics if the file that `OFFBOARD_PANIC` names contains the name of this part of the agent.
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

/// Runs a part of the agent, which panics when [`fail`] requires it.
#[cfg(feature = "failpoints")]
pub async fn failing(name: &'static str, part: impl Future<Output = ()>) {
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

/// Runs a part of the agent.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn failing<F: Future<Output = ()>>(_: &'static str, part: F) -> F {
    part
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_: &'static str) {}
