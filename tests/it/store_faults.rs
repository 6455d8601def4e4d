//! Damage of the registry's files: the agent runs, carries out every accepted command, reads the
//! registry from the cloud again, and reports what is lost. `journal_faults.rs` has the journal's
//! files.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::common::{
    sample::{Found, Sample, delete, file_names, files, flip, kept, truncate, used},
    seed::{rounds, seed},
    *,
};

/// A store in one of sled's segments, where damage anywhere takes the rest of the log with it, and
/// one in several.
const FEW: usize = 60;
const MANY: usize = 2500;

/// Flipped bits in one kind of store, each a start of the agent, unless OFFBOARD_ROUNDS says
/// otherwise.
const FLIPS: usize = 4;

/// Enough for a segment of the journal: a checkpoint writes to the registry.
const FILLING: usize = 4000;

fn remove_snapshots(data: &Path) {
    for path in files(&data.join("store")).into_keys() {
        if path.file_name().unwrap().to_string_lossy().starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test]
async fn a_database_that_is_cut_off_costs_no_accepted_command() {
    let mut sample = Sample::new(FEW).await;
    let used = used(&sample.origin().join("store/db"));
    let lengths = [0, 1, 4096, used / 4, used / 2, used * 3 / 4, used - 20_000, used - 2_000, used - 200, used - 1];
    let mut lost = 0;
    for snapshots in [true, false] {
        for length in lengths {
            let what = format!("cut to {length} of {used} bytes, snapshots: {snapshots}");
            let found = sample.after(&what, |data| {
                truncate(&data.join("store/db"), length);
                if !snapshots {
                    remove_snapshots(data);
                }
            });
            let found = found.await;
            assert_ne!(found, Found::JournalDamaged, "{what}");
            // The last bytes may be what an opening wrote, and the next one writes again.
            assert!(found == Found::RegistryLost || length >= used - 2_000, "{what}");
            lost += usize::from(found == Found::RegistryLost);
        }
    }
    assert!(lost >= 14, "{lost}");
}

#[tokio::test]
async fn a_flipped_bit_in_the_database_costs_no_accepted_command() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let flips = rounds(FLIPS);
    let (mut replaced, mut intact) = (0, 0);
    for devices in [FEW, MANY] {
        let mut sample = Sample::new(devices).await;
        let bytes = fs::read(sample.origin().join("store/db")).unwrap();
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
                Found::RegistryLost => replaced += 1,
                Found::Intact => intact += 1,
                Found::JournalDamaged => panic!("{what}"),
            }
        }
    }
    println!("{replaced} were damage, {intact} hit what is not in use");
    assert!(replaced > 0, "no flip hit anything, seed {seed}");
}

#[tokio::test]
async fn any_other_file_of_the_registry_flipped_costs_no_accepted_command() {
    let mut sample = Sample::new(FEW).await;
    for name in file_names(sample.origin(), "store") {
        if name.ends_with("store/db") {
            continue;
        }
        let length = fs::metadata(sample.origin().join(&name)).unwrap().len();
        for (at, mask) in [(0, 0x80), (length / 2, 0x01), (length.saturating_sub(1), 0x10)] {
            if at < length {
                let what = format!("bit {mask:#04x} of byte {at} of {} flipped", name.display());
                let found = sample.after(&what, |data| flip(&data.join(&name), at, mask)).await;
                assert_ne!(found, Found::JournalDamaged, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_file_of_the_registry_that_is_missing_or_empty_costs_no_accepted_command() {
    let mut sample = Sample::new(FEW).await;
    let mut names = file_names(sample.origin(), "store");
    names.extend(["store", "store/blobs", "lock"].map(PathBuf::from));
    for name in names {
        let what = format!("without {}", name.display());
        let found = sample.after(&what, |data| delete(&data.join(&name))).await;
        let is_lost = name == Path::new("store") || name.ends_with("store/db");
        assert_eq!(found, if is_lost { Found::RegistryLost } else { Found::Intact }, "{what}");
        if sample.origin().join(&name).is_dir() {
            continue;
        }
        // A file cut to nothing, as after a power cut on a file system that promises little.
        let what = format!("{} empty", name.display());
        let found = sample.after(&what, |data| truncate(&data.join(&name), 0)).await;
        assert_ne!(found, Found::JournalDamaged, "{what}");
        assert!(found == Found::RegistryLost || !is_lost, "{what}");
    }
}

#[tokio::test]
async fn something_else_in_a_files_place_costs_no_accepted_command() {
    let mut sample = Sample::new(FEW).await;
    let mut names = file_names(sample.origin(), "store");
    names.push("store".into());
    for name in names {
        let what = format!("something else as {}", name.display());
        let found = sample.after(&what, |data| {
            let path = data.join(&name);
            let was_dir = path.is_dir();
            delete(&path);
            if was_dir { fs::write(path, "no directory").unwrap() } else { fs::create_dir(path).unwrap() }
        });
        assert_eq!(found.await, Found::RegistryLost, "{what}");
    }
}

#[tokio::test]
async fn a_directory_in_place_of_a_file_of_ours_is_reported_and_mended() {
    let mut sample = Sample::new(FEW).await;
    for name in ["lock", "journal/segment-0"] {
        let data = sample.copy();
        let (path, moved) = (data.join(name), data.join("moved"));
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&path).unwrap();
        sample.world.start_agent();
        let client = &sample.client;
        let status = client.status("it says so", |s| store_problems(s) == ["STORE_FAILING"]).await;
        assert!(status["problems"].to_string().contains(&*path.to_string_lossy()), "{status}");
        let rejection = answer(client, "sync", json!({})).await.unwrap_err();
        assert_eq!(rejection["code"], "InternalServerException");
        assert!(sample.world.is_running());
        fs::remove_dir(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
        sample.client.status("it recovers by itself", |s| store_problems(s).is_empty()).await;
        assert_eq!(sample.examine(name).await, Found::Intact);
        sample.carry_out(name, Found::Intact).await;
        sample.world.kill_and_forget(&sample.client).await;
    }
}

#[tokio::test]
async fn what_is_lost_with_a_registry_is_reported_as_long_as_it_is_kept() {
    let mut sample = Sample::new(FEW).await;
    let data = sample.copy();
    fs::write(data.join("store/db"), vec![0x5a; 1 << 20]).unwrap();
    sample.world.start_agent();
    assert_eq!(sample.examine("garbage").await, Found::RegistryLost);
    let damaged = kept(&data, "store.damaged-");
    assert!(
        fs::metadata(damaged[0].join("db")).unwrap().len() >= 1 << 20 && damaged[0].join("conf").exists(),
        "kept whole"
    );
    assert!(!damaged[0].join("journal").exists() && data.join("journal").is_dir(), "the registry alone");
    let status = sample.client.status("it says so", |s| store_problems(s) == ["STORE_REPLACED"]).await;
    let message = status["problems"].to_string();
    for part in ["Finished requests", "history", "accepted commands are carried out", &*damaged[0].to_string_lossy()] {
        assert!(message.contains(part), "{part}: {message}");
    }
    sample.carry_out("garbage", Found::RegistryLost).await;
    // What was lost may be asked for again, and what is new is taken.
    works(&sample.world, &sample.client, "done-0", 40).await;
    works(&sample.world, &sample.client, "new", 50).await;
    let status = sample.client.status("it is still reported", |s| s["state"] == "ONLINE").await;
    assert_eq!(store_problems(&status), ["STORE_REPLACED"]);
    // Who looks after a restart only sees it, too, as long as what was kept is there.
    sample.world.kill_and_forget(&sample.client).await;
    sample.world.start_agent();
    let status = sample.client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
    assert_eq!(store_problems(&status), ["STORE_REPLACED"]);
    assert!(status["problems"].to_string().contains(&*damaged[0].to_string_lossy()), "{status}");
    fs::remove_dir_all(&damaged[0]).unwrap();
    sample.world.kill_and_forget(&sample.client).await;
    sample.world.start_agent();
    sample.client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
    sample.client.status("it is over", |s| store_problems(s).is_empty()).await;
    works(&sample.world, &sample.client, "newer", 51).await;
}

/// A file of sled breaks under an agent that has commands open: they are carried out in the same
/// process. What it does to the registry is found when that is written, at a checkpoint.
#[tokio::test]
async fn a_registry_that_breaks_under_the_agent_costs_no_accepted_command() {
    let overwrite = |path: &Path| {
        let length = fs::metadata(path).unwrap().len() as usize;
        fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&vec![0x5a; length], 0).unwrap();
    };
    let empty = |path: &Path| truncate(path, 0);
    type Case<'c> = (&'c str, &'c str, &'c dyn Fn(&Path));
    let cases: [Case<'_>; 7] = [
        ("deleted", "store/db", &delete),
        ("deleted", "store", &delete),
        ("deleted", "store/conf", &delete),
        ("deleted", "store/blobs", &delete),
        ("emptied", "store/db", &empty),
        ("emptied", "store/conf", &empty),
        ("overwritten", "store/db", &overwrite),
    ];
    for (how, name, damage) in cases {
        let what = format!("{name} {how}");
        let mut sample = Sample::new(FEW).await;
        let data = sample.copy();
        sample.world.start_agent();
        assert_eq!(sample.examine(&what).await, Found::Intact);
        damage(&data.join(name));
        // What comes now is taken, too, while the cloud is away.
        sample.client.disassociate("later", &names(50..51));
        sample.client.result("later", "accepted").await;
        sample.carry_out(&what, Found::Intact).await;
        assert_eq!(sample.client.result("later", "completed").await["status"], "SUCCEEDED", "{what}");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let many = names(100..100 + FILLING);
        sample.world.cloud.associate_at(CORE, many.clone(), long_ago);
        sample.client.disassociate("many", &many);
        assert_eq!(sample.client.result("many", "completed").await["status"], "SUCCEEDED", "{what}");
        assert!(many.iter().all(|name| sample.world.disassociations(name) == 1), "{what}");
        assert!(sample.world.is_running(), "{what}");
        // What goes into a file without a name is gone; other damage shows when sled reads.
        if how == "deleted" && ["store/db", "store"].contains(&name) {
            let said = format!("{what}: it says so");
            sample.client.status(&said, |s| store_problems(s) == ["STORE_REPLACED"]).await;
        }
        works(&sample.world, &sample.client, "new", 51).await;
        sample.world.kill_and_forget(&sample.client).await;
        sample.world.start_agent();
        sample.client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
        for token in ["later", "many", "new"] {
            match sample.request(token).await {
                Some(request) => assert_eq!(request["status"], "SUCCEEDED", "{what}: {token} after a restart"),
                None => drop(sample.client.status(&what, |s| store_problems(s) == ["STORE_REPLACED"]).await),
            }
        }
        println!("{what}");
    }
}

/// A registry that is larger than sled's cache, overwritten under the agent that uses it.
#[tokio::test]
async fn damage_under_a_running_agent_is_found_at_the_next_read_and_reported() {
    let mut world = World::new(30_000).await;
    world.set("sync.intervalSeconds", json!(0));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("in sync", |s| s["devices"]["ASSOCIATED"] == 30_000).await;
    // So that the registry has them all.
    assert!(world.stop_agent().0.success());
    client.forget();
    world.start_agent();
    client.status("in sync", |s| s["devices"]["ASSOCIATED"] == 30_000 && s["lastSyncAt"].is_string()).await;
    world.cloud.offline(true);
    client.disassociate("open", &names(0..10));
    client.result("open", "accepted").await;
    let db = world.dir.path().join("data/store/db");
    let length = fs::metadata(&db).unwrap().len() as usize;
    fs::OpenOptions::new().write(true).open(&db).unwrap().write_all_at(&vec![0x5a; length], 0).unwrap();
    let start = Instant::now();
    world.cloud.offline(false);
    client.send("sync", &json!({"clientToken": "s"}));
    let status = client.status("it says so", |s| store_problems(s) == ["STORE_REPLACED"]).await;
    println!("reported {:?} after the next sync was asked for: {}", start.elapsed(), status["problems"]);
    // In the same process, and without a periodic sync.
    assert_eq!(client.result("open", "completed").await["status"], "SUCCEEDED");
    assert!(names(0..10).iter().all(|name| world.disassociations(name) == 1));
    works(&world, &client, "new", 11_000).await;
    assert!(world.is_running());
}

/// Takes away a permission, sees it reported with the path, and gives it back.
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
    assert_eq!(sample.examine(name).await, Found::Intact, "nothing is lost");
    let unknown = answer(&sample.client, "get-request", json!({"targetClientToken": "t"})).await.unwrap_err();
    assert_eq!(unknown["code"], "ResourceNotFoundException", "a rejection is the truth");
    sample.world.kill_and_forget(&sample.client).await;
}

/// sled writes no new file while it needs none; after a checkpoint its next opening does.
#[tokio::test]
async fn a_registry_in_a_directory_without_write_permission_costs_no_accepted_command() {
    let mut sample = Sample::new(FEW).await;
    sample.world.wrapper = obeying_modes();
    let data = sample.copy();
    let set_mode = |mode| fs::set_permissions(data.join("store"), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o500);
    sample.world.start_agent();
    assert_eq!(sample.examine("store 500").await, Found::Intact);
    sample.carry_out("store 500", Found::Intact).await;
    // With a checkpoint at the end. The agent is its wrapper's process.
    sample.client.forget();
    terminate(sample.world.agent.as_ref().unwrap().id());
    until("it stops", || !sample.world.is_running()).await;
    sample.world.agent = None;
    sample.client.status("it has ended", |s| s["state"] == "OFFLINE").await;
    sample.world.start_agent();
    let status = sample.client.status("it says so", |s| store_problems(s) == ["STORE_FAILING"]).await;
    assert!(status["problems"].to_string().contains(&*data.join("store").to_string_lossy()), "{status}");
    set_mode(0o700);
    sample.client.status("it recovers by itself", |s| store_problems(s).is_empty()).await;
    for token in &sample.open {
        assert_eq!(sample.request(token).await.unwrap()["status"], "SUCCEEDED", "{token}");
    }
    works(&sample.world, &sample.client, "new", 40).await;
}

#[tokio::test]
async fn a_missing_permission_is_reported_with_its_path_and_mended_without_a_restart() {
    let mut sample = Sample::new(FEW).await;
    sample.world.wrapper = obeying_modes();
    for (name, mode) in [
        ("", 0),
        ("journal", 0),
        ("journal", 0o400),
        ("journal/segment-0", 0),
        ("journal/segment-0", 0o400),
        ("journal/segment-2", 0),
        ("store", 0),
        ("store", 0o400),
        ("store/db", 0),
        ("store/db", 0o400),
        ("store/conf", 0),
        ("lock", 0),
    ] {
        without_permission(&mut sample, name, mode).await;
    }
}
