//! A nucleus that fails: permissions, restarts, silence, and credentials that become void.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_subscription_is_reported_and_works_when_it_is_allowed() {
    let mut core = Core::new(Kind::Lite, 10).await;
    let allowed = offboard_sandbox::ipc::Options::of(Kind::Lite).access_control;
    let mut narrow = allowed.clone();
    narrow["aws.greengrass.ipc.mqttproxy"]["offboard:1"]["resources"] = json!([STATUS]);
    core.nucleus.set_access_control(narrow);
    core.start();
    let message = core.local_problem("IPC_DENIED").await;
    for part in [
        "aws.greengrass#SubscribeToIoTCore on offboard/MyCore/commands/+/+",
        "IPC Operation not authorized.",
        "aws.greengrass.ipc.mqttproxy",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // The other transport works meanwhile.
    core.disassociate(Service::PubSub, "t", &names(0..1));
    core.result(Service::PubSub, "t", "completed").await;
    let (checks, status) = core.offboard(&["check"]);
    let ipc: Vec<_> = checks["checks"].as_array().unwrap().iter().filter(|one| one["check"] == "ipc").collect();
    assert_eq!(
        (status, ipc.len(), &ipc[0]["result"], &ipc[1]["result"]),
        (1, 2, &json!("ok"), &json!("error")),
        "{checks}"
    );
    core.nucleus.set_access_control(allowed);
    core.no_problem().await;
    core.disassociate(Service::IotCore, "u", &names(1..2));
    core.result(Service::IotCore, "u", "completed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_denied_is_reported_and_delivered_when_it_is_allowed() {
    let mut core = Core::new(Kind::Lite, 10).await;
    let allowed = offboard_sandbox::ipc::Options::of(Kind::Lite).access_control;
    let mut narrow = allowed.clone();
    narrow["aws.greengrass.ipc.pubsub"]["offboard:1"]["resources"] = json!(["offboard/*/commands/*", STATUS]);
    core.nucleus.set_access_control(narrow);
    core.start();
    core.status(Service::PubSub, "it is in sync", |status| status["lastSyncAt"].is_string()).await;
    core.disassociate(Service::PubSub, "t", &names(0..1));
    let message = core.local_problem("IPC_DENIED").await;
    assert!(message.contains("PublishToTopic on offboard/MyCore/results/bench/"), "{message}");
    let (checks, status) = core.offboard(&["check"]);
    let ipc: Vec<_> = checks["checks"].as_array().unwrap().iter().filter(|one| one["check"] == "ipc").collect();
    assert_eq!(
        (status, &ipc[0]["result"], &ipc[1]["result"]),
        (1, &json!("error"), &json!("ok")),
        "the subscriptions are granted, and nobody gets a response: {checks}"
    );
    // A person corrects it and restarts the nucleus.
    core.nucleus.set_access_control(allowed);
    core.nucleus.go_down();
    core.nucleus.go_up().unwrap();
    core.result(Service::PubSub, "t", "completed").await;
    core.no_problem().await;
}

/// The problem ends without a new connection, and names the subscription that matters most.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_again_is_no_problem_any_more() {
    let mut core = Core::new(Kind::Lite, 10).await;
    let allowed = offboard_sandbox::ipc::Options::of(Kind::Lite).access_control;
    let mut narrow = allowed.clone();
    narrow["aws.greengrass.ipc.pubsub"]["offboard:1"]["resources"] = json!(["offboard/*/commands/*", STATUS]);
    core.nucleus.set_access_control(narrow.clone());
    core.start();
    core.status(Service::PubSub, "it is in sync", |status| status["lastSyncAt"].is_string()).await;
    core.disassociate(Service::PubSub, "t", &names(0..1));
    core.local_problem("IPC_DENIED").await;
    core.nucleus.set_access_control(allowed);
    // The next message to the same topic is taken.
    until("the sender gets a response again", || {
        core.disassociate(Service::PubSub, "t", &names(0..1));
        !core.results(Service::PubSub, "bench", "t", "accepted").is_empty()
    })
    .await;
    core.no_problem().await;

    narrow["aws.greengrass.ipc.pubsub"]["offboard:1"]["resources"] = json!([]);
    core.nucleus.set_access_control(narrow);
    core.nucleus.go_down();
    core.nucleus.go_up().unwrap();
    let message = core.local_problem("IPC_DENIED").await;
    assert!(message.contains("SubscribeToTopic on offboard/MyCore/commands/+/+"), "{message}");
}

/// A crash of nucleus lite's server voids the token that the agent was started with.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_is_found_again_and_nothing_accepted_is_lost() {
    for kind in [Kind::Lite, Kind::Classic] {
        let mut core = Core::running(kind, 10).await;
        core.world.cloud.offline(true);
        core.disassociate(Service::IotCore, "t", &names(0..10));
        core.result(Service::IotCore, "t", "accepted").await;
        core.nucleus.go_down();
        let message = core.local_problem("IPC_UNAVAILABLE").await;
        assert!(message.contains("check that the nucleus runs"), "{message}");
        core.world.cloud.offline(false);
        until("it is carried out meanwhile", || core.world.cloud.associated(CORE).is_empty()).await;
        core.nucleus.go_up().unwrap();
        assert_eq!(core.result(Service::IotCore, "t", "completed").await["status"], "SUCCEEDED");
        core.no_problem().await;
        assert!(core.world.is_running());
        assert_eq!(core.results(Service::IotCore, "bench", "t", "completed").len(), 1);
    }
}

/// After a restart of the publish/subscribe or the IoT Core daemon of nucleus lite the stream stays
/// open.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_delivers_nothing_any_more_is_made_anew() {
    let core = Core::running(Kind::Lite, 10).await;
    core.nucleus.silence(Service::IotCore);
    let body = json!({"clientToken": "lost", "entries": entries(&names(0..1))});
    assert_eq!(core.send(Service::IotCore, "bench", "disassociate-client-devices", &body), 0, "nothing is delivered");
    // Any change of the status finds it out, or else the check every 15 minutes.
    core.disassociate(Service::PubSub, "t", &names(0..1));
    core.result(Service::PubSub, "t", "completed").await;
    let message = core.local_problem("IPC_SILENT").await;
    assert!(message.contains("AWS IoT Core") && message.contains(STATUS), "{message}");
    core.no_problem().await;
    core.disassociate(Service::IotCore, "u", &names(1..2));
    core.result(Service::IotCore, "u", "completed").await;
    assert_eq!(core.nucleus.counts().accepted, 3, "the other transport kept its connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_survive_a_port_that_moves_and_a_token_that_is_void() {
    for kind in [Kind::Lite, Kind::Classic] {
        let mut core = Core::running(kind, 10).await;
        core.nucleus.move_token_exchange().unwrap();
        expire(&core, "moved", 0).await;
        assert!(core.nucleus.asked_for_credentials() > 0, "at its new port");
        if kind == Kind::Lite {
            core.nucleus.void_token();
            expire(&core, "void", 1).await;
            core.nucleus.go_down();
            core.nucleus.go_up().unwrap();
            core.nucleus.move_token_exchange().unwrap();
            core.status(Service::PubSub, "it is back", |status| status["openRequests"] == 0).await;
            until("both transports are back", || core.nucleus.connections() == 2).await;
            until("it is subscribed", || core.nucleus.publish(Service::PubSub, STATUS, b"{}") == 1).await;
            expire(&core, "both", 2).await;
        }
        core.no_problem().await;
        assert!(core.world.is_running());
    }
}

/// The keys are off: only the credentials are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_recover_also_where_no_command_arrives_by_ipc() {
    let mut core = Core::new(Kind::Lite, 10).await;
    core.world.set("ipc", json!({}));
    core.nucleus.void_token();
    let stale = core.nucleus.environment();
    core.nucleus.void_token();
    core.nucleus.move_token_exchange().unwrap();
    core.world.wrapper = std::iter::once("env".to_owned())
        .chain(stale.into_iter().map(|(name, value)| format!("{name}={value}")))
        .collect();
    core.world.start_agent();
    until("it is in sync", || core.local_status()["lastSyncAt"].is_string()).await;
    core.no_problem().await;
    assert_eq!(core.nucleus.connections(), 0, "no connection is kept");
}

/// What `status` advises is true in each case.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_nucleus_does_not_help_the_status_says_what_to_do() {
    let mut core = Core::new(Kind::Lite, 10).await;
    core.world.set("ipc", json!({}));
    let variables = core.nucleus.environment();
    core.nucleus.go_down();
    core.nucleus.void_token();
    core.world.wrapper = std::iter::once("env".to_owned())
        .chain(variables.iter().map(|(name, value)| format!("{name}={value}")))
        .collect();
    core.world.start_agent();
    let message = core.local_problem("NO_CREDENTIALS").await;
    assert!(message.contains("404") && message.contains("check that the nucleus runs"), "{message}");
    assert!(!message.contains("restart the component"), "a restart would not help: {message}");
    core.nucleus.go_up().unwrap();
    until("it recovers", || core.local_status()["lastSyncAt"].is_string()).await;

    // Without IPC, as for a process that is no component.
    core.world.kill();
    core.world.wrapper.retain(|word| !word.starts_with("AWS_GG_NUCLEUS"));
    core.world.start_agent();
    let message = core.local_problem("NO_CREDENTIALS").await;
    assert!(message.contains("404") && message.contains("restart the component"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_nucleus_the_agent_says_so_and_check_too() {
    let mut core = Core::new(Kind::Lite, 10).await;
    core.world.start_agent();
    let message = core.local_problem("IPC_UNAVAILABLE").await;
    assert!(message.contains("ipc.pubsub is on") && message.contains("ipc.iotCore is on"), "{message}");
    assert!(message.contains("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT is not set"), "{message}");
    let (checks, status) = core.offboard(&["check"]);
    let wrong = checks["checks"].as_array().unwrap().iter().filter(|one| one["result"] == "error").count();
    assert_eq!((status, wrong), (1, 2), "{checks}");
}

/// In the agent's place: no agent runs.
#[tokio::test(flavor = "multi_thread")]
async fn check_tries_ipc_where_no_agent_runs() {
    let core = Core::new(Kind::Lite, 10).await;
    let check = || {
        let program = product();
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(["check", "--output", "json"]).env_clear().stdin(Stdio::null());
        let output = command
            .envs(core.nucleus.environment())
            .env("OFFBOARD_CONFIG", core.world.config.to_string())
            .output()
            .unwrap();
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
        let ipc = checks["checks"].as_array().unwrap().iter().filter(|one| one["check"] == "ipc").cloned();
        ipc.map(|one| (one["result"].as_str().unwrap().to_owned(), one["message"].as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let found = check();
    assert!(found.len() == 2 && found.iter().all(|(result, _)| result == "ok"), "{found:?}");
    assert!(found[1].1.contains("AWS IoT Core: subscribed to offboard/MyCore/commands/+/+"), "{found:?}");
    core.nucleus.set_access_control(json!({}));
    let found = check();
    assert!(found.iter().all(|(result, message)| result == "error" && message.contains("accessControl")), "{found:?}");
}
