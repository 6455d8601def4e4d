//! A core device of the fleet: the whole agent with its parts on both sides of the ledger, a broker
//! that never fails, and one client of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{AsyncClient, Publish, QoS, Request};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{
    cloud::{Account, BEGIN, CoreCloud, Millis},
    disk::CoreDisk,
};
use crate::{
    agent::{Parts, supervisor::Supervisor},
    config::{self, Config},
    domain::Via,
    health::Health,
    ledger::{Ledger, Rules},
    local::broker::{Intake, Publisher},
    runtime::{clock::Clock, stop},
};

/// The token of a broadcast.
const BROADCAST: &str = "broadcast";

/// A command that a client sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) core: usize,
    pub(super) at: Millis,
    /// When the client had `completed`.
    pub(super) completed: Option<Millis>,
    pub(super) failed: u64,
}

/// What the core devices share: the cloud, the clock, and what the clients heard.
pub(super) struct World {
    pub(super) account: Arc<Account>,
    zero: Instant,
    wall: Arc<AtomicI64>,
    /// By token; a broadcast by its token and the core device that has to respond.
    pub(super) commands: Mutex<BTreeMap<String, Asked>>,
}

impl World {
    pub(super) fn new(account: Account) -> Arc<Self> {
        let wall = Arc::new(AtomicI64::new(BEGIN));
        Arc::new(Self { account: Arc::new(account), zero: Instant::now(), wall, commands: Mutex::default() })
    }

    pub(super) fn now(&self) -> Millis {
        self.account.now()
    }

    /// A message of an agent to a client.
    fn hears(&self, topic: &str, payload: &[u8]) {
        let Some((core, _)) = topic.split_once("/results/") else { return };
        let body: Value = serde_json::from_slice(payload).unwrap();
        let now = self.now();
        let token = match body["clientToken"].as_str().unwrap() {
            BROADCAST => format!("{BROADCAST} {core}"),
            token => token.to_owned(),
        };
        let mut commands = self.commands.lock().unwrap();
        let asked = commands.get_mut(&token).unwrap_or_else(|| panic!("{topic} has a response to no command"));
        if !topic.ends_with("/completed") {
            return;
        }
        asked.completed.get_or_insert(now);
        asked.failed = body["failedCount"].as_u64().unwrap();
    }
}

/// The configuration of a core device: the defaults, but for `settings`.
pub(super) fn configuration(name: &str, settings: &Value) -> Config {
    let mut text = json!({"coreThingName": name, "region": "eu-central-1", "mqtt": {"url": "mqtt://simulated"}});
    for (key, value) in settings.as_object().unwrap() {
        text[key] = value.clone();
    }
    config::parse(&text.to_string(), |_| None).unwrap().0
}

/// A core device, whether its agent runs or not.
pub(super) struct Core {
    world: Arc<World>,
    index: usize,
    config: Config,
    pub(super) disk: CoreDisk,
    life: Option<Life>,
}

/// A run of the agent. Its tasks end when it is dropped, as if the process were killed.
struct Life {
    _tasks: JoinSet<()>,
    _parts: [Supervisor; 2],
    _stops: [stop::Stopper; 2],
    intake: Intake,
    publisher: Arc<Publisher>,
    health: Arc<Health>,
}

impl Core {
    pub(super) fn new(world: &Arc<World>, index: usize, config: Config) -> Self {
        let disk = CoreDisk::new(format!("{} {}", config.core, config.region));
        Self { world: Arc::clone(world), index, config, disk, life: None }
    }

    /// Starts the agent.
    pub(super) fn start(&mut self) {
        let config = self.config.clone();
        let clock = Clock::simulated(self.world.zero, Arc::clone(&self.world.wall));
        let mut tasks = JoinSet::new();
        let (mut calls, mut results) = (Supervisor::default(), Supervisor::default());
        let (ledger, committer) =
            Ledger::simulate(self.disk.clone(), Rules::from(&config), clock.clone(), || Duration::from_millis(1));
        tasks.spawn(committer);
        let health = Health::new(clock.clone());
        let account = Arc::clone(&self.world.account);
        let cloud = CoreCloud { account, core: self.index, health: Arc::clone(&health), clock: clock.clone() };
        let topics = config.topics();
        let (sender, requests) = flume::bounded(1 << 16);
        let max_payload = config.limits.max_payload_bytes;
        let (intake, wired) = Intake::new(AsyncClient::from_senders(sender), Via::Mqtt, topics.clone(), max_payload);
        let publisher = Arc::clone(&wired.publisher);
        let started_at = clock.now().wall;
        let parts = Parts { config, clock, ledger, health: Arc::clone(&health), cloud: Arc::new(cloud), started_at };
        let (stop_calls, calls_stop) = stop::channel();
        let (stop_results, results_stop) = stop::channel();
        parts.start_cloud(&mut calls, &calls_stop);
        parts.start_line(Via::Mqtt, wired, topics.clone(), &mut calls, &mut results, (&calls_stop, &results_stop));
        tasks.spawn(broker(Arc::clone(&self.world), Arc::clone(&publisher), requests));
        publisher.up(true, &topics.commands());
        self.life = Some(Life {
            _tasks: tasks,
            _parts: [calls, results],
            _stops: [stop_calls, stop_results],
            intake,
            publisher,
            health,
        });
    }

    /// Ends the agent where it is.
    pub(super) fn kill(&mut self) {
        self.life = None;
    }

    /// A client disassociates devices. The command gets the token `token`.
    pub(super) fn disassociate<'n>(&self, token: &str, names: impl Iterator<Item = &'n String>) {
        self.expect(token);
        self.receive(self.config.core.as_str(), token, names);
    }

    /// A client's broadcast for a device arrives, to which this core device responds if `knows` is
    /// set.
    pub(super) fn hear_broadcast(&self, device: &String, knows: bool) {
        if knows {
            self.expect(&format!("{BROADCAST} offboard/{}", self.config.core));
        }
        self.receive("all", BROADCAST, std::iter::once(device));
    }

    fn expect(&self, token: &str) {
        let asked = Asked { core: self.index, at: self.world.now(), completed: None, failed: 0 };
        self.world.commands.lock().unwrap().insert(token.to_owned(), asked);
    }

    fn receive<'n>(&self, level: &str, token: &str, names: impl Iterator<Item = &'n String>) {
        let entries: Vec<Value> = names.map(|name| json!({"thingName": name})).collect();
        let payload = json!({"clientToken": token, "entries": entries}).to_string();
        let topic = format!("offboard/{level}/commands/bench/disassociate-client-devices");
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, Bytes::from(payload));
        publish.pkid = 1;
        let life = self.life.as_ref().unwrap();
        assert!(life.intake.take(life.publisher.connection_state().borrow().epoch, publish, None));
    }

    /// When the agent last read a complete list.
    pub(super) fn synced_at(&self) -> Option<Millis> {
        let at = self.life.as_ref()?.health.snapshot().synced_at?;
        u64::try_from(at.0 - BEGIN).ok()
    }
}

/// The broker: acknowledges every message at once.
async fn broker(world: Arc<World>, publisher: Arc<Publisher>, requests: flume::Receiver<Request>) {
    let mut packet = 0_u16;
    while let Ok(request) = requests.recv_async().await {
        if let Request::Publish(publish) = request {
            packet = packet % 30_000 + 1;
            publisher.on_wire(packet);
            world.hears(&publish.topic, &publish.payload);
            publisher.on_delivered(packet);
        }
    }
}
