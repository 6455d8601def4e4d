//! Tests the stand-in with boto3, the AWS SDK for Python. boto3 is an independent client with AWS's
//! own service models, so the test finds deviations of the stand-in from them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use offboard_sandbox::cloud::{Cloud, Options};
use tokio::process::Command;

/// Maximum time of the test: Python takes some seconds to load boto3, and longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn boto3_finds_the_api_it_knows() {
    // An absolute path, because the test starts Python in another directory.
    let python = std::path::absolute(python()).unwrap();
    assert!(
        python.exists(),
        "{} is missing: run tests/run, which makes it, or set OFFBOARD_TEST_PYTHON to a Python that has the packages of \
         tests/sandbox/requirements.txt",
        python.display()
    );
    let cloud = Cloud::start(Options { core: Some("My:Core 1/ü+%".to_owned()), ..Options::default() }).await.unwrap();
    let control = cloud.serve_control(0).await.unwrap();

    let mut command = Command::new(python);
    command.args(["-B", "-m", "unittest", "-v", "boto3_client", "boto3_sitewise", "boto3_models"]);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).kill_on_drop(true);
    // Removes the caller's AWS settings and proxies.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy().to_ascii_uppercase();
        if name_text.starts_with("AWS_") || name_text.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    let output = command
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_DEFAULT_REGION", "eu-central-1")
        .env("AWS_ENDPOINT_URL_GREENGRASSV2", cloud.endpoint())
        .env("AWS_ENDPOINT_URL_IOTSITEWISE", cloud.endpoint())
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", cloud.credentials_uri())
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", cloud.authorization_token())
        .env("SANDBOX_CONTROL", &control)
        .env("SANDBOX_CORE", "My:Core 1/ü+%")
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("boto3 did not end").unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn python() -> PathBuf {
    match std::env::var_os("OFFBOARD_TEST_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv/bin/python"),
    }
}
