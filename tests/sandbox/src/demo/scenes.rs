//! The scenario of the demo, step by step: a core device, its agent and its cloud.

use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use offboard_sandbox::cloud::{Action, Fault, Operation};
use offboard_sandbox::ipc::Service;
use serde_json::{Value, json};

use super::audit;
use super::client::Client;
use super::show::{Progress, heading, row, say, table, took};
use super::{
    CLIENT, CORE, DEVICES, DISASSOCIATE, FIRST, PROTECTED, REFUSED, SECOND, SPOILER, Stage, THIRD, sensors, text,
};

/// Latency of a call that the cloud does not refuse, typical of a mobile network.
const LATENCY: Duration = Duration::from_millis(300);

/// Interval between two queries of a request's progress.
const LOOK: Duration = Duration::from_millis(50);

/// Maximum time of a wait for a message to AWS IoT Core, far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The client of AWS IoT Core that sends a command.
const FLEET_TOOL: &str = "fleet-tool";

/// Runs the scenario from its beginning to the comparison at its end.
///
/// # Errors
/// A step fails, or the agent and the cloud do not agree at the end.
pub(super) async fn run(stage: &mut Stage) -> io::Result<()> {
    set_the_scene(stage).await?;
    let before = audit::Registry::now(&stage.client, &stage.cloud).await?;
    some_are_refused(stage).await?;
    the_cloud_is_cut_off(stage).await?;
    the_agent_is_killed(stage).await?;
    the_cloud_is_back(stage).await?;
    a_command_from_the_cloud(stage).await?;
    questions(stage).await?;
    audit::close(&stage.client, &stage.cloud, &before).await
}

async fn set_the_scene(stage: &mut Stage) -> io::Result<()> {
    let Stage { broker, cloud, agent, client, .. } = stage;
    heading("A core device with 1,000 client devices");
    say("Everything runs on 127.0.0.1; nothing leaves this machine.");
    say(format_args!("An MQTT broker is at {}, a stand-in for the AWS API at {}.", broker.url(), cloud.endpoint()));
    cloud.associate(CORE, sensors(1, DEVICES));
    say(format_args!("The core device {CORE} has sensor-0001 to sensor-1000 associated with it."));
    agent.start()?;
    let begin = Instant::now();
    say(format_args!("The agent starts with an empty data directory. Its log is {}.", agent.log().display()));
    client
        .status("the agent to be ONLINE with all devices ASSOCIATED", |status| {
            is_online(status) && status["lastSyncAt"].is_string() && status["devices"]["ASSOCIATED"] == DEVICES
        })
        .await?;
    say(format_args!("After {} it is ONLINE and knows {DEVICES} devices as ASSOCIATED.", took(begin.elapsed())));
    Ok(())
}

async fn some_are_refused(stage: &Stage) -> io::Result<()> {
    let Stage { cloud, client, .. } = stage;
    let (token, count) = FIRST;
    heading("250 devices are disassociated, and the cloud refuses some");
    for action in [
        Action::RejectEntry { thing: SPOILER.to_owned(), name_field: false },
        Action::EntryErrors {
            things: REFUSED.map(str::to_owned).into(),
            code: "AccessDeniedException".to_owned(),
            message: "you may not disassociate this device".to_owned(),
            omit_name: false,
        },
        // A call meets at most one fault, so this one applies to the calls without any of the three
        // devices.
        Action::Delay(LATENCY),
    ] {
        cloud.inject(Fault { operation: Some(Operation::Disassociate), times: None, action });
    }
    say(format_args!("{CLIENT} sends one command for sensor-0001 to sensor-0250."));
    let begin = Instant::now();
    client.send(DISASSOCIATE, token, json!({"entries": entries(sensors(1, count)), "reason": "line 3 closes"})).await?;
    client.accepted(DISASSOCIATE, token).await?;
    say(format_args!(
        "accepted after {}: it is on the agent's disk, and the agent will carry it out.",
        took(begin.elapsed())
    ));
    let completed = follow(client, token, count as u64).await?;
    say(format_args!("completed after {}: {}", took(begin.elapsed()), outcome(&completed)));
    let errors = completed["errorEntries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cells = |error: &Value| row([&text(&error["thingName"]), &text(&error["code"]), &text(&error["message"])]);
    table(&errors.iter().map(cells).collect::<Vec<_>>());
    say(format_args!("A call with {SPOILER} in it failed as a whole, without a reason."));
    say("The agent split such calls in halves until that device was alone in one, so that no other device failed.");
    Ok(())
}

async fn the_cloud_is_cut_off(stage: &Stage) -> io::Result<()> {
    let Stage { cloud, client, .. } = stage;
    let (token, count) = SECOND;
    heading("The cloud is out of reach");
    cloud.offline(true);
    say("The connection to the cloud is cut.");
    say(format_args!("{CLIENT} sends a command for {count} more all the same, sensor-0301 to sensor-0350."));
    let begin = Instant::now();
    client.send(DISASSOCIATE, token, json!({"entries": entries(sensors(301, count))})).await?;
    client.accepted(DISASSOCIATE, token).await?;
    say(format_args!("accepted after {}, although the cloud is out of reach.", took(begin.elapsed())));
    client
        .status("the agent to find the cloud UNREACHABLE, with 50 entries pending", |status| {
            status["cloud"] == "UNREACHABLE" && status["pendingEntries"] == count
        })
        .await?;
    say(format_args!("The agent's status says that the cloud is UNREACHABLE and that {count} entries wait for it."));
    Ok(())
}

async fn the_agent_is_killed(stage: &mut Stage) -> io::Result<()> {
    let Stage { agent, client, .. } = stage;
    heading("The agent is killed");
    let old = client.status("the agent to be ONLINE", is_online).await?;
    agent.kill().await?;
    client.status("the broker to publish the agent's last will", |status| status["state"] == "OFFLINE").await?;
    say("SIGKILL, as in a power cut. The broker publishes the agent's last will: OFFLINE.");
    agent.start()?;
    let begin = Instant::now();
    let back = client
        .status("the agent to be ONLINE again with 50 entries pending", |status| {
            let restarted = is_online(status) && status["startedAt"] != old["startedAt"];
            restarted && status["pendingEntries"] == SECOND.1
        })
        .await?;
    say(format_args!("Started again, it is ONLINE after {}. Nothing is lost:", took(begin.elapsed())));
    say(format_args!("its status says that {} entries wait.", text(&back["pendingEntries"])));
    // The stand-in also provides the credentials, which the agent needs first.
    let blind = client.status("the agent to find the cloud out of reach", |status| {
        is_online(status) && (status["cloud"] == "NO_CREDENTIALS" || status["cloud"] == "UNREACHABLE")
    });
    let cloud = text(&blind.await?["cloud"]);
    say(format_args!("It tried to reach the cloud, which is still out of reach: {cloud}."));
    Ok(())
}

async fn the_cloud_is_back(stage: &Stage) -> io::Result<()> {
    let Stage { cloud, client, .. } = stage;
    let (token, count) = SECOND;
    heading("The cloud is back");
    cloud.offline(false);
    let begin = Instant::now();
    say("The connection is restored. Before the agent sends the waiting entries, it lists the devices again:");
    say("it would not disassociate a device that was associated again in the meantime.");
    let completed = follow(client, token, count as u64).await?;
    say(format_args!("completed after {}: {}", took(begin.elapsed()), outcome(&completed)));
    say("No client had to repeat its command.");
    Ok(())
}

async fn a_command_from_the_cloud(stage: &Stage) -> io::Result<()> {
    let (token, count) = THIRD;
    heading("A command from AWS IoT Core, without the broker");
    let topic = format!("offboard/{CORE}/commands/{FLEET_TOOL}/{DISASSOCIATE}");
    say("The nucleus passes messages of AWS IoT Core to the agent by Greengrass IPC. In a real account:");
    say(format_args!("  aws iot-data publish --qos 1 --topic {topic} --payload …"));
    let command = json!({"clientToken": token, "entries": entries(sensors(401, count))});
    let begin = Instant::now();
    if stage.nucleus.publish(Service::IotCore, &topic, command.to_string().as_bytes()) == 0 {
        return Err(io::Error::other("the agent has not subscribed to commands from AWS IoT Core"));
    }
    let completed = from_iot_core(stage, token).await?;
    say(format_args!("{FLEET_TOOL} has its result after {}: {}", took(begin.elapsed()), outcome(&completed)));
    Ok(())
}

/// Waits for the `completed` message that the agent publishes to AWS IoT Core.
async fn from_iot_core(stage: &Stage, token: &str) -> io::Result<Value> {
    let topic = format!("offboard/{CORE}/results/{FLEET_TOOL}/{DISASSOCIATE}/completed");
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        for message in stage.nucleus.published(Service::IotCore) {
            let body: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            if message.topic == topic && body["clientToken"] == token {
                return Ok(body);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no result of {token} in AWS IoT Core")))
}

async fn questions(stage: &Stage) -> io::Result<()> {
    let client = &stage.client;
    heading("Questions that the agent answers itself, online or not");
    let wanted = sensors(301, 150).chain([PROTECTED.to_owned(), "sensor-2000".to_owned()]);
    let answer = client.ask(DISASSOCIATE, json!({"entries": entries(wanted), "dryRun": true})).await?;
    let plan = &answer["plan"];
    say(format_args!("A dry run for sensor-0301 to sensor-0450, {PROTECTED} and sensor-2000 says:"));
    table(&[
        row([&"entries", &text(&plan["entryCount"])]),
        row([&"calls to the cloud", &text(&plan["cloudCallCount"])]),
        row([&"not in the registry", &text(&plan["unknownCount"]), &text(&plan["unknown"])]),
        row([&"protected by configuration", &text(&plan["guardedCount"]), &text(&plan["guarded"])]),
    ]);
    for thing in [REFUSED[0], "sensor-0301"] {
        let answer = client.ask("get-device", json!({"thingName": thing})).await?;
        let device = &answer["device"];
        let error = &device["lastError"]["code"];
        let error = if error.is_null() { String::new() } else { format!(", last error {}", text(error)) };
        say(format_args!("get-device {thing}: {}{error}.", text(&device["state"])));
    }
    Ok(())
}

/// Shows the progress of a request until it is completed, and returns its `completed` message.
async fn follow(client: &Client, token: &str, count: u64) -> io::Result<Value> {
    let mut completed = pin!(client.completed(DISASSOCIATE, token));
    let mut progress = Progress::new(count);
    loop {
        let answer = client.ask("get-request", json!({"targetClientToken": token})).await?;
        let part = |name: &str| answer["request"][name].as_u64().unwrap_or_default();
        progress.at(part("succeededCount") + part("failedCount"));
        tokio::select! {
            completed = &mut completed => {
                progress.at(count);
                progress.end();
                return completed;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn is_online(status: &Value) -> bool {
    status["state"] == "ONLINE"
}

fn entries(things: impl Iterator<Item = String>) -> Vec<Value> {
    things.map(|thing| json!({"thingName": thing})).collect()
}

fn outcome(completed: &Value) -> String {
    let [status, succeeded, failed] =
        ["status", "succeededCount", "failedCount"].map(|member| text(&completed[member]));
    format!("{status}, {succeeded} disassociated, {failed} not.")
}
