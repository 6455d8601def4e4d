//! The demo: it runs a broker, the stand-in for the cloud and the agent through a scenario
//! ([`scenes`]), and compares the results.
//!
//! Every wait has a time limit and a condition; nothing sleeps for a fixed time instead.

mod agent;
mod audit;
mod build;
mod client;
mod scenes;
mod show;

use std::future::Future;
use std::io;
use std::time::Instant;
use std::{path::Path, pin::pin};

use offboard_sandbox::broker::Broker;
use offboard_sandbox::cloud::{Cloud, Options};
use offboard_sandbox::ipc::{self, Nucleus};
use serde_json::Value;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use agent::Agent;
use client::Client;
use show::{heading, say, took};

/// The core device.
const CORE: &str = "DemoCore";

/// The number of its client devices, sensor-0001 and so on.
const DEVICES: usize = 1000;

/// The client that sends the commands.
const CLIENT: &str = "bench-tool";

/// The only operation of the demo that changes associations.
const DISASSOCIATE: &str = "disassociate-client-devices";

/// The device that the agent's configuration protects.
const PROTECTED: &str = "sensor-1000";

/// The devices that the cloud refuses to disassociate: it rejects two entries, and each whole call
/// that contains the third device.
const REFUSED: [&str; 2] = ["sensor-0013", "sensor-0137"];
const SPOILER: &str = "sensor-0222";

/// The requests over the broker, and the number of devices in each.
const FIRST: (&str, usize) = ("first-250", 250);
const SECOND: (&str, usize) = ("offline-50", 50);

/// The request from AWS IoT Core, and the number of devices in it.
const THIRD: (&str, usize) = ("fleet-20", 20);

/// The participants of the demo.
#[derive(Debug)]
struct Stage {
    directory: TempDir,
    broker: Broker,
    cloud: Cloud,
    nucleus: Nucleus,
    agent: Agent,
    client: Client,
}

/// Builds the agent and runs the scenario. With `keep` everything continues to run until a signal.
///
/// # Errors
/// A step failed or took too long, or the agent and the cloud do not agree at the end.
pub(crate) async fn run(keep: bool) -> io::Result<()> {
    say("Building the agent first. A fresh clone takes some minutes for it.");
    let binary = build::agent().await?;
    let mut interrupted = pin!(interruption()?);
    let directory = directory(&binary, keep)?;
    let broker = Broker::start()?;
    let cloud = Cloud::start(Options { port: 0, core: Some(CORE.to_owned()) }).await?;
    let client = Client::connect(&broker, CLIENT, CORE).await?;
    let credentials = Some((cloud.credentials_uri(), cloud.authorization_token()));
    let nucleus = Nucleus::start(directory.path(), ipc::Options { credentials, ..ipc::Options::of(ipc::Kind::Lite) })?;
    let agent = Agent::new(binary, directory.path(), CORE, &broker, &cloud, &nucleus);
    let mut stage = Stage { directory, broker, cloud, nucleus, agent, client };

    let played = async {
        let begin = Instant::now();
        scenes::run(&mut stage).await?;
        if keep {
            invite(&stage);
        } else {
            say(format_args!("The scenes took {}.", took(begin.elapsed())));
        }
        io::Result::Ok(())
    };
    let outcome = tokio::select! {
        outcome = played => outcome,
        () = &mut interrupted => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted")),
    };
    let ended = match outcome {
        Ok(()) => {
            if keep {
                interrupted.await;
            }
            farewell(&mut stage).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = &ended {
        if error.kind() != io::ErrorKind::Interrupted {
            eprintln!("\n{}\n", stage.agent.post_mortem());
        }
        // The agent may have ended already.
        let _ = stage.agent.kill().await;
    }
    let Stage { directory, .. } = stage;
    ended.and(directory.close())
}

/// The directory of the agent's data. With `keep` it has a fixed path, with a file of settings for
/// the user's shell.
fn directory(binary: &Path, keep: bool) -> io::Result<TempDir> {
    let Some(target) = binary.ancestors().nth(2).filter(|_| keep) else {
        return tempfile::Builder::new().prefix("offboard-demo-").tempdir();
    };
    let directory = tempfile::Builder::new().prefix("demo").rand_bytes(0).tempdir_in(target).map_err(|error| {
        let path = target.join("demo");
        let text = format!("{}: {error}; if no other demo runs, an earlier one was killed: remove it", path.display());
        io::Error::new(error.kind(), text)
    })?;
    let programs = binary.parent().unwrap_or(target);
    let (data, programs) = (directory.path().join("data"), programs.display());
    let lines = format!("export OFFBOARD_DATA_DIR='{}'\nexport PATH='{programs}':\"$PATH\"\n", data.display());
    std::fs::write(directory.path().join("env"), lines)?;
    Ok(directory)
}

fn invite(stage: &Stage) {
    let (port, root) = (stage.broker.port(), format!("offboard/{CORE}"));
    heading("Over to you");
    say("Everything still runs. In another terminal, ask the agent:");
    say(format_args!("  . {}", stage.directory.path().join("env").display()));
    say("  offboard status");
    say("  offboard disassociate sensor-0900 --reason 'my first'");
    say("Or use the broker. Subscribe:");
    say(format_args!("  mosquitto_sub -h 127.0.0.1 -p {port} -t '{root}/results/me/#' -v"));
    say("and in a third terminal, send a command:");
    say(format_args!("  mosquitto_pub -h 127.0.0.1 -p {port} -q 1 -t {root}/commands/me/{DISASSOCIATE} \\"));
    say("    -m '{\"entries\":[{\"thingName\":\"sensor-0900\"}]}'");
    say("Ctrl-C here ends it all.");
}

async fn farewell(stage: &mut Stage) -> io::Result<()> {
    let time = stage.agent.stop().await?;
    stage.client.status("the agent's goodbye", |status| status["state"] == "OFFLINE").await?;
    say(format_args!("The agent was asked to stop (SIGTERM), said OFFLINE, and was gone after {}.", took(time)));
    Ok(())
}

/// Completes when the user interrupts the demo.
fn interruption() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn sensors(first: usize, count: usize) -> impl Iterator<Item = String> {
    (first..first + count).map(|number| format!("sensor-{number:04}"))
}

/// A member of a message as it is shown: a string without its quotes.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
