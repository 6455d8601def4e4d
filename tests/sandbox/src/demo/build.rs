//! Builds the agent as a user would, and gets the path of the binary from cargo.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

/// The agent's package and binary.
const AGENT: &str = "offboard";

/// Variables that `cargo run` sets for this process. Another cargo would see them as a change in
/// the inputs of build scripts, and would rebuild those each time.
const OF_CARGO_RUN: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Builds the agent in this program's profile and returns its path. Cargo's messages are shown on
/// the terminal. The build has no time limit: a first build downloads and compiles a few hundred
/// crates, which the user sees.
///
/// # Errors
/// Cargo cannot be started or fails.
pub(super) async fn agent() -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command
        .args(["build", "--bin", AGENT, "-p", AGENT, "--message-format=json-render-diagnostics", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_CARGO_RUN.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(&name);
        }
    }
    let output = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run {}: {error}", cargo.display())))?
        .wait_with_output()
        .await?;
    if !output.status.success() {
        return Err(io::Error::other(format!("the agent could not be built ({})", output.status)));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().find_map(executable).ok_or_else(|| io::Error::other("cargo did not say where it put the agent"))
}

/// The path in one line of cargo's messages, if it is about the agent's binary.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == AGENT;
    is_ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
}
