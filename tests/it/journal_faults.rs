//! Damage of the journal: the agent runs, everything before and behind the damage counts, and
//! `status` says that commands may be lost. A lost command is accepted when it is sent again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::common::{
    sample::{
        COMMANDS, Found, OLDEST_READER, PAGE, SCHEMA, Sample, delete, file_names, files, flip, kept, rewrite_headers,
        truncate, used,
    },
    seed::{rounds, seed},
    *,
};

const FEW: usize = 60;

/// Flipped bits, each a start of the agent, unless OFFBOARD_ROUNDS says otherwise.
const FLIPS: usize = 8;

/// The segment that was written last, by its path in the data directory, and the bytes of it in
/// use.
fn current(data: &Path) -> (PathBuf, u64) {
    let header =
        |name: &PathBuf| fs::read(data.join(name)).unwrap()[64..72].try_into().map(u64::from_le_bytes).unwrap();
    let name = file_names(data, "journal").into_iter().max_by_key(header).unwrap();
    let used = used(&data.join(&name));
    (name, used)
}

/// The pages of a segment in which groups begin: where a group was accepted, `open-<n>` stands in
/// it.
fn page_of(data: &Path, segment: &Path, token: &str) -> u64 {
    let bytes = fs::read(data.join(segment)).unwrap();
    let wanted = format!("\"{token}\"");
    let at = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes()).expect("the command's group");
    at as u64 / PAGE * PAGE
}

/// The command in the damaged group is lost; those before and behind it are not.
#[tokio::test]
async fn a_flipped_bit_amid_the_journal_costs_what_stood_there_alone() {
    let mut sample = Sample::new(FEW).await;
    let (segment, _) = current(sample.origin());
    let page = page_of(sample.origin(), &segment, "open-15");
    let data = sample.copy();
    flip(&data.join(&segment), page + 200, 0x10);
    sample.world.start_agent();
    assert_eq!(sample.examine("a group flipped").await, Found::JournalDamaged);
    for token in sample.open.clone() {
        assert_eq!(sample.request(&token).await.is_some(), token != "open-15", "{token}");
    }
    let copies = kept(&data, "journal.damaged-");
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert!(kept(&data, "store.damaged-").is_empty(), "the registry has nothing to do with it");
    let status = sample.client.status("it says so", |s| store_problems(s) == ["STORE_REPLACED"]).await;
    let message = status["problems"].to_string();
    for part in [
        "the journal",
        "send them again",
        &*segment.file_name().unwrap().to_string_lossy(),
        &*copies[0].to_string_lossy(),
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("Finished requests"), "these are in the registry: {message}");
    sample.carry_out("a group flipped", Found::JournalDamaged).await;
    // It is reported as long as the copy is kept, and not copied again.
    for _ in 0..2 {
        sample.world.kill_and_forget(&sample.client).await;
        sample.world.start_agent();
        sample.client.status("it is still reported", |s| store_problems(s) == ["STORE_REPLACED"]).await;
        assert_eq!(kept(&data, "journal.damaged-"), copies);
    }
    // Also after a checkpoint: the damaged segment is not read any more.
    assert!(sample.world.stop_agent().0.success());
    sample.client.status("it has ended", |s| s["state"] == "OFFLINE").await;
    sample.client.forget();
    sample.world.start_agent();
    sample.client.status("it is still reported", |s| store_problems(s) == ["STORE_REPLACED"]).await;
    sample.world.kill_and_forget(&sample.client).await;
    fs::remove_dir_all(&copies[0]).unwrap();
    sample.world.start_agent();
    sample.client.status("it is back", |s| s["lastSyncAt"].is_string()).await;
    sample.client.status("it is over", |s| store_problems(s).is_empty()).await;
    works(&sample.world, &sample.client, "new", 50).await;
}

/// A disk that has no room for the copy: the agent runs on, and says it all the same.
#[tokio::test]
async fn damage_is_reported_although_no_copy_can_be_kept() {
    let mut sample = Sample::new(FEW).await;
    let (segment, _) = current(sample.origin());
    let page = page_of(sample.origin(), &segment, "open-15");
    let data = sample.copy();
    flip(&data.join(&segment), page + 200, 0x10);
    // A file in the way of the copy.
    fs::write(data.join("journal.copy.new"), "in the way").unwrap();
    sample.world.start_agent();
    assert_eq!(sample.examine("no copy").await, Found::JournalDamaged);
    assert!(kept(&data, "journal.damaged-").is_empty());
    sample.carry_out("no copy", Found::JournalDamaged).await;
}

#[tokio::test]
async fn flipped_bits_in_the_journal_lose_no_command_silently() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let flips = rounds(FLIPS);
    let mut sample = Sample::new(FEW).await;
    let (segment, _) = current(sample.origin());
    // The last group that was acknowledged cannot be distinguished from one that was torn by a
    // crash.
    let last = page_of(sample.origin(), &segment, &format!("open-{}", 2 * COMMANDS - 1));
    let bytes = fs::read(sample.origin().join(&segment)).unwrap();
    let mut damaged = 0;
    for _ in 0..flips {
        let at = loop {
            let at = random.u64(0..last);
            if bytes[at as usize] != 0 {
                break at;
            }
        };
        let mask = 1 << random.u8(0..8);
        let what = format!("bit {mask:#04x} of byte {at} flipped, {last} in use, seed {seed}");
        let found = sample.after(&what, |data| flip(&data.join(&segment), at, mask)).await;
        assert_ne!(found, Found::RegistryLost, "{what}");
        damaged += usize::from(found == Found::JournalDamaged);
    }
    assert!(damaged > 0, "no flip hit anything, seed {seed}");
}

#[tokio::test]
async fn a_segment_that_is_cut_or_empty_or_missing_loses_no_command_silently() {
    let mut sample = Sample::new(FEW).await;
    let (current, used) = current(sample.origin());
    for name in file_names(sample.origin(), "journal") {
        let is_current = name == current;
        for length in [0, 1, PAGE, 2 * PAGE, used / 2, used - PAGE] {
            let what = format!("{} cut to {length}, current: {is_current}", name.display());
            let found = sample.after(&what, |data| truncate(&data.join(&name), length)).await;
            assert_eq!(found, if is_current { Found::JournalDamaged } else { Found::Intact }, "{what}");
        }
        let what = format!("{} missing, current: {is_current}", name.display());
        let found = sample.after(&what, |data| delete(&data.join(&name))).await;
        assert_eq!(found, if is_current { Found::JournalDamaged } else { Found::Intact }, "{what}");
    }
}

#[tokio::test]
async fn a_journal_that_is_missing_or_garbage_is_reported() {
    let mut sample = Sample::new(FEW).await;
    let missing = sample.after("no journal", |data| delete(&data.join("journal"))).await;
    assert_eq!(missing, Found::JournalDamaged);
    let empty = sample.after("an empty journal", |data| {
        delete(&data.join("journal"));
        fs::create_dir(data.join("journal")).unwrap();
    });
    assert_eq!(empty.await, Found::JournalDamaged);
    let garbage = sample.after("garbage", |data| {
        for name in file_names(data, "journal") {
            let length = fs::metadata(data.join(&name)).unwrap().len();
            fs::write(data.join(&name), vec![0x5a; length as usize]).unwrap();
        }
    });
    assert_eq!(garbage.await, Found::JournalDamaged);
    let both = sample.after("garbage, and no registry", |data| {
        for name in file_names(data, "journal") {
            fs::write(data.join(&name), vec![0x5a; 2 << 20]).unwrap();
        }
        delete(&data.join("store"));
    });
    assert_eq!(both.await, Found::JournalDamaged);
}

/// Somebody deletes files under a running agent: what is open is in memory, and goes on.
#[tokio::test]
async fn a_journal_that_is_deleted_under_the_agent_costs_no_accepted_command() {
    for name in ["journal/segment-0", "journal/segment-1", "journal", ""] {
        let what = format!("{name:?} deleted");
        let mut sample = Sample::new(FEW).await;
        let data = sample.copy();
        sample.world.start_agent();
        assert_eq!(sample.examine(&what).await, Found::Intact);
        delete(&data.join(name));
        // Whether this one is taken or not, nothing is acknowledged in a file that is gone.
        let mut taken = Vec::new();
        for n in 0..5 {
            let token = format!("later-{n}");
            sample.client.disassociate(&token, &names(40 + n..41 + n));
            let is_taken = sample
                .client
                .wait(&format!("{what}: {token} is answered"), |m| {
                    (m.body["clientToken"] == token.as_str()).then(|| m.topic.ends_with("/accepted"))
                })
                .await;
            if is_taken {
                taken.push((token, n));
            }
        }
        assert!(!taken.is_empty(), "{what}: it goes on");
        sample.world.kill_and_forget(&sample.client).await;
        sample.world.start_agent();
        for token in sample.open.iter().chain(taken.iter().map(|(token, _)| token)) {
            assert!(sample.request(token).await.is_some(), "{what}: {token} was acknowledged and is gone");
        }
        sample.carry_out(&what, Found::Intact).await;
        for (token, n) in &taken {
            assert_eq!(sample.client.result(token, "completed").await["status"], "SUCCEEDED", "{what}");
            assert_eq!(sample.world.disassociations(&names(40 + n..41 + n)[0]), 1, "{what}");
        }
        println!("{what}: {} of 5 taken at once", taken.len());
    }
}

#[tokio::test]
async fn a_newer_store_is_left_untouched_and_commands_are_rejected() {
    let mut sample = Sample::new(FEW).await;
    // The schema of what is in the groups; the oldest version that reads the groups' format.
    for (what, offset) in [("schema", SCHEMA), ("format", OLDEST_READER)] {
        let data = sample.copy();
        rewrite_headers(&data, offset, 1000);
        let _ = fs::remove_file(data.join("lock"));
        let before = files(&data);
        sample.world.start_agent();
        let status = sample.client.status("it says so", |s| store_problems(s) == ["STORE_TOO_NEW"]).await;
        assert!(status["problems"].to_string().contains("install that version"), "{what}: {status}");
        sample.client.disassociate("t", &names(0..1));
        let rejection = sample.client.result("t", "rejected").await;
        assert_eq!(rejection["code"], "InternalServerException");
        assert!(sample.world.is_running());
        sample.world.kill_and_forget(&sample.client).await;
        let _ = fs::remove_file(data.join("lock"));
        assert!(files(&data) == before, "{what}: the store was touched");
    }
}
