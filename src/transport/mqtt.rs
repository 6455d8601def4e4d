//! MQTT 3.1.1 by rumqttc: connection, TLS, backoff, subscription, acknowledgements.
//!
//! One task polls, and does nothing else that could wait: whoever sends goes through the [`Line`]. The library's own
//! queues are emptied at each end of a connection; what has to arrive is in the outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, LastWill, MqttOptions, Outgoing,
    Publish, QoS, Request, StateError, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::task::JoinHandle;

use super::{Line, Wired, intake::Intake, tls};
use crate::{batching::Backoff, conditions::Conditions, config, wire::Topics};

/// The library's limit on an incoming packet, with topic and header. MQTT 3.1.1 cannot announce one to the broker.
const MAX_PACKET: usize = 1 << 20;

/// Publishes without an acknowledgement in the library's table; our own windows are far smaller.
const INFLIGHT: u16 = 100;

/// Requests that wait in the library: an acknowledgement must never find it full, and there are 65,535 packet ids.
const CHANNEL: usize = 1 << 16;

/// From DNS to CONNACK, seconds.
const CONNECT_TIMEOUT: u64 = 10;

/// A connection that lasted so long was one.
const STABLE: Duration = Duration::from_secs(10);

/// How long a message that was too large is told of.
const TOLD: Duration = Duration::from_secs(3600);

/// Wait before a denied subscription is tried again.
const RESUBSCRIBE: Duration = Duration::from_secs(60);

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
        let poller = Poller { parts, line: Arc::clone(&line), intake, event_loop, failures: Failures::default() };
        let task = tokio::spawn(poller.run());
        Self { wired, closer: Closer { line, status, task } }
    }
}

fn new_client(parts: &MqttParts) -> (AsyncClient, EventLoop) {
    let mqtt = &parts.mqtt;
    let mut options = MqttOptions::new(&mqtt.client_id, &mqtt.host, mqtt.port);
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_inflight(INFLIGHT)
        .set_max_packet_size(MAX_PACKET, MAX_PACKET)
        .set_keep_alive(mqtt.keep_alive)
        .set_last_will(LastWill::new(parts.topics.status(), crate::status::OFFLINE, QoS::AtLeastOnce, true));
    if let Some((username, password)) = &mqtt.login {
        options.set_credentials(username, password);
    }
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
    failures: Failures,
}

impl Poller {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let mut epoch = 0;
        let mut connected_at: Option<Instant> = None;
        if let Err(message) = self.prepare() {
            self.fail(&message, &mut backoff).await;
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
                    self.line.up(connack.session_present, &self.parts.topics.commands());
                    epoch = self.line.link().borrow().epoch;
                    self.parts.conditions.clear("BROKER_UNREACHABLE");
                    tracing::info!(broker = ?self.parts.mqtt, session = connack.session_present, "connected to the broker");
                }
                Ok(Event::Incoming(Incoming::Publish(publish))) => self.receive(epoch, publish),
                Ok(Event::Incoming(Incoming::PubAck(ack))) => self.line.on_delivered(ack.pkid),
                Ok(Event::Incoming(Incoming::SubAck(ack))) => self.subscribed(epoch, &ack.return_codes),
                Ok(Event::Outgoing(Outgoing::Publish(packet))) if packet != 0 => self.line.on_wire(packet),
                Ok(Event::Outgoing(Outgoing::AwaitAck(_))) => self.step_over(),
                Ok(Event::Outgoing(Outgoing::Disconnect)) if self.line.is_closing() => return,
                Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                    self.disconnected();
                    if let Err(message) = self.prepare() {
                        self.fail(&message, &mut backoff).await;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    // A connection that ended at once is no success: two agents with one client id throw each other off.
                    if connected_at.take().is_some_and(|at| at.elapsed() >= STABLE) {
                        backoff.succeed();
                        self.failures = Failures::default();
                    }
                    self.disconnected();
                    self.shed(&error);
                    let message = self.explain(&error);
                    self.fail(&message, &mut backoff).await;
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

    /// Reports a failed connection and waits until it is time for another.
    async fn fail(&mut self, message: &str, backoff: &mut Backoff) {
        let mut message = message.to_owned();
        loop {
            if self.failures.is_worth_a_line(&message) {
                tracing::warn!(broker = ?self.parts.mqtt, failures = self.failures.count, "not connected to the broker: {message}");
            }
            self.parts.conditions.raise("BROKER_UNREACHABLE", message);
            // At least a little: a connection that ends at once must not spin.
            tokio::time::sleep(backoff.fail(1, None, fastrand::f64()).max(Duration::from_millis(50))).await;
            match self.prepare() {
                Ok(()) => return,
                Err(text) => message = text,
            }
        }
    }

    /// Reads the PEM files for the next connection.
    fn prepare(&mut self) -> Result<(), String> {
        if self.parts.mqtt.tls {
            let config = tls::client_config(&self.parts.mqtt)?;
            self.event_loop.mqtt_options.set_transport(Transport::Tls(TlsConfiguration::Rustls(config)));
        }
        Ok(())
    }

    fn explain(&self, error: &ConnectionError) -> String {
        match error {
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => {
                format!(
                    "the broker refuses us ({error}); check that mqtt.clientId is the thing name of our certificate, that the \
                     certificate is active, and that a device group lets it connect"
                )
            }
            ConnectionError::Tls(_) => {
                format!("{error}; check mqtt.caFile and that the certificate names {}", self.parts.mqtt.host)
            }
            // What the other end says of our certificate comes after the handshake in TLS 1.3.
            ConnectionError::MqttState(_) if error.to_string().contains("fatal alert") => {
                format!("{error}; the broker does not take our certificate: check mqtt.certFile and who issued it")
            }
            ConnectionError::Io(_) => {
                format!("{error}; check that the broker runs, and that it accepts our certificate")
            }
            _ => error.to_string(),
        }
    }

    fn subscribed(&self, epoch: u64, codes: &[SubscribeReasonCode]) {
        if !codes.contains(&SubscribeReasonCode::Failure) {
            self.parts.conditions.clear("SUBSCRIPTION_DENIED");
            return;
        }
        let filter = self.parts.topics.commands();
        tracing::warn!(filter, "the broker denies the subscription; trying again every minute");
        let message =
            format!("the broker denies the subscription to {filter}; allow it to {}", self.parts.mqtt.client_id);
        self.parts.conditions.raise("SUBSCRIPTION_DENIED", message);
        let line = Arc::clone(&self.line);
        tokio::spawn(async move {
            tokio::time::sleep(RESUBSCRIBE).await;
            line.subscribe(epoch, &filter);
        });
    }

    fn receive(&mut self, epoch: u64, publish: Publish) {
        // Only senders of QoS 0 get here: the others are slowed down by the broker's window.
        if !self.intake.take(epoch, publish) && self.failures.is_worth_a_line("flood") {
            tracing::warn!("more commands than can be taken; those sent with QoS 0 are dropped, use QoS 1");
        }
    }
}

/// Keeps the log short when the same thing fails again and again: a line at the 1st, 2nd, 4th, 8th time and so on.
#[derive(Debug, Default)]
struct Failures {
    message: String,
    count: u64,
}

impl Failures {
    fn is_worth_a_line(&mut self, message: &str) -> bool {
        if self.message != message {
            *self = Self { message: message.to_owned(), count: 0 };
        }
        self.count += 1;
        self.count.is_power_of_two()
    }
}
