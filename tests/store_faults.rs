//! A store that breaks: whatever happens to its files, the agent runs on, keeps what there is, and says what it lost.
//! An acknowledged command that is missing without a word in `status` is the one outcome that must never be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::*;
use offboard::ledger::{SledStore, Store};

/// A store in one of sled's segments, where damage anywhere takes the rest of the log with it, and one in several.
const FEW: usize = 60;
const MANY: usize = 2500;
/// So many that the records are not counted at the opening.
const TOO_MANY: usize = 12_000;

const COMMANDS: usize = 12;

/// Flipped bits in one kind of store, each a start of the agent, unless OFFBOARD_ROUNDS says otherwise.
const FLIPS: usize = 4;

/// What became of the acknowledged commands.
#[derive(Debug, PartialEq)]
enum Found {
    /// All of them are there, and nothing is told.
    Intact,
    /// The store was moved aside, and `status` says so; so long after the start.
    Replaced(Duration),
}

/// A store that holds acknowledged commands, finished ones and open ones, and is damaged in copies.
struct Sample {
    world: World,
    client: Client,
    origin: PathBuf,
    copies: usize,
    tokens: Vec<String>,
    devices: usize,
}

impl Sample {
    /// Made by an agent that was killed: sled has a snapshot, and what was acknowledged stands behind it in the log.
    async fn new(devices: usize) -> Self {
        let (mut world, client) = World::running(devices).await;
        world.kill_and_forget(&client).await;
        world.start_agent();
        client.status("in sync again", |s| s["lastSyncAt"].is_string()).await;
        let mut tokens = Vec::new();
        for n in 0..COMMANDS {
            tokens.push(format!("done-{n}"));
            client.disassociate(&tokens[n], &names(n..n + 1));
        }
        for token in &tokens {
            client.result(token, "completed").await;
        }
        world.cloud.offline(true);
        for n in COMMANDS..2 * COMMANDS {
            tokens.push(format!("open-{n}"));
            client.disassociate(&tokens[n], &names(n..n + 1));
        }
        for token in &tokens {
            client.result(token, "accepted").await;
        }
        world.kill_and_forget(&client).await;
        let origin = world.dir.path().join("data");
        Self { world, client, origin, copies: 0, tokens, devices }
    }

    /// Another copy, which the next start takes.
    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let data = self.world.dir.path().join(format!("data-{}", self.copies));
        copy(&self.origin, &data);
        self.world.set("dataDir", json!(data));
        data
    }

    /// Damages a copy, starts an agent on it, and asks for all that was acknowledged.
    async fn after(&mut self, what: &str, damage: impl FnOnce(&Path)) -> Found {
        let data = self.copy();
        damage(&data);
        let found = self.start_and_judge(what).await;
        if matches!(found, Found::Replaced(_)) {
            let aside = aside(&data);
            assert_eq!(aside.len(), 1, "{what}: {aside:?}");
            assert!(self.world.log().contains(&*aside[0].to_string_lossy()), "{what}: the log names {aside:?}");
        }
        self.world.kill_and_forget(&self.client).await;
        println!("{what}: {found:?}");
        found
    }

    /// How many devices can be read.
    async fn count_devices(&self) -> usize {
        let mut count = 0;
        let mut question = json!({"maxResults": 100});
        while let Ok(page) = answer(&self.client, "list-devices", question.clone()).await {
            count += page["devices"].as_array().unwrap().len();
            if page["nextToken"].is_null() {
                break;
            }
            question["nextToken"] = page["nextToken"].clone();
        }
        count
    }

    async fn start_and_judge(&mut self, what: &str) -> Found {
        let start = Instant::now();
        self.world.start_agent();
        self.client.status("it is there", |s| s["state"] == "ONLINE").await;
        let mut missing = Vec::new();
        for token in &self.tokens {
            let question = json!({"targetClientToken": token});
            match answer(&self.client, "get-request", question).await {
                Ok(answer) => {
                    let open = token.starts_with("open");
                    assert_eq!(answer["request"]["status"] == "IN_PROGRESS", open, "{what}: {answer}");
                }
                Err(rejection) => missing.push(rejection),
            }
        }
        let devices = self.count_devices().await;
        assert!(self.world.is_running(), "{what}: the agent ended");
        if missing.is_empty() && devices == self.devices {
            let status = self.client.status("it says how it is", |s| s["state"] == "ONLINE").await;
            assert!(store_problems(&status).is_empty(), "{what}: {status}");
            return Found::Intact;
        }
        let told = format!(
            "{what}: {} commands and {} devices are missing, and it says so",
            missing.len(),
            self.devices - devices
        );
        let status = self.client.status(&told, |s| store_problems(s) == ["STORE_REPLACED"]).await;
        let message = status["problems"].to_string();
        assert!(message.contains("store.damaged-") && message.contains("sent again"), "{message}");
        Found::Replaced(start.elapsed())
    }
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Damaged stores that were put away.
fn aside(data: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("store.damaged-")).collect()
}

/// Every file below `dir` with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            // Not the socket that a killed agent leaves.
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Every file of the data directory, as paths below it.
fn file_names(data: &Path) -> Vec<PathBuf> {
    files(data).into_keys().map(|path| path.strip_prefix(data).unwrap().to_path_buf()).collect()
}

fn remove_snapshots(data: &Path) {
    for path in files(&data.join("store")).into_keys() {
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
}

/// The last byte of the database that is not zero, and one more.
fn used(data: &Path) -> u64 {
    let bytes = fs::read(data.join("store/db")).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn flip(path: &Path, at: u64, mask: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
}

#[tokio::test]
async fn a_database_that_is_cut_off_loses_no_command_silently() {
    let mut sample = Sample::new(FEW).await;
    let used = used(&sample.origin);
    let lengths = [0, 1, 4096, used / 4, used / 2, used * 3 / 4, used - 20_000, used - 2_000, used - 200, used - 1];
    for snapshots in [true, false] {
        for length in lengths {
            let what = format!("cut to {length} of {used} bytes, snapshots: {snapshots}");
            let found = sample.after(&what, |data| {
                truncate(&data.join("store/db"), length);
                if !snapshots {
                    remove_snapshots(data);
                }
            });
            // The last bytes may be of what the kill did not let be synced, and so was promised to nobody.
            assert!(matches!(found.await, Found::Replaced(_)) || length >= used - 2_000, "{what}");
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_database_loses_no_command_silently() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let flips = std::env::var("OFFBOARD_ROUNDS").map_or(FLIPS, |text| text.parse().expect("a number"));
    let (mut replaced, mut intact) = (0, 0);
    for devices in [FEW, MANY, TOO_MANY] {
        let mut sample = Sample::new(devices).await;
        let bytes = fs::read(sample.origin.join("store/db")).unwrap();
        for n in 0..2 * flips {
            let snapshots = n % 2 == 0;
            // Much of the file is not even written.
            let at = loop {
                let at = random.usize(0..bytes.len());
                if bytes[at] != 0 {
                    break at as u64;
                }
            };
            let mask = 1 << random.u8(0..8);
            let what =
                format!("{devices} devices, bit {mask:#04x} of byte {at} flipped, snapshots: {snapshots}, seed {seed}");
            let found = sample.after(&what, |data| {
                flip(&data.join("store/db"), at, mask);
                if !snapshots {
                    remove_snapshots(data);
                }
            });
            match found.await {
                Found::Replaced(_) => replaced += 1,
                Found::Intact => intact += 1,
            }
        }
    }
    println!("{replaced} were damage, {intact} hit what is not in use");
    assert!(replaced > 0, "no flip hit anything, seed {seed}");
}

#[tokio::test]
async fn a_flipped_bit_in_any_other_file_loses_no_command_silently() {
    let mut sample = Sample::new(FEW).await;
    let mut intact = Vec::new();
    for name in file_names(&sample.origin) {
        if name.ends_with("store/db") {
            continue;
        }
        let length = fs::metadata(sample.origin.join(&name)).unwrap().len();
        for (at, mask) in [(0, 0x80), (length / 2, 0x01), (length.saturating_sub(1), 0x10)] {
            if at < length {
                let what = format!("bit {mask:#04x} of byte {at} of {} flipped", name.display());
                if sample.after(&what, |data| flip(&data.join(&name), at, mask)).await == Found::Intact {
                    intact.push(name.clone());
                }
            }
        }
    }
    for name in ["lock", "store.id"] {
        assert_eq!(intact.iter().filter(|intact| intact.ends_with(name)).count(), 3, "{name}: no command is in there");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_loses_no_command_silently() {
    let mut sample = Sample::new(FEW).await;
    let mut names = file_names(&sample.origin);
    names.extend(["store", "store/blobs"].map(PathBuf::from));
    for name in names {
        let what = format!("without {}", name.display());
        let found = sample.after(&what, |data| {
            let path = data.join(&name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        });
        let lost = name == Path::new("store") || name.ends_with("store/db");
        assert_eq!(matches!(found.await, Found::Replaced(_)), lost, "{what}");
    }
}

/// A file cut to nothing, as after a power cut on a file system that promises little.
#[tokio::test]
async fn a_file_that_is_empty_loses_no_command_silently() {
    let mut sample = Sample::new(FEW).await;
    for name in file_names(&sample.origin) {
        let what = format!("{} empty", name.display());
        let found = sample.after(&what, |data| truncate(&data.join(&name), 0)).await;
        if name.starts_with("store") && name.ends_with("db") {
            assert!(matches!(found, Found::Replaced(_)), "{what}");
        }
    }
}

#[tokio::test]
async fn a_directory_in_a_files_place_is_told_and_mended() {
    let mut sample = Sample::new(FEW).await;
    for name in file_names(&sample.origin) {
        let what = name.display().to_string();
        let data = sample.copy();
        let path = data.join(&name);
        let kept = data.join("kept");
        fs::rename(&path, &kept).unwrap();
        fs::create_dir(&path).unwrap();
        sample.world.start_agent();
        let client = &sample.client;
        if name.starts_with("store") {
            // sled's own: no file of ours tells what it held.
            client.status("it says so", |s| store_problems(s) == ["STORE_REPLACED"]).await;
            assert_eq!(aside(&data).len(), 1, "{what}");
        } else {
            let status = client.status("it says so", |s| store_problems(s) == ["STORE_FAILING"]).await;
            assert!(status["problems"].to_string().contains(&*path.to_string_lossy()), "{status}");
            let rejection = answer(client, "sync", json!({})).await.unwrap_err();
            assert_eq!(rejection["code"], "InternalServerException");
            fs::remove_dir(&path).unwrap();
            fs::rename(&kept, &path).unwrap();
            client.status("it recovers by itself", |s| store_problems(s).is_empty()).await;
            for token in &sample.tokens {
                client.ask("get-request", json!({"targetClientToken": token})).await;
            }
        }
        assert!(sample.world.is_running());
        sample.world.kill_and_forget(&sample.client).await;
    }
}

/// The same with a file where the store's directory should be.
#[tokio::test]
async fn a_file_in_the_stores_place_is_moved_aside() {
    let mut sample = Sample::new(FEW).await;
    let found = sample.after("a file for store", |data| {
        fs::remove_dir_all(data.join("store")).unwrap();
        fs::write(data.join("store"), "not a directory").unwrap();
    });
    assert!(matches!(found.await, Found::Replaced(_)));
}

#[tokio::test]
async fn after_a_damage_the_registry_is_read_anew_and_commands_are_carried_out() {
    let mut sample = Sample::new(FEW).await;
    let data = sample.copy();
    fs::write(data.join("store/db"), vec![0x5a; 1 << 20]).unwrap();
    assert!(matches!(sample.start_and_judge("garbage").await, Found::Replaced(_)));
    let aside = aside(&data);
    assert!(
        fs::metadata(aside[0].join("db")).unwrap().len() >= 1 << 20 && aside[0].join("conf").exists(),
        "kept whole"
    );
    // What was lost is sent again, and what is new is taken.
    works(&sample.world, &sample.client, "open-20", 20).await;
    works(&sample.world, &sample.client, "new", 50).await;
    let status = sample.client.status("it is still told", |s| s["state"] == "ONLINE").await;
    assert_eq!(store_problems(&status), ["STORE_REPLACED"]);
    // Whoever looks after a restart only, is told as well, as long as what was kept is there.
    sample.world.kill_and_forget(&sample.client).await;
    sample.world.start_agent();
    let status = sample.client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
    assert_eq!(store_problems(&status), ["STORE_REPLACED"]);
    assert!(status["problems"].to_string().contains(&*aside[0].to_string_lossy()), "{status}");
    fs::remove_dir_all(&aside[0]).unwrap();
    sample.world.kill_and_forget(&sample.client).await;
    sample.world.start_agent();
    sample.client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
    sample.client.status("it is over", |s| store_problems(s).is_empty()).await;
    works(&sample.world, &sample.client, "newer", 51).await;
}

/// A registry that is larger than sled's cache, overwritten under the agent that uses it.
#[tokio::test]
async fn damage_under_a_running_agent_is_found_at_the_next_read_and_told() {
    let mut world = World::new(30_000).await;
    world.set("sync.intervalSeconds", json!(0));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("in sync", |s| s["devices"]["ASSOCIATED"] == 30_000).await;
    world.cloud.offline(true);
    client.disassociate("lost", &names(0..10));
    client.result("lost", "accepted").await;
    let db = world.dir.path().join("data/store/db");
    let length = fs::metadata(&db).unwrap().len() as usize;
    fs::OpenOptions::new().write(true).open(&db).unwrap().write_all_at(&vec![0x5a; length], 0).unwrap();
    let start = Instant::now();
    world.cloud.offline(false);
    client.send("sync", &json!({"clientToken": "s"}));
    let status = client.status("it says so", |s| store_problems(s) == ["STORE_REPLACED"]).await;
    println!("told {:?} after the next sync was asked for: {}", start.elapsed(), status["problems"]);
    // In the same process, and without a periodic sync.
    works(&world, &client, "lost", 0).await;
    works(&world, &client, "new", 11_000).await;
    assert!(world.is_running());
}

#[tokio::test]
async fn a_database_deleted_under_a_running_agent_is_told() {
    for name in ["data/store/db", "data/store", "data"] {
        let (mut world, client) = World::running(20).await;
        let path = world.dir.path().join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        // Whether this one is taken or not, nothing may be taken into a file that is gone.
        client.disassociate("t", &names(0..1));
        client.status("it says so", |s| store_problems(s) == ["STORE_REPLACED"]).await;
        works(&world, &client, "t", 0).await;
        works(&world, &client, "u", 1).await;
        assert!(world.is_running());
        world.kill_and_forget(&client).await;
        world.start_agent();
        client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
        for token in ["t", "u"] {
            client.ask("get-request", json!({"targetClientToken": token})).await;
        }
    }
}

/// `store.id` as a version with a later schema writes it.
fn newer_label(ours: &str) -> String {
    use sha2::{Digest, Sha256};
    let said = format!("{} schema 2", ours.split_once(" schema 1 ").unwrap().0);
    let check: String = Sha256::digest(&said).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{said} {check}\n")
}

#[tokio::test]
async fn a_newer_store_is_left_untouched_and_commands_are_rejected() {
    let mut sample = Sample::new(FEW).await;
    let data = sample.copy();
    {
        let mut store = SledStore::open(&data).unwrap();
        store.apply(&[(b"mschema".to_vec(), Some(b"\x013".to_vec()))]).unwrap();
        store.sync().unwrap();
    }
    let id = fs::read_to_string(data.join("store.id")).unwrap();
    for beside in [true, false] {
        // The version that writes such a store says so beside it, too, so that this one need not open it.
        let text = if beside { newer_label(&id) } else { id.clone() };
        fs::write(data.join("store.id"), text).unwrap();
        let _ = fs::remove_file(data.join("lock"));
        let before = files(&data);
        sample.world.start_agent();
        let status = sample.client.status("it says so", |s| store_problems(s) == ["STORE_TOO_NEW"]).await;
        assert!(status["problems"].to_string().contains("install that version"), "{status}");
        sample.client.disassociate("t", &names(0..1));
        let rejection = sample.client.result("t", "rejected").await;
        assert_eq!(rejection["code"], "InternalServerException");
        assert!(sample.world.is_running());
        sample.world.kill_and_forget(&sample.client).await;
        let _ = fs::remove_file(data.join("lock"));
        if beside {
            assert!(files(&data) == before, "the store was touched");
        }
        assert!(aside(&data).is_empty());
    }
}

/// Takes away a permission, sees it told with the path, and gives it back.
async fn without_permission(sample: &mut Sample, name: &str, mode: u32) {
    let data = sample.copy();
    let path = data.join(name);
    let before = fs::metadata(&path).unwrap().permissions();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    sample.world.start_agent();
    let client = &sample.client;
    let status = client.status("it says so", |s| store_problems(s) == ["STORE_FAILING"]).await;
    let message = status["problems"].to_string();
    println!("{name} {mode:o}: {message}");
    assert!(message.contains(&*data.to_string_lossy()), "which path: {message}");
    assert!(message.contains("owner and mode"), "what to do: {message}");
    client.disassociate("t", &names(40..41));
    assert_eq!(client.result("t", "rejected").await["code"], "InternalServerException");
    assert!(sample.world.is_running());
    fs::set_permissions(&path, before).unwrap();
    client.status("it recovers by itself", |s| s["state"] == "ONLINE" && store_problems(s).is_empty()).await;
    for token in &sample.tokens {
        client.ask("get-request", json!({"targetClientToken": token})).await;
    }
    let unknown = answer(client, "get-request", json!({"targetClientToken": "t"})).await.unwrap_err();
    assert_eq!(unknown["code"], "ResourceNotFoundException", "a rejection is the truth");
    assert!(aside(&data).is_empty(), "nothing was lost");
    sample.world.kill_and_forget(&sample.client).await;
}

#[tokio::test]
async fn a_missing_permission_is_told_with_its_path_and_mended_without_a_restart() {
    let mut sample = Sample::new(FEW).await;
    sample.world.wrapper = obeying_modes();
    for (name, mode) in [
        ("", 0),
        ("store", 0),
        ("store", 0o400),
        ("store", 0o500),
        ("store/db", 0),
        ("store/db", 0o400),
        ("store/conf", 0),
        ("lock", 0),
        ("store.id", 0),
    ] {
        without_permission(&mut sample, name, mode).await;
    }
}
