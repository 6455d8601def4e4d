//! Mutual TLS to the broker, with certificates that are read again at every connection.

use std::{fs, path::Path, process::Command};

use crate::common::{
    tls::{authority, issue, with_mutual_tls},
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
    let mut broker = Broker::absent(dir.path());
    let port = broker.another_port();
    broker.more = format!(
        "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        at("broker-ca.pem"),
        at("broker.pem"),
        at("broker.key")
    );
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

    // Another authority, without a restart of the agent. Each of the three steps is reported until
    // the next one is taken.
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

fn openssl(dir: &Path, words: &str) {
    let run = Command::new("openssl").current_dir(dir).args(words.split_whitespace()).output().unwrap();
    assert!(run.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&run.stderr));
}

/// What the agent and `check` say with one file of the agent's replaced by `make`, in its
/// directory.
async fn told_of(file: &str, make: impl FnOnce(&Path)) -> String {
    let (mut world, ..) = with_mutual_tls("", Vec::new()).await;
    make(world.dir.path());
    world.start_agent();
    let name = world.dir.path().join(file).display().to_string();
    until("it names the file", || world.log().contains(&name)).await;
    world.stop_agent();
    let program = product();
    let mut check = Command::new(&program[0]);
    check.args(&program[1..]).arg("check").env_clear().env("OFFBOARD_CONFIG", world.config.to_string());
    let output = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let line = output.lines().find(|line| line.starts_with("certificates")).unwrap();
    let log = world.log();
    let logged = log.lines().find(|line| line.contains(&name)).unwrap();
    let message = line.split_once(&name).unwrap_or_else(|| panic!("{line}")).1.trim();
    assert!(logged.contains(message), "check says {message}, and the log {logged}");
    message.to_owned()
}

/// A file that is there and is not what it should be: what it is, and the command that makes it
/// right.
#[tokio::test]
async fn a_key_or_certificate_in_another_form_is_told_with_the_command_that_converts_it() {
    let message = told_of("agent.key", |dir| {
        openssl(dir, "pkcs8 -topk8 -in agent.key -out new.key -passout pass:hunter2");
        fs::rename(dir.join("new.key"), dir.join("agent.key")).unwrap();
    })
    .await;
    assert!(message.contains("the key is encrypted") && message.contains("openssl pkey -in"), "{message}");
    let message = told_of("agent.key", |dir| {
        openssl(dir, "ec -in agent.key -aes256 -out new.key -passout pass:hunter2");
        fs::rename(dir.join("new.key"), dir.join("agent.key")).unwrap();
    })
    .await;
    assert!(message.contains("the key is encrypted") && message.contains("openssl pkey -in"), "{message}");
    let message = told_of("agent.key", |dir| {
        openssl(dir, "pkey -in agent.key -outform DER -out new.key");
        fs::rename(dir.join("new.key"), dir.join("agent.key")).unwrap();
    })
    .await;
    assert!(message.contains("openssl pkey -inform DER"), "{message}");
    let message = told_of("agent.key", |dir| {
        fs::copy(dir.join("agent.pem"), dir.join("agent.key")).unwrap();
    })
    .await;
    assert!(message.contains("holds \"CERTIFICATE\" and no private key"), "{message}");
    let message = told_of("agent.key", |dir| fs::write(dir.join("agent.key"), "").unwrap()).await;
    assert!(message.contains("is empty"), "{message}");
    let message = told_of("ca.pem", |dir| {
        openssl(dir, "x509 -in ca.pem -outform DER -out new.pem");
        fs::rename(dir.join("new.pem"), dir.join("ca.pem")).unwrap();
    })
    .await;
    assert!(message.contains("openssl x509 -inform DER"), "{message}");
    let message = told_of("agent.pem", |dir| {
        fs::copy(dir.join("broker.pem"), dir.join("agent.pem")).unwrap();
    })
    .await;
    assert!(message.contains("the key is not this certificate's"), "{message}");
}

/// OpenSSL makes a certificate of version 1 where it is given no extension, and brokers take it.
#[tokio::test]
async fn a_certificate_of_version_1_is_named_with_the_command_that_makes_version_3() {
    for whose in ["broker", "agent"] {
        let (mut world, ..) = with_mutual_tls("", Vec::new()).await;
        let dir = world.dir.path().to_path_buf();
        openssl(&dir, "req -x509 -newkey rsa:2048 -nodes -keyout old-ca.key -out old-ca.pem -subj /CN=old -days 30");
        openssl(&dir, &format!("req -new -key {whose}.key -out v1.csr -subj /CN=localhost"));
        openssl(
            &dir,
            &format!("x509 -req -in v1.csr -CA old-ca.pem -CAkey old-ca.key -CAcreateserial -days 30 -out {whose}.pem"),
        );
        let mut both = fs::read_to_string(dir.join("ca.pem")).unwrap();
        both.push_str(&fs::read_to_string(dir.join("old-ca.pem")).unwrap());
        fs::write(dir.join("ca.pem"), both).unwrap();
        world.broker.restart().await;
        world.start_agent();
        until("it says which version", || world.log().contains("X.509 certificate of version 1")).await;
        let log = world.log();
        let line = log.lines().find(|line| line.contains("of version 1")).unwrap();
        let owner = if whose == "broker" { "the broker's certificate" } else { "our certificate" };
        assert!(
            line.contains(owner) && line.contains("openssl x509 -req") && line.contains("subjectAltName"),
            "{line}"
        );
    }
}

/// A broker that dies says no goodbye in TLS, which the library reports with a link into its
/// manual.
#[tokio::test]
async fn a_connection_that_is_cut_is_told_without_a_link_into_a_librarys_manual() {
    let (mut world, _, port) = with_mutual_tls("", Vec::new()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap().port();
    let (cut, mut is_cut) = tokio::sync::watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let mut there = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            is_cut.mark_unchanged();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                _ = is_cut.changed() => {}
            }
        }
    });
    world.set("mqtt.url", json!(format!("mqtts://localhost:{between}")));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is there", |s| s["state"] == "ONLINE").await;
    cut.send_replace(());
    until("it says so", || world.log().contains("not connected to the broker")).await;
    let log = world.log();
    let line = log.lines().find(|line| line.contains("not connected to the broker")).unwrap();
    assert!(line.contains("close_notify") && !line.contains("https://"), "{line}");
    assert!(line.contains(&format!("localhost:{between}")) && line.contains("its log says why"), "{line}");
}

/// What stands at the address and what is wrong with it, and no link into a library's manual.
#[tokio::test]
async fn a_broker_that_dies_or_speaks_no_tls_is_told_in_our_own_words() {
    let (mut world, _, port) = with_mutual_tls("", Vec::new()).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is there", |s| s["state"] == "ONLINE").await;
    world.broker.stop();
    until("it says so", || world.log().contains("not connected to the broker")).await;
    until("the agent reports the port", || world.log().contains(&format!("nobody listens at localhost:{port}"))).await;
    assert!(!world.log().contains("docs.rs"), "{}", world.log());
    world.stop_agent();
    world.broker.restart().await;
    let plain = world.broker.port;
    world.set("mqtt.url", json!(format!("mqtts://localhost:{plain}")));
    world.start_agent();
    until("it is no TLS", || world.log().contains("mqtt.url")).await;
    world.stop_agent();
    world.set("mqtt.url", json!("mqtts://no-such-broker.invalid"));
    world.start_agent();
    until("the name", || world.log().contains("check the host name no-such-broker.invalid in mqtt.url")).await;
}
