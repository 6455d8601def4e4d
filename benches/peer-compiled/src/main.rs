//! The program that an engineer might write instead of Offboard with speed as the aim: Rust,
//! rumqttc and SQLite. `benches/run` measures it beside Offboard and the Python peer.
//!
//! It has the same topics, messages and guarantees on the main path as `benches/peer/peer.py`, and
//! omits the same features. The difference: one thread owns the database, and commits commands,
//! results of the cloud's calls and acknowledgements of the broker in one transaction.
#![forbid(unsafe_code)]

mod broker;
mod cloud;
mod ledger;

use std::error::Error;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use serde::Deserialize;

/// Any error of this program: each ends in a retry or in the end of the process.
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const OPERATION: &str = "disassociate-client-devices";

/// Maximum number of entries in one call, by the service's model.
const BATCH: usize = 100;

/// Capacity of the ledger's channel. When it is full, the broker's messages stay in the socket.
const INBOX: usize = 1024;

/// The content of the variable `PEER_CONFIG`, the same as the Python peer's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    core: String,
    port: u16,
    endpoint: String,
    data_dir: String,
    /// Seconds that a batch with fewer than 100 entries waits for more.
    linger: f64,
    /// Maximum number of calls to the cloud per second.
    rate: f64,
    burst: f64,
    /// Seconds for which a completed request is kept.
    retention: f64,
    /// Maximum number of commands in one transaction.
    group: usize,
}

fn main() -> Result<()> {
    let config: &'static Config = Box::leak(Box::new(serde_json::from_str(&std::env::var("PEER_CONFIG")?)?));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.data_dir)?;
    let (inbox, jobs) = sync_channel(INBOX);
    let (wake, work) = sync_channel(1);
    let (publisher, events) = broker::connect(config);
    let publisher = Arc::new(publisher);

    let ledger = ledger::Ledger::open(config, Arc::clone(&publisher), wake)?;
    spawn("ledger", move || ledger.run(jobs));
    let cloud = Arc::new(cloud::Cloud::new(config));
    let (shared, to_ledger) = (Arc::clone(&cloud), inbox.clone());
    spawn("dispatcher", move || cloud::dispatch(&shared, &to_ledger, &work));
    let to_ledger = inbox.clone();
    spawn("reconciler", move || cloud::reconcile(&cloud, &to_ledger));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(broker::run(config, &publisher, events, &inbox))
}

/// Starts a thread whose error ends the process, because the threads depend on each other.
fn spawn(name: &'static str, body: impl FnOnce() -> Result<()> + Send + 'static) {
    thread::spawn(move || {
        if let Err(error) = body() {
            eprintln!("{name}: {error}");
            std::process::exit(1);
        }
    });
}
