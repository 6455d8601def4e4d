//! The MQTT service: keeps the connection to the broker, subscribes, and passes on what arrives.
//!
//! One task polls the connection, and does nothing else that could wait. All parts of the agent
//! send through the [`Publisher`]. Messages that were queued for a connection are discarded when it
//! ends; messages that have to arrive are in the outbox.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rumqttc::{AsyncClient, Connect, ConnectionError, LastWill, Publish, QoS, StateError, SubscribeReasonCode};
use tokio::task::JoinHandle;

use super::{
    connection::{Connection, Endpoint, Event},
    intake::{Intake, Wired},
    publisher::Publisher,
    refusals::{REMEMBERED, Refused},
    retry::{self, Retry},
    tag::Subscription,
};
use crate::{
    config,
    domain::Via,
    health::Health,
    mqtt::client,
    protocol::{Topics, dynsec},
    runtime::errors::cut,
};

/// The most requests that wait for the connection. The channel must always have room for an
/// acknowledgement, and there are 65,535 packet ids.
const CHANNEL: usize = 1 << 16;

/// How long a message that was too large is reported in `problems`.
const REPORTED: Duration = Duration::from_secs(3600);

/// The wait before a denied subscription is tried again, at first and at most. A person may be
/// correcting the policy meanwhile.
const RESUBSCRIBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// How long a clean stop waits for the broker to acknowledge `OFFLINE`.
pub(crate) const GOODBYE: Duration = Duration::from_secs(1);

/// The parts from which the service is made.
pub(crate) struct MqttParts {
    pub(crate) mqtt: config::Mqtt,
    pub(crate) topics: Topics,
    pub(crate) max_payload: usize,
    pub(crate) health: Arc<Health>,
}

/// The service: the parts that others hold, and the task that runs it.
pub(crate) struct Mqtt {
    pub(crate) wired: Wired,
    pub(crate) closer: Closer,
    /// Connects again and again until the service is closed.
    pub(crate) run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Closes the service.
pub(crate) struct Closer {
    publisher: Arc<Publisher>,
    status: String,
}

impl Closer {
    /// A closer for the connection of `publisher`, whose status has the topic `status`.
    pub(in crate::local) fn new(publisher: Arc<Publisher>, status: String) -> Self {
        Self { publisher, status }
    }

    /// Publishes `OFFLINE` and disconnects, which ends the service; takes [`GOODBYE`] at most.
    pub(crate) async fn close(self, payload: Vec<u8>) {
        let _ = tokio::time::timeout(GOODBYE, self.publisher.close(&self.status, payload)).await;
    }
}

impl Mqtt {
    /// Makes the service, which does not connect yet.
    pub(crate) fn new(parts: MqttParts) -> Self {
        let (requests_in, requests) = flume::bounded(CHANNEL);
        let client = AsyncClient::from_senders(requests_in);
        let (intake, wired) = Intake::new(client, Via::Mqtt, parts.topics.clone(), parts.max_payload);
        let status = parts.topics.status();
        let publisher = Arc::clone(&wired.publisher);
        let poller = Poller {
            endpoint: Endpoint {
                host: parts.mqtt.host.clone(),
                port: parts.mqtt.port,
                tls: None,
                connect: connect_packet(&parts),
            },
            parts,
            publisher: Arc::clone(&publisher),
            intake,
            connection: Connection::new(requests),
            retry: Retry::new(),
            denied: [0; 2],
            flooded: 0,
            too_large: None,
            expiries: HashMap::new(),
        };
        Self { wired, closer: Closer { publisher, status }, run: Box::pin(poller.run()) }
    }
}

fn connect_packet(parts: &MqttParts) -> Connect {
    let config::Mqtt { client_id, login, keep_alive, .. } = &parts.mqtt;
    let mut connect = Connect::new(client_id);
    connect.clean_session = false;
    // The configuration allows at most 65535.
    connect.keep_alive = u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX);
    connect.last_will =
        Some(LastWill::new(parts.topics.status(), crate::protocol::status::OFFLINE, QoS::AtLeastOnce, true));
    if let Some((username, password)) = login {
        connect.set_login(username, password);
    }
    connect
}

struct Poller {
    parts: MqttParts,
    endpoint: Endpoint,
    publisher: Arc<Publisher>,
    intake: Intake,
    connection: Connection,
    retry: Retry,
    /// How often in a row the subscriptions to commands and to broadcasts were denied.
    denied: [u32; 2],
    /// How many commands were dropped since the last connection.
    flooded: u64,
    /// The topic of the last message that was too large, and when it last came.
    too_large: Option<(String, Instant)>,
    /// The tasks that clear the problems which are reported for a while.
    expiries: HashMap<&'static str, JoinHandle<()>>,
}

impl Poller {
    async fn run(mut self) {
        let mut epoch = 0;
        let mut connected_at: Option<Instant> = None;
        if let Err(message) = self.prepare().await {
            self.fail(message).await;
        }
        loop {
            match self.connection.poll(&self.endpoint).await {
                Ok(Event::Connected { session }) => {
                    connected_at = Some(Instant::now());
                    self.parts.health.clear("BROKER_UNREACHABLE");
                    self.parts.health.counters().connected(true);
                    self.publisher.up(session, &self.parts.topics.commands());
                    epoch = self.publisher.connection_state().borrow().epoch;
                    if let Some(filter) = self.parts.topics.broadcasts() {
                        self.publisher.subscribe(epoch, Subscription::Broadcasts, &filter);
                    }
                    self.connected(epoch, session);
                }
                Ok(Event::Message(publish)) => self.receive(epoch, publish, None),
                // The response is for another client, or for commands that are repeated in smaller
                // messages.
                Ok(Event::TooLarge { publish, .. }) if publish.topic == dynsec::RESPONSES => {}
                Ok(Event::TooLarge { publish, size }) => {
                    self.report_too_large(&publish, size);
                    self.receive(epoch, publish, Some(size));
                }
                Ok(Event::Delivered(packet)) => self.publisher.on_delivered(packet),
                Ok(Event::SubscribeOnWire(packet)) => self.publisher.subscription_on_wire(packet),
                Ok(Event::Subscribed(packet, codes)) => match self.publisher.subscription_answered(packet) {
                    Some(Subscription::Plugin) => {
                        self.intake.plugin_subscribed(!codes.contains(&SubscribeReasonCode::Failure));
                    }
                    Some(Subscription::Broadcasts) => self.subscribed(epoch, Subscription::Broadcasts, &codes),
                    Some(Subscription::Commands) | None => self.subscribed(epoch, Subscription::Commands, &codes),
                },
                Ok(Event::OnWire(packet)) => self.publisher.on_wire(packet),
                Ok(Event::Disconnected) if self.publisher.is_closing() => return,
                Ok(Event::Disconnected) => {
                    self.disconnected();
                    if let Some(at) = connected_at.take() {
                        self.retry.ended(at.elapsed());
                    }
                    if let Err(message) = self.prepare().await {
                        self.fail(message).await;
                    }
                }
                Err(error) => {
                    let refused =
                        is_end_by_broker(&error).then(|| self.publisher.ended_by_broker(self.parts.max_payload));
                    self.disconnected();
                    let mut message = explain(&self.parts.mqtt, &error);
                    if let Some(refused) = refused.flatten() {
                        message = self.report_refused(&refused);
                    }
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

    fn disconnected(&mut self) {
        self.parts.health.counters().connected(false);
        let Self { publisher, connection, .. } = self;
        publisher.down(|| connection.clear());
    }

    /// Reports a message above the limit of the connection. It comes again and again if it is
    /// retained, or if its sender repeats it; the report names its topic, so that a person can
    /// clear it.
    fn report_too_large(&mut self, publish: &Publish, size: usize) {
        let topic = cut(publish.topic.clone());
        let again = self.too_large.as_ref().is_some_and(|(last, at)| *last == topic && at.elapsed() < REPORTED);
        self.too_large = Some((topic.clone(), Instant::now()));
        if !(publish.retain || again) {
            return;
        }
        let how = if publish.retain {
            format!(
                "it is retained by the broker: clear it with an empty retained message (mosquitto_pub -r -n -t '{topic}')"
            )
        } else {
            "it is sent again and again: find its sender by the topic's client level".to_owned()
        };
        let message = format!(
            "a message of {size} bytes on {topic} is too large and is rejected each time it comes; {how}; other commands \
             are served meanwhile"
        );
        self.report("MESSAGE_TOO_LARGE", message, REPORTED);
    }

    /// Reports that the broker ended the connection twice at the same message.
    fn report_refused(&mut self, refused: &Refused) -> String {
        let Refused { topic, size, .. } = refused;
        let configured = self.parts.max_payload;
        let now = self.publisher.max_payload(configured);
        let done = if refused.is_of_a_kind() {
            "messages of its kind are held back for a while (the status for ten minutes, others for an hour)".to_owned()
        } else if now < *size {
            format!("messages are now published with at most {now} bytes of payload")
        } else {
            "the message is held back".to_owned()
        };
        let message = format!(
            "the broker ended the connection twice at a message of {size} bytes on {topic}; {done}; check the broker's \
             limit on messages (max_packet_size in Mosquitto), which must be above limits.maxPayloadBytes ({configured}), \
             and that it lets {} publish there",
            self.parts.mqtt.client_id
        );
        self.report("MESSAGE_REFUSED", message.clone(), REMEMBERED);
        message
    }

    /// Raises a problem, and clears it a while after it was last observed.
    fn report(&mut self, code: &'static str, message: String, time: Duration) {
        self.parts.health.raise(code, message);
        let health = Arc::clone(&self.parts.health);
        let expiry = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            health.clear(code);
        });
        if let Some(earlier) = self.expiries.insert(code, expiry) {
            earlier.abort();
        }
    }

    /// Logs a connection, unless there are too many of them.
    fn connected(&mut self, epoch: u64, session: bool) {
        self.flooded = 0;
        if self.retry.made() {
            tracing::info!(broker = ?self.parts.mqtt, session, "connected to the broker");
        }
        if self.retry.is_unstable() {
            let (publisher, health) = (Arc::clone(&self.publisher), Arc::clone(&self.parts.health));
            tokio::spawn(async move {
                tokio::time::sleep(retry::STABLE).await;
                if publisher.connection_state().borrow().epoch == epoch {
                    health.clear("CONNECTION_UNSTABLE");
                    tracing::info!("the connection to the broker holds");
                }
            });
        }
    }

    /// The report on connections that end soon after they are made. MQTT 3.1.1 gives no reason for
    /// that.
    fn unstable(&self, why: &str) -> String {
        let message = format!(
            "connections to the broker end soon after they are made ({why}); the broker's log says why it ended them; one \
             cause is another client, a second agent for instance, with the client id {}",
            self.parts.mqtt.client_id
        );
        self.parts.health.raise("CONNECTION_UNSTABLE", message.clone());
        message
    }

    /// Reports a failed connection and waits until it is time for another one.
    async fn fail(&mut self, mut message: String) {
        loop {
            if self.retry.is_worth_a_line(&message) {
                tracing::warn!(broker = ?self.parts.mqtt, "not connected to the broker: {message}");
            }
            self.parts.health.raise("BROKER_UNREACHABLE", message);
            tokio::time::sleep(self.retry.wait(fastrand::f64())).await;
            match self.prepare().await {
                Ok(()) => return,
                Err(text) => message = text,
            }
        }
    }

    /// Reads the PEM files for the next connection.
    async fn prepare(&mut self) -> Result<(), String> {
        self.endpoint.tls = client::tls_config(&self.parts.mqtt).await?;
        Ok(())
    }

    fn subscribed(&mut self, epoch: u64, subscription: Subscription, codes: &[SubscribeReasonCode]) {
        let broadcasts = self.parts.topics.broadcasts().filter(|_| subscription == Subscription::Broadcasts);
        let denied = &mut self.denied[usize::from(broadcasts.is_some())];
        let is_of_commands = broadcasts.is_none();
        let filter = broadcasts.unwrap_or_else(|| self.parts.topics.commands());
        if !codes.contains(&SubscribeReasonCode::Failure) {
            if is_of_commands {
                self.parts.health.counters().subscribed();
            }
            if std::mem::take(denied) > 0 {
                tracing::info!(filter, "the broker grants the subscription");
            }
            if self.denied == [0; 2] {
                self.parts.health.clear("SUBSCRIPTION_DENIED");
            }
            return;
        }
        if *denied == 0 {
            tracing::warn!(filter, "the broker denies the subscription; trying again every minute");
        }
        let wait = RESUBSCRIBE.0.saturating_mul(1 << (*denied).min(8)).min(RESUBSCRIBE.1);
        *denied = denied.saturating_add(1);
        let message =
            format!("the broker denies the subscription to {filter}; allow it to {}", self.parts.mqtt.client_id);
        self.parts.health.raise("SUBSCRIPTION_DENIED", message);
        let publisher = Arc::clone(&self.publisher);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            publisher.subscribe(epoch, subscription, &filter);
        });
    }

    fn receive(&mut self, epoch: u64, publish: Publish, too_large: Option<usize>) {
        let qos = publish.qos;
        if self.intake.take(epoch, publish, too_large) {
            return;
        }
        if qos != QoS::AtMostOnce {
            // The broker delivers the message again on the next connection, by when the commands of
            // earlier connections are handled.
            self.publisher.disconnect();
        }
        self.flooded += 1;
        if self.flooded.is_power_of_two() {
            tracing::warn!("more commands than can be taken; those sent with QoS 0 are dropped, use QoS 1");
        }
    }
}

/// Whether the broker closed the connection, as opposed to the agent or a silent network.
fn is_end_by_broker(error: &ConnectionError) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => true,
        ConnectionError::MqttState(StateError::Io(error)) => {
            matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

/// What a failed connection means, and what to do.
pub(crate) fn explain(mqtt: &config::Mqtt, error: &ConnectionError) -> String {
    client::explain(mqtt, error)
}
