//! TLS to the broker: mutual, with certificates that are read again at every connection.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::fs;

use common::{
    tls::{authority, issue},
    *,
};

#[tokio::test]
async fn mutual_tls_follows_a_rotation_of_authority_and_certificate_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let first = authority("first");
    fs::write(at("ca.pem"), first.pem()).unwrap();
    fs::write(at("broker-ca.pem"), first.pem()).unwrap();
    issue(dir.path(), "broker", "localhost", &first);
    issue(dir.path(), "agent", "MyCore-offboard", &first);
    let port = free_port();
    let tls = format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        at("broker-ca.pem"),
        at("broker.pem"),
        at("broker.key")
    );
    let mut broker = Broker::absent(dir.path());
    broker.more = tls;
    broker.restart().await;
    let mut world = World::with(dir, broker, 10).await;
    let dir = world.dir.path().to_path_buf();
    let file = |name: &str| json!(dir.join(name));
    world.set("mqtt.url", json!(format!("mqtts://localhost:{port}")));
    for (key, name) in [("mqtt.caFile", "ca.pem"), ("mqtt.certFile", "agent.pem"), ("mqtt.keyFile", "agent.key")] {
        world.set(key, file(name));
    }
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is there", |s| s["state"] == "ONLINE").await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");

    // Another authority, without a restart of the agent. Each of the three steps is told until the next one is taken.
    let second = authority("second");
    fs::write(dir.join("broker-ca.pem"), second.pem()).unwrap();
    issue(&dir, "broker", "localhost", &second);
    world.broker.restart().await;
    let log = world.log_path();
    let says = |what: &'static str| {
        let log = log.clone();
        move || fs::read_to_string(&log).unwrap_or_default().contains(what)
    };
    until("it does not know the broker's authority", says("check mqtt.caFile")).await;
    fs::write(dir.join("ca.pem"), second.pem()).unwrap();
    until("the broker refuses the old certificate", says("check mqtt.certFile")).await;
    issue(&dir, "agent", "MyCore-offboard", &second);
    client.disassociate("u", &names(1..2));
    assert_eq!(client.result("u", "completed").await["status"], "SUCCEEDED");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::with(tempfile::tempdir().unwrap(), Broker::absent(dir.path()), 1).await;
    world.set("mqtt.url", json!("mqtts://localhost:1"));
    world.set("mqtt.caFile", json!(dir.path().join("nowhere.pem")));
    world.start_agent();
    let log = world.log_path();
    until("it says which file", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.contains("mqtt.caFile") && log.contains("nowhere.pem")
    })
    .await;
    assert!(world.is_running());
}
