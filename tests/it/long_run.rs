//! A long life: very many commands over the same devices, which are associated again and again. The
//! database stays within its limit, memory does not grow, and the bytes written to flash for each
//! command are printed.
//!
//! `OFFBOARD_COMMANDS=1000000 cargo test --release --locked --test it long_run:: -- --nocapture` is
//! the long form. The agent removes no request that ended within the last hour and throttles new
//! commands instead. It measures that hour by the time since the boot, and not by the wall clock.
//! Therefore the long form starts the agent again every 50,000 commands, in a time namespace where
//! the boot was another hour earlier. `unshare` needs the rights of root and Linux 6.1 for that.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use crate::common::*;

/// Commands of one device each that are under way at a time.
const WAVE: usize = 1000;

/// Commands in an hour of the long form.
const COMMANDS_AN_HOUR: usize = 50_000;

const MIB: f64 = 1_048_576.0;

/// Bytes on disk below a directory.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    // What is deleted meanwhile takes no room.
    entries
        .map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) })
        .sum()
}

/// The bytes of all records, if that is a message with the metrics.
fn live_bytes(message: &Message) -> Option<f64> {
    let metrics = message.body["metrics"].as_array()?;
    let metric = metrics.iter().find(|metric| metric["name"] == "offboard_database_live_bytes")?;
    metric["value"].as_f64()
}

/// Starts the agent in a time namespace whose boot was so many hours earlier; 0 for none.
fn start(world: &mut World, hours: usize) {
    let seconds = (hours * 3600).to_string();
    let words = ["unshare", "--time", "--boottime", &seconds, "--monotonic", &seconds];
    if hours > 0 {
        world.wrapper = words.map(str::to_owned).into();
    }
    world.start_agent();
    // `unshare` has become the agent itself.
    world.wrapper.clear();
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
    world.set("metrics.intervalSeconds", json!(1));
    start(&mut world, 0);
    let client = world.client("bench").await;
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    let devices = names(0..WAVE);
    let data = world.dir.path().join("data");
    let (begun, mut largest, mut early, mut written_before) = (Instant::now(), 0.0_f64, None, 0);
    for wave in 0..commands.div_ceil(WAVE) {
        if wave > 0 && (wave * WAVE).is_multiple_of(COMMANDS_AN_HOUR) {
            written_before += written(&world);
            world.stop_agent();
            start(&mut world, wave * WAVE / COMMANDS_AN_HOUR);
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
            let bytes = (written_before + written(&world)) / done as u64;
            let seconds = begun.elapsed().as_secs_f64();
            println!(
                "{done} commands in {seconds:.0} s: {disk:.1} MiB on disk, {memory:.1} MiB resident, {bytes} bytes written a command"
            );
        }
    }
    // Each is written a few times: the request, its work, its outcome, its messages; sled writes
    // whole pages.
    let bytes = (written_before + written(&world)) / commands as u64;
    assert!(bytes < 65_536, "{bytes} bytes are written for each command");
    let grown = world.memory().now - early.unwrap_or_else(|| world.memory().now);
    assert!(grown < 16.0, "{grown:.1} MiB more memory than after 100,000 commands");
    world.stop_agent();
    client.take();
    // In the same hour: a start gives back what the last rewriting left to be gained
    // (GUARANTEES.md). The three segments of the journal take 6 MiB.
    start(&mut world, commands.saturating_sub(1) / COMMANDS_AN_HOUR);
    let mut live = 0.0;
    until("the registry takes no more than four times its records, beside the journal", || {
        live = client.take().iter().filter_map(live_bytes).next_back().unwrap_or(live);
        live > 0.0 && size(&data) as f64 / MIB <= f64::max(64.0, 4.0 * live / MIB) + 8.0
    })
    .await;
    let left = size(&data) as f64 / MIB;
    println!(
        "{largest:.1} MiB on disk at most, {left:.1} MiB at the end for {:.1} MiB of records; memory grew by {grown:.1} MiB",
        live / MIB
    );
}
