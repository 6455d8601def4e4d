//! Tests the broker in place of the agent: connects, subscribes and publishes.

use std::time::Duration;

use rumqttc::{Event, Incoming, QoS};
use serde_json::Value;
use tokio::time::timeout;

use super::finding::{Finding, error, local_access_works, ok, warning};
use crate::{
    config::{Config, Mqtt},
    domain::AccessCommand,
    mqtt::client::{self, Brief},
    protocol::{Topics, dynsec, status::OFFLINE},
};

/// How long the broker has for its retained status.
const RETAINED: Duration = Duration::from_secs(2);

/// Whether the agent may send commands to the broker's dynamic-security plugin. The test reads the
/// agent's own client.
pub(super) async fn local_access(config: &Config, patience: Duration) -> Option<Finding> {
    const WHAT: &str = "local access";
    config.local_access.as_ref()?;
    let mqtt = config.mqtt.as_ref()?;
    let own = config.own_name();
    let advice = dynsec::advice(&own);
    Some(match timeout(patience, read_own(mqtt, &own)).await {
        Ok(Ok(true)) => local_access_works(config, format!("the broker's dynamic-security plugin answers {own}")),
        Ok(Ok(false)) => error(WHAT, format!("the broker denies the subscription to {}: {advice}", dynsec::RESPONSES)),
        Ok(Err(text)) => error(WHAT, format!("{mqtt:?}: {text}")),
        Err(_) => error(WHAT, format!("the broker does not answer commands on {}: {advice}", dynsec::COMMANDS)),
    })
}

/// Waits for any response of the plugin; `false` if the subscription is denied.
async fn read_own(mqtt: &Mqtt, own: &str) -> Result<bool, String> {
    let mut options = client::options(mqtt);
    options.set_clean_session(false).set_manual_acks(true);
    client::secure(mqtt, &mut options)?;
    let mut line = Brief::new(options);
    let explain = |error| client::explain(mqtt, &error);
    if !line.subscribe(dynsec::RESPONSES).await.map_err(explain)? {
        return Ok(false);
    }
    let number = fastrand::u64(..);
    let question = dynsec::commands(number, [(AccessCommand::Read, own)]);
    let asked = line.client.try_publish(dynsec::COMMANDS, QoS::AtLeastOnce, false, question);
    asked.map_err(|error| error.to_string())?;
    loop {
        if let Event::Incoming(Incoming::Publish(publish)) = line.poll().await.map_err(explain)?
            && publish.topic == dynsec::RESPONSES
            && !dynsec::answers(number, &publish.payload).is_empty()
        {
            return Ok(true);
        }
    }
}

pub(super) async fn finding(config: &Config, patience: Duration) -> Finding {
    let Some(mqtt) = &config.mqtt else { return ok("broker", "mqtt.url is none: the agent uses no broker") };
    let topics = config.topics();
    if runs_elsewhere(mqtt, &topics).await {
        let text = format!(
            "{mqtt:?}: not tested, because the retained status there ({}) is ONLINE, and the broker would close the connection \
             of that agent; name its data directory with --data-dir, or stop it first",
            topics.status()
        );
        return warning("broker", text);
    }
    match timeout(patience, attempt(mqtt, &topics)).await {
        Ok(Ok(text)) => ok("broker", text),
        Ok(Err(text)) => error("broker", format!("{mqtt:?}: {text}")),
        Err(_) => error("broker", format!("{mqtt:?}: no answer within {} s; check host and port", patience.as_secs())),
    }
}

/// Whether the broker's retained status says that the agent is online: it runs on another data
/// directory, or on another machine. The question is asked under another client id than the
/// agent's. A broker that does not admit that one does not answer it.
async fn runs_elsewhere(mqtt: &Mqtt, topics: &Topics) -> bool {
    let mqtt = Mqtt { client_id: format!("{}-check", mqtt.client_id), ..mqtt.clone() };
    let mut options = client::options(&mqtt);
    options.set_clean_session(true);
    let status = topics.status();
    let read = async {
        client::secure(&mqtt, &mut options).ok()?;
        let mut line = Brief::new(options);
        line.client.try_subscribe(&status, QoS::AtLeastOnce).ok()?;
        loop {
            if let Event::Incoming(Incoming::Publish(publish)) = line.poll().await.ok()?
                && publish.topic == status
            {
                return Some(publish.payload);
            }
        }
    };
    // A retained message comes right after the subscription.
    let status = timeout(RETAINED, read).await.ok().flatten();
    let status: Option<Value> = status.and_then(|status| serde_json::from_slice(&status).ok());
    status.is_some_and(|status| status["state"] == "ONLINE")
}

async fn attempt(mqtt: &Mqtt, topics: &Topics) -> Result<String, String> {
    let mut options = client::options(mqtt);
    // The session is the agent's, so this check acknowledges none of its waiting messages, and they
    // stay in it.
    options.set_clean_session(false).set_manual_acks(true);
    client::secure(mqtt, &mut options)?;
    let mut line = Brief::new(options);
    let (commands, status) = (topics.commands(), topics.status());
    if !line.subscribe(&commands).await.map_err(|error| client::explain(mqtt, &error))? {
        return Err(format!("it denies the subscription to {commands}; allow it to {}", mqtt.client_id));
    }
    if let Some(broadcasts) = topics.broadcasts()
        && !line.subscribe(&broadcasts).await.map_err(|error| client::explain(mqtt, &error))?
    {
        return Err(format!("it denies the subscription to {broadcasts}; allow it to {}", mqtt.client_id));
    }
    // No agent runs, so OFFLINE is its true state. MQTT 3.1.1 has no response for a publish that is
    // not allowed: one broker closes the connection, another acknowledges the publish and drops it.
    publish(&mut line, mqtt, &status).await?;
    Ok(format!("connected by {mqtt:?}, subscribed to {commands}, published to {status}"))
}

/// Publishes OFFLINE and waits for the acknowledgement.
async fn publish(line: &mut Brief, mqtt: &Mqtt, topic: &str) -> Result<(), String> {
    line.client.try_publish(topic, QoS::AtLeastOnce, true, OFFLINE).map_err(|error| error.to_string())?;
    loop {
        match line.poll().await {
            Ok(Event::Incoming(Incoming::PubAck(_))) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                let (client, text) = (&mqtt.client_id, client::explain(mqtt, &error));
                return Err(format!(
                    "it closed the connection when {topic} was published to; allow it to {client} ({text})"
                ));
            }
        }
    }
}
