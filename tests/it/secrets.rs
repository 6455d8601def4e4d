//! No secret is in a log, at any level: the broker's password, a private key, the cloud's
//! credentials.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

use crate::common::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

const PASSWORD: &str = "pass-Wort-7c1f0e";
const WRONG: &str = "wrong-Wort-2b9d4a";

/// A secret, and what it is.
type Secret = (&'static str, String);

/// The same bytes as a log may show them.
fn shown_as(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let list = |text: fn(&u8) -> String| bytes.iter().map(text).collect::<Vec<_>>();
    vec![
        secret.to_owned(),
        list(|byte| byte.to_string()).join(", "),
        list(|byte| format!("{byte:02x}")).concat(),
        list(|byte| format!("{byte:02X}")).concat(),
        base64(bytes),
    ]
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // Whole groups only: what follows in a log is then not known.
    let group = |three: &[u8]| u32::from_be_bytes([0, three[0], three[1], three[2]]);
    let digit = |group: u32, n: u32| char::from(DIGITS[(group >> (18 - 6 * n) & 63) as usize]);
    bytes.chunks_exact(3).map(group).flat_map(|group| (0..4).map(move |n| digit(group, n))).collect()
}

/// The form in which `log` has `secret`, if it has it.
fn find(log: &str, secret: &str) -> Option<String> {
    assert!(secret.len() >= 12, "too short to look for");
    shown_as(secret).into_iter().find(|form| log.contains(form))
}

fn assert_silent(log: &str, secrets: &[Secret]) {
    for (what, secret) in secrets {
        if let Some(form) = find(log, secret) {
            panic!("{what} is logged: {:?}", log.lines().find(|line| line.contains(&form)));
        }
    }
}

#[test]
fn what_is_looked_for_would_be_found() {
    let bytes = PASSWORD.as_bytes();
    for log in [PASSWORD.to_owned(), format!("{bytes:?}"), format!("{bytes:02x?}").replace(", ", ""), base64(bytes)] {
        assert!(find(&format!("a line with {log} in it"), PASSWORD).is_some(), "{log}");
    }
    assert_eq!(base64(b"Man!"), "TWFu");
}

/// What the token exchange service gives, asked as the agent asks.
async fn cloud_secrets(cloud: &Cloud) -> Vec<Secret> {
    let (uri, token) = (cloud.credentials_uri(), cloud.authorization_token().to_owned());
    let header = token.clone();
    let ask = move || {
        let (host, path) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!("host: {host}\r\nauthorization: {header}\r\nconnection: close");
        write!(stream, "GET /{path} HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // The cloud runs on this thread.
    let answer = tokio::task::spawn_blocking(ask).await.unwrap();
    let body: Value = serde_json::from_str(&answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()]).unwrap();
    let of = |name: &str| body[name].as_str().unwrap().to_owned();
    vec![
        ("the secret access key", of("SecretAccessKey")),
        ("the session token", of("Token")),
        ("the token exchange's authorization", token),
    ]
}

fn with_everything_logged(world: &mut World) {
    world.wrapper = ["env", "RUST_LOG=trace", "RUST_BACKTRACE=1"].map(str::to_owned).to_vec();
    world.start_agent();
    // It has become the agent.
    world.wrapper.clear();
}

/// Certificates for both sides below `dir`; returns the lines of the agent's private key.
fn certificates(dir: &Path) -> Vec<Secret> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    for (name, host) in [("broker", "localhost"), ("agent", "MyCore-offboard")] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.into()]).unwrap().signed_by(&key, &authority).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let pem = fs::read_to_string(dir.join("agent.key")).unwrap();
    pem.lines()
        .filter(|line| !line.starts_with('-') && line.len() >= 12)
        .map(|line| ("a line of the private key", line.to_owned()))
        .collect()
}

async fn a_working_day_logs_no_secret(format: &str) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let mut secrets = certificates(dir.path());
    let made = Command::new("mosquitto_passwd").args(["-b", "-c", &at("passwords"), "agent", PASSWORD]).status();
    assert!(made.expect("mosquitto_passwd is not installed: run tests/run").success());
    let mut broker = Broker::absent(dir.path());
    let port = broker.another_port();
    broker.more = format!(
        "listener {port} 127.0.0.1\npassword_file {}\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        at("passwords"),
        at("ca.pem"),
        at("broker.pem"),
        at("broker.key")
    );
    broker.restart().await;
    let mut world = World::with(dir, broker, 10).await;
    let dir = world.dir.path().to_path_buf();
    world.set("mqtt.url", json!(format!("mqtts://localhost:{port}")));
    for (key, name) in [("mqtt.caFile", "ca.pem"), ("mqtt.certFile", "agent.pem"), ("mqtt.keyFile", "agent.key")] {
        world.set(key, json!(dir.join(name)));
    }
    world.set("mqtt.username", json!("agent"));
    world.set("mqtt.password", json!(PASSWORD));
    world.set("log.format", json!(format));
    secrets.push(("the broker's password", PASSWORD.into()));
    secrets.push(("a wrong password", WRONG.into()));
    secrets.extend(cloud_secrets(&world.cloud).await);
    let client = world.client("bench").await;
    with_everything_logged(&mut world);
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client.disassociate("t", &names(0..3));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    // An answer that quotes nothing, one that does not come, and new credentials.
    world.fault(Action::Deny, Some(1));
    world.fault(Action::CutAfter, Some(1));
    client.disassociate("u", &names(3..6));
    client.result("u", "completed").await;
    world.stop_agent();
    let log = world.log();
    // The libraries' own lines are among them, those too that name the header with the session
    // token.
    assert!(log.contains("connected to the broker") && log.contains("x-amz-security-token"), "{log}");
    assert_silent(&log, &secrets);

    // The broker refuses the login, and then the key cannot be read.
    world.set("mqtt.password", json!(WRONG));
    with_everything_logged(&mut world);
    let path = world.log_path();
    let refused = || fs::read_to_string(&path).unwrap().contains("not connected to the broker");
    until("the broker refuses the login", refused).await;
    let key = fs::read_to_string(dir.join("agent.key")).unwrap();
    fs::write(dir.join("agent.key"), key.replace("PRIVATE KEY", "PRIVATE LOCK")).unwrap();
    until("the key cannot be read", || fs::read_to_string(&path).unwrap().contains("mqtt.keyFile")).await;
    world.stop_agent();
    assert_silent(&world.log(), &secrets);
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level_as_text() {
    a_working_day_logs_no_secret("text").await;
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level_as_json() {
    a_working_day_logs_no_secret("json").await;
}

#[test]
fn a_bad_configuration_is_told_without_its_secrets() {
    let good = |mqtt: Value| json!({"coreThingName": "MyCore", "region": "r", "mqtt": mqtt}).to_string();
    let bad = [
        // Not JSON, right after the password.
        good(json!({"username": "u", "password": PASSWORD})).replace("\"},", "\","),
        format!("{{\"mqtt\":{{\"password\":{PASSWORD}}}}}"),
        // JSON, but not what it should be.
        good(json!(PASSWORD)),
        good(json!([PASSWORD])),
        good(json!({"password": PASSWORD})),
        good(json!({"username": 7, "password": PASSWORD})),
        good(json!({"username": "u", "password": {"is": PASSWORD}})),
        good(json!({"url": format!("mqtt://user:{PASSWORD}@broker")})),
        good(json!({"url": "mqtt://h", "username": "u", "password": PASSWORD, "keepAliveSeconds": 1})),
        good(json!({"url": "mqtt://h", "pasword": PASSWORD, "keepAliveSeconds": 1})),
        json!({"coreThingName": "MyCore", "password": PASSWORD}).to_string(),
    ];
    for text in bad {
        let run = Command::new(env!("CARGO_BIN_EXE_offboard"))
            .arg("run")
            .env_clear()
            .env("RUST_LOG", "trace")
            .env("OFFBOARD_CONFIG", &text)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(64), "{text}");
        let said = [run.stdout, run.stderr].concat();
        assert!(!said.is_empty());
        assert_silent(&String::from_utf8_lossy(&said), &[("the password", PASSWORD.into())]);
    }
}

#[test]
fn a_configuration_that_is_shown_shows_no_password() {
    let text = json!({
        "coreThingName": "MyCore", "region": "r",
        "mqtt": {"username": "agent", "password": PASSWORD, "keyFile": "/k", "certFile": "/c"},
    });
    let (config, _) = offboard::config::parse(&text.to_string(), |_| None).unwrap();
    assert_silent(&format!("{config:?} {config:#?} {:?}", config.mqtt), &[("the password", PASSWORD.into())]);
}
