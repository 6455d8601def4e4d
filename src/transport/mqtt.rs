//! MQTT 3.1.1 by rumqttc: connection, TLS, backoff, subscription, acknowledgements.
//!
//! One task polls, and does nothing else that could wait: whoever sends goes through the [`Line`]. The library's own
//! queues are emptied at each end of a connection; what has to arrive is in the outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, LastWill, Outgoing, Publish, QoS, Request, StateError,
    SubscribeReasonCode,
};
use tokio::task::JoinHandle;

use super::{
    Line, Wired, client,
    intake::Intake,
    retry::{self, Retry},
};
use crate::{conditions::Conditions, config, wire::Topics};

/// Publishes without an acknowledgement in the library's table; our own windows are far smaller.
const INFLIGHT: u16 = 100;

/// Requests that wait in the library: an acknowledgement must never find it full, and there are 65,535 packet ids.
const CHANNEL: usize = 1 << 16;

/// From DNS to CONNACK, seconds.
const CONNECT_TIMEOUT: u64 = 10;

/// How long a message that was too large is told of.
const TOLD: Duration = Duration::from_secs(3600);

/// Wait before a denied subscription is tried again, at first and at most: a person may just be mending the policy.
const RESUBSCRIBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// How long a clean stop waits for the broker to take `OFFLINE`.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the connection is made of.
pub(crate) struct MqttParts {
    pub(crate) mqtt: config::Mqtt,
    pub(crate) topics: Topics,
    pub(crate) max_payload: usize,
    pub(crate) conditions: Arc<Conditions>,
}

/// A running connection, kept up until it is closed.
pub(crate) struct Mqtt {
    pub(crate) wired: Wired,
    pub(crate) closer: Closer,
}

/// Ends a connection.
pub(crate) struct Closer {
    line: Arc<Line>,
    status: String,
    task: JoinHandle<()>,
}

impl Closer {
    /// Publishes `OFFLINE`, disconnects, and ends the task; 1.5 s at most.
    pub(crate) async fn close(mut self, payload: Vec<u8>) {
        let _ = tokio::time::timeout(GOODBYE, self.line.close(&self.status, payload)).await;
        if tokio::time::timeout(GOODBYE / 2, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Mqtt {
    /// Starts connecting.
    pub(crate) fn start(parts: MqttParts) -> Self {
        let (client, event_loop) = new_client(&parts);
        let (intake, wired) = Intake::new(client, parts.topics.clone(), parts.max_payload);
        let status = parts.topics.status();
        let line = Arc::clone(&wired.line);
        let poller =
            Poller { parts, line: Arc::clone(&line), intake, event_loop, retry: Retry::new(), denied: 0, flooded: 0 };
        let task = tokio::spawn(poller.run());
        Self { wired, closer: Closer { line, status, task } }
    }
}

fn new_client(parts: &MqttParts) -> (AsyncClient, EventLoop) {
    let mut options = client::options(&parts.mqtt);
    options.set_clean_session(false).set_manual_acks(true).set_inflight(INFLIGHT).set_last_will(LastWill::new(
        parts.topics.status(),
        crate::status::OFFLINE,
        QoS::AtLeastOnce,
        true,
    ));
    let (client, mut event_loop) = AsyncClient::new(options, CHANNEL);
    let mut network = event_loop.network_options();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_TIMEOUT);
    event_loop.set_network_options(network);
    (client, event_loop)
}

struct Poller {
    parts: MqttParts,
    line: Arc<Line>,
    intake: Intake,
    event_loop: EventLoop,
    retry: Retry,
    /// Subscriptions denied in a row.
    denied: u32,
    /// Commands dropped since the last connection.
    flooded: u64,
}

impl Poller {
    async fn run(mut self) {
        let mut epoch = 0;
        let mut connected_at: Option<Instant> = None;
        if let Err(message) = self.prepare() {
            self.fail(message).await;
        }
        loop {
            match self.event_loop.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(connack))) => {
                    connected_at = Some(Instant::now());
                    if self.event_loop.mqtt_options.clean_session() {
                        // This one was only to drop the session; the next one keeps its own.
                        self.event_loop.mqtt_options.set_clean_session(false);
                        self.line.disconnect();
                        continue;
                    }
                    self.parts.conditions.clear("BROKER_UNREACHABLE");
                    self.parts.conditions.connected(true);
                    self.line.up(connack.session_present, &self.parts.topics.commands());
                    epoch = self.line.link().borrow().epoch;
                    self.connected(epoch, connack.session_present);
                }
                Ok(Event::Incoming(Incoming::Publish(publish))) => self.receive(epoch, publish),
                Ok(Event::Incoming(Incoming::PubAck(ack))) => self.line.on_delivered(ack.pkid),
                Ok(Event::Incoming(Incoming::SubAck(ack))) => self.subscribed(epoch, &ack.return_codes),
                Ok(Event::Outgoing(Outgoing::Publish(packet))) if packet != 0 => self.line.on_wire(packet),
                Ok(Event::Outgoing(Outgoing::AwaitAck(_))) => self.step_over(),
                Ok(Event::Outgoing(Outgoing::Disconnect)) if self.line.is_closing() => return,
                Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                    self.disconnected();
                    if let Some(at) = connected_at.take() {
                        self.retry.ended(at.elapsed());
                    }
                    if let Err(message) = self.prepare() {
                        self.fail(message).await;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.disconnected();
                    self.shed(&error);
                    let mut message = explain(&self.parts.mqtt, &error);
                    if let Some(at) = connected_at.take() {
                        self.retry.ended(at.elapsed());
                        if self.retry.is_unstable() {
                            message = self.unstable(&message);
                        }
                    }
                    self.fail(message).await;
                }
            }
        }
    }

    /// The next packet id belongs to a message that the broker never acknowledged: takes another id instead, or the
    /// library would wait for that acknowledgement for ever, and send nothing else meanwhile.
    fn step_over(&mut self) {
        if let Some(mut publish) = self.event_loop.state.collision.take() {
            publish.pkid = 0;
            self.event_loop.pending.push_front(Request::Publish(publish));
        }
    }

    fn disconnected(&mut self) {
        self.parts.conditions.connected(false);
        let Self { line, event_loop, .. } = self;
        line.down(|| {
            event_loop.clean();
            event_loop.pending.clear();
            event_loop.state.collision = None;
            // What was read before the end and not handed out belongs to the connection that is gone.
            event_loop.state.events.clear();
        });
    }

    /// A message that is too large for us would be delivered again and again, and nothing else: the next connection
    /// does without the session that holds it.
    fn shed(&mut self, error: &ConnectionError) {
        use rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded;
        if let ConnectionError::MqttState(StateError::Deserialization(PayloadSizeLimitExceeded(size))) = error {
            self.event_loop.mqtt_options.set_clean_session(true);
            let message = format!(
                "a message of {size} bytes could not be taken; the broker's session was dropped to get rid of it, and \
                 what else waited in it: senders without an answer should repeat their commands"
            );
            self.parts.conditions.raise("MESSAGE_TOO_LARGE", message);
            let conditions = Arc::clone(&self.parts.conditions);
            tokio::spawn(async move {
                tokio::time::sleep(TOLD).await;
                conditions.clear("MESSAGE_TOO_LARGE");
            });
        }
    }

    /// Tells of a connection, unless there are too many of them.
    fn connected(&mut self, epoch: u64, session: bool) {
        self.flooded = 0;
        if self.retry.made() {
            tracing::info!(broker = ?self.parts.mqtt, session, "connected to the broker");
        }
        if self.retry.is_unstable() {
            let (line, conditions) = (Arc::clone(&self.line), Arc::clone(&self.parts.conditions));
            tokio::spawn(async move {
                tokio::time::sleep(retry::STABLE).await;
                if line.link().borrow().epoch == epoch {
                    conditions.clear("CONNECTION_UNSTABLE");
                    tracing::info!("the connection to the broker holds");
                }
            });
        }
    }

    /// Connections end soon after they are made. MQTT 3.1.1 has no word for why.
    fn unstable(&self, why: &str) -> String {
        let message = format!(
            "the broker ends each connection soon after it is made ({why}); check that no other client, a second agent for \
             instance, uses the client id {}, and the broker's log",
            self.parts.mqtt.client_id
        );
        self.parts.conditions.raise("CONNECTION_UNSTABLE", message.clone());
        message
    }

    /// Reports a failed connection and waits until it is time for another.
    async fn fail(&mut self, mut message: String) {
        loop {
            if self.retry.is_worth_a_line(&message) {
                tracing::warn!(broker = ?self.parts.mqtt, "not connected to the broker: {message}");
            }
            self.parts.conditions.raise("BROKER_UNREACHABLE", message);
            tokio::time::sleep(self.retry.wait(fastrand::f64())).await;
            match self.prepare() {
                Ok(()) => return,
                Err(text) => message = text,
            }
        }
    }

    /// Reads the PEM files for the next connection.
    fn prepare(&mut self) -> Result<(), String> {
        client::secure(&self.parts.mqtt, &mut self.event_loop.mqtt_options)
    }

    fn subscribed(&mut self, epoch: u64, codes: &[SubscribeReasonCode]) {
        let filter = self.parts.topics.commands();
        if !codes.contains(&SubscribeReasonCode::Failure) {
            self.parts.conditions.subscribed();
            self.parts.conditions.clear("SUBSCRIPTION_DENIED");
            if std::mem::take(&mut self.denied) > 0 {
                tracing::info!(filter, "the broker grants the subscription");
            }
            return;
        }
        if self.denied == 0 {
            tracing::warn!(filter, "the broker denies the subscription; trying again every minute");
        }
        let wait = RESUBSCRIBE.0.saturating_mul(1 << self.denied.min(8)).min(RESUBSCRIBE.1);
        self.denied = self.denied.saturating_add(1);
        let message =
            format!("the broker denies the subscription to {filter}; allow it to {}", self.parts.mqtt.client_id);
        self.parts.conditions.raise("SUBSCRIPTION_DENIED", message);
        let line = Arc::clone(&self.line);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            line.subscribe(epoch, &filter);
        });
    }

    fn receive(&mut self, epoch: u64, publish: Publish) {
        let qos = publish.qos;
        if self.intake.take(epoch, publish) {
            return;
        }
        if qos != QoS::AtMostOnce {
            // It comes again on the next connection, by when the commands of earlier ones are done with.
            self.line.disconnect();
        }
        self.flooded += 1;
        if self.flooded.is_power_of_two() {
            tracing::warn!("more commands than can be taken; those sent with QoS 0 are dropped, use QoS 1");
        }
    }
}

/// What a failed connection means, and what to do.
pub(crate) fn explain(mqtt: &config::Mqtt, error: &ConnectionError) -> String {
    client::explain(mqtt, error)
}
