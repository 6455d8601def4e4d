//! The broker, tried in the agent's place: connected, subscribed, published.

use std::time::Duration;

use rumqttc::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions, QoS, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::time::timeout;

use super::{Finding, error, ok};
use crate::{
    config::{Config, Mqtt},
    status::OFFLINE,
    transport,
    wire::Topics,
};

pub(super) async fn finding(config: &Config, patience: Duration) -> Finding {
    let Some(mqtt) = &config.mqtt else { return ok("broker", "mqtt.url is none: the local socket alone") };
    let topics = Topics::new(&config.topic_prefix, &config.core);
    match timeout(patience, attempt(mqtt, &topics)).await {
        Ok(Ok(text)) => ok("broker", text),
        Ok(Err(text)) => error("broker", format!("{mqtt:?}: {text}")),
        Err(_) => error("broker", format!("{mqtt:?}: no answer within {} s; check host and port", patience.as_secs())),
    }
}

async fn attempt(mqtt: &Mqtt, topics: &Topics) -> Result<String, String> {
    let mut options = MqttOptions::new(&mqtt.client_id, &mqtt.host, mqtt.port);
    // As the agent does, whose session it is: what waits in it is not acknowledged, and stays.
    options.set_clean_session(false).set_manual_acks(true).set_keep_alive(mqtt.keep_alive);
    options.set_max_packet_size(1 << 20, 1 << 20);
    if let Some((username, password)) = &mqtt.login {
        options.set_credentials(username, password);
    }
    if mqtt.tls {
        let config = transport::client_config(mqtt)?;
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
    }
    let (client, event_loop) = AsyncClient::new(options, 16);
    let mut line = Probe { mqtt, client, event_loop };
    let (commands, status) = (topics.commands(), topics.status());
    if !line.subscribe(&commands).await? {
        return Err(format!("it denies the subscription to {commands}; allow it to {}", mqtt.client_id));
    }
    // No agent runs, so that is its state. MQTT 3.1.1 has no word for a publish that is not allowed: one broker hangs up,
    // another acknowledges it and drops it.
    line.publish(&status).await?;
    Ok(format!("connected by {mqtt:?}, subscribed to {commands}, published to {status}"))
}

struct Probe<'m> {
    mqtt: &'m Mqtt,
    client: AsyncClient,
    event_loop: EventLoop,
}

impl Probe<'_> {
    async fn poll(&mut self) -> Result<Event, String> {
        self.event_loop.poll().await.map_err(|error| transport::explain(self.mqtt, &error))
    }

    async fn subscribe(&mut self, filter: &str) -> Result<bool, String> {
        self.client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|error| error.to_string())?;
        loop {
            if let Event::Incoming(Incoming::SubAck(ack)) = self.poll().await? {
                return Ok(!ack.return_codes.contains(&SubscribeReasonCode::Failure));
            }
        }
    }

    /// Until it is acknowledged.
    async fn publish(&mut self, topic: &str) -> Result<(), String> {
        self.client.try_publish(topic, QoS::AtLeastOnce, true, OFFLINE).map_err(|error| error.to_string())?;
        loop {
            match self.poll().await {
                Ok(Event::Incoming(Incoming::PubAck(_))) => return Ok(()),
                Ok(_) => {}
                Err(text) => {
                    let client = &self.mqtt.client_id;
                    return Err(format!("it hung up when {topic} was published to; allow it to {client} ({text})"));
                }
            }
        }
    }
}
