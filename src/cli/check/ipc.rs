//! The transports over Greengrass IPC, tried in the agent's place.

use std::time::Duration;

use tokio::time::timeout;

use super::{Finding, error, ok};
use crate::{
    agent::ways,
    config::Config,
    local::ipc::{Environment, Way, probe},
    protocol::Topics,
};

/// A line for each transport that is on.
pub(super) async fn findings(config: &Config, patience: Duration) -> Vec<Finding> {
    let environment = Environment::of_process();
    let topics = Topics::new(&config.topic_prefix, &config.core);
    let mut findings = Vec::new();
    for way in ways(config) {
        findings.push(match &environment {
            Some(environment) => finding(environment, way, &topics, patience).await,
            None => error("ipc", format!("{} is on, and {}", way.key(), Environment::MISSING)),
        });
    }
    findings
}

async fn finding(environment: &Environment, way: Way, topics: &Topics, patience: Duration) -> Finding {
    match timeout(patience, probe(environment, way, topics)).await {
        Ok(Ok(())) => {
            let (title, commands, status) = (way.title(), topics.commands(), topics.status());
            ok("ipc", format!("{title}: subscribed to {commands}, published to {status}"))
        }
        Ok(Err(text)) => error("ipc", format!("{}: {text}", way.title())),
        Err(_) => {
            let seconds = patience.as_secs();
            error("ipc", format!("{}: no answer from {environment:?} within {seconds} s", way.title()))
        }
    }
}
