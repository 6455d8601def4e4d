//! One test's cloud, broker and agent.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    Action, Broker, CORE, Client, Cloud, Fault, Operation, Options, Value, json, library, names, product, signal,
    terminate,
};

/// The agent of one test, and what is around it. All of it ends with the value.
pub struct World {
    pub cloud: Cloud,
    pub broker: Broker,
    /// The agent's configuration at its next start; [`Self::set`] changes it.
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

    /// The same with a broker of the test's own, whose files are in `dir`.
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

    /// The log of the last start.
    pub fn log_path(&self) -> PathBuf {
        self.dir.path().join(format!("agent-{}.log", self.starts))
    }

    /// What the agent has logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts the agent with [`Self::config`]; it does not wait for anything.
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

    /// `kill -9`.
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

    /// Whether the agent's process has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.agent.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// A client of that name on the broker.
    pub async fn client(&self, name: &str) -> Client {
        Client::connect(self.broker.port, name).await
    }

    /// How often the cloud disassociated a device that was associated.
    pub fn disassociations(&self, name: &str) -> usize {
        self.cloud.effective_disassociations(name)
    }

    /// Lets the next disassociations fail: so many, or all.
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

impl World {
    /// Kills the agent and waits until the broker has published its last will: what `client` sees
    /// from now on comes from the next agent.
    pub async fn kill_and_forget(&mut self, client: &Client) {
        self.kill();
        client.status("the broker publishes its last will", |s| s["state"] == "OFFLINE").await;
        client.forget();
    }
}

/// The resident memory of the agent's process, in MiB.
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

    /// What the agent's process takes now, and at most.
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

    /// Processor time of the agent's process since its start.
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
