//! Greengrass IPC for the rest of the agent: which transports are on, the source of the token
//! exchange service's address, and the attempt that `check` makes if no agent runs.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    cloud::{AccessSource, TokenExchangeAccess},
    config::Config,
    local::ipc::{self, Environment, Way},
};

/// The transports over Greengrass IPC that are on.
pub(crate) fn ways(config: &Config) -> impl Iterator<Item = Way> {
    let all = [(config.ipc.pubsub, Way::PubSub), (config.ipc.iot_core, Way::IotCore)];
    all.into_iter().filter_map(|(is_on, way)| is_on.then_some(way))
}

/// The source that queries the nucleus for the token exchange service; `None` if there is no
/// Greengrass IPC.
pub(crate) fn access_source() -> Option<AccessSource> {
    let environment = Environment::of_process()?;
    Some(Arc::new(move || {
        let environment = environment.clone();
        Box::pin(async move {
            let ipc::TokenExchangeAccess { port, token } = ipc::token_exchange_access(&environment).await?;
            Ok(TokenExchangeAccess { port, token })
        })
    }))
}

/// The problem if a transport is on and there is no Greengrass IPC.
pub(super) fn missing(way: Way) -> String {
    format!("{} is on, and {}", way.key(), Environment::MISSING)
}

/// Tries each transport that is on, for at most `patience`. Returns what works, or why it does not.
pub(crate) async fn trial(config: &Config, patience: Duration) -> Vec<Result<String, String>> {
    let topics = config.topics();
    let environment = Environment::of_process();
    let mut found = Vec::new();
    for way in ways(config) {
        let title = way.title();
        found.push(match &environment {
            None => Err(missing(way)),
            Some(environment) => match timeout(patience, ipc::probe(environment, way, &topics)).await {
                Ok(Ok(())) => {
                    let (commands, status) = (topics.commands(), topics.status());
                    Ok(format!("{title}: subscribed to {commands}, published to {status}"))
                }
                Ok(Err(text)) => Err(format!("{title}: {text}")),
                Err(_) => Err(format!("{title}: no answer from {environment:?} within {} s", patience.as_secs())),
            },
        });
    }
    found
}
