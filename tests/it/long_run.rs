//! A long life: very many commands over the same devices, which are associated again and again. The
//! database stays within its limit, memory does not grow, and the bytes written to flash for each
//! command are printed.
//!
//! `OFFBOARD_COMMANDS=1000000 cargo test --release --locked --test it long_run:: -- --nocapture` is
//! the long form. The agent removes no request that ended within the last hour and throttles new
//! commands instead. Therefore the long form sets the agent's wall clock an hour ahead every 20,000
//! commands.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use crate::common::*;

/// Commands of one device each that are under way at a time.
const WAVE: usize = 1000;

/// Commands between two steps of the agent's wall clock in the long form.
const COMMANDS_AN_HOUR: usize = 20_000;

const MIB: f64 = 1_048_576.0;

/// Bytes on disk below a directory.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    // What is deleted meanwhile takes no room.
    entries
        .map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) })
        .sum()
}

/// Sets the agent's wall clock so many hours ahead of the cloud's.
fn set_clock(world: &World, hours: usize) {
    let [new, file] = ["time.new", "time"].map(|name| world.dir.path().join(name));
    fs::write(&new, format!("+{hours}h")).unwrap();
    // At once, since the agent may be reading it.
    fs::rename(new, file).unwrap();
}

/// Bytes that the agent's process had written to the disk.
fn written(world: &World) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", world.agent.as_ref().unwrap().id())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_the_memory_stay_bounded_over_many_commands() {
    let _turn = groups::busy();
    let commands: usize = std::env::var("OFFBOARD_COMMANDS").map_or(3000, |text| text.parse().expect("a number"));
    let limit = 256.0;
    let mut world = World::new(0).await;
    world.set("batch.lingerMs", json!(20));
    let is_long = commands > COMMANDS_AN_HOUR;
    if is_long {
        set_clock(&world, 0);
        let environment = [
            ("LD_PRELOAD", library("libfaketimeMT.so.1")),
            ("FAKETIME_TIMESTAMP_FILE", world.dir.path().join("time").display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ];
        world.wrapper = vec!["env".into()];
        world.wrapper.extend(environment.map(|(name, value)| format!("{name}={value}")));
    }
    world.start_agent();
    let client = world.client("bench").await;
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    let devices = names(0..WAVE);
    let data = world.dir.path().join("data");
    let (start, mut largest, mut early) = (Instant::now(), 0.0_f64, None);
    for wave in 0..commands.div_ceil(WAVE) {
        if is_long && (wave * WAVE).is_multiple_of(COMMANDS_AN_HOUR) {
            set_clock(&world, wave * WAVE / COMMANDS_AN_HOUR);
        }
        world.cloud.associate_at(CORE, devices.clone(), std::time::SystemTime::now());
        let mut open: BTreeSet<String> = (0..WAVE).map(|n| format!("t{}", wave * WAVE + n)).collect();
        for (token, device) in open.iter().zip(&devices) {
            client.disassociate(token, std::slice::from_ref(device));
        }
        until("the wave is done", || {
            for message in client.take() {
                if message.topic.ends_with("/completed") {
                    assert_eq!(message.body["status"], "SUCCEEDED", "{message:?}");
                    open.remove(message.body["clientToken"].as_str().unwrap());
                }
                assert!(!message.topic.ends_with("/rejected"), "{message:?}");
            }
            open.is_empty()
        })
        .await;
        let disk = size(&data) as f64 / MIB;
        largest = largest.max(disk);
        assert!(disk < limit, "{disk:.1} MiB on disk after wave {wave}");
        let done = (wave + 1) * WAVE;
        let memory = world.memory().now;
        if done >= 100_000 {
            early.get_or_insert(memory);
        }
        if done.is_multiple_of(50_000) || done >= commands {
            let bytes = written(&world) / done as u64;
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "{done} commands in {seconds:.0} s: {disk:.1} MiB on disk, {memory:.1} MiB resident, {bytes} bytes written a command"
            );
        }
    }
    // Each is written a few times: the request, its work, its outcome, its messages; sled writes
    // whole pages.
    let bytes = written(&world) / commands as u64;
    assert!(bytes < 65_536, "{bytes} bytes are written for each command");
    let grown = world.memory().now - early.unwrap_or_else(|| world.memory().now);
    assert!(grown < 16.0, "{grown:.1} MiB more memory than after 100,000 commands");
    // `env` has become the agent itself.
    let environment = std::mem::take(&mut world.wrapper);
    world.stop_agent();
    world.wrapper = environment;
    // A start gives back what the last rewriting left to be gained.
    world.start_agent();
    until("the store is small", || size(&data) as f64 / MIB <= 128.0).await;
    let left = size(&data) as f64 / MIB;
    println!("{largest:.1} MiB on disk at most, {left:.1} MiB at the end; memory grew by {grown:.1} MiB");
}
