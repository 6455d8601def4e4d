//! The brokers that gateways run, as their policies configure them: mutual TLS with each kind of
//! key, a policy that ties a client's commands to its name, passwords, a denied subscription, a
//! bridge to another broker.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::common::{
    tls::{
        Authority, authority, documented_broker, documented_world, issue, issue_for, mosquitto_example, with_mutual_tls,
    },
    *,
};
use rcgen::KeyPair;
use rumqttc::{MqttOptions, TlsConfiguration, Transport};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How to connect as `id` with a certificate in the name `name`, whose files are made in `dir`.
fn options(dir: &Path, authority: &Authority, port: u16, name: &str, id: &str) -> MqttOptions {
    issue(dir, name, name, authority);
    let read = |file: String| fs::read(dir.join(file)).unwrap();
    let mut options = MqttOptions::new(id, "localhost", port);
    options.set_transport(Transport::Tls(TlsConfiguration::Simple {
        ca: read("ca.pem".into()),
        alpn: None,
        client_auth: Some((read(format!("{name}.pem")), read(format!("{name}.key")))),
    }));
    options
}

/// A client with a certificate in its own name.
async fn named(dir: &Path, authority: &Authority, port: u16, name: &str) -> Client {
    Client::connect_with(options(dir, authority, port, name, name), name).await
}

async fn does_its_job(world: &mut World) {
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is there", |s| s["state"] == "ONLINE").await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn keys_of_every_form_that_is_handed_out_are_taken() {
    let (mut world, authority, _) = with_mutual_tls("", Vec::new()).await;
    let dir = world.dir.path().to_path_buf();
    let file = dir.join("agent.key").display().to_string();
    let rsa = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let ec = ["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    for (generate, convert, head) in [
        (&rsa, None, "BEGIN PRIVATE KEY"),
        (&rsa, Some(&["rsa", "-traditional", "-in", &file, "-out", &file][..]), "BEGIN RSA PRIVATE KEY"),
        (&ec, None, "BEGIN PRIVATE KEY"),
        (&ec, Some(&["ec", "-in", &file, "-out", &file][..]), "BEGIN EC PRIVATE KEY"),
    ] {
        issue_for(&dir, "agent", "MyCore-offboard", &authority, &KeyPair::from_pem(&run("openssl", generate)).unwrap());
        if let Some(convert) = convert {
            run("openssl", convert);
        }
        assert!(fs::read_to_string(&file).unwrap().contains(head), "{head}");
        let client = world.client("bench").await;
        client.forget();
        world.start_agent();
        client.status(head, |s| s["lastSyncAt"].is_string()).await;
        world.stop_agent();
        client.status("it is gone", |s| s["state"] == "OFFLINE").await;
    }
}

/// Greengrass's Moquette speaks 1.2 only.
#[tokio::test]
async fn a_broker_with_one_version_of_tls_is_enough() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let limits = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = versions\n[versions]\n\
             MinProtocol = {version}\nMaxProtocol = {version}\n"
        );
        fs::write(&limits, text).unwrap();
        let environment = vec![("OPENSSL_CONF", limits.path().display().to_string())];
        let (mut world, _, port) = with_mutual_tls("", environment).await;
        let other = if version == "TLSv1.2" { "-tls1_3" } else { "-tls1_2" };
        let at = format!("localhost:{port}");
        let refused = Command::new("openssl").args(["s_client", "-connect", &at, other]).output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("alert protocol version"), "the broker is limited");
        does_its_job(&mut world).await;
    }
}

#[tokio::test]
async fn by_the_recommended_policy_nobody_commands_in_anothers_name() {
    let (mut world, authority) = documented_world().await;
    let (dir, port) = (world.dir.path().to_path_buf(), world.broker.port);
    let alice = named(&dir, &authority, port, "alice").await;
    let mallory = named(&dir, &authority, port, "mallory").await;
    world.start_agent();
    alice.status("a client that may command sees it", |s| s["lastSyncAt"].is_string()).await;
    // In another's name, and in one's own but with another's behind it.
    let order = json!({"clientToken": "m", "entries": entries(&names(0..1))});
    for topic in ["alice/disassociate-client-devices", "mallory/x/commands/alice/disassociate-client-devices"] {
        mallory.publish(&format!("offboard/{CORE}/commands/{topic}"), false, order.to_string());
    }
    alice.disassociate("a", &names(1..2));
    assert_eq!(alice.result("a", "completed").await["status"], "SUCCEEDED");
    mallory.disassociate("own", &names(2..3));
    assert_eq!(
        mallory.result("own", "completed").await["status"],
        "SUCCEEDED",
        "what came before has passed the broker"
    );
    assert_eq!(world.disassociations("d0000"), 0);
    let all = answer(&alice, "list-requests", json!({})).await.unwrap();
    assert_eq!(all["requests"].as_array().unwrap().len(), 1, "of alice there is one: {all}");
    // What concerns alice went to alice alone.
    let seen = mallory.take();
    assert!(seen.iter().all(|message| !message.topic.contains("/alice/")), "{seen:?}");
    // A client without a certificate is refused.
    let anonymous = Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &port.to_string(), "--cafile", &dir.join("ca.pem").display().to_string()])
        .args(["-t", "offboard/MyCore/commands/alice/sync", "-m", "{}", "-q", "1"])
        .output()
        .unwrap();
    assert!(!anonymous.status.success(), "{anonymous:?}");
}

/// Without `use_username_as_clientid` each of these connections would end the agent's, and with it
/// its session.
#[tokio::test]
async fn by_the_recommended_set_up_no_other_client_takes_the_agents_connection() {
    const COMMANDS: usize = 80;
    let (mut world, authority) = documented_world().await;
    let (dir, port) = (world.dir.path().to_path_buf(), world.broker.port);
    let alice = named(&dir, &authority, port, "alice").await;
    world.start_agent();
    alice.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    let mut taken = options(&dir, &authority, port, "mallory", "MyCore-offboard");
    taken.set_clean_session(true);
    let attacks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attacks);
    let mallory = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(200));
        loop {
            every.tick().await;
            let (_client, mut event_loop) = rumqttc::AsyncClient::new(taken.clone(), 10);
            let connected = tokio::time::timeout(PATIENCE, event_loop.poll()).await.unwrap();
            assert!(matches!(connected, Ok(rumqttc::Event::Incoming(rumqttc::Incoming::ConnAck(_)))), "{connected:?}");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let attacked = || attacks.load(Ordering::Relaxed);
    until("mallory is at it", || attacked() > 0).await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for n in 0..COMMANDS {
        pace.tick().await;
        alice.disassociate(&format!("t{n}"), &names(n..n + 1));
    }
    for n in 0..COMMANDS {
        assert_eq!(alice.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    assert!(attacked() >= 10 && !mallory.is_finished(), "{} attacks", attacked());
    mallory.abort();
    assert_eq!(world.log_lines("connected to the broker"), 1, "it kept its connection: {}", world.log());
    assert_eq!(world.broker.connections("MyCore-offboard"), 1);
}

/// The commands of docs/greengrass-lite.md that make the certificates of a site.
#[tokio::test]
async fn the_certificates_that_the_documented_commands_make_are_taken_by_all_sides() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/greengrass-lite.md")).unwrap();
    let commands = document.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let commands: Vec<&str> = commands.filter(|block| block.contains("openssl")).collect();
    let [commands] = commands[..] else { panic!("{commands:?}") };
    let (mut world, _) = documented_world().await;
    let dir = world.dir.path().to_path_buf();
    world.broker.stop();
    let output = Command::new("sh").args(["-ec", commands]).current_dir(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["ca", "broker", "MyCore-offboard", "bench-tool"] {
        let file = dir.join(format!("{name}.pem")).display().to_string();
        let shown = run("openssl", &["x509", "-noout", "-text", "-in", &file]);
        assert!(shown.contains("Version: 3"), "{name}: {shown}");
    }
    world.broker.restart().await;
    // As the configuration in the documents has them, but for the directory.
    world.set("mqtt.certFile", json!(dir.join("MyCore-offboard.pem")));
    world.set("mqtt.keyFile", json!(dir.join("MyCore-offboard.key")));
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let mut options = MqttOptions::new("bench-tool", "localhost", world.broker.port);
    options.set_transport(Transport::Tls(TlsConfiguration::Simple {
        ca: read("ca.pem"),
        alpn: None,
        client_auth: Some((read("bench-tool.pem"), read("bench-tool.key"))),
    }));
    let client = Client::connect_with(options, "bench-tool").await;
    world.start_agent();
    client.status("the agent is there", |s| s["state"] == "ONLINE").await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    // The retained message stays until the documented command removes it.
    world.stop_agent();
    client.status("the agent is gone", |s| s["state"] == "OFFLINE").await;
    drop(client);
    let port = world.broker.port.to_string();
    let retained = || {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "localhost", "-p", &port, "-t", "offboard/MyCore/status", "-C", "1", "-W", "2"]);
        command.args(["--cafile", "ca.pem", "--cert", "bench-tool.pem", "--key", "bench-tool.key"]);
        command.current_dir(&dir).output().unwrap().status.code()
    };
    assert_eq!(retained(), Some(0));
    let remove = document.split("sudo mosquitto_pub").nth(1).unwrap().split("```").next().unwrap();
    let remove = format!("mosquitto_pub{remove}")
        .replace("-p 8883", &format!("-p {port}"))
        .replace("/etc/offboard/ca.pem", "ca.pem")
        .replace("/etc/offboard/cert.pem", "MyCore-offboard.pem")
        .replace("/etc/offboard/key.pem", "MyCore-offboard.key");
    let output = Command::new("sh").args(["-ec", &remove]).current_dir(&dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(retained(), Some(27), "mosquitto_sub waited in vain");
}

#[tokio::test]
async fn by_the_recommended_set_up_what_waits_for_the_agent_is_kept_over_a_restart_of_the_broker() {
    let (mut world, authority) = documented_world().await;
    let dir = world.dir.path().to_path_buf();
    let alice = named(&dir, &authority, world.broker.port, "alice").await;
    world.start_agent();
    alice.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    world.stop_agent();
    for (token, n) in [("before", 0), ("after", 1)] {
        // Sent while the agent is away. A client that is not connected sends it when it is.
        alice.status("the agent is gone", |s| s["state"] == "OFFLINE").await;
        alice.disassociate(token, &names(n..n + 1));
        world.broker.restart().await;
    }
    world.start_agent();
    for token in ["before", "after"] {
        assert_eq!(alice.result(token, "completed").await["status"], "SUCCEEDED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_recommended_set_up_the_commands_go_over_the_broker() {
    let (mut world, authority) = documented_world().await;
    let dir = world.dir.path().to_path_buf();
    let watcher = named(&dir, &authority, world.broker.port, "watcher").await;
    world.start_agent();
    watcher.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    issue(&dir, "laptop-3", "laptop-3", &authority);
    let url = format!("mqtts://localhost:{}", world.broker.port);
    let at = |name: &str| dir.join(name).display().to_string();
    let (ca, cert, key) = (at("ca.pem"), at("laptop-3.pem"), at("laptop-3.key"));
    let reach = ["--mqtt-url", &url, "--core-device-thing-name", CORE, "--ca-file", &ca, "--cert-file", &cert];
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_offboard"));
        let output = command.args(words).args(reach).args(["--key-file", &key]).env_clear().output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for words in [&["status"][..], &["disassociate", "d0003"], &["requests"]] {
        let (status, text) = run(&[words, &["--client-id", "laptop-3"]].concat());
        assert_eq!(status, Some(0), "{words:?}: {text}");
    }
    assert_eq!(world.disassociations("d0003"), 1);
    // Another name than the certificate's is none that the policy lets it command in.
    let (status, text) = run(&["disassociate", "d0004", "--client-id", "laptop-4", "--timeout", "2"]);
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("--client-id"), "it says what to look at: {text}");
    assert_eq!(world.disassociations("d0004"), 0);
}

#[tokio::test]
async fn user_name_and_password_are_used_and_a_wrong_one_is_told_of() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    run("mosquitto_passwd", &["-b", &path, "MyCore-offboard", "the right one"]);
    let mut world = World::new(10).await;
    world.broker.more = format!("password_file {path}\n");
    world.broker.restart().await;
    world.set("mqtt.username", json!("MyCore-offboard"));
    world.set("mqtt.password", json!("a wrong one"));
    world.start_agent();
    until("it says so", || world.log_lines("mqtt.username") > 0).await;
    assert!(!world.log().contains("a wrong one"), "{}", world.log());
    world.kill();
    world.set("mqtt.password", json!("the right one"));
    does_its_job(&mut world).await;
}

/// Mosquitto's dynamic-security plugin, other than an ACL file, says no to a subscription.
#[tokio::test]
async fn a_subscription_that_dynamic_security_denies_is_told_and_made_when_it_is_allowed() {
    let mut world = World::new(10).await;
    let state = world.dir.path().join("dynamic-security.json").display().to_string();
    run("mosquitto_ctrl", &["dynsec", "init", &state, "admin", "secret"]);
    let plugin = library("mosquitto_dynamic_security.so");
    world.broker.more = format!("plugin {plugin}\nplugin_opt_config_file {state}\n");
    world.broker.restart().await;
    let port = world.broker.port.to_string();
    let control = |words: &[&str]| {
        let login = ["-h", "127.0.0.1", "-p", &port, "-u", "admin", "-P", "secret", "dynsec"];
        run("mosquitto_ctrl", &[&login[..], words].concat());
    };
    control(&["createRole", "watcher"]);
    for kind in ["publishClientSend", "subscribePattern"] {
        control(&["addRoleACL", "watcher", kind, "#", "allow"]);
    }
    control(&["createGroup", "anybody"]);
    control(&["addGroupRole", "anybody", "watcher"]);
    control(&["setAnonymousGroup", "anybody"]);
    control(&["createRole", "agent"]);
    control(&["addRoleACL", "agent", "publishClientSend", "offboard/MyCore/#", "allow"]);
    control(&["createClient", "MyCore-offboard", "-p", "secret"]);
    control(&["addClientRole", "MyCore-offboard", "agent"]);
    world.set("mqtt.username", json!("MyCore-offboard"));
    world.set("mqtt.password", json!("secret"));
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("it says so", |s| problem_codes(s).contains(&"SUBSCRIPTION_DENIED")).await;
    assert!(status["problems"].to_string().contains("offboard/MyCore/commands/+/+"), "{status}");
    control(&["addRoleACL", "agent", "subscribePattern", "offboard/MyCore/commands/+/+", "allow"]);
    client.status("it asked again", |s| problem_codes(s).is_empty()).await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_command_from_a_broker_upstream_is_done_and_answered_there_once() {
    // Both brokers as documented. The core device has a certificate of the upstream broker's
    // authority for its bridge.
    let upstream_dir = tempfile::tempdir().unwrap();
    let upstream_authority = authority("upstream");
    let mut upstream = documented_broker(upstream_dir.path(), &upstream_authority);
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let config = upstream.config.take().unwrap().replace(
        &policies.join("mosquitto.acl").display().to_string(),
        &policies.join("mosquitto-upstream.acl").display().to_string(),
    );
    upstream.config = Some(config);
    upstream.restart().await;
    let (mut world, authority) = documented_world().await;
    let dir = world.dir.path().to_path_buf();
    fs::write(dir.join("upstream-ca.pem"), upstream_authority.pem()).unwrap();
    issue(&dir, "MyCore-bridge", "MyCore-bridge", &upstream_authority);
    let bridge = mosquitto_example("mosquitto-bridge.conf", &dir);
    let address = format!("address localhost:{}\nrestart_timeout 1", upstream.port);
    let bridge = bridge.replace("address broker.example.com:8883", &address);
    world.broker.config.as_mut().unwrap().push_str(&bridge);
    world.broker.restart().await;
    let far = named(upstream_dir.path(), &upstream_authority, upstream.port, "fleet").await;
    let near = named(&dir, &authority, world.broker.port, "fleet").await;
    world.start_agent();
    far.status("it is seen upstream", |s| s["lastSyncAt"].is_string()).await;
    far.disassociate("t", &names(0..3));
    far.result("t", "accepted").await;
    assert_eq!(far.result("t", "completed").await["status"], "SUCCEEDED");
    // The query reaches the bridge behind the PUBACK of `completed`, which the bridge would otherwise
    // be right to publish again after the interruption.
    answer(&far, "list-devices", json!({"maxResults": 1})).await.unwrap();
    // The link goes, and what is sent meanwhile waits for it.
    upstream.stop();
    near.disassociate("near", &names(3..4));
    near.result("near", "completed").await;
    upstream.restart().await;
    far.disassociate("u", &names(4..5));
    assert_eq!(far.result("u", "completed").await["status"], "SUCCEEDED");
    far.result("near", "completed").await;
    // No loop: each result is published once on either side, and each command is carried out once.
    for (side, client) in [("far", &far), ("near", &near)] {
        // Its answer comes after what was published before.
        answer(client, "list-devices", json!({"maxResults": 1})).await.unwrap();
        let published: Vec<String> = client
            .take()
            .into_iter()
            .filter(|message| message.topic.ends_with("/accepted") || message.topic.ends_with("/completed"))
            .map(|message| format!("{} {}", message.topic.rsplit('/').next().unwrap(), message.body["clientToken"]))
            .collect();
        for line in ["accepted \"t\"", "completed \"t\"", "accepted \"u\"", "completed \"u\""] {
            assert_eq!(
                published.iter().filter(|published| *published == line).count(),
                1,
                "{side}: {line} in {published:?}"
            );
        }
    }
    for device in names(0..5) {
        assert_eq!(world.disassociations(&device), 1, "{device}");
    }
}
