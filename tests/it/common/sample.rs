//! Data directories with known contents: acknowledged commands, finished ones in the registry and
//! open ones in the journal. Tests damage copies of one and start an agent on each.

use std::{
    collections::BTreeMap,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::*;

/// Finished commands, and open ones; each of one device.
pub const COMMANDS: usize = 12;

/// What became of the acknowledged commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// All of them are there, with all devices, and no problem is reported.
    Intact,
    /// The open commands are all there; what the registry had is lost, and `status` says so.
    RegistryLost,
    /// Of the open commands some may be lost, and `status` says so.
    JournalDamaged,
}

pub struct Sample {
    pub world: World,
    pub client: Client,
    origin: PathBuf,
    copies: usize,
    done: Vec<String>,
    pub open: Vec<String>,
    pub devices: usize,
}

impl Sample {
    /// Made by an agent that stopped in order, so that the finished commands and the devices are in
    /// the registry, and by another one that was killed, so that the open ones are in the journal
    /// alone.
    pub async fn new(devices: usize) -> Self {
        let (mut world, client) = World::running(devices).await;
        let done: Vec<String> = (0..COMMANDS).map(|n| format!("done-{n}")).collect();
        for (n, token) in done.iter().enumerate() {
            client.disassociate(token, &names(n..n + 1));
        }
        for token in &done {
            client.result(token, "completed").await;
        }
        assert!(world.stop_agent().0.success());
        client.status("it has ended", |s| s["state"] == "OFFLINE").await;
        client.forget();
        world.start_agent();
        client.status("in sync again", |s| s["lastSyncAt"].is_string()).await;
        world.cloud.offline(true);
        let open: Vec<String> = (COMMANDS..2 * COMMANDS).map(|n| format!("open-{n}")).collect();
        for (n, token) in open.iter().enumerate() {
            client.disassociate(token, &names(COMMANDS + n..COMMANDS + n + 1));
            // One by one: each has a group of its own.
            client.result(token, "accepted").await;
        }
        world.kill_and_forget(&client).await;
        let origin = world.dir.path().join("data");
        Self { world, client, origin, copies: 0, done, open, devices }
    }

    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// Another copy, which the next start takes. In the cloud the devices of the open commands are
    /// associated, as they were.
    pub fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let data = self.world.dir.path().join(format!("data-{}", self.copies));
        let status = Command::new("cp").arg("-a").arg(&self.origin).arg(&data).status().unwrap();
        assert!(status.success());
        self.world.set("dataDir", json!(data));
        self.world.cloud.offline(true);
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        self.world.cloud.clear_calls();
        self.world.cloud.associate_at(CORE, names(COMMANDS..2 * COMMANDS), long_ago);
        data
    }

    /// Damages a copy, starts an agent on it, asks for all that was acknowledged, and sees it
    /// carried out.
    pub async fn after(&mut self, what: &str, damage: impl FnOnce(&Path)) -> Found {
        let data = self.copy();
        damage(&data);
        self.world.start_agent();
        let found = self.examine(what).await;
        let (stores, journals) = (kept(&data, "store.damaged-"), kept(&data, "journal.damaged-"));
        match found {
            Found::Intact => assert!(stores.is_empty() && journals.is_empty(), "{what}: {stores:?}, {journals:?}"),
            Found::RegistryLost => {
                assert!(stores.len() == 1 && journals.is_empty(), "{what}: {stores:?}, {journals:?}")
            }
            Found::JournalDamaged => assert!(journals.len() + stores.len() > 0, "{what}: nothing is kept"),
        }
        for path in stores.iter().chain(&journals) {
            assert!(self.world.log().contains(&*path.to_string_lossy()), "{what}: the log names {path:?}");
        }
        self.carry_out(what, found).await;
        self.world.kill_and_forget(&self.client).await;
        println!("{what}: {found:?}");
        found
    }

    /// The request of a token; `None` if it is not known. Asked again while the store is being
    /// opened.
    pub async fn request(&self, token: &str) -> Option<Value> {
        let start = Instant::now();
        loop {
            match answer(&self.client, "get-request", json!({"targetClientToken": token})).await {
                Ok(mut answer) => return Some(answer["request"].take()),
                Err(rejection) if rejection["code"] == "ResourceNotFoundException" => return None,
                Err(rejection) => assert!(start.elapsed() < PATIENCE, "{token}: {rejection}"),
            }
            tokio::time::sleep(LOOK).await;
        }
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

    /// Asks for everything while the cloud is away: an acknowledged command that is missing without
    /// a word in `status` is the one outcome that must never be.
    pub async fn examine(&mut self, what: &str) -> Found {
        self.client.status("it is there", |s| s["state"] == "ONLINE").await;
        let mut missing = [0, 0];
        for (n, tokens) in [&self.done, &self.open].into_iter().enumerate() {
            for token in tokens {
                match self.request(token).await {
                    Some(request) => {
                        assert_eq!(request["status"] == "IN_PROGRESS", n == 1, "{what}: {token}: {request}");
                    }
                    None => missing[n] += 1,
                }
            }
        }
        let devices = self.count_devices().await;
        assert!(self.world.is_running(), "{what}: the agent ended");
        let text = format!("{what}: {missing:?} commands are missing, {devices} of {} devices are there", self.devices);
        if missing == [0, 0] && devices == self.devices {
            // Damage of the journal that costs nothing is reported, too.
            let status = self.client.status(&text, |s| s["state"] == "ONLINE").await;
            match store_problems(&status).as_slice() {
                [] => return Found::Intact,
                problems => assert_eq!(problems, ["STORE_REPLACED"], "{text}"),
            }
        }
        let status = self.client.status(&text, |s| store_problems(s) == ["STORE_REPLACED"]).await;
        let message = status["problems"].to_string();
        let of_journal = message.contains("send them again");
        assert!(of_journal || message.contains("accepted commands are carried out"), "{text}: {message}");
        assert!(of_journal || missing[1] == 0, "{text}: {message}");
        if of_journal { Found::JournalDamaged } else { Found::RegistryLost }
    }

    /// With the cloud back, the open commands are carried out, each once; those that are lost are
    /// sent again. The registry is the cloud's.
    pub async fn carry_out(&mut self, what: &str, found: Found) {
        if found == Found::JournalDamaged {
            for (n, token) in self.open.iter().enumerate() {
                if self.request(token).await.is_none() {
                    self.client.disassociate(token, &names(COMMANDS + n..COMMANDS + n + 1));
                    self.client.result(token, "accepted").await;
                }
            }
        }
        self.world.cloud.offline(false);
        for token in &self.open {
            let completed = self.client.result(token, "completed").await;
            assert_eq!(completed["status"], "SUCCEEDED", "{what}: {completed}");
        }
        for name in names(COMMANDS..2 * COMMANDS) {
            assert_eq!(self.world.disassociations(&name), 1, "{what}: {name}");
        }
        let left = self.world.cloud.associated(CORE).len();
        self.client
            .status(&format!("{what}: the registry is the cloud's"), |s| s["devices"]["ASSOCIATED"] == left)
            .await;
        assert!(self.world.is_running(), "{what}: the agent ended");
    }
}

/// What was put away in the data directory, by the beginning of its name.
pub fn kept(data: &Path, prefix: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let mut kept: Vec<_> =
        names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect();
    kept.sort_unstable();
    kept
}

/// Every file below `dir` with its content.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

/// Every file below `data/<below>`, as paths below the data directory.
pub fn file_names(data: &Path, below: &str) -> Vec<PathBuf> {
    files(&data.join(below)).into_keys().map(|path| path.strip_prefix(data).unwrap().to_path_buf()).collect()
}

/// The last byte of a file that is not zero, and one more.
pub fn used(file: &Path) -> u64 {
    let bytes = fs::read(file).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

pub fn truncate(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

pub fn flip(path: &Path, at: u64, mask: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
}

/// Deletes a file or a directory.
pub fn delete(path: &Path) {
    if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// Groups start at multiples of this, and a header has two copies of this length.
pub const PAGE: u64 = 4096;

/// Where in a header the version of the groups' contents stands, and the oldest version of the
/// format that can read it.
pub const SCHEMA: usize = 40;
pub const OLDEST_READER: usize = 12;

/// Writes to both copies of a segment's header, as a newer version would: at `offset`, little
/// endian.
pub fn rewrite_headers(data: &Path, offset: usize, value: u32) {
    for name in file_names(data, "journal") {
        let mut bytes = fs::read(data.join(&name)).unwrap();
        for at in [0, PAGE as usize] {
            let page = &mut bytes[at..at + PAGE as usize];
            if page.iter().all(|byte| *byte == 0) {
                continue;
            }
            page[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
            let length = u32::from_le_bytes(page[16..20].try_into().unwrap()) as usize;
            let mut crc = crc32fast::Hasher::new();
            crc.update(&page[..20]);
            crc.update(&page[24..length]);
            page[20..24].copy_from_slice(&crc.finalize().to_le_bytes());
        }
        fs::write(data.join(&name), bytes).unwrap();
    }
}
