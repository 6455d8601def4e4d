//! Tests the stand-in of the IPC server with `awsiotsdk`, the AWS IoT Device SDK for Python: an
//! independent client, so that the test finds deviations from the protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use offboard_sandbox::ipc::{Kind, Nucleus, Options, Service};

fn drive(kind: Kind, tests: &str) -> Nucleus {
    let python = std::path::absolute(python()).unwrap();
    assert!(
        python.exists(),
        "{} is missing: run tests/run, which makes it, or set OFFBOARD_TEST_PYTHON to a Python that has the packages of \
         tests/sandbox/requirements.txt",
        python.display()
    );
    let dir = tempfile::tempdir().unwrap();
    let nucleus = Nucleus::start(dir.path(), Options::of(kind)).unwrap();
    let output = Command::new(python)
        .args(["-B", "-m", "unittest", "-v", tests])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"))
        .envs(nucleus.environment())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    nucleus
}

fn python() -> PathBuf {
    match std::env::var_os("OFFBOARD_TEST_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/python"),
    }
}

#[test]
fn awsiotsdk_finds_the_server_of_nucleus_lite() {
    let nucleus = drive(Kind::Lite, "awsiotsdk_client.Lite");
    let published = nucleus.published(Service::PubSub);
    assert!(published.iter().any(|message| message.topic == "offboard/MyCore/status"), "{published:?}");
    assert_eq!(nucleus.counts().broken, 1, "the frame that is too large");
}

#[test]
fn awsiotsdk_finds_the_server_of_the_classic_nucleus() {
    drive(Kind::Classic, "awsiotsdk_client.Classic");
}
