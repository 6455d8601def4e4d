//! What the integration tests share. tests/README.md says which part is for which kind of test.
//!
//! The agent is the built binary, as a user has it. Around it are a real Mosquitto ([`broker`]) and
//! the sandbox's stand-in for the cloud, all on this machine; a [`World`] holds the three.
//!
//! | module | for |
//! | --- | --- |
//! | [`world`] | the agent's process, its configuration, its log, the cloud's faults |
//! | [`broker`] | Mosquitto, with a configuration of the test's own |
//! | [`client`] | a client that sends commands, and waits for results and status |
//! | [`contract`] | each message that a client sees is checked against `docs/schemas` |
//! | [`fault_broker`] | a broker that misbehaves, in this process |
//! | [`tls`] | certificates, a broker with TLS, the documented Mosquitto |
//! | [`terminal`] | a pseudo terminal with a command on it |
//! | [`screens`] | the golden files in `docs/screens` |
//! | [`disk`] | a small file system of the test's own; system calls that fail |
//! | [`sample`] | data directories with known contents, to be damaged |
//! | [`load`] | commands over an agent that is killed again and again |
//! | [`ports`] | a port that stays the test's own |
//! | [`groups`] | which tests may not run at the same time |
//! | [`seed`] | the seed of random choices, the number of rounds |

// Two binaries have this module, and neither needs all of it.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub
)]

pub mod broker;
pub mod client;
pub mod contract;
pub mod disk;
pub mod fault_broker;
pub mod groups;
pub mod load;
pub mod ports;
pub mod sample;
pub mod screens;
pub mod seed;
pub mod terminal;
pub mod tls;
pub mod world;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub use broker::{Broker, library};
pub use client::{Client, Message, answer, problem_codes, store_problems, works};
pub use contract::Contract;
pub use disk::Disk;
pub use offboard_sandbox::cloud::{Action, Cloud, Fault, NotAssociated, Operation, Options};
pub use ports::Port;
pub use serde_json::{Value, json};
pub use world::{Memory, World, denied_subscription};

pub const CORE: &str = "MyCore";

/// How long a test waits for anything: far longer than it takes, so that the end of it is a
/// failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at that sends no signal.
const LOOK: Duration = Duration::from_millis(20);

/// What starts the product: the binary that was built with the tests, or what `OFFBOARD_PRODUCT`
/// says, which may be one for another machine with an emulator before it (`tests/cross`).
pub fn product() -> Vec<String> {
    match std::env::var("OFFBOARD_PRODUCT") {
        Ok(words) => words.split_whitespace().map(str::to_owned).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_offboard").into()],
    }
}

/// Waits until `done`; fails with `what` when that takes too long.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks a process to end.
pub fn terminate(id: u32) {
    signal("TERM", id);
}

/// The names of so many client devices: `d0000` and so on.
pub fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("d{n:04}")).collect()
}

/// The `entries` of a command for these devices.
pub fn entries(names: &[String]) -> Value {
    names.iter().map(|name| json!({"thingName": name})).collect()
}

/// The wrapper of a command that has to obey file modes: root does without these two capabilities,
/// and other users do anyway.
pub fn obeying_modes() -> Vec<String> {
    if is_root() {
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search"].map(str::to_owned).into()
    } else {
        Vec::new()
    }
}

/// The wrapper of a command that runs as another user, who owns nothing here. Only root can do
/// that.
pub fn as_nobody() -> Vec<String> {
    assert!(is_root(), "this test attacks one user as another: run the tests as root");
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned).into()
}

/// Gives a directory to the user of [`as_nobody`], who can reach it.
pub fn give_to_nobody(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(dir.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

pub fn signal(name: &str, id: u32) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().unwrap();
    assert!(status.success());
}

/// The path of strace.
pub fn strace() -> &'static str {
    let path = "/usr/bin/strace";
    assert!(Path::new(path).exists(), "strace is not installed: run tests/run, which installs what the tests need");
    path
}

/// Copies a program to `to`, for anybody to execute. Another process does it: while this one had
/// the copy open for writing, a child that another test starts could inherit that, and the copy
/// would be "busy" when it is to be executed.
pub fn install_program(from: &Path, to: &Path) {
    let status = Command::new("install").arg("-m").arg("755").args([from, to]).status().unwrap();
    assert!(status.success());
}
