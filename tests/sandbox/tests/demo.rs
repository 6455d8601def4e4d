//! Runs the demo as a user does. The demo first builds the agent, which takes long if it was not
//! built before.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

#[test]
fn the_demo_ends_with_agent_and_cloud_in_agreement() {
    let output = Command::new(env!("CARGO_BIN_EXE_offboard-sandbox")).arg("demo").output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{output_text}\n{complaints}", output.status);

    // White space is normalised, because the column widths of the tables may change.
    let lines: Vec<String> =
        output_text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "sensor-0013 AccessDeniedException you may not disassociate this device",
        "sensor-0222 ValidationException the request is not valid",
        "its status says that 50 entries wait.",
        "protected by configuration 1 sensor-1000",
        "offline-50 SUCCEEDED 50 50 0",
        "first-250 PARTIALLY_SUCCEEDED 250 247 3",
        "agent, ASSOCIATED 1000 683",
        "agent, DISASSOCIATED 0 317",
        "cloud, associated 1000 683",
        "Devices disassociated more than once: 0.",
        "Agent and cloud agree: the same 683 devices are left, and 317 were disassociated.",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{line:?} is not in:\n{}", lines.join("\n"));
    }
    let from_iot_core = "SUCCEEDED, 20 disassociated, 0 not.";
    assert!(lines.iter().any(|line| line.starts_with("fleet-tool has its result") && line.ends_with(from_iot_core)));
    assert!(lines.iter().any(|line| line.starts_with("The agent was asked to stop (SIGTERM), said OFFLINE")));
}

/// Runs the commands that README.md shows to a new user, in a shell of their own, while the demo is
/// kept running.
#[test]
fn a_newcomer_gets_from_the_demo_to_a_command_of_their_own() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let block = readme.split("```sh\n").find(|block| block.starts_with(". target/demo/env")).unwrap();
    let steps = block.split("```").next().unwrap();
    assert!(steps.lines().count() < 5, "{steps}");
    let target = Path::new(env!("CARGO_BIN_EXE_offboard-sandbox")).ancestors().nth(2).unwrap();
    let steps = steps.replace("target/demo", &target.join("demo").display().to_string());

    let mut demo = Command::new(env!("CARGO_BIN_EXE_offboard-sandbox"));
    let mut demo = demo.args(["demo", "--keep"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap().contains("Ctrl-C here ends it all")), "it is kept");
    let typed = Command::new("sh").args(["-euc", &steps]).output().unwrap();
    let seen = String::from_utf8_lossy(&typed.stdout);
    let kill = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    lines.for_each(drop);
    assert!(kill.success() && demo.wait().unwrap().success());
    assert!(typed.status.success(), "{seen}{}", String::from_utf8_lossy(&typed.stderr));
    assert!(seen.contains("SUCCEEDED: 1 of 1 entries") && seen.contains("REQUESTED"), "{seen}");
    assert!(!target.join("demo").exists(), "it clears up behind itself");
}

#[test]
fn a_wrong_argument_is_reported() {
    let output = Command::new(env!("CARGO_BIN_EXE_offboard-sandbox")).args(["demo", "--kepp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--keep"));
}
