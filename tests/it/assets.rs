//! The operations on SiteWise's assets. They have the ledger, batches, results and guarantees of
//! devices; each call is for one resource, and has a token by which SiteWise knows a repetition.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::common::{
    seed::{rounds, seed},
    *,
};
use offboard_sandbox::cloud::Call;

mod busy;

const PARENT: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const OTHER_PARENT: &str = "aaaaaaaa-0000-4000-8000-000000000002";
const HIERARCHY: &str = "bbbbbbbb-0000-4000-8000-000000000001";
const PROJECT: &str = "cccccccc-0000-4000-8000-000000000001";
const OTHER_PROJECT: &str = "cccccccc-0000-4000-8000-000000000002";

fn asset(n: usize) -> String {
    format!("dddddddd-0000-4000-8000-{n:012}")
}

fn assets(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(asset).collect()
}

/// A world with SiteWise on, and no agent yet.
async fn world() -> World {
    let mut world = World::new(3).await;
    world.set("siteWise.enabled", json!(true));
    let endpoint = world.cloud.endpoint();
    world.set("cloud.siteWiseEndpoint", json!(endpoint));
    for parent in [PARENT, OTHER_PARENT] {
        world.cloud.add_child_assets(parent, HIERARCHY, assets(0..50));
    }
    world.cloud.add_project_assets(PROJECT, assets(0..400));
    world
}

async fn running() -> (World, Client) {
    let mut world = world().await;
    let client = start(&mut world).await;
    (world, client)
}

async fn start(world: &mut World) -> Client {
    let client = world.client("bench").await;
    world.start_agent();
    client.status("the agent is in sync", |status| status["lastSyncAt"].is_string()).await;
    client
}

fn child(token: &str, parent: &str, child: &str) -> Value {
    json!({"clientToken": token, "assetId": parent, "hierarchyId": HIERARCHY, "childAssetId": child})
}

fn send_child(client: &Client, token: &str, parent: &str, asset: &str) {
    client.send("disassociate-assets", &child(token, parent, asset));
}

fn send_project(client: &Client, token: &str, project: &str, assets: &[String]) {
    client
        .send("disassociate-project-assets", &json!({"clientToken": token, "projectId": project, "assetIds": assets}));
}

fn calls(world: &World, operation: Operation) -> Vec<Call> {
    world.cloud.calls().into_iter().filter(|call| call.operation == operation).collect()
}

fn fault(world: &World, operation: Operation, action: Action, times: Option<u32>) {
    world.cloud.inject(Fault { operation: Some(operation), times, action });
}

fn status(status: u16, code: &str) -> Action {
    Action::Status { status, code: Some(code.into()), message: "by the test".into(), retry_after: None }
}

/// The tokens of each content that the cloud saw, by operation, resource and assets.
fn tokens(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut tokens: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in world.cloud.calls() {
        if let Some(token) = call.client_token {
            let mut things = call.things;
            things.sort_unstable();
            tokens.entry(format!("{:?} {} {things:?}", call.operation, call.about)).or_default().insert(token);
        }
    }
    tokens
}

#[tokio::test]
async fn two_hundred_and_fifty_project_assets_take_three_calls() {
    let (world, client) = running().await;
    send_project(&client, "t", PROJECT, &assets(0..250));
    assert_eq!(client.result("t", "accepted").await["entryCount"], 250);
    let completed = client.result("t", "completed").await;
    assert_eq!((&completed["status"], &completed["succeededCount"]), (&json!("SUCCEEDED"), &json!(250)));
    let sizes: Vec<usize> =
        calls(&world, Operation::DisassociateProjectAssets).iter().map(|call| call.things.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(world.cloud.project_assets(PROJECT).len(), 150);
    let tokens = tokens(&world);
    assert_eq!(tokens.values().flatten().collect::<BTreeSet<_>>().len(), 3, "{tokens:?}");
    assert!(tokens.values().flatten().all(|token| *token != "t"), "the command's own token stays here");
}

#[tokio::test]
async fn a_child_leaves_its_parent_and_one_that_is_no_child_is_told() {
    let (world, client) = running().await;
    send_child(&client, "t", PARENT, &asset(1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert_eq!(world.cloud.child_assets(PARENT, HIERARCHY).len(), 49);
    assert_eq!(world.cloud.child_assets(OTHER_PARENT, HIERARCHY).len(), 50);
    send_child(&client, "u", PARENT, &asset(99));
    let completed = client.result("u", "completed").await;
    assert_eq!(completed["status"], "FAILED");
    let error = &completed["errorEntries"][0];
    assert_eq!((&error["childAssetId"], &error["code"]), (&json!(asset(99)), &json!("ResourceNotFoundException")));
    let request = client.ask("get-request", json!({"targetClientToken": "u"})).await["request"].clone();
    assert_eq!(request["errorEntries"], completed["errorEntries"]);
    assert_eq!(request["operation"], "disassociate-assets");
}

#[tokio::test]
async fn a_project_that_is_not_there_fails_all_at_once_and_an_asset_alone() {
    let (world, client) = running().await;
    send_project(&client, "t", OTHER_PROJECT, &assets(0..100));
    let completed = client.result("t", "completed").await;
    assert_eq!((&completed["status"], &completed["failedCount"]), (&json!("FAILED"), &json!(100)));
    assert_eq!(completed["errorEntries"][0]["assetId"], asset(0));
    assert_eq!(calls(&world, Operation::DisassociateProjectAssets).len(), 1, "the message names the project");
    // The cloud names the asset, or it does not.
    for (token, from, name_field) in [("u", 100, true), ("v", 200, false)] {
        let refused = asset(from + 7);
        let action = Action::RejectEntry { thing: refused.clone(), name_field };
        fault(&world, Operation::DisassociateProjectAssets, action, None);
        send_project(&client, token, PROJECT, &assets(from..from + 100));
        let completed = client.result(token, "completed").await;
        assert_eq!((&completed["status"], &completed["failedCount"]), (&json!("PARTIALLY_SUCCEEDED"), &json!(1)));
        assert_eq!(completed["errorEntries"][0]["assetId"], refused);
        world.cloud.clear_faults();
    }
    let tokens = tokens(&world);
    assert!(tokens.values().all(|tokens| tokens.len() == 1), "{tokens:?}");
    let distinct: BTreeSet<&String> = tokens.values().flatten().collect();
    assert_eq!(distinct.len(), tokens.len(), "a changed content has a new token");
}

/// A call that was made and got no answer is repeated with its token, and counts once.
#[tokio::test]
async fn a_call_cut_after_its_effect_is_repeated_with_its_token() {
    let (world, client) = running().await;
    fault(&world, Operation::DisassociateProjectAssets, Action::CutAfter, Some(2));
    fault(&world, Operation::DisassociateAssets, Action::CutAfter, Some(2));
    send_project(&client, "t", PROJECT, &assets(0..3));
    send_child(&client, "u", PARENT, &asset(1));
    for token in ["t", "u"] {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    }
    for operation in [Operation::DisassociateProjectAssets, Operation::DisassociateAssets] {
        let calls = calls(&world, operation);
        assert_eq!(calls.len(), 3);
        assert!(calls.iter().all(|call| call.client_token == calls[0].client_token), "{calls:?}");
    }
    assert_eq!(world.cloud.effective_asset_disassociations(&asset(0)), 1);
    assert_eq!(world.cloud.effective_asset_disassociations(&asset(1)), 2, "from its parent, and out of the project");
}

/// Over a kill, too: the token is on disk before the call. Who joins meanwhile goes into a call of
/// its own.
#[tokio::test]
async fn the_token_survives_a_kill_and_the_content_stays_its_own() {
    let (mut world, client) = running().await;
    fault(&world, Operation::DisassociateProjectAssets, Action::Hang, Some(1));
    send_project(&client, "t", PROJECT, &assets(0..3));
    until("the call hangs", || world.cloud.faults_left() == 0).await;
    world.kill_and_forget(&client).await;
    send_project(&client, "u", PROJECT, &assets(2..6));
    world.start_agent();
    for token in ["t", "u"] {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    }
    let calls = calls(&world, Operation::DisassociateProjectAssets);
    let things: Vec<_> = calls.iter().map(|call| call.things.clone()).collect();
    assert_eq!(things, [assets(0..3), assets(0..3), assets(3..6)], "an asset that two ask for is sent once");
    assert_eq!(calls[0].client_token, calls[1].client_token);
    assert_ne!(calls[1].client_token, calls[2].client_token);
}

#[tokio::test]
async fn a_changed_content_gets_a_new_token() {
    let (world, client) = running().await;
    fault(&world, Operation::DisassociateProjectAssets, Action::CutBefore, None);
    let expiring = json!({"clientToken": "t", "projectId": PROJECT, "assetIds": [asset(0)], "expiresInSeconds": 1});
    let lasting = json!({"clientToken": "u", "projectId": PROJECT, "assetIds": [asset(1)]});
    client.send("disassociate-project-assets", &expiring);
    client.send("disassociate-project-assets", &lasting);
    let completed = client.result("t", "completed").await;
    assert_eq!(
        (&completed["status"], &completed["errorEntries"][0]["code"]),
        (&json!("TIMED_OUT"), &json!("TimedOut"))
    );
    until("a call without it", || {
        calls(&world, Operation::DisassociateProjectAssets).last().is_some_and(|call| call.things == assets(1..2))
    })
    .await;
    world.cloud.clear_faults();
    assert_eq!(client.result("u", "completed").await["status"], "SUCCEEDED");
    let tokens = tokens(&world);
    assert!(tokens.values().all(|tokens| tokens.len() == 1), "{tokens:?}");
    assert_eq!(tokens.values().flatten().collect::<BTreeSet<_>>().len(), tokens.len(), "{tokens:?}");
}

/// `kill -9` again and again, with answers that are cut off: the cloud sees one token for each
/// content, and each asset leaves once. `OFFBOARD_ROUNDS=100` for the long form.
#[tokio::test]
async fn one_token_for_each_content_over_kills() {
    let (seed, rounds) = (seed(), rounds(8));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = world().await;
    let (mut asked, mut next) = (Vec::new(), 1000);
    let client = start(&mut world).await;
    world.kill();
    for _ in 0..rounds {
        world.start_agent();
        for _ in 0..3 {
            let count = 1 + random.usize(0..4);
            let some = assets(next..next + count);
            next += count;
            let token = format!("t{}", asked.len());
            if random.bool() {
                world.cloud.add_project_assets(PROJECT, some.clone());
                send_project(&client, &token, PROJECT, &some);
                asked.push((token, some));
            } else {
                world.cloud.add_child_assets(PARENT, HIERARCHY, some[..1].to_vec());
                send_child(&client, &token, PARENT, &some[0]);
                asked.push((token, some[..1].to_vec()));
            }
        }
        let operation = [Operation::DisassociateProjectAssets, Operation::DisassociateAssets][random.usize(0..2)];
        let action = [Action::CutAfter, Action::CutBefore, Action::EmptyOk, Action::Delay(Duration::from_millis(30))];
        fault(&world, operation, action[random.usize(0..4)].clone(), Some(1));
        // The seed chooses the moment: a wait, since nothing that can be seen from outside marks
        // it.
        tokio::time::sleep(Duration::from_millis(random.u64(0..400))).await;
        world.kill();
    }
    world.cloud.clear_faults();
    world.start_agent();
    for (token, some) in &asked {
        let completed = client.result(token, "completed").await;
        assert_eq!(completed["status"], "SUCCEEDED", "{completed}, seed {seed}");
        for asset in some {
            assert_eq!(world.cloud.effective_asset_disassociations(asset), 1, "{asset}, seed {seed}");
        }
    }
    let tokens = tokens(&world);
    let repeated = world.cloud.calls().iter().filter(|call| call.client_token.is_some()).count() - tokens.len();
    println!("{} contents, {repeated} calls repeated, one token each", tokens.len());
    assert!(tokens.values().all(|tokens| tokens.len() == 1), "seed {seed}: {tokens:#?}");
    assert_eq!(tokens.values().flatten().collect::<BTreeSet<_>>().len(), tokens.len(), "seed {seed}: {tokens:#?}");
}

#[tokio::test]
async fn calls_go_one_after_another_and_keep_their_distance() {
    let mut world = world().await;
    world.set("rate.callsPerSecond", json!(4));
    let client = start(&mut world).await;
    for n in 0..4 {
        send_child(&client, &format!("t{n}"), PARENT, &asset(n));
    }
    for n in 0..4 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    let calls = calls(&world, Operation::DisassociateAssets);
    for pair in calls.windows(2) {
        assert!(pair[0].ended.unwrap() <= pair[1].at, "one after another");
        let gap = pair[1].at.duration_since(pair[0].at).unwrap();
        assert!(gap >= Duration::from_millis(200), "{gap:?} between two calls at 4 a second");
    }
}

#[tokio::test]
async fn what_waits_is_cancelled_listed_and_planned_as_for_devices() {
    let (world, client) = running().await;
    fault(&world, Operation::DisassociateProjectAssets, Action::Hang, Some(1));
    send_project(&client, "t", PROJECT, &assets(0..150));
    until("the call hangs", || world.cloud.faults_left() == 0).await;
    let listed = client.ask("list-requests", json!({"status": "IN_PROGRESS"})).await["requests"].clone();
    assert_eq!(listed[0]["operation"], "disassociate-project-assets");
    let canceled = client.ask("cancel", json!({"targetClientToken": "t"})).await;
    assert_eq!((&canceled["canceledCount"], &canceled["inFlightCount"]), (&json!(50), &json!(100)));
    world.cloud.clear_faults();
    let completed = client.result("t", "completed").await;
    assert_eq!((&completed["status"], &completed["failedCount"]), (&json!("PARTIALLY_SUCCEEDED"), &json!(50)));
    let dry = json!({"projectId": PROJECT, "assetIds": assets(200..401), "dryRun": true});
    let plan = client.ask("disassociate-project-assets", dry).await["plan"].clone();
    assert_eq!(
        (&plan["entryCount"], &plan["cloudCallCount"], &plan["unknownCount"]),
        (&json!(201), &json!(3), &json!(0))
    );
    assert_eq!(calls(&world, Operation::DisassociateProjectAssets).len(), 1);
}

#[tokio::test]
async fn a_protected_asset_stays() {
    let mut world = world().await;
    world.set("guard.protected", json!([asset(7), "aaaaaaaa-*-000000000002"]));
    let client = start(&mut world).await;
    send_project(&client, "t", PROJECT, &assets(5..9));
    send_child(&client, "u", PARENT, &asset(7));
    send_child(&client, "v", OTHER_PARENT, &asset(1));
    for (token, named) in [("t", &*asset(7)), ("u", &asset(7)), ("v", OTHER_PARENT)] {
        let rejected = client.result(token, "rejected").await;
        assert_eq!(rejected["code"], "AccessDeniedException", "{rejected}");
        assert!(rejected["message"].as_str().unwrap().ends_with(&format!(": {named}")), "{rejected}");
    }
    assert_eq!(world.cloud.count(Operation::DisassociateAssets), 0);
}

#[tokio::test]
async fn without_sitewise_the_operations_are_off() {
    let (_world, client) = World::running(3).await;
    send_child(&client, "t", PARENT, &asset(1));
    let rejected = client.result("t", "rejected").await;
    assert_eq!((&rejected["code"], &rejected["reason"]), (&json!("ValidationException"), &json!("UNKNOWN_OPERATION")));
    assert!(rejected["message"].as_str().unwrap().contains("siteWise.enabled"), "{rejected}");
}

/// What was accepted stays, whatever the next configuration says.
#[tokio::test]
async fn what_waits_for_sitewise_is_told_when_it_is_off() {
    let (mut world, client) = running().await;
    fault(&world, Operation::DisassociateAssets, Action::Hang, None);
    send_child(&client, "t", PARENT, &asset(1));
    client.result("t", "accepted").await;
    until("the call hangs", || !calls(&world, Operation::DisassociateAssets).is_empty()).await;
    world.kill_and_forget(&client).await;
    world.cloud.clear_faults();
    world.set("siteWise.enabled", json!(false));
    world.start_agent();
    client.status("it is reported", |s| problem_codes(s).contains(&"SITEWISE_OFF")).await;
    world.kill_and_forget(&client).await;
    world.set("siteWise.enabled", json!(true));
    world.start_agent();
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    client.status("the report ends", |s| s["health"] == "OK").await;
}

/// The two commands, by the built binary over the local socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assets_are_taken_off_on_the_command_line() {
    let (world, _client) = running().await;
    let offboard = |words: &[&str]| {
        let program = product();
        let mut command = std::process::Command::new(&program[0]);
        command.args(&program[1..]).args(words).env_clear().env("OFFBOARD_DATA_DIR", world.dir.path().join("data"));
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let (first, second, third) = (asset(0), asset(1), asset(2));
    let one = ["--asset", PARENT, "--hierarchy", HIERARCHY, "--child", &first];
    assert_eq!(offboard(&[&["disassociate-assets"][..], &one].concat()), "SUCCEEDED: 1 of 1 entries\n");
    let two = ["disassociate-project-assets", "--project", PROJECT, &second, &third];
    assert_eq!(offboard(&two), "SUCCEEDED: 2 of 2 entries\n");
    let counts =
        [Operation::DisassociateAssets, Operation::DisassociateProjectAssets].map(|one| calls(&world, one).len());
    assert_eq!(counts, [1, 1]);
    let plan = offboard(&[&two[..], &["--dry-run"]].concat());
    assert_eq!(plan, "2 entries in 1 calls to the cloud\n");
}
