//! The brokers that gateways run, as their policies make them: mutual TLS with each kind of key, a policy that ties a client's
//! commands to its name, passwords, a denied subscription, a bridge to a broker upstream.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{fs, path::Path, process::Command};

use common::{
    tls::{Authority, issue, issue_for, with_mutual_tls},
    *,
};
use rcgen::KeyPair;
use rumqttc::{MqttOptions, TlsConfiguration, Transport};

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples").join(name)).unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A client with a certificate in its own name.
async fn named(world: &World, authority: &Authority, port: u16, name: &str) -> Client {
    let dir = world.dir.path();
    issue(dir, name, name, authority);
    let read = |file: String| fs::read(dir.join(file)).unwrap();
    let mut options = MqttOptions::new(name, "localhost", port);
    options.set_transport(Transport::Tls(TlsConfiguration::Simple {
        ca: read("ca.pem".into()),
        alpn: None,
        client_auth: Some((read(format!("{name}.pem")), read(format!("{name}.key")))),
    }));
    Client::connect_with(options, name).await
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
    let acl = tempfile::NamedTempFile::new().unwrap();
    fs::write(&acl, format!("# The test's own listener.\ntopic readwrite #\n{}", example("mosquitto.acl"))).unwrap();
    let (mut world, authority, port) = with_mutual_tls(&format!("acl_file {}", acl.path().display()), Vec::new()).await;
    let watcher = world.client("alice").await;
    let alice = named(&world, &authority, port, "alice").await;
    let mallory = named(&world, &authority, port, "mallory").await;
    world.start_agent();
    alice.status("whoever may command sees it", |s| s["lastSyncAt"].is_string()).await;
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
    assert_eq!(world.taken_off("d0000"), 0);
    let all = answer(&watcher, "list-requests", json!({})).await.unwrap();
    assert_eq!(all["requests"].as_array().unwrap().len(), 1, "of alice there is one: {all}");
    // What concerns alice went to alice alone.
    let seen = mallory.take();
    assert!(seen.iter().all(|message| !message.topic.contains("/alice/")), "{seen:?}");
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
    let upstream_dir = tempfile::tempdir().unwrap();
    let mut upstream = Broker::start(upstream_dir.path()).await;
    let mut world = World::new(10).await;
    // The documented bridge, without its TLS.
    let lines = example("mosquitto-bridge.conf");
    let lines = lines.lines().filter(|line| !line.starts_with("bridge_"));
    world.broker.more = lines
        .map(|line| match line.strip_prefix("address ") {
            Some(_) => format!("address 127.0.0.1:{}\nrestart_timeout 1\n", upstream.port),
            None => format!("{line}\n"),
        })
        .collect();
    world.broker.restart().await;
    let far = Client::connect(upstream.port, "fleet").await;
    let near = world.client("fleet").await;
    world.start_agent();
    far.status("it is seen upstream", |s| s["lastSyncAt"].is_string()).await;
    far.disassociate("t", &names(0..3));
    far.result("t", "accepted").await;
    assert_eq!(far.result("t", "completed").await["status"], "SUCCEEDED");
    // The link goes, and what is sent meanwhile waits for it.
    upstream.stop();
    near.disassociate("near", &names(3..4));
    near.result("near", "completed").await;
    upstream.restart().await;
    far.disassociate("u", &names(4..5));
    assert_eq!(far.result("u", "completed").await["status"], "SUCCEEDED");
    far.result("near", "completed").await;
    // Nothing goes round: each is told once on either side, and done once.
    for (side, client) in [("far", &far), ("near", &near)] {
        client.ask_broker().await;
        let told: Vec<String> = client
            .take()
            .into_iter()
            .filter(|message| message.topic.ends_with("/accepted") || message.topic.ends_with("/completed"))
            .map(|message| format!("{} {}", message.topic.rsplit('/').next().unwrap(), message.body["clientToken"]))
            .collect();
        for line in ["accepted \"t\"", "completed \"t\"", "accepted \"u\"", "completed \"u\""] {
            assert_eq!(told.iter().filter(|told| *told == line).count(), 1, "{side}: {line} in {told:?}");
        }
    }
    for device in names(0..5) {
        assert_eq!(world.taken_off(&device), 1, "{device}");
    }
}
