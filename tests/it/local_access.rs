//! Local access: a device that is disassociated is disabled in Mosquitto's dynamic-security plugin,
//! cut, and kept out until it is associated again. The agent's rights are made by the script that
//! `docs/greengrass.md` shows.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::common::{
    tls::{authority, issue, mosquitto_example, set_tls},
    *,
};
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, MqttOptions, QoS, TlsConfiguration,
    Transport,
};

const COMMANDS: &str = "$CONTROL/dynamic-security/v1";

/// A broker with the plugin, whose clients are the agent and an administrator. Anonymous clients may
/// use the topics of the agent.
struct Plugin {
    home: PathBuf,
    file: PathBuf,
    port: u16,
}

impl Plugin {
    /// Runs `mosquitto_ctrl dynsec`, as the administrator.
    fn control(&self, words: &[&str]) {
        let output = self.run(Command::new("mosquitto_ctrl").arg("dynsec").args(words));
        assert!(output.status.success(), "{words:?}: {output:?}");
        // It succeeds also where the plugin does not.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("Error"), "{words:?}: {said}");
    }

    fn run(&self, command: &mut Command) -> Output {
        command.env("HOME", &self.home).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null()).output().unwrap()
    }

    /// Makes a client for each name, as one message of the administrator.
    fn create(&self, names: &[String]) {
        for names in names.chunks(100) {
            let command = |name: &String| json!({"command": "createClient", "username": name, "password": "pw", "roles": [{"rolename": "device"}]});
            let message = json!({"commands": names.iter().map(command).collect::<Vec<_>>()}).to_string();
            let port = self.port.to_string();
            let words = ["-h", "127.0.0.1", "-p", &port, "-u", "admin", "-P", "secret", "-q", "1", "-t", COMMANDS];
            let output = self.run(Command::new("mosquitto_pub").args(words).args(["-m", &message]));
            assert!(output.status.success(), "{output:?}");
        }
    }

    /// Each client of the plugin, and whether it is disabled.
    fn clients(&self) -> BTreeMap<String, bool> {
        // The plugin writes the file in place.
        let Ok(policy) = serde_json::from_str::<Value>(&fs::read_to_string(&self.file).unwrap()) else {
            return BTreeMap::new();
        };
        let of = |client: &Value| (client["username"].as_str().unwrap().to_owned(), client["disabled"] == true);
        policy["clients"].as_array().unwrap().iter().map(of).collect()
    }

    fn is_disabled(&self, name: &str) -> Option<bool> {
        self.clients().get(name).copied()
    }

    async fn until(&self, name: &str, disabled: bool) {
        until(&format!("{name} is disabled: {disabled}"), || self.is_disabled(name) == Some(disabled)).await;
    }

    /// A connection of a device.
    async fn device(&self, name: &str) -> Result<Device, ConnectReturnCode> {
        let mut options = MqttOptions::new(name, "127.0.0.1", self.port);
        options.set_credentials(name, "pw");
        connect(options).await
    }
}

async fn connect(options: MqttOptions) -> Result<Device, ConnectReturnCode> {
    let (client, mut events) = AsyncClient::new(options, 10);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => return Ok(Device { _client: client, events }),
            Ok(_) => {}
            Err(ConnectionError::ConnectionRefused(code)) => return Err(code),
            Err(error) => panic!("{error}"),
        }
    }
}

struct Device {
    _client: AsyncClient,
    events: EventLoop,
}

impl Device {
    /// Waits until the broker ends the connection.
    async fn cut(mut self) {
        let ended = async { while self.events.poll().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("the broker ends the connection");
    }
}

/// A world with `devices` associated devices, each with a client in the plugin, whose role lets it
/// connect; and the agent's own, if it may command the plugin.
async fn world(devices: usize, allowed: bool) -> (World, Plugin) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policy.json");
    let init = Command::new("mosquitto_ctrl").args(["dynsec", "init"]).arg(&file).args(["admin", "secret"]).output();
    assert!(init.expect("mosquitto_ctrl is not installed: run tests/run").status.success());
    let mut broker = Broker::absent(dir.path());
    let plugin = library("mosquitto_dynamic_security.so");
    broker.more = format!("plugin {plugin}\nplugin_opt_config_file {}\nlog_type all\n", file.display());
    broker.restart().await;
    let options = dir.path().join(".config/mosquitto_ctrl");
    fs::create_dir_all(options.parent().unwrap()).unwrap();
    fs::write(options, format!("-h 127.0.0.1\n-p {}\n-u admin\n-P secret\n", broker.port)).unwrap();
    let plugin = Plugin { home: dir.path().to_path_buf(), file, port: broker.port };
    for words in [
        &["createRole", "device"][..],
        &["createRole", "anybody"],
        &["addRoleACL", "anybody", "publishClientSend", "offboard/#", "allow"],
        &["addRoleACL", "anybody", "subscribePattern", "offboard/#", "allow"],
        &["createGroup", "nobody"],
        &["addGroupRole", "nobody", "anybody"],
        &["setAnonymousGroup", "nobody"],
    ] {
        plugin.control(words);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/dynamic-security.sh");
    let output = plugin.run(Command::new("sh").arg(script).env("AGENT_PASSWORD", "agent-pw"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Error"), "{said}");
    if !allowed {
        plugin.control(&["removeClientRole", "MyCore-offboard", "offboard-local-access"]);
    }
    plugin.create(&names(0..devices));
    let last = names(devices - 1..devices).remove(0);
    plugin.until(&last, false).await;
    let mut world = World::with(dir, broker, devices).await;
    world.set("mqtt.username", json!("MyCore-offboard"));
    world.set("mqtt.password", json!("agent-pw"));
    world.set("localAccess.mosquittoDynamicSecurity", json!(true));
    (world, plugin)
}

async fn run(world: &mut World) -> Client {
    let client = world.client("bench").await;
    client.forget();
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client
}

/// The device's record, once its `localAccess` is as expected.
async fn local_access(client: &Client, name: &str, expected: &Value) -> Value {
    let start = Instant::now();
    loop {
        let answer = answer(client, "get-device", json!({"thingName": name, "history": true})).await.unwrap();
        if answer["device"]["localAccess"] == *expected {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "{answer:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn events(answer: &Value) -> Vec<&str> {
    answer["history"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect()
}

async fn change(client: &Client, operation: &str, token: &str, names: &[&str]) {
    let entries: Vec<Value> = names.iter().map(|name| json!({"thingName": name})).collect();
    client.send(operation, &json!({"clientToken": token, "entries": entries}));
    assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
}

async fn disassociate(client: &Client, token: &str, names: &[&str]) {
    change(client, "disassociate-client-devices", token, names).await;
}

async fn associate(client: &Client, token: &str, names: &[&str]) {
    change(client, "associate-client-devices", token, names).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disassociated_device_is_cut_and_stays_out_until_it_is_associated_again() {
    let _turn = groups::measured();
    let (mut world, plugin) = world(5, true).await;
    // An administrator had disabled this one before, and this thing has the administrator's name.
    plugin.control(&["disableClient", "d0001"]);
    world.cloud.associate_at(CORE, ["admin".to_owned()], std::time::SystemTime::now());
    let client = run(&mut world).await;
    let device = plugin.device("d0000").await.unwrap();
    let other = plugin.device("d0002").await.unwrap();
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    let known = Instant::now();
    device.cut().await;
    let took = known.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(plugin.device("d0000").await.err(), Some(ConnectReturnCode::NotAuthorized));
    let record = local_access(&client, "d0000", &json!("REVOKED")).await;
    assert_eq!(record["device"]["state"], "DISASSOCIATED");
    assert_eq!(events(&record), ["REQUESTED", "SUCCEEDED", "LOCAL_ACCESS_REVOKED"]);

    disassociate(&client, "u", &["d0001", "admin"]).await;
    // By the cloud's list, as after a change in the console.
    world.cloud.dissociate_in_console(CORE, "d0003");
    client.send("sync", &json!({"clientToken": "s"}));
    client.result("s", "completed").await;
    plugin.until("d0003", true).await;

    associate(&client, "a", &["d0000", "d0001", "d0003"]).await;
    plugin.until("d0000", false).await;
    plugin.until("d0003", false).await;
    let record = local_access(&client, "d0000", &Value::Null).await;
    assert_eq!(events(&record).last(), Some(&"LOCAL_ACCESS_RESTORED"));
    drop(plugin.device("d0000").await.expect("it can come back"));
    let clients = plugin.clients();
    assert!(clients["d0001"], "the administrator had disabled it");
    assert!(!clients["admin"] && !clients["MyCore-offboard"] && !clients["d0002"]);
    drop(other);
    // Each change was made once.
    let log = fs::read_to_string(world.dir.path().join("mosquitto.log")).unwrap();
    for (command, times) in [("disableClient | username=d0000", 1), ("enableClient | username=d0000", 1)] {
        assert_eq!(log.matches(command).count(), times, "{command}");
    }
    assert_eq!(log.matches("MyCore-offboard | disableClient | username=d0001").count(), 0);
}

/// The agent is killed, and the broker restarted, while a client is to be disabled and one to be
/// enabled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_kills_and_a_broker_that_was_away() {
    let (mut world, plugin) = world(3, true).await;
    let client = run(&mut world).await;
    let offboard = |world: &World, words: &[&str]| {
        let program = product();
        let output = Command::new(&program[0])
            .args(&program[1..])
            .args(words)
            .env_clear()
            .env("OFFBOARD_DATA_DIR", world.dir.path().join("data"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    };
    for (operation, disabled) in [("disassociate", true), ("associate", false), ("disassociate", true)] {
        // The outcome comes while the broker is away.
        world.broker.stop();
        offboard(&world, &[operation, "d0000", "d0001"]);
        world.kill();
        world.broker.restart().await;
        assert_eq!(plugin.is_disabled("d0000"), Some(!disabled));
        world.start_agent();
        plugin.until("d0000", disabled).await;
        // Killed again at any moment of the second one.
        world.kill();
        world.broker.restart().await;
        world.start_agent();
        plugin.until("d0001", disabled).await;
        assert_eq!(plugin.device("d0001").await.is_err(), disabled);
        let expected = if disabled { json!("REVOKED") } else { Value::Null };
        local_access(&client, "d0000", &expected).await;
        local_access(&client, "d0001", &expected).await;
    }
    assert_eq!(plugin.is_disabled("d0002"), Some(false));
}

/// At each change the plugin writes all clients to a file, and the broker serves nobody meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_devices_at_once_keep_nobody_waiting() {
    let _turn = groups::measured();
    const DEVICES: usize = 1000;
    let (mut world, plugin) = world(DEVICES, true).await;
    let client = run(&mut world).await;
    client.disassociate("t", &names(0..DEVICES));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    let (mut worst, mut asked) = (Duration::ZERO, 0);
    let disabled = || plugin.clients().values().filter(|disabled| **disabled).count();
    let start = Instant::now();
    while disabled() < DEVICES {
        assert!(start.elapsed() < PATIENCE * 2, "{} are disabled", disabled());
        let begin = Instant::now();
        client.ask("get-device", json!({"thingName": "d0000"})).await;
        worst = worst.max(begin.elapsed());
        asked += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{DEVICES} devices in {:?}; {asked} questions meanwhile, the slowest took {worst:?}", start.elapsed());
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    let log = fs::read_to_string(world.dir.path().join("mosquitto.log")).unwrap();
    assert_eq!(log.matches("| disableClient |").count(), DEVICES, "each of them once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_it_is_reported_once_and_nothing_else_suffers() {
    let (mut world, plugin) = world(5, false).await;
    let client = run(&mut world).await;
    // At the start, before it is needed.
    let status = client.status("it is denied", |s| problem_codes(s).contains(&"LOCAL_ACCESS_DENIED")).await;
    let message = status["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("MyCore-offboard") && message.contains("$CONTROL/dynamic-security/v1"), "{message}");
    disassociate(&client, "t", &["d0000"]).await;
    local_access(&client, "d0000", &json!("PENDING")).await;
    assert_eq!(plugin.is_disabled("d0000"), Some(false));
    let check = |world: &World| {
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(["check", "--output", "json"]).env_clear();
        command.env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
        command.env("OFFBOARD_CONFIG", world.config.to_string());
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", world.cloud.credentials_uri());
        command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", world.cloud.authorization_token());
        let value: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let checks = value["checks"].as_array().unwrap();
        checks.iter().find(|one| one["check"] == "local access").cloned().unwrap_or_else(|| panic!("{value:#}"))
    };
    let asked = check(&world);
    assert_eq!(asked["result"], "error", "{asked}");
    assert_eq!(world.log_lines("the broker denies the subscription to $CONTROL"), 1, "{}", world.log());
    // The agent reports it again after a restart; without an agent `check` tries it.
    world.stop_agent();
    let tried = check(&world);
    assert_eq!(tried["result"], "error", "{tried}");
    plugin.control(&["addClientRole", "MyCore-offboard", "offboard-local-access"]);
    let tried = check(&world);
    assert_eq!(tried["result"], "ok", "{tried}");
    client.forget();
    world.start_agent();
    plugin.until("d0000", true).await;
    client.status("nothing is wrong", |s| s["lastSyncAt"].is_string() && s["problems"] == json!([])).await;
    assert_eq!(check(&world)["result"], "ok");
    // A client that there is not.
    plugin.control(&["deleteClient", "d0002"]);
    disassociate(&client, "u", &["d0001", "d0002"]).await;
    let status = client.status("it is unknown", |s| problem_codes(s).contains(&"LOCAL_ACCESS_UNKNOWN_CLIENT")).await;
    let message = status["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("1 disassociated devices") && message.contains("d0002"), "{message}");
    let record = local_access(&client, "d0002", &json!("FAILED")).await;
    assert_eq!(record["device"]["localAccessError"], "Client not found");
    plugin.until("d0001", true).await;
    assert_eq!(check(&world)["result"], "warning");
    associate(&client, "v", &["d0002"]).await;
    client.status("nothing is wrong", |s| s["problems"] == json!([])).await;
}

/// With names from certificates the device would come back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_documented_set_up_a_device_with_a_certificate_stays_out() {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority("site");
    let at = |name: &str| dir.path().join(name);
    fs::write(at("ca.pem"), authority.pem()).unwrap();
    issue(dir.path(), "broker", "localhost", &authority);
    for name in ["admin", "bench-tool", "d0000"] {
        issue(dir.path(), name, name, &authority);
    }
    let file = at("dynamic-security.json");
    let init = Command::new("mosquitto_ctrl").args(["dynsec", "init"]).arg(&file).args(["admin", "secret"]).output();
    assert!(init.unwrap().status.success());
    let mut broker = Broker::absent(dir.path());
    let config = mosquitto_example("dynamic-security.conf", dir.path())
        .replace("listener 8883\n", &format!("listener {} 127.0.0.1\n", broker.port))
        .replace("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so", &library("mosquitto_dynamic_security.so"));
    broker.config = Some(config + "user root\n");
    broker.restart().await;
    let port = broker.port;
    let path = |name: &str| at(name).display().to_string();
    let options = format!(
        "-h localhost\n-p {port}\n--cafile {}\n--cert {}\n--key {}\n-u admin\n-P secret\n",
        path("ca.pem"),
        path("admin.pem"),
        path("admin.key")
    );
    fs::create_dir_all(at(".config")).unwrap();
    fs::write(at(".config/mosquitto_ctrl"), options).unwrap();
    let plugin = Plugin { home: dir.path().to_path_buf(), file, port };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/dynamic-security.sh");
    let output = plugin.run(Command::new("sh").arg(script).env("AGENT_PASSWORD", "agent-pw"));
    assert!(output.status.success(), "{output:?}");
    let results = format!("offboard/{CORE}/results/bench-tool/#");
    for words in [
        &["createRole", "device"][..],
        &["createClient", "d0000", "-p", "pw"],
        &["createClient", "bench-tool", "-p", "pw"],
        &["createRole", "bench-tool"],
        &["addRoleACL", "bench-tool", "publishClientSend", "offboard/MyCore/commands/bench-tool/+", "allow"],
        &["addRoleACL", "bench-tool", "subscribePattern", &results, "allow"],
        &["addRoleACL", "bench-tool", "subscribePattern", "offboard/MyCore/status", "allow"],
        &["addClientRole", "bench-tool", "bench-tool"],
    ] {
        plugin.control(words);
    }
    let mut world = World::with(dir, broker, 1).await;
    set_tls(&mut world, &authority, port);
    world.set("mqtt.username", json!("MyCore-offboard"));
    world.set("mqtt.password", json!("agent-pw"));
    world.set("localAccess.mosquittoDynamicSecurity", json!(true));
    let home = plugin.home.clone();
    let options = |name: &str| {
        let read = |file: String| fs::read(home.join(file)).unwrap();
        let mut options = MqttOptions::new(name, "localhost", port);
        options.set_credentials(name, "pw");
        options.set_transport(Transport::Tls(TlsConfiguration::Simple {
            ca: read("ca.pem".into()),
            alpn: None,
            client_auth: Some((read(format!("{name}.pem")), read(format!("{name}.key")))),
        }));
        options
    };
    let device = connect(options("d0000")).await.unwrap();
    world.start_agent();
    let subscriptions = [results.as_str(), "offboard/MyCore/status"];
    let mut client = Asking::connect(options("bench-tool"), &subscriptions).await;
    client.until(|topic, body| topic.ends_with("/status") && body["lastSyncAt"].is_string()).await;
    client.send("t", "disassociate-client-devices");
    client.until(|topic, body| topic.ends_with("/completed") && body["status"] == "SUCCEEDED").await;
    device.cut().await;
    assert_eq!(connect(options("d0000")).await.err(), Some(ConnectReturnCode::NotAuthorized));
    client.send("u", "associate-client-devices");
    client.until(|topic, body| topic.ends_with("/completed") && body["clientToken"] == "u").await;
    plugin.until("d0000", false).await;
    drop(connect(options("d0000")).await.expect("it can come back"));
}

/// A client that may subscribe to its own topics only.
struct Asking {
    client: AsyncClient,
    events: EventLoop,
}

impl Asking {
    async fn connect(options: MqttOptions, subscriptions: &[&str]) -> Self {
        let (client, events) = AsyncClient::new(options, 10);
        for filter in subscriptions {
            client.try_subscribe(*filter, QoS::AtLeastOnce).unwrap();
        }
        Self { client, events }
    }

    fn send(&self, token: &str, operation: &str) {
        let body = json!({"clientToken": token, "entries": entries(&names(0..1))}).to_string();
        let topic = format!("offboard/{CORE}/commands/bench-tool/{operation}");
        self.client.try_publish(topic, QoS::AtLeastOnce, false, body).unwrap();
    }

    async fn until(&mut self, wanted: impl Fn(&str, &Value) -> bool) {
        let found = async {
            loop {
                if let Event::Incoming(Incoming::Publish(publish)) = self.events.poll().await.unwrap() {
                    let body = serde_json::from_slice(&publish.payload).unwrap();
                    if wanted(&publish.topic, &body) {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the message arrives");
    }
}

/// The right is taken away, and given back, while the agent runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_comes_back_is_used_without_a_restart() {
    let (mut world, plugin) = world(2, true).await;
    let client = run(&mut world).await;
    plugin.control(&["removeClientRole", "MyCore-offboard", "offboard-local-access"]);
    // The plugin ends the connections of a client whose roles change.
    disassociate(&client, "t", &["d0000"]).await;
    client.status("it is denied", |s| problem_codes(s).contains(&"LOCAL_ACCESS_DENIED")).await;
    plugin.control(&["addClientRole", "MyCore-offboard", "offboard-local-access"]);
    plugin.until("d0000", true).await;
    client.status("nothing is wrong", |s| s["problems"] == json!([])).await;
}
