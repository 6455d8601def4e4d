//! Recordings from the field: a bundle of a run with faults replays to what the agent lists, and
//! what was changed in its files is named.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use offboard::ledger::replay::{Event, Outcome, Step, replay};

use crate::common::*;

/// Makes a bundle, and unpacks it; the directory of its files.
fn bundle(world: &World, name: &str) -> PathBuf {
    unpacked(world, name, begin_bundle(world, name))
}

fn begin_bundle(world: &World, name: &str) -> Child {
    let archive = world.dir.path().join(format!("{name}.tar"));
    let program = product();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(["support-bundle", "--with-journal", "--file"]).arg(&archive).env_clear();
    command.env("OFFBOARD_DATA_DIR", world.config["dataDir"].as_str().unwrap()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

fn unpacked(world: &World, name: &str, making: Child) -> PathBuf {
    let (archive, unpacked) = (world.dir.path().join(format!("{name}.tar")), world.dir.path().join(name));
    let output = making.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("journal, store"), "{said}{output:?}");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    tar::Archive::new(fs::File::open(&archive).unwrap()).unpack(&unpacked).unwrap();
    let left = world.dir.path().join(format!("{name}.tar.recording"));
    assert!(!left.exists(), "the copy beside the archive is removed");
    unpacked.join("offboard-support")
}

/// Another copy of a bundle's files, to be changed.
fn copy(bundle: &Path, name: &str) -> PathBuf {
    let to = bundle.with_file_name(name);
    let status = Command::new("cp").arg("-a").arg(bundle).arg(&to).status().unwrap();
    assert!(status.success());
    to
}

/// Replays a copy of a bundle: the outcome, the steps, and the faults, each with the number of the
/// step before it.
fn replayed(bundle: &Path) -> (Outcome, Vec<Step>, Vec<(u64, String)>) {
    let to = tempfile::tempdir_in(bundle.parent().unwrap()).unwrap();
    for part in ["journal", "store"].into_iter().filter(|part| bundle.join(part).exists()) {
        let status = Command::new("cp").arg("-a").arg(bundle.join(part)).arg(to.path()).status().unwrap();
        assert!(status.success());
    }
    let (mut steps, mut faults): (Vec<Step>, Vec<(u64, String)>) = (Vec::new(), Vec::new());
    let outcome = replay(to.path(), &mut |event| match event {
        Event::Step(step) => steps.push(step),
        Event::Fault(text) => faults.push((steps.last().map_or(0, |step| step.sequence), text)),
        Event::Mark(_) => {}
    })
    .unwrap();
    assert_eq!((outcome.groups, outcome.faults), (steps.len() as u64, faults.len() as u64));
    (outcome, steps, faults)
}

/// All pages of a list, as the agent has it.
async fn listed(client: &Client, operation: &str, member: &str) -> Vec<Value> {
    let (mut all, mut question) = (Vec::new(), json!({"maxResults": 100}));
    loop {
        let mut page = answer(client, operation, question.clone()).await.unwrap();
        all.extend(page[member].take().as_array().unwrap().iter().cloned());
        if page["nextToken"].is_null() {
            return all;
        }
        question["nextToken"] = page["nextToken"].clone();
    }
}

/// The replayed registry is what the agent lists.
async fn assert_is_listed(outcome: &Outcome, client: &Client) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let devices: BTreeMap<String, String> = listed(client, "list-devices", "devices")
        .await
        .iter()
        .map(|device| (text(&device["thingName"]), text(&device["state"])))
        .collect();
    let replayed = outcome.devices.iter().map(|(thing, state)| (thing.to_string(), state.as_str().to_owned()));
    assert_eq!(replayed.collect::<BTreeMap<_, _>>(), devices);
    let requests: BTreeMap<String, String> = listed(client, "list-requests", "requests")
        .await
        .iter()
        .map(|request| (text(&request["clientToken"]), text(&request["status"])))
        .collect();
    let replayed = outcome
        .requests
        .values()
        .filter(|request| request.client.to_string() == "bench")
        .map(|request| (request.token.to_string(), request.tally.status().as_str().to_owned()));
    assert_eq!(replayed.collect::<BTreeMap<_, _>>(), requests);
}

/// A run with kills, entries that fail, a clean stop and an unreachable cloud, whose agent is still
/// running: open requests are in the journal, and finished ones in the registry.
async fn run_with_faults() -> (World, Client) {
    let (mut world, client) = World::running(60).await;
    let failing = Action::EntryErrors {
        things: vec!["d0001".into()],
        code: "AccessDeniedException".into(),
        message: "not yours".into(),
        omit_name: false,
    };
    world.fault(failing, None);
    client.disassociate("some", &names(0..5));
    client.result("some", "completed").await;
    world.cloud.clear_faults();
    world.fault(Action::Hang, None);
    client.disassociate("hangs", &names(5..8));
    client.result("hangs", "accepted").await;
    until("the call hangs", || world.cloud.count(Operation::Disassociate) == 2).await;
    world.kill_and_forget(&client).await;
    world.cloud.clear_faults();
    world.start_agent();
    client.result("hangs", "completed").await;
    client.disassociate("done", &names(8..20));
    client.result("done", "completed").await;
    assert!(world.stop_agent().0.success());
    client.status("it has ended", |s| s["state"] == "OFFLINE").await;
    client.forget();
    world.start_agent();
    client.status("in sync again", |s| s["lastSyncAt"].is_string()).await;
    world.cloud.offline(true);
    for n in 0..6 {
        client.disassociate(&format!("open-{n}"), &names(20 + n..21 + n));
        client.result(&format!("open-{n}"), "accepted").await;
    }
    world.kill_and_forget(&client).await;
    world.start_agent();
    client.status("it is there", |s| s["state"] == "ONLINE" && s["openRequests"] == 6).await;
    client.disassociate("last", &names(30..32));
    client.result("last", "accepted").await;
    (world, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_of_a_run_with_faults_replays_to_what_the_agent_lists() {
    let (world, client) = run_with_faults().await;
    let bundle = bundle(&world, "bundle");
    let about = fs::read_to_string(bundle.join("recording.txt")).unwrap();
    assert_eq!(about, "journal and store are of one moment\n");
    let (outcome, steps, faults) = replayed(&bundle);
    assert_eq!(faults, []);
    assert_eq!(outcome.owner, format!("{CORE} eu-central-1"));
    assert_is_listed(&outcome, &client).await;
    // What happened, and why.
    let said = |cause: &str, text: &str| {
        let found = steps
            .iter()
            .find(|step| step.causes.contains(&cause) && step.changes.iter().any(|change| change.contains(text)));
        assert!(found.is_some(), "{cause}: {text}");
        found.unwrap().sequence
    };
    let accepted =
        said("a command was accepted", "disassociate-client-devices by bench via mqtt, token hangs, 3 entries");
    let sent =
        said("a call is made", "d0005: is sent by greengrass:BatchDisassociateClientDeviceFromCoreDevice, attempt 1");
    let ended = said("entries ended", "(d0005) succeeded");
    assert!(accepted <= sent && sent < ended, "{accepted} {sent} {ended}");
    said("entries ended", "(d0001) failed: AccessDeniedException: not yours");
    said("a request ended", "PARTIALLY_SUCCEEDED");
    said("the agent started", "run 4");
    said("a message was delivered", "is delivered");
    assert!(steps.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert!(steps.iter().any(|step| step.at.is_some()), "the cloud confirmed the clock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_is_made_while_the_agent_works_is_whole() {
    let _busy = groups::busy();
    let (world, client) = World::running(400).await;
    let mut bundles = Vec::new();
    for round in 0..4 {
        let name = format!("bundle-{round}");
        let making = begin_bundle(&world, &name);
        // Each command has a group of its own, so that segments of 2 MiB fill and checkpoints are
        // written meanwhile.
        for n in 0..250 {
            let token = format!("t-{round}-{n}");
            client.disassociate(&token, &names(n..n + 1));
            client.result(&token, "accepted").await;
            client.forget();
        }
        let made = unpacked(&world, &name, making);
        bundles.push(made);
    }
    for bundle in bundles {
        let (_, _, faults) = replayed(&bundle);
        assert_eq!(faults, [], "{}", bundle.display());
    }
}

#[tokio::test]
async fn a_data_directory_without_an_agent_is_recorded_too() {
    let (mut world, client) = World::running(5).await;
    client.disassociate("t", &names(0..2));
    client.result("t", "completed").await;
    world.kill();
    let bundle = bundle(&world, "bundle");
    assert!(bundle.join("no-agent.txt").exists());
    let (outcome, _, faults) = replayed(&bundle);
    assert_eq!((faults.len(), outcome.devices.len(), outcome.requests.len()), (0, 5, 1));
}

/// A frame of a segment: its offset, its kind, its index, up to which one all were durable when it
/// was written, its group and the bytes of its payload.
struct Frame {
    offset: usize,
    kind: u32,
    index: u64,
    synced: u64,
    sequence: u64,
    length: usize,
}

const PAGE: usize = 4096;
const HEAD: usize = 56;

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// The newest segment's file, and its frames that count.
fn newest(bundle: &Path) -> (PathBuf, Vec<u8>, Vec<Frame>) {
    let files = fs::read_dir(bundle.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.map(|path| (fs::read(&path).unwrap(), path));
    let (bytes, path) = files.max_by_key(|(bytes, _)| u64::from_le_bytes(number(bytes, 64))).unwrap();
    let mut frames: Vec<Frame> = Vec::new();
    let mut offset = 2 * PAGE;
    while offset < bytes.len() {
        let is_frame = bytes[offset..].starts_with(b"ofgr") && bytes[offset + 8..offset + 24] == bytes[56..72];
        let index = u64::from_le_bytes(number(&bytes, offset + 24));
        if !is_frame || frames.last().is_some_and(|last| last.index >= index) {
            break;
        }
        let length = u32::from_le_bytes(number(&bytes, offset + 52)) as usize;
        frames.push(Frame {
            offset,
            kind: u32::from_le_bytes(number(&bytes, offset + 4)),
            index,
            synced: u64::from_le_bytes(number(&bytes, offset + 32)),
            sequence: u64::from_le_bytes(number(&bytes, offset + 40)),
            length,
        });
        offset += (HEAD + length + 4).div_ceil(PAGE) * PAGE;
    }
    (path, bytes, frames)
}

/// Replaces a text in the payload of a frame by one of the same length, and makes its checksum
/// right.
fn plant(bytes: &mut [u8], frame: &Frame, old: &str, new: &str) {
    let end = frame.offset + HEAD + frame.length;
    let payload = &mut bytes[frame.offset + HEAD..end];
    let at = payload.windows(old.len()).position(|part| part == old.as_bytes());
    let at = at.unwrap_or_else(|| panic!("{old} is not in {}", String::from_utf8_lossy(payload)));
    payload[at..at + new.len()].copy_from_slice(new.as_bytes());
    let crc = crc32fast::hash(&bytes[frame.offset..end]);
    bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The place among them of the last group behind which a later frame says that the next one was
/// durable: without that it may be the torn end of a crash, which is no fault.
fn in_the_middle(frames: &[Frame]) -> usize {
    // A frame of another kind, such as that of a start, says which frames before it count.
    let first = frames.iter().rposition(|frame| frame.kind != 1).map_or(0, |other| other + 1);
    let is_durable = |n: &usize| frames[n + 2..].iter().any(|later| later.synced > frames[*n].index);
    (first..frames.len() - 2).rev().find(is_durable).expect("the run has synced groups")
}

/// The last group with that text in its payload.
fn last_with<'f>(bytes: &[u8], frames: &'f [Frame], text: &str) -> &'f Frame {
    let has = |frame: &&Frame| {
        let payload = &bytes[frame.offset + HEAD..frame.offset + HEAD + frame.length];
        frame.kind == 1 && payload.windows(text.len()).any(|part| part == text.as_bytes())
    };
    frames.iter().rev().find(has).unwrap_or_else(|| panic!("{text} is in no frame"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_files_is_named() {
    let (mut world, client) = run_with_faults().await;
    client.disassociate("more", &names(32..33));
    client.result("more", "accepted").await;
    world.kill();
    let origin = bundle(&world, "bundle");
    assert_eq!(replayed(&origin).2, []);

    // A total of the last group, with a right checksum.
    let changed = copy(&origin, "total");
    let (path, mut bytes, frames) = newest(&changed);
    let frame = frames.last().unwrap();
    plant(&mut bytes, frame, "\"q\":8", "\"q\":7");
    fs::write(path, bytes).unwrap();
    let faults = replayed(&changed).2;
    assert_eq!(faults, [(frame.sequence, "open requests: 7 by the totals, 8 by the objects".to_owned())]);

    // An object of the last groups: an entry that ended without the totals knowing of it.
    let changed = copy(&origin, "entry");
    let (path, mut bytes, frames) = newest(&changed);
    let frame = last_with(&bytes, &frames, "{\"o\":\"dd0032\"}");
    assert_eq!(frame.index, frames.last().unwrap().index, "no other frame names the checksum of this one");
    plant(&mut bytes, frame, "{\"o\":\"dd0032\"}", "{\"o\":\"dd0033\"}");
    fs::write(path, bytes).unwrap();
    let faults = replayed(&changed).2;
    let named = faults.iter().any(|(at, text)| *at == frame.sequence && text.contains("d0032"));
    assert!(named, "{faults:?}");

    // A frame in the middle, with a right checksum: the next one names another.
    let changed = copy(&origin, "middle");
    let (path, mut bytes, frames) = newest(&changed);
    let middle = in_the_middle(&frames);
    plant(&mut bytes, &frames[middle], "\"q\":", "\"Q\":");
    let segment = path.file_name().unwrap().to_str().unwrap().to_owned();
    let next = frames[middle + 1].offset;
    fs::write(path, bytes).unwrap();
    let faults = replayed(&changed).2;
    let place = format!("{segment} at byte {next}");
    assert!(faults.iter().any(|(_, text)| text.contains(&place)), "{place}: {faults:?}");

    // A frame whose checksum does not hold.
    let changed = copy(&origin, "torn");
    let (path, mut bytes, frames) = newest(&changed);
    let frame = &frames[in_the_middle(&frames)];
    bytes[frame.offset + HEAD] ^= 1;
    fs::write(path, bytes).unwrap();
    let faults = replayed(&changed).2;
    let place = format!("{segment} at byte {}", frame.offset);
    assert!(faults.iter().any(|(_, text)| text.contains(&place)), "{place}: {faults:?}");
}

/// Changes the registry of a bundle's copy.
fn change_rows(bundle: &Path, change: impl FnOnce(&sled::Db)) {
    let db = sled::Config::new().path(bundle.join("store")).segment_size(1 << 20).open().unwrap();
    change(&db);
    db.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_contradicts_the_journal_is_named() {
    let (mut world, _client) = run_with_faults().await;
    world.kill();
    let origin = bundle(&world, "bundle");
    let replace = |db: &sled::Db, key: &[u8], old: &str, new: &str| {
        let row = db.get(key).unwrap().unwrap().to_vec();
        let at = row.windows(old.len()).position(|part| part == old.as_bytes()).unwrap();
        let row = [&row[..at], new.as_bytes(), &row[at + old.len()..]].concat();
        db.insert(key, row).unwrap();
    };

    let changed = copy(&origin, "device");
    change_rows(&changed, |db| replace(db, b"dd0010", "\"r\":\"D\"", "\"r\":\"A\""));
    let faults = replayed(&changed).2;
    let has = |text: &str| faults.iter().any(|(_, fault)| fault.contains(text));
    assert!(
        has("registry, device d0010: device.registered is Associated in its row and Disassociated, by group"),
        "{faults:?}"
    );
    assert!(has("ASSOCIATED: ") && has("by the totals"), "{faults:?}");

    let changed = copy(&origin, "token");
    change_rows(&changed, |db| {
        let key = [&b"t\0\x05bench"[..], b"done"].concat();
        db.remove(key).unwrap().unwrap();
    });
    let faults = replayed(&changed).2;
    assert!(faults.iter().any(|(_, text)| text.contains("there is no row of its token done")), "{faults:?}");

    let changed = copy(&origin, "request");
    change_rows(&changed, |db| {
        let row = db
            .scan_prefix(b"r")
            .map(Result::unwrap)
            .find(|(_, row)| row.windows(11).any(|part| part == b"\"t\":\"hangs\""));
        db.remove(row.unwrap().0).unwrap().unwrap();
    });
    let faults = replayed(&changed).2;
    assert!(
        faults.iter().any(|(_, text)| text.contains("(hangs): it ended by the journal, and has no row")),
        "{faults:?}"
    );

    let gone = copy(&origin, "gone");
    fs::remove_dir_all(gone.join("store")).unwrap();
    let faults = replayed(&gone).2;
    assert!(faults.iter().any(|(_, text)| text.contains("all of its rows are gone")), "{faults:?}");
}
