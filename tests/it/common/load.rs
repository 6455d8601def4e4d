//! A load of commands over an agent that is killed again and again, and what has to hold at its
//! end: no accepted command is lost, no success is reported that the cloud does not have, each
//! command has one outcome, and every device is disassociated once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::*;

/// Commands that a round sends, and their devices.
pub const SMALL: usize = 3;
const SMALL_DEVICES: usize = 2;
/// Several calls.
const LARGE_DEVICES: usize = 300;
/// Twice as many are enough for a segment of the journal: a checkpoint begins.
const FILLING_DEVICES: usize = 4000;
/// A round in so many has a large one.
pub const LARGE_EVERY: usize = 20;

pub struct Load {
    pub world: World,
    pub client: Client,
    pub random: fastrand::Rng,
    pub rounds: usize,
    pub seed: u64,
    started: Instant,
    /// The devices of each command.
    commands: Vec<Vec<String>>,
    devices: usize,
    accepted: BTreeSet<usize>,
    completed: BTreeMap<usize, Vec<Value>>,
    rejected: usize,
    /// Results that have come.
    results: usize,
}

impl Load {
    /// A world for `OFFBOARD_ROUNDS` rounds, or 10; no agent yet. The random choices are the
    /// seed's.
    pub async fn new() -> Self {
        Self::with(seed::rounds(10)).await
    }

    pub async fn with(rounds: usize) -> Self {
        let seed = seed::seed();
        let mut world = World::new(0).await;
        // So that each start has something to forget.
        world.set("retention.tombstonesDays", json!(0));
        let client = world.client("bench").await;
        // The broker keeps commands for an agent that was there once.
        world.start_agent();
        client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
        world.kill();
        Self {
            world,
            client,
            random: fastrand::Rng::with_seed(seed),
            rounds,
            seed,
            started: Instant::now(),
            commands: Vec::new(),
            devices: 0,
            accepted: BTreeSet::new(),
            completed: BTreeMap::new(),
            rejected: 0,
            results: 0,
        }
    }

    /// Sends a round's commands, whether anybody is there or not, and a question; half of the time
    /// a call goes wrong.
    pub fn send_round(&mut self, round: usize) {
        let mut sizes = vec![SMALL_DEVICES; SMALL];
        if round.is_multiple_of(LARGE_EVERY) {
            sizes.push(LARGE_DEVICES);
        }
        sizes.into_iter().for_each(|size| self.send_command(size));
        self.client.send("list-requests", &json!({"clientToken": "question", "maxResults": 3}));
        let fault = match self.random.u8(0..6) {
            0 => Action::CutBefore,
            1 => Action::CutAfter,
            2 => Action::EmptyOk,
            _ => return,
        };
        self.world.fault(fault, Some(1));
    }

    /// Sends commands whose groups fill a segment of the journal until they have ended: one command
    /// has not room for so many names.
    pub fn send_filling(&mut self) {
        self.send_command(FILLING_DEVICES);
        self.send_command(FILLING_DEVICES);
    }

    fn send_command(&mut self, size: usize) {
        let devices = names(self.devices..self.devices + size);
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        self.world.cloud.associate_at(CORE, devices.clone(), long_ago);
        // A list has several pages, and not thousands.
        let listed = self.world.cloud.associated(CORE).len();
        self.world.cloud.set_page_size(Some(4.max(listed / 50)));
        self.commands.push(devices);
        self.devices += size;
        self.send(self.commands.len() - 1);
    }

    fn send(&self, n: usize) {
        self.client.disassociate(&format!("t{n}"), &self.commands[n]);
    }

    /// Takes in the results that have come. None reports a success that the cloud does not have at
    /// that moment.
    pub fn look(&mut self) {
        for message in self.client.take() {
            let token = message.body["clientToken"].as_str().unwrap_or_default();
            let Some(n) = token.strip_prefix('t').and_then(|n| n.parse::<usize>().ok()) else { continue };
            self.results += 1;
            match message.topic.rsplit('/').next() {
                Some("accepted") => {
                    self.accepted.insert(n);
                }
                Some("completed") => {
                    assert_eq!(message.body["status"], "SUCCEEDED", "t{n}, seed {}: {}", self.seed, message.body);
                    for name in &self.commands[n] {
                        assert_eq!(
                            self.world.disassociations(name),
                            1,
                            "t{n} is completed, {name} is not disassociated; seed {}",
                            self.seed
                        );
                    }
                    self.completed.entry(n).or_default().push(message.body);
                }
                Some("rejected") => self.rejected += 1,
                _ => {}
            }
        }
    }

    /// Waits for so many more answers: a round by itself has an `accepted` and a `completed` a
    /// command.
    pub async fn until_results(&mut self, more: usize) {
        let (start, wanted) = (Instant::now(), self.results + more);
        while self.results < wanted {
            assert!(start.elapsed() < PATIENCE, "{} are not completed; seed {}", self.missing(), self.seed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.look();
        }
    }

    /// Waits until all that was sent is completed, or the agent has died; says whether it has.
    pub async fn settle_or_die(&mut self) -> bool {
        let start = Instant::now();
        loop {
            self.look();
            if !self.world.is_running() {
                return true;
            }
            if self.completed.len() == self.commands.len() {
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "{} are not completed; seed {}", self.missing(), self.seed);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all is completed if that is true of too little: after a start, what an earlier
    /// run sent waits for the first list, and lives that are too short complete nothing. Then the
    /// open entries, and the devices of the list, would reach the agent's limits.
    pub async fn catch_up(&mut self) {
        self.look();
        let open: usize = self.open().map(|n| self.commands[n].len()).sum();
        if open > 2 * FILLING_DEVICES {
            assert!(!self.settle_or_die().await, "it ended by itself; seed {}", self.seed);
        }
    }

    /// Commands that are not completed.
    fn open(&self) -> impl Iterator<Item = usize> {
        (0..self.commands.len()).filter(|n| !self.completed.contains_key(n))
    }

    fn missing(&self) -> String {
        let state = |n: usize| if self.accepted.contains(&n) { "accepted" } else { "unanswered" };
        self.open().map(|n| format!("t{n} ({})", state(n))).collect::<Vec<_>>().join(", ")
    }

    /// With an agent running: all is completed in the end, and holds together. `kills` is for the
    /// figures.
    pub async fn finish(mut self, kills: usize) {
        self.look();
        // The broker keeps what it has acknowledged; a sender that has seen no answer sends again
        // all the same.
        let unanswered: Vec<usize> = (0..self.commands.len()).filter(|n| !self.accepted.contains(n)).collect();
        unanswered.iter().for_each(|n| self.send(*n));
        let accepted_before = self.accepted.len();
        let seed = self.seed;
        assert!(!self.settle_or_die().await, "it ended by itself; seed {seed}");
        let ended = self.client.ask("list-requests", json!({"status": "IN_PROGRESS"})).await;
        assert_eq!(ended["requests"], json!([]), "seed {seed}");
        self.look();
        for (n, results) in &self.completed {
            assert!(results.iter().all(|one| *one == results[0]), "t{n} ended in two ways: {results:?}, seed {seed}");
        }
        let all = names(0..self.devices);
        assert!(all.iter().all(|name| self.world.disassociations(name) == 1), "seed {seed}");
        let left = self.world.cloud.associated(CORE);
        assert!(all.iter().all(|name| !left.contains_key(name)), "seed {seed}");
        let results: usize = self.completed.values().map(Vec::len).sum();
        println!(
            "{} rounds, {kills} kills, {} commands of {} devices: {accepted_before} accepted during the kills and none \
             lost, {} completed, {} results repeated, {} rejected; {:.0?}",
            self.rounds,
            self.commands.len(),
            self.devices,
            self.completed.len(),
            results - self.completed.len(),
            self.rejected,
            self.started.elapsed(),
        );
    }
}
