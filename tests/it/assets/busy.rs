//! Resources that refuse changes, and services that cannot be reached.

use super::*;

/// A conflict makes the entries of that parent wait, and fails none.
#[tokio::test]
async fn a_busy_parent_is_waited_for_without_holding_up_others() {
    let (world, client) = running().await;
    let busy = status(409, "ConflictingOperationException");
    world.cloud.inject_about(PARENT, Fault { operation: None, times: None, action: busy });
    send_child(&client, "t", PARENT, &asset(1));
    until("it was tried", || !calls(&world, Operation::DisassociateAssets).is_empty()).await;
    for n in 2..5 {
        send_child(&client, &format!("u{n}"), OTHER_PARENT, &asset(n));
    }
    for n in 2..5 {
        assert_eq!(client.result(&format!("u{n}"), "completed").await["status"], "SUCCEEDED");
    }
    assert!(client.results("t", "completed").is_empty());
    world.cloud.clear_faults();
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    let of_parent: BTreeSet<_> = calls(&world, Operation::DisassociateAssets)
        .into_iter()
        .filter(|call| call.about == PARENT)
        .map(|call| call.client_token)
        .collect();
    assert_eq!(of_parent.len(), 1, "the same call again: {of_parent:?}");
}

/// Permissions are for single assets in SiteWise.
#[tokio::test]
async fn a_parent_without_permission_holds_up_nobody_else() {
    let (world, client) = running().await;
    world.cloud.inject_about(PARENT, Fault { operation: None, times: None, action: Action::Deny });
    for n in 0..20 {
        send_child(&client, &format!("t{n}"), PARENT, &asset(n));
    }
    send_child(&client, "u", OTHER_PARENT, &asset(1));
    client.disassociate("d", &names(0..1));
    for token in ["u", "d"] {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    }
    let denied = client.status("it is reported", |s| problem_codes(s).contains(&"ACCESS_DENIED_ASSETS")).await;
    assert!(denied["problems"][0]["message"].as_str().unwrap().contains("iotsitewise:DisassociateAssets"), "{denied}");
    world.cloud.clear_faults();
    for n in 0..20 {
        assert_eq!(client.result(&format!("t{n}"), "completed").await["status"], "SUCCEEDED");
    }
    client.status("the report ends", |s| s["health"] == "OK").await;
}

/// Twenty children of a parent without permission, and one of a parent that is busy for a moment:
/// the latter waits for no more than its own time, and devices have the rate for themselves.
#[tokio::test]
async fn many_that_are_denied_cost_the_others_neither_time_nor_calls() {
    let mut world = world().await;
    world.set("retry.capMs", json!(600_000));
    let client = start(&mut world).await;
    world.cloud.inject_about(PARENT, Fault { operation: None, times: None, action: Action::Deny });
    let busy = status(409, "ConflictingOperationException");
    world.cloud.inject_about(OTHER_PARENT, Fault { operation: None, times: Some(3), action: busy });
    for n in 0..20 {
        send_child(&client, &format!("t{n}"), PARENT, &asset(n));
    }
    send_child(&client, "u", OTHER_PARENT, &asset(1));
    assert_eq!(client.result("u", "completed").await["status"], "SUCCEEDED");
    for (n, name) in names(0..3).into_iter().enumerate() {
        client.disassociate(&format!("d{n}"), &[name]);
        assert_eq!(client.result(&format!("d{n}"), "completed").await["status"], "SUCCEEDED");
    }
    let of_parent = calls(&world, Operation::DisassociateAssets).into_iter().filter(|call| call.about == PARENT);
    assert_eq!(of_parent.count(), 1, "its next time is minutes away");
    // Reported as long as it lasts, whatever else is reported, and no longer.
    let status = client.status("it is reported", |s| problem_codes(s).contains(&"ACCESS_DENIED_ASSETS")).await;
    assert_eq!(problem_codes(&status), ["ACCESS_DENIED_ASSETS"], "{status}");
    for n in 0..20 {
        let canceled = client.ask("cancel", json!({"targetClientToken": format!("t{n}")})).await;
        assert_eq!(canceled["canceledCount"], 1);
    }
    client.status("it holds nothing up", |s| s["health"] == "OK" && s["cloud"] == "REACHABLE").await;
}

/// SiteWise has an endpoint of its own, and so has Monitor: what is out of reach of one is not out
/// of reach of the other.
#[tokio::test]
async fn sitewise_out_of_reach_is_not_greengrass_out_of_reach() {
    let mut world = world().await;
    let nobody = Port::hold();
    let nowhere = format!("http://127.0.0.1:{}", nobody.number());
    let monitor = world.cloud.endpoint();
    world.set("cloud.siteWiseEndpoint", json!(nowhere));
    world.set("cloud.siteWiseMonitorEndpoint", json!(monitor));
    let client = start(&mut world).await;
    send_child(&client, "t", PARENT, &asset(1));
    client.status("it is reported", |s| problem_codes(s).contains(&"CLOUD_UNREACHABLE_SITEWISE")).await;
    client.disassociate("d", &names(0..1));
    send_project(&client, "p", PROJECT, &assets(0..1));
    for token in ["d", "p"] {
        assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    }
    let status = client.status("it is reported", |s| s["pendingEntries"] == 1).await;
    assert_eq!(problem_codes(&status), ["CLOUD_UNREACHABLE_SITEWISE"], "{status}");
    client.ask("cancel", json!({"targetClientToken": "t"})).await;
    client.status("what no request waits for is not reported", |s| s["health"] == "OK").await;
}

/// An asset that stays UPDATING is no fault of ours, and nothing that one should have to guess.
#[tokio::test]
async fn an_asset_that_stays_busy_is_a_problem_after_a_time_and_the_request_says_why_it_waits() {
    let (world, client) = running().await;
    let busy = Action::Status {
        status: 409,
        code: Some("ConflictingOperationException".into()),
        message: "Asset is in UPDATING state".into(),
        retry_after: None,
    };
    world.cloud.inject(Fault { operation: Some(Operation::DisassociateAssets), times: None, action: busy });
    send_child(&client, "t", PARENT, &asset(1));
    client.result("t", "accepted").await;
    let status = client.status("it is reported", |s| problem_codes(s) == ["RESOURCE_BUSY_ASSETS"]).await;
    let message = status["problems"][0]["message"].as_str().unwrap();
    for part in [PARENT, "Asset is in UPDATING state", "cancel the requests"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let shown = client.ask("get-request", json!({"targetClientToken": "t"})).await;
    let waiting = &shown["request"]["waitingEntries"];
    assert_eq!(
        (&waiting[0]["childAssetId"], &waiting[0]["message"]),
        (&json!(asset(1)), &json!("Asset is in UPDATING state")),
        "{shown}"
    );
    let program = product();
    let mut command = std::process::Command::new(&program[0]);
    command.args(&program[1..]).args(["requests", "t", "--client", "bench", "--data-dir"]);
    let output = command.arg(world.dir.path().join("data")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("{} waits: ConflictingOperationException", asset(1))), "{text}");
    world.cloud.clear_faults();
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    client.status("it is over", |s| s["health"] == "OK").await;
    let shown = client.ask("get-request", json!({"targetClientToken": "t"})).await;
    assert!(shown["request"]["waitingEntries"].is_null(), "{shown}");
}
