//! The commands over the broker, as from any other machine.

use super::*;

/// From any machine: a list that is too long for one payload becomes several requests, and is
/// printed as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_go_over_the_broker_too() {
    let (world, client) = World::running(7000).await;
    let url = format!("mqtt://127.0.0.1:{}", world.broker.port);
    let broker = ["--mqtt-url", &url, "--core-device-thing-name", CORE, "--client-id", "laptop"];
    let over = |words: &[&str]| offboard(&world, &[words, &broker].concat());
    let plan = json_of(&over(&["disassociate", "d0001", "stranger", "--dry-run", "--output", "json"]), 0);
    assert_eq!((&plan["entryCount"], &plan["unknownCount"]), (&json!(2), &json!(1)));
    let file = world.dir.path().join("names.txt");
    std::fs::write(&file, names(0..7000).join("\n")).unwrap();
    let file = file.to_str().unwrap();
    let completed = json_of(&over(&["disassociate", "--from-file", file, "--token", "all", "--output", "json"]), 0);
    let member = |member: &str| completed[member].clone();
    assert_eq!((member("clientToken"), member("status")), (json!("all"), json!("SUCCEEDED")));
    assert_eq!((member("entryCount"), member("succeededCount")), (json!(7000), json!(7000)));
    assert_eq!(world.cloud.count(Operation::Disassociate), 70);
    let requests = json_of(&over(&["requests", "--output", "json"]), 0);
    let tokens: Vec<_> = requests.as_array().unwrap().iter().map(|one| one["clientToken"].clone()).collect();
    assert_eq!(tokens, ["all.2", "all.1"]);
    let device = json_of(&over(&["devices", "d0001", "--output", "json"]), 0);
    assert_eq!((&device["state"], &device["requestedBy"]), (&json!("DISASSOCIATED"), &json!("laptop")));
    assert_eq!(json_of(&over(&["status", "--output", "json"]), 0)["state"], "ONLINE");
    told_rejected(&over(&["disassociate", CORE]));
    // Another's results are no answer to this one.
    client.disassociate("other", &["d0001".into()]);
    client.result("other", "completed").await;
    let (out, _) = printed(&over(&["requests", "all.1"]), 0);
    assert!(out.starts_with("disassociate-client-devices all.1 SUCCEEDED"), "{out}");
}

#[track_caller]
fn told_rejected(output: &Output) {
    let (_, err) = printed(output, 2);
    assert!(err.starts_with("rejected: ") && err.contains("AccessDeniedException"), "{err}");
}

/// 3 and 64: what is missing is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_cannot_be_used_is_explained() {
    let world = World::new(1).await;
    let url = format!("mqtt://127.0.0.1:{}", world.broker.port);
    let broker = ["--mqtt-url", &url, "--core-device-thing-name", CORE, "--client-id", "laptop", "--timeout", "1"];
    let (_, err) = printed(&offboard(&world, &[&["status"][..], &broker].concat()), 3);
    assert!(err.contains("did not answer within 1 s") && err.contains("--topic-prefix"), "{err}");
    let (_, err) = printed(
        &offboard(
            &world,
            &[
                "status",
                "--mqtt-url",
                &url,
                "--core-device-thing-name",
                CORE,
                "--client-id",
                &format!("{CORE}-offboard"),
            ],
        ),
        64,
    );
    assert!(err.contains("is the agent's own name on the broker"), "{err}");
    let held = Port::hold();
    let nobody = format!("mqtt://127.0.0.1:{}", held.number());
    let (_, err) = printed(
        &offboard(&world, &["status", "--mqtt-url", &nobody, "--core-device-thing-name", CORE, "--client-id", "l"]),
        3,
    );
    assert!(err.contains("refused") && err.contains("check --mqtt-url"), "{err}");
    let (_, err) = printed(
        &offboard(&world, &["status", "--mqtt-url", "http://x", "--core-device-thing-name", CORE, "--client-id", "l"]),
        64,
    );
    assert_eq!(
        err,
        "--mqtt-url is \"http://x\", and it does not begin with mqtt:// or mqtts://; it must be mqtt://HOST[:PORT] or \
         mqtts://HOST[:PORT], with an IPv6 address in brackets\n"
    );
    for (option, value) in [("--topic-prefix", "a/b/#"), ("--topic-prefix", ""), ("--mqtt-url", "mqtt://[::1")] {
        let mut words = [&["status"][..], &broker, &["--topic-prefix", "offboard"]].concat();
        match words.iter().position(|word| *word == option) {
            Some(at) => words[at + 1] = value,
            None => words.extend([option, value]),
        }
        let (_, err) = printed(&offboard(&world, &words), 64);
        assert!(err.starts_with(&format!("{option} is {value:?}")) && err.contains("must be"), "{err}");
    }
    for words in [&["requests", "--client", "a/b"][..], &["cancel", "t", "--client", "a/b"]] {
        let (_, err) = printed(&offboard(&world, words), 64);
        let rule =
            "'--client <CLIENT>': must be the name of a client (1 to 128 bytes without / + # and control characters";
        assert!(err.contains("'a/b'") && err.contains(rule), "{err}");
    }
    let (_, err) = printed(&offboard(&world, &["status", "--mqtt-url", &url]), 64);
    assert!(err.contains("--client-id") && err.contains("--core-device-thing-name"), "{err}");
    let missing = [
        "--mqtt-url",
        "mqtts://localhost",
        "--core-device-thing-name",
        CORE,
        "--client-id",
        "l",
        "--ca-file",
        "/nothing.pem",
    ];
    let (_, err) = printed(&offboard(&world, &[&["status"][..], &missing].concat()), 64);
    assert!(err.starts_with("--ca-file /nothing.pem: "), "{err}");
}
