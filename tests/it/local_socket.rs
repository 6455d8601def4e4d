//! Clients of the local socket that behave badly: none of them keeps another one waiting or makes
//! the agent's memory grow.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::common::*;

/// Far above what an answer takes, and far below any time for which the agent waits for a client.
const PROMPT: Duration = Duration::from_secs(8);

async fn running(devices: usize) -> World {
    let mut world = World::new(devices).await;
    world.set("mqtt.url", json!("none"));
    world.start_agent();
    until("the agent is in sync", || in_sync(&world)).await;
    world
}

fn in_sync(world: &World) -> bool {
    let status = offboard(world, &["status", "--output", "json"]);
    serde_json::from_slice::<Value>(&status.stdout).is_ok_and(|status| status["lastSyncAt"].is_string())
}

fn command(world: &World, user: &[String], words: &[&str]) -> Command {
    let all: Vec<String> =
        user.iter().cloned().chain(product()).chain(words.iter().map(|word| (*word).to_owned())).collect();
    let mut command = Command::new(&all[0]);
    command.args(&all[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("OFFBOARD_DATA_DIR", world.dir.path().join("data")).stdin(Stdio::null());
    command
}

fn offboard(world: &World, words: &[&str]) -> Output {
    command(world, &[], words).output().unwrap()
}

struct Raw(BufReader<UnixStream>);

impl Raw {
    fn connect(world: &World) -> Self {
        let stream = UnixStream::connect(world.dir.path().join("data/agent.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The next answer; nothing at the end.
    fn answer(&mut self) -> Option<(String, Value)> {
        let mut line = String::new();
        if self.0.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        Some((answer["result"].as_str().unwrap().to_owned(), answer["payload"].take()))
    }

    fn ask(&mut self, operation: &str, payload: &Value) -> (String, Value) {
        self.send(format!("{}\n", json!({"operation": operation, "payload": payload})).as_bytes());
        self.answer().unwrap()
    }
}

/// Sends as long as the agent takes it, and reads nothing.
fn flood(world: &World, line: &str) -> UnixStream {
    let mut stream = Raw::connect(world).0.into_inner();
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    for _ in 0..5000 {
        if stream.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stalls_nobody_and_takes_little_memory() {
    let _turn = groups::measured();
    let world = running(500).await;
    let before = world.memory().now;
    world.forget_peak();
    let silent: Vec<_> = (0..4).map(|_| flood(&world, "{\"operation\":\"list-devices\"}\n")).collect();
    // Also not one to whom a result is owed.
    let owed = flood(
        &world,
        "{\"operation\":\"disassociate-client-devices\",\"payload\":{\"entries\":[{\"thingName\":\"d0001\"}]}}\n",
    );
    let mut reader = Raw::connect(&world);
    for n in 0..20 {
        let start = Instant::now();
        let token = format!("t{n}");
        assert_eq!(reader.ask("list-devices", &json!({"clientToken": token, "maxResults": 1})).1["clientToken"], token);
        let name = format!("d{:04}", 100 + n);
        reader.send(
            format!(
                "{}\n",
                json!({"operation": "disassociate-client-devices",
            "payload": {"clientToken": name, "entries": [{"thingName": name}]}})
            )
            .as_bytes(),
        );
        for kind in ["accepted", "completed"] {
            let (result, body) = reader.answer().unwrap();
            assert_eq!((result.as_str(), &body["clientToken"]), (kind, &json!(name)));
        }
        assert!(start.elapsed() < PROMPT, "{n}: {:?}", start.elapsed());
    }
    let grown = world.memory().peak - before;
    assert!(grown < 32.0, "{grown} MiB more");
    drop((silent, owed));
}

/// A client that reads a little now and then is served, as slowly as it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_much_and_reads_slowly_gets_every_answer() {
    let world = running(300).await;
    let mut slow = Raw::connect(&world);
    let mut writer = slow.0.get_ref().try_clone().unwrap();
    let looks = "{\"operation\":\"status\"}\ngarbage\n".repeat(1000);
    let lines: String = (0..600)
        .map(|n| format!("{}\n", json!({"operation": "list-devices", "payload": {"clientToken": format!("t{n}")}})))
        .collect();
    let sending = std::thread::spawn(move || writer.write_all((looks + &lines).as_bytes()).unwrap());
    let (mut online, mut rejected) = (0, 0);
    for _ in 0..2000 {
        let (result, body) = slow.answer().unwrap();
        online += u32::from(body["state"] == "ONLINE");
        rejected += u32::from(result == "rejected");
    }
    assert_eq!((online, rejected), (1000, 1000));
    for n in 0..600 {
        if n % 100 == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(slow.answer().unwrap().1["clientToken"], format!("t{n}"));
    }
    sending.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_give_way() {
    let _turn = groups::measured();
    let world = running(3).await;
    let idle: Vec<_> = (0..40).map(|_| Raw::connect(&world)).collect();
    let start = Instant::now();
    assert_eq!(offboard(&world, &["status"]).status.code(), Some(0));
    assert_eq!(offboard(&world, &["sync"]).status.code(), Some(0));
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
    // The one that gives way is the one that was idle for longest.
    let mut idle = idle;
    assert_eq!(idle.last_mut().unwrap().ask("status", &json!({})).0, "accepted");
    assert!(idle[0].answer().is_none());
}

/// The agent's own user takes all places by waiting for results: root still gets in, and the next
/// client is rejected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_user_does_not_lock_root_out() {
    let _turn = groups::measured();
    let nobody = as_nobody();
    let mut world = World::new(30).await;
    world.set("mqtt.url", json!("none"));
    let data = world.dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    give_to_nobody(&data);
    world.wrapper.clone_from(&nobody);
    world.start_agent();
    until("the agent is in sync", || in_sync(&world)).await;
    world.fault(Action::Hang, None);
    let mut waiting: Vec<Child> = Vec::new();
    for name in names(0..16) {
        let mut command = command(&world, &nobody, &["disassociate", &name, "--token", &name]);
        waiting.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        until("it is accepted", || offboard(&world, &["requests", &name, "--client", "@nobody"]).status.success())
            .await;
    }
    let refused = command(&world, &nobody, &["status"]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("all places of the local socket are taken"), "{text}");
    let start = Instant::now();
    assert!(offboard(&world, &["status"]).status.success());
    assert!(offboard(&world, &["cancel", "d0001", "--client", "@nobody"]).status.success());
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
    for mut child in waiting {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    until("their places are free again", || command(&world, &nobody, &["status"]).output().unwrap().status.success())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_too_long_is_rejected_with_its_token_and_the_connection_goes_on() {
    let world = running(3).await;
    let before = world.memory().now;
    world.forget_peak();
    let mut client = Raw::connect(&world);
    let names = "{\"thingName\":\"sensor-000001\"},".repeat(9_800_000 / 31);
    client.send(
        format!(
            "{{\"operation\":\"disassociate-client-devices\",\"payload\":{{\"clientToken\":\"t1\",\"entries\":[{names}]}}}}\n"
        )
        .as_bytes(),
    );
    let (result, body) = client.answer().unwrap();
    assert_eq!((result.as_str(), &body["clientToken"]), ("rejected", &json!("t1")), "{body}");
    assert_eq!(
        (&body["code"], &body["operation"]),
        (&json!("ValidationException"), &json!("disassociate-client-devices"))
    );
    assert!(body["message"].as_str().unwrap().contains("8388608 bytes"), "{body}");
    contract::check("rejected", &body).unwrap();
    let (result, body) = client.ask("list-devices", &json!({"clientToken": "t2"}));
    assert_eq!((result.as_str(), &body["clientToken"]), ("accepted", &json!("t2")));
    let grown = world.memory().peak - before;
    assert!(grown < 32.0, "{grown} MiB more");
    assert_eq!(world.cloud.count(Operation::Disassociate), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_line_is_rejected_with_its_token() {
    let world = running(3).await;
    let mut client = Raw::connect(&world);
    for (line, token, operation) in [
        ("{\"operation\":\"sync\",\"payload\":{\"clientToken\":\"t1\"}} x", json!("t1"), "sync"),
        ("{\"operation\":\"sync\",\"payload\":{\"clientToken\":\"t2\",\"x\":}}", json!("t2"), "sync"),
        ("{\"operation\":\"sync\",\"payload\":{\"clientToken\":\"t3\"}", json!("t3"), "sync"),
        ("{\"payload\":{\"clientToken\":\"t4\"},\"operation\":\"sync\",\"more\":1}", json!("t4"), "sync"),
        ("garbage", Value::Null, ""),
        ("[\"sync\",{\"clientToken\":\"t5\"}]", Value::Null, ""),
        ("[\"status\"]", Value::Null, ""),
        ("\"status\"", Value::Null, ""),
        ("7", Value::Null, ""),
        ("", Value::Null, ""),
        ("{\"operation\":\"sync\",\"operation\":\"sync\"}", Value::Null, "sync"),
    ] {
        client.send(format!("{line}\n").as_bytes());
        let (result, body) = client.answer().unwrap();
        assert_eq!((result.as_str(), &body["reason"]), ("rejected", &json!("CANNOT_PARSE")), "{line}: {body}");
        assert_eq!(body["code"], "ValidationException", "{line}: {body}");
        assert_eq!((&body["clientToken"], &body["operation"]), (&token, &json!(operation)), "{line}: {body}");
    }
}

/// What a connection waits for is bounded, and beyond it nothing is accepted in silence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_connection_cannot_be_told_of_is_not_accepted_on_it() {
    let world = running(100).await;
    world.fault(Action::Hang, None);
    let mut client = Raw::connect(&world);
    let command = |name: &str| json!({"clientToken": name, "entries": [{"thingName": name}]});
    for name in names(0..64) {
        assert_eq!(client.ask("disassociate-client-devices", &command(&name)).0, "accepted");
    }
    let (result, body) = client.ask("disassociate-client-devices", &command("d0064"));
    assert_eq!((result.as_str(), &body["code"]), ("rejected", &json!("ThrottlingException")), "{body}");
    assert_eq!(body["clientToken"], "d0064", "{body}");
    assert_eq!(
        client.ask("get-request", &json!({"targetClientToken": "d0001"})).0,
        "accepted",
        "questions are answered"
    );
    assert_eq!(Raw::connect(&world).ask("disassociate-client-devices", &command("d0064")).0, "accepted");
    world.cloud.clear_faults();
    let mut ended: Vec<String> =
        (0..64).map(|_| client.answer().unwrap().1["clientToken"].as_str().unwrap().into()).collect();
    ended.sort_unstable();
    assert_eq!(ended, names(0..64));
    assert_eq!(client.ask("disassociate-client-devices", &command("d0065")).0, "accepted");
}

/// A registry that is deleted and replaced under the agent costs no command: its client hears the
/// outcome on the connection on which it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_while_the_registry_is_replaced_hears_the_outcome() {
    let world = running(10).await;
    world.fault(Action::Hang, Some(1));
    let mut waiting = Raw::connect(&world);
    let command = |token: &str, names: &[String]| json!({"clientToken": token, "entries": entries(names)});
    assert_eq!(waiting.ask("disassociate-client-devices", &command("waiting", &names(1..2))).0, "accepted");
    std::fs::remove_dir_all(world.dir.path().join("data/store")).unwrap();
    // Enough for a segment of the journal: the registry is written to.
    let mut other = Raw::connect(&world);
    let many = names(100..5100);
    world.cloud.associate_at(CORE, many.clone(), std::time::SystemTime::now() - Duration::from_secs(3600));
    assert_eq!(other.ask("disassociate-client-devices", &command("many", &many)).0, "accepted");
    until("the registry is replaced", || {
        let (_, status) = Raw::connect(&world).ask("status", &json!({}));
        store_problems(&status) == ["STORE_REPLACED"]
    })
    .await;
    world.cloud.clear_faults();
    for (client, token) in [(&mut waiting, "waiting"), (&mut other, "many")] {
        let (kind, completed) = client.answer().unwrap();
        assert_eq!(
            (kind.as_str(), &completed["clientToken"], &completed["status"]),
            ("completed", &json!(token), &json!("SUCCEEDED"))
        );
    }
    assert_eq!(
        (world.disassociations("d0001"), world.disassociations("d0100"), world.disassociations("d5099")),
        (1, 1, 1)
    );
}

/// Whatever a line of the longest length holds, it takes at most 32 MiB, and the next question is
/// answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_line_takes_more_than_32_mib() {
    const SIZE: usize = (8 << 20) - 200;
    let world = running(10).await;
    // What stands before, what is repeated, with a number in the place of %, what separates it, and
    // what stands behind.
    let kinds: [(&str, &str, &str, &str); 12] = [
        ("{\"entries\":[", "{}", ",", "]}"),
        ("{\"entries\":[", "0", ",", "]}"),
        ("{\"entries\":[", "{\"thingName\":\"a b\"}", ",", "]}"),
        ("{\"entries\":[", "{\"thingName\":\"d%\"}", ",", "]}"),
        ("{\"entries\":[", "{\"thingName\":\"d1\"}", ",", "],\"dryRun\":true}"),
        ("{\"entries\":[", "{\"x%\":1}", ",", "]}"),
        ("{", "\"m%\":[1]", ",", "}"),
        ("{", "\"entries\":0", ",", "}"),
        ("{\"reason\":\"", "\\u0061", "", "\"}"),
        ("{\"clientToken\":[", "[]", ",", "]}"),
        ("{\"projectId\":\"x\",\"assetIds\":[", "\"a1b2c3d4-5678-90ab-cdef-%\"", ",", "]}"),
        ("", "[", "", ""),
    ];
    let mut worst = 0.0_f64;
    for (n, (before, item, separator, behind)) in kinds.into_iter().enumerate() {
        let operation =
            if item.contains("a1b2c3d4") { "disassociate-project-assets" } else { "disassociate-client-devices" };
        let mut line = format!("{{\"operation\":\"{operation}\",\"payload\":{before}");
        let mut count = 0;
        while line.len() + item.len() + 20 < SIZE {
            if count > 0 {
                line.push_str(separator);
            }
            line.push_str(&item.replace('%', &format!("{count:012}")));
            count += 1;
        }
        line.push_str(behind);
        line.push_str("}\n");
        let used = world.memory().now;
        world.forget_peak();
        let mut raw = Raw::connect(&world);
        raw.send(line.as_bytes());
        let (result, body) = raw.answer().unwrap();
        let peak = world.memory().peak;
        let expected = if behind.contains("dryRun") { "accepted" } else { "rejected" };
        assert_eq!(result, expected, "kind {n}: {body}");
        assert!(peak - used < 32.0, "kind {n}: {peak} MiB at the peak, {used} before");
        worst = worst.max(peak - used);
        assert!(body["fields"].as_array().is_none_or(|fields| fields.len() <= 20), "kind {n}");
        assert_eq!(raw.ask("list-devices", &json!({"clientToken": "t"})).0, "accepted");
    }
    println!("{worst:.1} MiB at most");
}

/// Serde's message names the member; in a line of 8 MiB the name may be all of it.
#[tokio::test]
async fn the_name_of_an_unknown_member_is_cut_in_the_answer_and_in_the_log() {
    let world = running(10).await;
    world.forget_peak();
    let before = world.memory();
    let mut client = Raw::connect(&world);
    for filling in ["x", "\u{7f}", "\\n"] {
        let name = filling.repeat((8 << 20) / filling.len() - 100);
        client.send(format!("{{\"{name}\":1}}\n").as_bytes());
        let (kind, answer) = client.answer().unwrap();
        assert_eq!((kind.as_str(), &answer["reason"]), ("rejected", &json!("CANNOT_PARSE")));
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("unknown field") && message.len() < 1024, "{} bytes", message.len());
    }
    assert!(world.log().len() < 100_000, "{} bytes", world.log().len());
    let after = world.memory();
    assert!(after.peak - before.now < 32.0, "{} MiB at the peak, {} before", after.peak, before.now);
}
