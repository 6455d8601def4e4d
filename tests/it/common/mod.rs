//! The agent as a user has it: the built binary, a real Mosquitto, and the sandbox's cloud, all on
//! this machine.

#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub
)]

pub mod contract;
pub mod disk;
pub mod load;
pub mod odd;
pub mod sample;
pub mod terminal;
pub mod tls;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub use contract::Contract;
pub use disk::Disk;
pub use offboard_sandbox::cloud::{Action, Cloud, Fault, NotAssociated, Operation, Options};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
pub use serde_json::{Value, json};
use tokio::sync::watch;

pub const CORE: &str = "MyCore";

/// Far longer than anything here takes: reaching it is a failure, not a wait.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition without a signal of its own is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What starts the product: the binary that was built with the tests, or what `OFFBOARD_PRODUCT`
/// says, which may be one for another machine with an emulator before it (`tests/cross`).
pub fn product() -> Vec<String> {
    match std::env::var("OFFBOARD_PRODUCT") {
        Ok(words) => words.split_whitespace().map(str::to_owned).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_offboard").into()],
    }
}

/// Waits until `done`; fails with `what` when that takes too long.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A Mosquitto of our own, on a port that stays the same over restarts.
pub struct Broker {
    dir: PathBuf,
    pub port: u16,
    /// More lines for its configuration: a listener of its own.
    pub more: String,
    /// A configuration of its own, whole, whose listener is on `port`.
    pub config: Option<String>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Broker {
    pub async fn start(dir: &std::path::Path) -> Self {
        let mut broker = Self::absent(dir);
        broker.restart().await;
        broker
    }

    /// A broker that is not running yet.
    pub fn absent(dir: &std::path::Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            port: free_port(),
            more: String::new(),
            config: None,
            environment: Vec::new(),
            child: None,
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            terminate(child.id());
            child.wait().unwrap();
        }
    }

    pub async fn restart(&mut self) {
        self.stop();
        let (dir, port) = (self.dir.display(), self.port);
        let more = &self.more;
        let usual = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {dir}/\n\
             max_queued_messages 100000\nmax_inflight_messages 100\nset_tcp_nodelay true\nuser root\n{more}"
        );
        let path = self.dir.join("mosquitto.conf");
        fs::write(&path, self.config.as_ref().unwrap_or(&usual)).unwrap();
        let log = fs::File::create(self.dir.join("mosquitto.log")).unwrap();
        let child = Command::new(mosquitto())
            .arg("-c")
            .arg(&path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto does not start");
        self.child = Some(child);
        until("mosquitto listens", || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }
}

fn mosquitto() -> &'static str {
    let found = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
    found
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("mosquitto is not installed: run tests/run, which installs what the tests need")
}

/// A shared library that a test loads into another program, by its name.
pub fn library(name: &str) -> String {
    let mut dirs: Vec<PathBuf> = ["/usr/lib", "/usr/local/lib"].map(PathBuf::from).into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                Ok(_) if entry.file_name() == name => return entry.path().display().to_string(),
                _ => {}
            }
        }
    }
    panic!("{name} is not installed: run tests/run, which installs what the tests need");
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn terminate(id: u32) {
    let status = Command::new("kill").arg("-TERM").arg(id.to_string()).status().unwrap();
    assert!(status.success());
}

/// What is around the agent, and the agent.
pub struct World {
    pub cloud: Cloud,
    pub broker: Broker,
    pub config: Value,
    pub dir: tempfile::TempDir,
    pub agent: Option<Child>,
    starts: u32,
    /// Goes before the agent's own command line.
    pub wrapper: Vec<String>,
    /// The agent's `RUST_LOG`; empty for none.
    pub rust_log: &'static str,
}

impl World {
    /// A cloud with `devices` associated devices (`d0000` and so on), and a broker; no agent yet.
    pub async fn new(devices: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path()).await;
        Self::with(dir, broker, devices).await
    }

    pub async fn with(dir: tempfile::TempDir, broker: Broker, devices: usize) -> Self {
        let cloud = Cloud::start(Options { core: Some(CORE.into()), ..Options::default() }).await.unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        cloud.associate_at(CORE, names(0..devices), long_ago);
        let config = json!({
            "coreThingName": CORE,
            "region": "eu-central-1",
            "dataDir": dir.path().join("data"),
            "mqtt": {"url": format!("mqtt://127.0.0.1:{}", broker.port)},
            "cloud": {"greengrassEndpoint": cloud.endpoint()},
            "retry": {"baseMs": 50, "capMs": 500},
            "rate": {"callsPerSecond": 200, "burst": 200},
        });
        Self {
            cloud,
            broker,
            config,
            dir,
            agent: None,
            starts: 0,
            wrapper: Vec::new(),
            rust_log: "offboard=debug,warn",
        }
    }

    /// Sets a key of the configuration, `retry.capMs` for instance.
    pub fn set(&mut self, key: &str, value: Value) {
        let pointer = format!("/{}", key.replace('.', "/"));
        let (section, name) = pointer.rsplit_once('/').unwrap();
        if !section.is_empty() && self.config.pointer(section).is_none() {
            self.config[&section[1..]] = json!({});
        }
        self.config.pointer_mut(section).unwrap()[name] = value;
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join(format!("agent-{}.log", self.starts))
    }

    /// What the agent has logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn start_agent(&mut self) {
        assert!(self.agent.is_none());
        self.starts += 1;
        let log = fs::File::create(self.log_path()).unwrap();
        let mut words = self.wrapper.clone();
        words.extend(product());
        words.push("run".into());
        let level = (!self.rust_log.is_empty()).then_some(("RUST_LOG", self.rust_log));
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(level)
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("OFFBOARD_CONFIG", self.config.to_string())
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", self.cloud.credentials_uri())
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", self.cloud.authorization_token())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
    }

    /// A world whose agent is running and in sync.
    pub async fn running(devices: usize) -> (Self, Client) {
        let mut world = Self::new(devices).await;
        let client = world.client("bench").await;
        world.start_agent();
        client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
        (world, client)
    }

    pub fn kill(&mut self) {
        let mut child = self.agent.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and how long the end took.
    pub fn stop_agent(&mut self) -> (ExitStatus, Duration) {
        let mut child = self.agent.take().unwrap();
        let start = Instant::now();
        if self.wrapper.is_empty() {
            terminate(child.id());
        } else {
            // The wrapper keeps signals for itself; the agent is its only child.
            let id = child.id();
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
            terminate(children.trim().parse().unwrap());
        }
        let status = child.wait().unwrap();
        (status, start.elapsed())
    }

    pub fn is_running(&mut self) -> bool {
        self.agent.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    pub async fn client(&self, name: &str) -> Client {
        Client::connect(self.broker.port, name).await
    }

    /// How often the cloud really took a device off.
    pub fn taken_off(&self, name: &str) -> usize {
        self.cloud.effective_disassociations(name)
    }

    pub fn fault(&self, action: Action, times: Option<u32>) {
        self.cloud.inject(Fault { operation: Some(Operation::Disassociate), times, action });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.agent.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for start in 1..=self.starts {
                let path = self.dir.path().join(format!("agent-{start}.log"));
                let log = fs::read_to_string(path).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("--- the agent's log, start {start}, newest first\n{}", tail.join("\n"));
            }
        }
    }
}

pub fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("d{n:04}")).collect()
}

pub fn entries(names: &[String]) -> Value {
    names.iter().map(|name| json!({"thingName": name})).collect()
}

#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub body: Value,
}

/// A tool on the broker: sends commands as `name`, and keeps every message that it sees.
pub struct Client {
    pub name: String,
    mqtt: AsyncClient,
    seen: Arc<Mutex<Vec<Message>>>,
    contract: Arc<Contract>,
    changed: watch::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.contract.verify();
        }
    }
}

impl Client {
    pub async fn connect(port: u16, name: &str) -> Self {
        Self::connect_with(MqttOptions::new(format!("{name}-test"), "127.0.0.1", port), name).await
    }

    /// With a login or TLS of its own.
    pub async fn connect_with(mut options: MqttOptions, name: &str) -> Self {
        options.set_max_packet_size(2 << 20, 2 << 20).set_inflight(1000).set_clean_session(false);
        let (mqtt, mut event_loop) = AsyncClient::new(options, 20_000);
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let contract: Arc<Contract> = Arc::default();
        let (sender, mut changed) = watch::channel(());
        let (keep, hold, client, name_) = (Arc::clone(&seen), Arc::clone(&contract), mqtt.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            loop {
                match event_loop.poll().await {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        client.try_subscribe(format!("offboard/{CORE}/results/{name_}/#"), QoS::AtLeastOnce).unwrap();
                        client.try_subscribe(format!("offboard/{CORE}/status"), QoS::AtLeastOnce).unwrap();
                        client.try_subscribe(format!("offboard/{CORE}/devices/+"), QoS::AtLeastOnce).unwrap();
                        client.try_subscribe(format!("offboard/{CORE}/metrics"), QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => sender.send_replace(()),
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        hold.received(&publish.topic, &publish.payload);
                        let body = serde_json::from_slice(&publish.payload).unwrap_or(Value::Null);
                        keep.lock().unwrap().push(Message { topic: publish.topic, body });
                        sender.send_replace(());
                    }
                    Ok(_) => {}
                    // The broker is away; the session goes on when it is back.
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        });
        tokio::time::timeout(PATIENCE, changed.changed()).await.expect("subscribed").unwrap();
        Self { name: name.into(), mqtt, seen, contract, changed, task }
    }

    pub fn send(&self, operation: &str, body: &Value) {
        self.send_bytes(operation, body.to_string());
    }

    pub fn send_bytes(&self, operation: &str, body: impl Into<Vec<u8>>) {
        self.publish(&format!("offboard/{CORE}/commands/{}/{operation}", self.name), false, body);
    }

    pub fn publish(&self, topic: &str, retain: bool, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.contract.sent(topic, &body);
        self.mqtt.try_publish(topic, QoS::AtLeastOnce, retain, body).unwrap();
    }

    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// The first message that `wanted` takes, now or later.
    pub async fn wait<R>(&self, what: &str, wanted: impl Fn(&Message) -> Option<R>) -> R {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                self.contract.verify();
                if let Some(found) = self.seen.lock().unwrap().iter().find_map(&wanted) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!(
                "waited in vain until {what}; the last messages: {:#?}",
                self.seen().iter().rev().take(4).collect::<Vec<_>>()
            ),
        }
    }

    /// A result for `token`: `kind` is `accepted`, `rejected` or `completed`.
    pub async fn result(&self, token: &str, kind: &str) -> Value {
        let what = format!("{token} is {kind}");
        self.wait(&what, |message| {
            let fits = message.topic.ends_with(&format!("/{kind}")) && message.body["clientToken"] == token;
            fits.then(|| message.body.clone())
        })
        .await
    }

    pub fn results(&self, token: &str, kind: &str) -> Vec<Value> {
        let fits = |m: &Message| m.topic.ends_with(&format!("/{kind}")) && m.body["clientToken"] == token;
        self.seen().into_iter().filter(fits).map(|message| message.body).collect()
    }

    /// Sends and waits for `accepted`.
    pub async fn ask(&self, operation: &str, mut body: Value) -> Value {
        let token = format!("ask-{:016x}", fastrand::u64(..));
        body["clientToken"] = json!(token);
        self.send(operation, &body);
        self.result(&token, "accepted").await
    }

    /// Waits until the broker has all that was sent before.
    pub async fn ask_broker(&self) {
        let topic = format!("offboard/{CORE}/results/{}/echo", self.name);
        let text = format!("{:016x}", fastrand::u64(..));
        self.publish(&topic, false, json!(text).to_string());
        self.wait("the broker's echo", |m| (m.topic == topic && m.body == text).then_some(())).await;
    }

    /// A status that `wanted` takes, the last one seen or a later one.
    pub async fn status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                self.contract.verify();
                let last = self.seen.lock().unwrap().iter().rev().find(|m| m.topic.ends_with("/status")).cloned();
                if let Some(last) = last
                    && wanted(&last.body)
                {
                    return last.body;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => {
                let last = self.seen().into_iter().rev().find(|m| m.topic.ends_with("/status"));
                panic!("waited in vain until {what}; the last status: {last:#?}")
            }
        }
    }

    pub fn disassociate(&self, token: &str, names: &[String]) {
        self.send("disassociate-client-devices", &json!({"clientToken": token, "entries": entries(names)}));
    }
}

pub fn problem_codes(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().into_iter().flatten();
    problems.map(|problem| problem["code"].as_str().unwrap()).collect()
}

/// Codes of those that are the store's.
pub fn store_problems(status: &Value) -> Vec<&str> {
    problem_codes(status).into_iter().filter(|code| code.starts_with("STORE_")).collect()
}

/// Whatever happened to the store before: what comes now is taken and carried out, without a
/// restart, and the registry is the cloud's.
pub async fn works(world: &World, client: &Client, token: &str, device: usize) {
    world.cloud.offline(false);
    client.disassociate(token, &names(device..device + 1));
    client.result(token, "accepted").await;
    assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    client
        .status("the registry is the cloud's", |s| s["devices"]["ASSOCIATED"] == world.cloud.associated(CORE).len())
        .await;
}

/// What `client` sees of its question: the answer, or the rejection.
pub async fn answer(client: &Client, operation: &str, mut body: Value) -> Result<Value, Value> {
    let token = format!("ask-{:016x}", fastrand::u64(..));
    body["clientToken"] = json!(token);
    client.send(operation, &body);
    client
        .wait(&format!("{operation} is answered"), |message| {
            let fits = message.body["clientToken"] == token.as_str();
            match message.topic.rsplit('/').next() {
                Some("accepted") if fits => Some(Ok(message.body.clone())),
                Some("rejected") if fits => Some(Err(message.body.clone())),
                _ => None,
            }
        })
        .await
}

impl World {
    /// Kills the agent and waits until the broker has said so: what is seen from now on is the next
    /// agent's.
    pub async fn kill_and_forget(&mut self, client: &Client) {
        self.kill();
        client.status("the broker tells its end", |s| s["state"] == "OFFLINE").await;
        client.forget();
    }
}

/// What makes file modes count for whoever runs the tests: root obeys them without these two
/// capabilities, and anybody else does anyway.
pub fn obeying_modes() -> Vec<String> {
    if is_root() {
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search"].map(str::to_owned).into()
    } else {
        Vec::new()
    }
}

/// What makes a command another user's, who owns nothing here. Only root can.
pub fn as_nobody() -> Vec<String> {
    assert!(is_root(), "the attacks of one user on another need both: run the tests as root");
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned).into()
}

/// Gives a directory to the user of [`as_nobody`], who can reach it.
pub fn give_to_nobody(dir: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::os::unix::fs::chown(dir, Some(65534), Some(65534)).unwrap();
    fs::set_permissions(dir.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

impl Client {
    /// What came since the last time, which is then forgotten.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// What the agent's process takes, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub now: f64,
    /// Since the last [`World::forget_peak`].
    pub peak: f64,
}

impl World {
    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.agent.as_ref().unwrap().id()))
    }

    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let mib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        Memory { now: mib("VmRSS:"), peak: mib("VmHWM:") }
    }

    /// Starts the peak of [`Self::memory`] anew, from what is in use now.
    pub fn forget_peak(&self) {
        fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    /// Time that the agent's process spent computing.
    pub fn computed(&self) -> Duration {
        let stat = fs::read_to_string(self.proc("stat")).unwrap();
        // The name in parentheses may hold spaces; user and system time are the 14th and 15th
        // field, in 10 ms.
        let after_name = stat.rsplit_once(')').unwrap().1;
        let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Freezes the agent: it stays connected and reads nothing.
    pub fn pause(&self) {
        signal("STOP", self.agent.as_ref().unwrap().id());
    }

    pub fn resume(&self) {
        signal("CONT", self.agent.as_ref().unwrap().id());
    }

    /// Lines of the agent's log, since its last start, that contain `text`.
    pub fn log_lines(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }
}

pub fn signal(name: &str, id: u32) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(id.to_string()).status().unwrap();
    assert!(status.success());
}

impl Broker {
    /// How often a client of that id has connected since the broker's last start.
    pub fn connections(&self, client_id: &str) -> usize {
        let log = fs::read_to_string(self.dir.join("mosquitto.log")).unwrap_or_default();
        let wanted = format!(" as {client_id} (");
        log.lines().filter(|line| line.contains("New client connected") && line.contains(&wanted)).count()
    }
}

/// A world whose broker denies the subscription to commands, to anybody, as Greengrass's does where
/// the policy lacks it. Mosquitto's own plugin can; its ACL files cannot.
pub async fn denied_subscription() -> World {
    let dir = tempfile::tempdir().unwrap();
    let policy = json!({
        "defaultACLAccess": {
            "publishClientSend": true, "publishClientReceive": true, "subscribe": true, "unsubscribe": true,
        },
        "clients": [],
        "groups": [{"groupname": "all", "roles": [{"rolename": "all"}]}],
        "anonymousGroup": "all",
        "roles": [{"rolename": "all", "acls": [
            {"acltype": "publishClientSend", "topic": "$CONTROL/#", "priority": 1, "allow": true},
            {"acltype": "subscribePattern", "topic": "offboard/+/commands/#", "priority": 1, "allow": false},
        ]}],
    });
    let file = dir.path().join("policy.json");
    fs::write(&file, policy.to_string()).unwrap();
    let mut broker = Broker::absent(dir.path());
    let plugin = library("mosquitto_dynamic_security.so");
    broker.more = format!("plugin {plugin}\nplugin_opt_config_file {}\n", file.display());
    broker.restart().await;
    World::with(dir, broker, 10).await
}
