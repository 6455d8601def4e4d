//! `offboard-sandbox replay`, as a person runs it on a recording.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, path::Path, process::Command};

use offboard_ledger::{
    domain::{Change, ClientId, ClientToken, Operation, Target, ThingName},
    ledger::{self, Ledger, Order, replay, testing},
    runtime::clock::Clock,
};
use serde_json::Value;

/// A data directory with one open request.
async fn record(data: &Path, to: &Path) {
    let (ledger, closed) = Ledger::start(data, testing::rules(), Clock::start()).unwrap();
    let change = Change {
        operation: Operation::DisassociateClientDevices,
        targets: ["a", "b"].map(|name| Target::Device(ThingName::new(name).unwrap())).to_vec(),
        force: false,
        dry_run: false,
        issued_at: None,
        expires_in: None,
        reason: None,
    };
    let (client, token) = (ClientId::new("bench").unwrap(), ClientToken::new("t").unwrap());
    let order =
        Order { client, token: Some(token.clone()), fresh_token: token, change, delivery: None, clock_confirmed: true };
    ledger.run(move |tx| ledger::accept(tx, &order)).await.unwrap().unwrap();
    // The ledger is open: a copy needs nothing of it.
    replay::copy(data, to).unwrap();
    drop(ledger);
    closed.await.unwrap();
}

fn run(words: &[&str]) -> (String, String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_offboard-sandbox")).arg("replay").args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

#[tokio::test]
async fn a_recording_is_shown_event_by_event_and_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("recording");
    record(&dir.path().join("data"), &recording).await;
    let archive = dir.path().join("bundle.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_dir_all("offboard-support", &recording).unwrap();
    tar.finish().unwrap();
    let before = fs::read(&archive).unwrap();
    for bundle in [&archive, &recording] {
        let (out, err, good) = run(&[bundle.to_str().unwrap()]);
        assert!(good, "{out}{err}");
        let shown = "disassociate-client-devices by bench via mqtt, token t, 2 entries";
        assert!(out.contains("a command was accepted") && out.contains(shown), "{out}");
        assert!(out.ends_with("==== the state follows from the journal and the registry\n"), "{out}");
    }
    assert_eq!(fs::read(&archive).unwrap(), before);
    let (out, _, _) = run(&[archive.to_str().unwrap(), "--outcome"]);
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(outcome["devices"].as_array().unwrap().len(), 2);
    assert_eq!(outcome["requests"][0]["status"], "IN_PROGRESS");
    // Without its registry.
    fs::remove_dir_all(recording.join("store")).unwrap();
    let (out, err, good) = run(&[recording.to_str().unwrap()]);
    assert!(!good && out.contains("all of its rows are gone") && err.contains("1 places"), "{out}{err}");
    fs::write(dir.path().join("empty.tar"), [0; 1024]).unwrap();
    let (_, err, good) = run(&[dir.path().join("empty.tar").to_str().unwrap()]);
    assert!(!good && err.contains("--with-journal"), "{err}");
}
