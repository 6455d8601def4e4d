//! The data directory: one process at a time uses it, and the agent refuses one in which other
//! users can place files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::*;

/// A further process on the world's data directory, with its log in `name`.
fn another(world: &World, name: &str) -> Child {
    let program = product();
    let log = fs::File::create(world.dir.path().join(name)).unwrap();
    Command::new(&program[0])
        .args(&program[1..])
        .arg("run")
        .env_clear()
        .env("OFFBOARD_CONFIG", world.config.to_string())
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", world.cloud.credentials_uri())
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", world.cloud.authorization_token())
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_waits_and_takes_over() {
    let _turn = groups::measured();
    let (mut world, client) = World::running(40).await;
    let id = format!("{CORE}-offboard");
    assert_eq!(world.broker.connections(&id), 1);
    let mut second = another(&world, "second.log");
    let log = world.dir.path().join("second.log");
    let logged = || fs::read_to_string(&log).unwrap();
    let holder = format!("is in use by another agent, process {}", world.agent.as_ref().unwrap().id());
    until("it says that it waits", || logged().contains(&holder)).await;
    for (n, name) in names(0..18).into_iter().enumerate() {
        let token = format!("t{n}");
        client.disassociate(&token, &[name]);
        client.result(&token, "accepted").await;
        assert_eq!(client.result(&token, "completed").await["status"], "SUCCEEDED");
    }
    assert!(client.seen().iter().all(|message| !message.topic.ends_with("/rejected")), "{:#?}", client.seen());
    assert_eq!(world.broker.connections(&id), 1, "the second one stays away from the broker");
    assert_eq!(logged().matches("is in use by another agent").count(), 1, "{}", logged());
    // One that is to stop does so at once, and leaves the others alone.
    let mut third = another(&world, "third.log");
    until("it waits", || fs::read_to_string(world.dir.path().join("third.log")).unwrap().contains(&holder)).await;
    let start = Instant::now();
    terminate(third.id());
    assert!(third.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    world.kill();
    client.disassociate("after", &names(20..21));
    assert_eq!(client.result("after", "completed").await["status"], "SUCCEEDED");
    assert!(logged().contains("takes over") && second.try_wait().unwrap().is_none(), "{}", logged());
    let status = Command::new(&product()[0])
        .args(&product()[1..])
        .args(["requests", "after", "--client", "bench", "--data-dir"])
        .arg(world.dir.path().join("data"))
        .output()
        .unwrap();
    assert!(status.status.success(), "it has the socket, too: {}", String::from_utf8_lossy(&status.stderr));
    terminate(second.id());
    assert!(second.wait().unwrap().success());
}

/// Root's agent is given a directory of somebody who has put links to root's files in the place of
/// the agent's own.
#[tokio::test]
async fn links_in_a_directory_of_somebody_else_lead_nowhere() {
    assert!(is_root(), "the attack is one on root");
    let mut world = World::new(3).await;
    let (data, victims) = (world.dir.path().join("data"), world.dir.path().join("victims"));
    fs::create_dir(&data).unwrap();
    fs::create_dir(&victims).unwrap();
    let names = ["lock", "agent.sock"];
    let dirs = ["journal", "store", "store.new", "store.old"];
    for name in names {
        fs::write(victims.join(name), "root's own").unwrap();
        symlink(victims.join(name), data.join(name)).unwrap();
    }
    for name in dirs {
        fs::create_dir(victims.join(name)).unwrap();
        for file in ["complete", "segment-0"] {
            fs::write(victims.join(name).join(file), "root's own").unwrap();
        }
        symlink(victims.join(name), data.join(name)).unwrap();
    }
    give_to_nobody(&data);
    let untouched = || {
        for name in names {
            assert_eq!(fs::read_to_string(victims.join(name)).unwrap(), "root's own", "{name}");
        }
        for name in dirs {
            assert_eq!(fs::read_dir(victims.join(name)).unwrap().count(), 2, "{name}");
            assert_eq!(fs::read_to_string(victims.join(name).join("segment-0")).unwrap(), "root's own", "{name}");
        }
        assert_eq!(fs::read_dir(&victims).unwrap().count(), names.len() + dirs.len());
    };
    let client = world.client("bench").await;
    world.start_agent();
    let failing = |says: &'static str| {
        let client = &client;
        async move {
            let says_so = |status: &Value| {
                status["problems"].as_array().into_iter().flatten().any(|problem| {
                    problem["code"] == "STORE_FAILING" && problem["message"].as_str().unwrap().contains(says)
                })
            };
            client.status("it says so", says_so).await
        }
    };
    let status = failing("it belongs to nobody (uid 65534), mode 0755, and this process is root (uid 0)").await;
    assert!(status.to_string().contains("sudo -u nobody offboard run"), "{status}");
    let rejected = answer(&client, "disassociate-client-devices", json!({"entries": [{"thingName": "d0001"}]})).await;
    assert_eq!(rejected.unwrap_err()["code"], "InternalServerException");
    untouched();
    assert!(fs::symlink_metadata(data.join("agent.sock")).unwrap().is_symlink());
    // Its owner gives it away, links and all.
    chown(&data, Some(0), Some(0)).unwrap();
    failing("is a link, which is not followed; remove it").await;
    // What is looked at first is refused first; the agent looks again at longer and longer
    // intervals.
    for (refused, removed) in [("lock", ["lock", "store.old"]), ("journal", ["journal", "store.new"])] {
        failing(refused).await;
        untouched();
        removed.iter().for_each(|name| fs::remove_file(data.join(name)).unwrap());
    }
    failing("store").await;
    untouched();
    fs::remove_file(data.join("store")).unwrap();
    client.status("it goes on by itself", |status| store_problems(status).is_empty()).await;
    works(&world, &client, "t", 1).await;
    untouched();
    assert_eq!(mode(&data), 0o700);
}

#[tokio::test]
async fn a_directory_of_ours_that_others_may_write_to_is_mended() {
    let mut world = World::new(3).await;
    let (data, victim) = (world.dir.path().join("data"), world.dir.path().join("victim"));
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(&victim, "root's own").unwrap();
    // What somebody could put there before: another name of a file, a link, and a pipe that nobody
    // reads.
    fs::create_dir(data.join("journal")).unwrap();
    fs::hard_link(&victim, data.join("journal/segment-0")).unwrap();
    symlink(&victim, data.join("journal/segment-1")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, data.join("journal/segment-2"), rustix::fs::Mode::RUSR).unwrap();
    let client = world.client("bench").await;
    world.start_agent();
    let reported = [
        ("segment-0", "has 2 names (hard links), so that other processes may change it; remove the other names"),
        ("segment-1", "it is a link, which is not followed; remove it"),
        ("segment-2", "it is no regular file; remove it"),
    ];
    // In whatever order they are found.
    for _ in reported {
        let found = client
            .status("one of them is reported", |status| {
                let text = status["problems"].to_string();
                reported.iter().any(|(name, says)| {
                    data.join("journal").join(name).symlink_metadata().is_ok()
                        && text.contains(name)
                        && text.contains(says)
                })
            })
            .await;
        let text = found["problems"].to_string();
        let (name, _) = reported.iter().find(|(name, _)| text.contains(name)).unwrap();
        fs::remove_file(data.join("journal").join(name)).unwrap();
    }
    assert_eq!(mode(&data), 0o700);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
    client.status("it goes on by itself", |status| store_problems(status).is_empty()).await;
    works(&world, &client, "t", 1).await;
    assert_eq!(fs::read_to_string(&victim).unwrap(), "root's own");
}

#[tokio::test]
async fn a_directory_that_many_users_share_is_refused_as_it_is() {
    let mut world = World::new(3).await;
    let data = world.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o1777)).unwrap();
    let client = world.client("bench").await;
    world.start_agent();
    let says = |status: &Value| status["problems"].to_string().contains("other users may write to it");
    client.status("it says so", says).await;
    assert_eq!((mode(&data), fs::read_dir(&data).unwrap().count()), (0o1777, 0));
    assert!(world.is_running());
}

/// `offboard disassociate` over the local socket, for an agent of any core device.
fn disassociate(world: &World, name: &str) {
    let program = product();
    let data = world.config["dataDir"].as_str().unwrap();
    let output = Command::new(&program[0])
        .args(&program[1..])
        .args(["disassociate", name, "--no-wait", "--data-dir", data])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn quarantined(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.config["dataDir"].as_str().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("store.of-")).collect()
}

/// Invariant 13: what is accepted for one core device and region is never sent for another.
#[tokio::test]
async fn a_store_of_another_core_or_region_is_quarantined_and_nothing_of_it_is_sent() {
    for (key, value) in [("coreThingName", "GoldenImage"), ("region", "eu-west-1")] {
        let mut world = World::new(5).await;
        let own = world.config[key].clone();
        world.set(key, json!(value));
        world.cloud.offline(true);
        world.start_agent();
        let socket = world.dir.path().join("data/agent.sock");
        until("the socket is there", || socket.exists()).await;
        disassociate(&world, "d0001");
        world.stop_agent();

        // An image of that gateway, on this one.
        let [from, to] = ["data", "copy"].map(|name| world.dir.path().join(name));
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
        world.set("dataDir", json!(world.dir.path().join("copy")));
        world.set(key, own);
        world.cloud.offline(false);
        let client = world.client("bench").await;
        world.start_agent();
        let status = client.status("it is reported", |s| problem_codes(s).contains(&"STORE_OF_ANOTHER_CORE")).await;
        let message = status["problems"].to_string();
        let core = if key == "region" { CORE } else { value };
        assert!(message.contains(&format!("store.of-{core}-")) && message.contains("nothing is sent"), "{message}");
        client.disassociate("t", &names(2..3));
        assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
        assert_eq!((world.disassociations("d0001"), world.disassociations("d0002")), (0, 1), "{key}");
        assert_eq!(status["openRequests"], 0, "{key}: {status}");

        // It stays over a restart, until somebody removes it.
        let kept = quarantined(&world);
        assert_eq!(kept.len(), 1, "{kept:?}");
        let whole = world.dir.path().join("copy").join(&kept[0]);
        assert!(whole.join("db").exists() && whole.join("journal/segment-0").exists(), "its journal is with it");
        world.kill_and_forget(&client).await;
        world.start_agent();
        client.status("still", |s| problem_codes(s).contains(&"STORE_OF_ANOTHER_CORE")).await;
        world.kill_and_forget(&client).await;
        fs::remove_dir_all(world.dir.path().join("copy").join(&kept[0])).unwrap();
        world.start_agent();
        client.status("all is well", |s| s["health"] == "OK" && s["lastSyncAt"].is_string()).await;
        assert_eq!(quarantined(&world), Vec::<String>::new());
    }
}

/// What was quarantined is of use to the core device that it belongs to.
#[tokio::test]
async fn a_quarantined_store_goes_on_where_it_belongs() {
    let mut world = World::new(5).await;
    world.cloud.offline(true);
    world.start_agent();
    let data = world.dir.path().join("data");
    until("the socket is there", || data.join("agent.sock").exists()).await;
    disassociate(&world, "d0001");
    world.stop_agent();
    let own = world.config["coreThingName"].clone();
    world.set("coreThingName", json!("Other"));
    world.start_agent();
    until("it is quarantined", || quarantined(&world).len() == 1).await;
    world.stop_agent();
    // As the message says: as store, with its journal beside it.
    let kept = data.join(&quarantined(&world)[0]);
    let there = world.dir.path().join("there");
    fs::create_dir(&there).unwrap();
    fs::rename(kept.join("journal"), there.join("journal")).unwrap();
    fs::rename(&kept, there.join("store")).unwrap();
    world.set("coreThingName", own);
    world.set("dataDir", json!(there));
    world.cloud.offline(false);
    let client = world.client("bench").await;
    world.start_agent();
    client.status("all is well", |s| s["health"] == "OK" && s["lastSyncAt"].is_string()).await;
    until("the command is carried out", || world.disassociations("d0001") == 1).await;
}

/// One header of the journal is enough to know whose it is; without any nothing is sent either.
#[tokio::test]
async fn a_store_of_another_core_is_known_by_any_of_its_headers() {
    for all in [false, true] {
        let mut world = World::new(5).await;
        world.set("coreThingName", json!("GoldenImage"));
        world.cloud.offline(true);
        world.start_agent();
        let data = world.dir.path().join("data");
        until("the socket is there", || data.join("agent.sock").exists()).await;
        disassociate(&world, "d0001");
        world.stop_agent();
        // Each segment has two copies of it.
        for n in 0..3 {
            let path = data.join(format!("journal/segment-{n}"));
            let mut bytes = fs::read(&path).unwrap();
            bytes[..if all { 8192 } else { 4096 }].fill(0x5a);
            fs::write(&path, bytes).unwrap();
        }
        world.set("coreThingName", json!(CORE));
        world.cloud.offline(false);
        let client = world.client("bench").await;
        world.start_agent();
        let code = if all { "STORE_REPLACED" } else { "STORE_OF_ANOTHER_CORE" };
        client.status("it is reported", |s| problem_codes(s).contains(&code)).await;
        client.status("it is in sync", |s| s["devices"]["ASSOCIATED"] == 5).await;
        assert_eq!(world.disassociations("d0001"), 0);
    }
}

/// A disk that breaks again and again is not filled by what is kept of it.
#[tokio::test]
async fn the_latest_damaged_stores_are_kept_and_no_more() {
    let (mut world, client) = World::running(3).await;
    let data = world.dir.path().join("data");
    let damaged = || {
        let names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut found: Vec<String> = names.filter(|name| name.starts_with("store.damaged-")).collect();
        found.sort_unstable();
        found
    };
    let mut all = Vec::new();
    for _ in 0..6 {
        world.kill_and_forget(&client).await;
        fs::write(data.join("store/db"), "").unwrap();
        world.start_agent();
        client.status("it goes on", |s| s["lastSyncAt"].is_string() && store_problems(s) == ["STORE_REPLACED"]).await;
        all.extend(damaged().into_iter().filter(|name| !all.contains(name)).collect::<Vec<_>>());
    }
    assert_eq!(all.len(), 6);
    assert_eq!(damaged(), all[2..]);
}
