//! The way to the cloud on a site: by name over TLS, through a proxy, with the site's own
//! certificate authority, in FIPS mode, and on a device whose clock is years off at the start.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
};

use crate::common::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls};

const HOST: &str = "greengrass.eu-central-1.amazonaws.com";

/// The stand-in behind TLS, with the cloud's own name; its authority is in `dir/root.pem`. Returns
/// the port.
async fn terminate_tls(dir: &std::path::Path, cloud: &Cloud) -> u16 {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2020, 1, 1);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("root.pem"), root.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HOST.into()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    let certificate = params.signed_by(&key, &root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let upstream = cloud.endpoint().strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut there = TcpStream::connect(upstream).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut there).await;
                }
            });
        }
    });
    port
}

/// A proxy that knows the way to one host, whatever its name; what it was asked for.
async fn proxy(to: u16) -> (u16, Arc<Mutex<BTreeSet<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                seen.lock().unwrap().insert(head.lines().next().unwrap().to_owned());
                let mut there = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut there).await;
            });
        }
    });
    (port, asked)
}

/// A world whose agent has no endpoint configured, and a proxy in its environment; what the proxy
/// was asked for.
async fn behind_a_proxy(more: &[&str]) -> (World, Arc<Mutex<BTreeSet<String>>>) {
    let mut world = World::new(10).await;
    world.config["cloud"] = json!({});
    let to = terminate_tls(world.dir.path(), &world.cloud).await;
    let (port, asked) = proxy(to).await;
    let root = world.dir.path().join("root.pem");
    world.wrapper = vec!["env".into(), format!("GG_ROOT_CA_PATH={}", root.display())];
    // As nucleus lite sets them: without localhost in NO_PROXY.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        world.wrapper.push(format!("{name}=http://127.0.0.1:{port}"));
    }
    world.wrapper.extend(more.iter().map(|word| (*word).to_owned()));
    (world, asked)
}

fn asked(by: &Mutex<BTreeSet<String>>) -> Vec<String> {
    by.lock().unwrap().iter().cloned().collect()
}

#[tokio::test]
async fn the_cloud_is_reached_through_the_proxy_and_the_token_exchange_is_not() {
    let (mut world, by) = behind_a_proxy(&[]).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is in sync", |s| s["lastSyncAt"].is_string()).await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert_eq!(asked(&by), [format!("CONNECT {HOST}:443 HTTP/1.1")]);
}

#[tokio::test]
async fn without_the_sites_authority_the_certificate_is_told_of() {
    let (mut world, _) = behind_a_proxy(&["GG_ROOT_CA_PATH="]).await;
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("it says so", |s| s["cloud"] == "UNREACHABLE").await;
    let message = status["problems"].to_string();
    assert!(message.contains("certificate is not accepted") && message.contains("GG_ROOT_CA_PATH"), "{message}");
}

#[tokio::test]
async fn in_fips_mode_the_fips_endpoint_is_used_and_what_is_not_validated_is_said() {
    let (mut world, by) = behind_a_proxy(&["AWS_USE_FIPS_ENDPOINT=true"]).await;
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is not our stand-in's name", |s| s["cloud"] == "UNREACHABLE").await;
    assert_eq!(asked(&by), ["CONNECT greengrass-fips.eu-central-1.amazonaws.com:443 HTTP/1.1"]);
    assert!(world.log().contains("not validated for FIPS"), "{}", world.log());
}

#[tokio::test]
async fn a_clock_years_off_at_the_start_is_told_and_works_once_it_is_set() {
    let (mut world, _) = behind_a_proxy(&[]).await;
    let time = world.dir.path().join("time");
    fs::write(&time, "@2001-01-01 00:00:00").unwrap();
    world.wrapper.extend([
        format!("LD_PRELOAD={}", library("libfaketimeMT.so.1")),
        format!("FAKETIME_TIMESTAMP_FILE={}", time.display()),
        "FAKETIME_NO_CACHE=1".into(),
        "DONT_FAKE_MONOTONIC=1".into(),
    ]);
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("it says so", |s| s["cloud"] == "UNREACHABLE").await;
    assert!(status["startedAt"].as_str().unwrap().starts_with("2001"), "{status}");
    assert!(status["problems"].to_string().contains("check this device's clock"), "{status}");
    client.disassociate("t", &names(0..1));
    client.result("t", "accepted").await;
    // An hour off is within the certificate, and still not what signatures allow.
    fs::write(&time, "-1h").unwrap();
    let status = client.status("it says so", |s| problem_codes(s).contains(&"CLOCK_SKEW")).await;
    assert!(status["problems"].to_string().contains("behind the cloud's; set it"), "{status}");
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED", "the signatures are corrected");
    fs::write(&time, "+0").unwrap();
    client.send("sync", &json!({"clientToken": "s"}));
    client.status("all is well", |s| s["health"] == "OK").await;
}

/// A stray variable or file would have the agent act in another's name, call another's endpoint, or
/// hand the nucleus's token to another service. None of those that AWS SDKs read counts; the
/// nucleus's own two do.
#[tokio::test]
async fn no_variable_or_file_of_another_aws_program_steers_the_agent() {
    let (mut world, by) = behind_a_proxy(&[]).await;
    let home = world.dir.path().join("home");
    let at = |name: &str| home.join(name).display().to_string();
    fs::create_dir_all(home.join(".aws")).unwrap();
    fs::write(
        at(".aws/config"),
        "[default]\nendpoint_url = http://127.0.0.1:1\nregion = us-west-2\nuse_fips_endpoint = true\n\
         use_dualstack_endpoint = true\ncredential_process = /bin/false\n[profile stray]\nendpoint_url = http://127.0.0.1:1\n",
    )
    .unwrap();
    fs::write(at(".aws/credentials"), "[default]\naws_access_key_id = STRAY\naws_secret_access_key = STRAY\n").unwrap();
    fs::write(at("token"), "a stray token").unwrap();
    let strays = [
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/stray".to_owned()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", at("token")),
        ("AWS_ACCESS_KEY_ID", "STRAY".into()),
        ("AWS_SECRET_ACCESS_KEY", "STRAY".into()),
        ("AWS_SESSION_TOKEN", "STRAY".into()),
        ("AWS_PROFILE", "stray".into()),
        ("AWS_DEFAULT_PROFILE", "stray".into()),
        ("AWS_CONFIG_FILE", at(".aws/config")),
        ("AWS_SHARED_CREDENTIALS_FILE", at(".aws/credentials")),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", at("token")),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/stray".into()),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1".into()),
        ("AWS_ENDPOINT_URL_GREENGRASSV2", "http://127.0.0.1:1".into()),
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1".into()),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false".into()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1".into()),
        ("AWS_DEFAULT_REGION", "us-west-2".into()),
        ("AWS_REGION", "us-west-2".into()),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true".into()),
        ("AWS_DEFAULTS_MODE", "mobile".into()),
        ("AWS_RETRY_MODE", "adaptive".into()),
        ("AWS_MAX_ATTEMPTS", "9".into()),
        ("AWS_ACCOUNT_ID", "123456789012".into()),
        ("AWS_SDK_UA_APP_ID", "stray".into()),
        ("AWS_CA_BUNDLE", at("token")),
        ("AWS_SIGV4A_SIGNING_REGION_SET", "*".into()),
        ("AWS_AUTH_SCHEME_PREFERENCE", "httpBearerAuth".into()),
        ("AWS_BEARER_TOKEN", "stray".into()),
        ("HOME", home.display().to_string()),
    ];
    world.wrapper.extend(strays.iter().map(|(name, value)| format!("{name}={value}")));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is in sync", |s| s["lastSyncAt"].is_string()).await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert_eq!(asked(&by), [format!("CONNECT {HOST}:443 HTTP/1.1")]);
}

/// The agent's problem of that code, once there is one.
async fn problem(client: &Client, code: &str) -> String {
    let status = client.status("it says so", |s| problem_codes(s).contains(&code)).await;
    let problems = status["problems"].as_array().unwrap();
    problems.iter().find(|one| one["code"] == code).unwrap()["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_dead_proxy_is_named_with_its_variable_and_without_its_password() {
    for (variable, more) in [("https_proxy", vec!["HTTPS_PROXY"]), ("ALL_PROXY", vec!["HTTPS_PROXY", "https_proxy"])] {
        let (mut world, _) = behind_a_proxy(&[]).await;
        let held = Port::hold();
        let dead = held.number();
        world.wrapper.splice(1..1, more.iter().flat_map(|name| ["-u".to_owned(), (*name).to_owned()]));
        world.wrapper.retain(|word| !more.iter().any(|name| word.starts_with(&format!("{name}="))));
        world.wrapper.push(format!("{variable}=http://somebody:hunter2@127.0.0.1:{dead}"));
        let client = world.client("bench").await;
        world.start_agent();
        let message = problem(&client, "CLOUD_UNREACHABLE").await;
        assert!(message.contains(&format!("http://127.0.0.1:{dead} (from {variable})")), "{message}");
        assert!(message.contains(HOST) && message.contains("check that the proxy runs"), "{message}");
        assert!(!message.contains("hunter2") && !world.log().contains("hunter2"), "{message}");
    }
}

#[tokio::test]
async fn a_region_that_does_not_exist_is_named_with_its_host() {
    let mut world = World::new(1).await;
    world.config["cloud"] = json!({});
    world.set("region", json!("eu-central1"));
    let client = world.client("bench").await;
    world.start_agent();
    let message = problem(&client, "CLOUD_UNREACHABLE").await;
    assert!(message.contains("greengrass.eu-central1.amazonaws.com"), "{message}");
    assert!(message.contains("region eu-central1") && message.contains("check region"), "{message}");
}

#[tokio::test]
async fn an_endpoint_that_nobody_listens_at_is_named_with_host_and_port() {
    let mut world = World::new(1).await;
    let held = Port::hold();
    let port = held.number();
    world.config["cloud"] = json!({"greengrassEndpoint": format!("http://127.0.0.1:{port}")});
    let client = world.client("bench").await;
    world.start_agent();
    let message = problem(&client, "CLOUD_UNREACHABLE").await;
    assert!(message.contains(&format!("127.0.0.1:{port}")) && message.contains("refused"), "{message}");
}

/// A proxy that is named and not used is reported in the log, in `status` and in `check`; what else
/// is there works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_variable_that_is_no_address_is_named() {
    for (variable, value, says) in [
        ("HTTP_PROXY", "not a url", "is not the address of a proxy"),
        ("https_proxy", "socks5://127.0.0.1:1080", "SOCKS"),
        ("ALL_PROXY", "http://somebody:hunter2@", "is not the address of a proxy"),
    ] {
        let mut world = World::new(1).await;
        world.wrapper = vec!["env".into(), format!("{variable}={value}")];
        let client = world.client("bench").await;
        world.start_agent();
        let message = problem(&client, "PROXY_INVALID").await;
        assert!(message.contains(&format!("{variable} is \"")) && message.contains(says), "{message}");
        assert!(message.contains("set it to http://HOST:PORT") && !message.contains("hunter2"), "{message}");
        client.status("the stand-in needs no proxy", |s| s["lastSyncAt"].is_string()).await;
        assert_eq!(world.log_lines("PROXY_INVALID"), 1, "{}", world.log());
        let program = product();
        let mut check = std::process::Command::new(&program[0]);
        check.args(&program[1..]).arg("check").env_clear().env("OFFBOARD_CONFIG", world.config.to_string());
        let output = check.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("proxy") && text.contains(&format!("{variable} is \"")), "{text}");
    }
}
