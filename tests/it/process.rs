//! What other processes on the core device can see of the agent's process.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use crate::common::*;

/// A user without rights, as the components of one core device share it.
const NOBODY: u32 = 65534;

/// Runs `command` as that user, where the tests run as root; else they are a plain user's already.
fn as_a_component(command: &mut Command) -> &mut Command {
    if is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// Other components run as the same user: the broker's password and the nucleus's token are in
/// memory and environment.
#[tokio::test]
async fn another_process_of_the_same_user_reads_neither_memory_nor_environment() {
    let mut world = World::new(1).await;
    fs::set_permissions(world.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = world.dir.path().join("own");
    fs::create_dir(&data).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    world.set("dataDir", json!(data));
    let client = world.client("bench").await;
    // A copy that this user may execute, wherever the build is.
    let program = world.dir.path().join("offboard");
    install_program(Path::new(env!("CARGO_BIN_EXE_offboard")), &program);
    let mut command = Command::new(&program);
    command.arg("run").env_clear().env("OFFBOARD_CONFIG", world.config.to_string());
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", world.cloud.credentials_uri());
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", world.cloud.authorization_token());
    // The world ends it, whatever comes of the test.
    let id = world.agent.insert(as_a_component(&mut command).stdout(Stdio::null()).spawn().unwrap()).id();
    client.status("it works", |status| status["lastSyncAt"].is_string()).await;
    let read = |id: u32, file: &str| {
        let mut reader = Command::new("dd");
        reader.arg(format!("if=/proc/{id}/{file}")).args(["of=/dev/null", "bs=1", "count=1"]);
        as_a_component(&mut reader).output().unwrap()
    };
    for file in ["environ", "mem", "maps", "auxv"] {
        let output = read(id, file);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("Permission denied"), "{file}: {text}");
    }
    // The same of a process that does not hide: what was refused is not refused to everybody.
    let mut open = Command::new("sleep");
    let mut open = as_a_component(open.arg("100")).spawn().unwrap();
    until("sleep runs", || {
        fs::read(format!("/proc/{}/cmdline", open.id())).is_ok_and(|line| line.starts_with(b"sleep"))
    })
    .await;
    assert!(read(open.id(), "environ").status.success());
    open.kill().unwrap();
    open.wait().unwrap();
    assert!(world.stop_agent().0.success());
}
