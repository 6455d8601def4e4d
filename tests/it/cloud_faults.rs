//! Faults around the agent: the cloud, the broker or the power fails, and commands come meanwhile.

use std::time::Duration;

use crate::common::*;

/// Cuts the cloud off, and waits until the agent knows; `d0009` is asked for on the way.
async fn outage(world: &World, client: &Client) {
    world.cloud.offline(true);
    client.disassociate("probe", &names(9..10));
    client.status("the outage is noticed", |s| s["cloud"] == "UNREACHABLE" || s["cloud"] == "NO_CREDENTIALS").await;
}

fn entry_errors(things: Vec<String>, code: &str) -> Action {
    Action::EntryErrors { things, code: code.into(), message: "not now".into(), omit_name: false }
}

#[tokio::test]
async fn one_bad_entry_in_a_hundred_fails_alone() {
    for name_field in [false, true] {
        let (world, client) = World::running(100).await;
        world.fault(Action::RejectEntry { thing: "d0042".into(), name_field }, None);
        client.disassociate("t", &names(0..100));
        let completed = client.result("t", "completed").await;
        assert_eq!((&completed["succeededCount"], &completed["failedCount"]), (&json!(99), &json!(1)));
        assert_eq!(completed["errorEntries"][0]["thingName"], "d0042");
        assert_eq!(completed["errorEntries"][0]["code"], "ValidationException");
        let calls = world.cloud.count(Operation::Disassociate);
        assert!(calls <= if name_field { 2 } else { 20 }, "{calls} calls");
        assert_eq!(world.cloud.associated(CORE).len(), 1);
    }
}

/// Invariant 3: no success is published before the cloud has it.
#[tokio::test]
async fn six_faults_in_a_row_and_then_well() {
    let (world, client) = World::running(100).await;
    let status = |status, code: Option<&str>| Action::Status {
        status,
        code: code.map(str::to_owned),
        message: "out of order".into(),
        retry_after: None,
    };
    for action in [
        status(500, Some("InternalServerException")),
        Action::CutBefore,
        Action::CutAfter,
        Action::EmptyOk,
        Action::PortalPage { status: 200 },
        status(503, None),
    ] {
        world.fault(action, Some(1));
    }
    client.disassociate("t", &names(0..50));
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "SUCCEEDED");
    assert_eq!(completed["succeededCount"], 50);
    assert_eq!(world.cloud.faults_left(), 0);
    let calls: Vec<_> = world.cloud.calls().into_iter().filter(|c| c.operation == Operation::Disassociate).collect();
    assert_eq!(calls.len(), 7);
    assert_eq!(client.results("t", "completed").len(), 1);
    assert!(names(0..50).iter().all(|name| world.disassociations(name) == 1));
}

/// More entries wait for their repetition than one call takes.
#[tokio::test]
async fn passing_errors_of_many_entries_pass() {
    let (world, client) = World::running(300).await;
    world.fault(entry_errors(names(0..300), "InternalFailure"), Some(3));
    client.disassociate("t", &names(0..250));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert!(names(0..250).iter().all(|name| world.disassociations(name) == 1));
}

/// What waits for its repetition at a kill is repeated after it.
#[tokio::test]
async fn repetitions_survive_a_restart() {
    let mut world = World::new(20).await;
    world.set("retry.baseMs", json!(60_000));
    world.set("retry.capMs", json!(60_000));
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |s| s["lastSyncAt"].is_string()).await;
    world.fault(entry_errors(names(0..20), "ThrottlingException"), Some(1));
    client.disassociate("t", &names(0..10));
    let has_failed = |answer: &Value| answer["device"]["lastError"]["code"] == "ThrottlingException";
    while !has_failed(&client.ask("get-device", json!({"thingName": "d0000"})).await) {}
    world.kill();
    world.set("retry.baseMs", json!(50));
    world.set("retry.capMs", json!(500));
    world.start_agent();
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
}

/// The same with a cloud that answers a repetition with "not associated": then the list shows that
/// it is done.
#[tokio::test]
async fn a_call_cut_after_its_effect_is_no_failure() {
    let (world, client) = World::running(20).await;
    world.cloud.set_not_associated(NotAssociated::EntryError);
    world.fault(Action::CutAfter, Some(1));
    client.disassociate("t", &names(0..10));
    let completed = client.result("t", "completed").await;
    assert_eq!((&completed["status"], &completed["succeededCount"]), (&json!("SUCCEEDED"), &json!(10)));
}

/// Invariants 1, 2 and 7: what was accepted survives, and is done once.
#[tokio::test]
async fn nothing_accepted_is_lost_over_kill_and_restart() {
    let (mut world, client) = World::running(100).await;
    world.cloud.offline(true);
    for n in 0..10 {
        client.disassociate(&format!("t{n}"), &names(n * 10..(n + 1) * 10));
    }
    for n in 0..10 {
        client.result(&format!("t{n}"), "accepted").await;
    }
    world.kill();
    world.broker.restart().await;
    world.start_agent();
    client.status("it still has them", |s| s["state"] == "ONLINE" && s["pendingEntries"] == 100).await;
    world.cloud.offline(false);
    for n in 0..10 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    assert!(names(0..100).iter().all(|name| world.disassociations(name) == 1));
    assert!(world.cloud.associated(CORE).is_empty());
}

#[tokio::test]
async fn sigterm_with_a_call_hanging_ends_in_time_and_loses_nothing() {
    let _turn = groups::measured();
    let (mut world, client) = World::running(20).await;
    world.fault(Action::Hang, Some(1));
    client.disassociate("t", &names(0..20));
    client.result("t", "accepted").await;
    until("the call hangs", || world.cloud.faults_left() == 0).await;
    let (status, took) = world.stop_agent();
    assert!(status.success() && took < Duration::from_secs(4), "{status} after {took:?}");
    client.status("it said goodbye", |s| *s == json!({"state": "OFFLINE"})).await;
    world.cloud.clear_faults();
    world.start_agent();
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert!(names(0..20).iter().all(|name| world.disassociations(name) == 1));
}

#[tokio::test]
async fn without_broker_and_cloud_it_runs_and_says_so() {
    let _turn = groups::measured();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::absent(dir.path());
    let mut world = World::with(dir, broker, 10).await;
    world.cloud.offline(true);
    world.start_agent();
    let log = world.log_path();
    let says = |what: &'static str| {
        let log = log.clone();
        move || std::fs::read_to_string(&log).unwrap_or_default().contains(what)
    };
    until("it says that there is no broker", says("not connected to the broker")).await;
    until("it says that there is no cloud", says("the cloud is out of reach")).await;
    assert!(world.is_running());
    world.broker.restart().await;
    let client = world.client("bench").await;
    let status = client.status("it reports the faults", |s| s["health"] == "DEGRADED").await;
    let codes = problem_codes(&status);
    assert!(codes.contains(&"CLOUD_UNREACHABLE") || codes.contains(&"NO_CREDENTIALS"), "{codes:?}");
    world.cloud.offline(false);
    client.status("it recovers", |s| s["health"] == "OK" && s["cloud"] == "REACHABLE").await;
    let (status, took) = world.stop_agent();
    assert!(status.success() && took < Duration::from_secs(4));
}

#[tokio::test]
async fn a_missing_permission_holds_and_says_which() {
    let (world, client) = World::running(10).await;
    world.fault(Action::Deny, None);
    client.disassociate("t", &names(0..2));
    let status = client.status("it says so", |s| s["cloud"] == "ACCESS_DENIED").await;
    let message = status["problems"][0]["message"].as_str().unwrap();
    assert!(message.contains("greengrass:BatchDisassociateClientDeviceFromCoreDevice"), "{message}");
    // What was refused without an effect can be withdrawn.
    let canceled = client.ask("cancel", json!({"targetClientToken": "t"})).await;
    assert_eq!(canceled["canceledCount"], 2);
    assert_eq!(client.result("t", "completed").await["status"], "CANCELED");
    client.disassociate("u", &names(2..4));
    client.result("u", "accepted").await;
    world.cloud.clear_faults();
    assert_eq!(client.result("u", "completed").await["status"], "SUCCEEDED");
    client.status("it is well again", |s| s["health"] == "OK").await;
}

#[tokio::test]
async fn throttling_waits_as_long_as_it_is_told() {
    let (world, client) = World::running(10).await;
    let throttled = Action::Status {
        status: 429,
        code: Some("ThrottlingException".into()),
        message: "slow down".into(),
        retry_after: Some("2".into()),
    };
    world.fault(throttled, Some(1));
    client.disassociate("t", &names(0..2));
    client.status("it says so", |s| s["cloud"] == "THROTTLED").await;
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    let calls: Vec<_> = world.cloud.calls().into_iter().filter(|c| c.operation == Operation::Disassociate).collect();
    let wait = calls[1].at.duration_since(calls[0].at).unwrap();
    assert!(wait >= Duration::from_millis(1950), "{wait:?}");
}

/// Invariant 8, end to end: a device that was associated anew during the outage is left alone.
#[tokio::test]
async fn a_device_associated_anew_meanwhile_is_left_alone() {
    let (world, client) = World::running(10).await;
    outage(&world, &client).await;
    client.disassociate("t", &names(0..2));
    client.result("t", "accepted").await;
    world.cloud.dissociate_in_console(CORE, "d0001");
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    world.cloud.associate_at(CORE, ["d0001"], later);
    world.cloud.offline(false);
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "PARTIALLY_SUCCEEDED");
    assert_eq!(completed["errorEntries"][0]["code"], "Superseded");
    assert!(world.cloud.associated(CORE).contains_key("d0001"));
    assert!(!world.cloud.associated(CORE).contains_key("d0000"));
}

#[tokio::test]
async fn what_expires_offline_is_not_carried_out() {
    let (world, client) = World::running(10).await;
    outage(&world, &client).await;
    let command = json!({"clientToken": "t", "entries": entries(&names(0..2)), "expiresInSeconds": 1});
    client.send("disassociate-client-devices", &command);
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "TIMED_OUT");
    world.cloud.offline(false);
    client.result("probe", "completed").await;
    assert!(world.cloud.associated(CORE).contains_key("d0000"));
}

/// What was sent and then expired is still looked after, by a list of its own.
#[tokio::test]
async fn what_expires_in_flight_is_found_out() {
    let (world, client) = World::running(10).await;
    world.fault(Action::CutAfter, Some(1));
    world.fault(Action::Hang, Some(1));
    let command = json!({"clientToken": "t", "entries": entries(&names(0..2)), "expiresInSeconds": 2});
    client.send("disassociate-client-devices", &command);
    let completed = client.result("t", "completed").await;
    assert_eq!(completed["status"], "TIMED_OUT");
    assert!(completed["errorEntries"][0]["message"].as_str().unwrap().contains("outcome unknown"), "{completed}");
    world.cloud.clear_faults();
    client
        .status("the registry knows", |s| {
            s["devices"] == json!({"ASSOCIATED": 8, "ASSOCIATING": 0, "DISASSOCIATING": 0, "DISASSOCIATED": 2})
        })
        .await;
}

/// A list after an outage serves all that wait for one.
#[tokio::test]
async fn an_outage_costs_one_list() {
    let (world, client) = World::running(10).await;
    outage(&world, &client).await;
    client.disassociate("t", &names(0..2));
    client.result("t", "accepted").await;
    world.cloud.clear_calls();
    world.cloud.offline(false);
    client.result("t", "completed").await;
    client.result("probe", "completed").await;
    client.send("disassociate-client-devices", &json!({"clientToken": "u", "entries": entries(&names(3..4))}));
    client.result("u", "completed").await;
    assert_eq!(world.cloud.count(Operation::List), 1);
}

#[tokio::test]
async fn a_list_that_lags_undoes_nothing() {
    let (world, client) = World::running(20).await;
    world.cloud.set_eventually_consistent(Some(Duration::from_secs(3600)));
    client.disassociate("t", &names(0..5));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    client.send("sync", &json!({"clientToken": "s"}));
    client.result("s", "completed").await;
    let device = client.ask("get-device", json!({"thingName": "d0000"})).await;
    assert_eq!(device["device"]["state"], "DISASSOCIATED");
}

#[tokio::test]
async fn a_list_that_breaks_off_removes_nothing() {
    let (world, client) = World::running(250).await;
    for action in [Action::TruncatedList, Action::RepeatToken] {
        world.cloud.inject(Fault { operation: Some(Operation::List), times: Some(1), action });
    }
    world.cloud.dissociate_in_console(CORE, "d0249");
    client.send("sync", &json!({"clientToken": "s"}));
    let completed = client.result("s", "completed").await;
    assert_eq!((&completed["associatedCount"], &completed["removedCount"]), (&json!(249), &json!(1)));
    assert_eq!(world.cloud.faults_left(), 0);
}

#[tokio::test]
async fn a_clock_that_is_off_is_told() {
    let (world, client) = World::running(10).await;
    world.cloud.set_clock_offset(-3600);
    client.send("sync", &json!({"clientToken": "s"}));
    let status = client.status("it says so", |s| problem_codes(s).contains(&"CLOCK_SKEW")).await;
    let problems = status["problems"].as_array().unwrap();
    let skew = problems.iter().find(|problem| problem["code"] == "CLOCK_SKEW").unwrap();
    assert!(skew["message"].as_str().unwrap().contains("ahead of the cloud's"), "{skew}");
    assert_eq!(client.result("s", "completed").await["status"], "SUCCEEDED", "the signatures are corrected");
}

#[tokio::test]
async fn bad_configuration_is_told_at_once_and_ends_with_64() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_offboard"))
        .arg("run")
        .env_clear()
        .env("OFFBOARD_CONFIG", r#"{"mqtt":{"url":"nonsense"},"batch":{"maxEntries":"101"},"rate":{"burst":-1}}"#)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    for key in ["coreThingName", "region", "mqtt.url", "batch.maxEntries", "rate.burst"] {
        assert!(text.contains(key), "{key} in: {text}");
    }
    assert_eq!(text.lines().count(), 5);
}

/// A configuration that cannot be read does not count as missing: its guards would be missing, too.
#[tokio::test]
async fn a_configuration_that_is_no_text_ends_with_64() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    for (name, value) in [
        ("OFFBOARD_CONFIG", &b"{\"guard\":{\"protected\":[\"J\xfcrgen\"]}}"[..]),
        ("OFFBOARD_DATA_DIR", b"/tmp/J\xfcrgen"),
    ] {
        for subcommand in ["run", "check"] {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_offboard"))
                .arg(subcommand)
                .env_clear()
                .envs([("AWS_IOT_THING_NAME", "MyCore"), ("AWS_REGION", "eu-central-1")])
                .env(name, OsStr::from_bytes(value))
                .output()
                .unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{subcommand}: {text}");
            assert!(text.contains(&format!("the variable {name} is not UTF-8 text")), "{subcommand}: {text}");
        }
    }
}
