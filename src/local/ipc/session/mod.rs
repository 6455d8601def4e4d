//! A transport over Greengrass IPC: keeps a connection, subscribes to commands, and publishes the
//! messages of the [`Publisher`], as the MQTT service does for the broker. Each of the two
//! transports has its own connection, so that the loss of one does not interrupt the other.
//!
//! IPC has no session and no acknowledgement for deliveries: a command that arrives while there is
//! no connection is lost, and its sender repeats it. The response to a publish request acknowledges
//! the published message.

mod denial;
mod live;
mod publishing;
mod subscriptions;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use rumqttc::{AsyncClient, Publish, QoS, Request as Outgoing};
use tokio::time::{Instant, sleep_until};

pub(super) use self::denial::denial;
use self::live::{Denied, Live, Pending, Subject, Subscription};
use super::{
    connection::{Connection, Failure},
    environment::Environment,
    frame::{Frame, Kind},
    operation::{Way, delivery, service_error},
    problems::{DENIED, Problems, SILENT, UNAVAILABLE},
    watch::Due,
};
use crate::{
    domain::Backoff,
    health::Health,
    local::broker::{Closer, Intake, Publisher, Retry, Wired},
    protocol::Topics,
};

/// The most requests that wait for the connection. The publisher's own windows are far smaller.
const CHANNEL: usize = 1 << 10;

/// The most publishes without a response. Nucleus lite handles one at a time. The frames of all of
/// them have to fit into the socket's buffers, or both ends would wait for each other.
const WINDOW: usize = 8;

/// The wait before a denied subscription is tried again, at first and at most. A person may be
/// correcting `accessControl` meanwhile.
const RESUBSCRIBE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The wait before publishing is tried again after the server could not publish, at first and at
/// most. Nucleus lite refuses while the core device is offline.
const RESUME: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The wait before a connection that delivers nothing is made anew, at first and at most. While the
/// core device is offline, AWS IoT Core delivers nothing either.
const SILENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// A message is dropped after this many failures in a row while the server accepts others. The
/// server's error does not show whether a later attempt can succeed.
const MAX_FAILURES: u32 = 3;

/// The parts from which the service is made.
pub(crate) struct IpcParts {
    pub(crate) way: Way,
    pub(crate) environment: Environment,
    pub(crate) topics: Topics,
    pub(crate) max_payload: usize,
    pub(crate) health: Arc<Health>,
    pub(crate) problems: Problems,
}

/// The service: the parts that others hold, and the task that runs it.
pub(crate) struct Ipc {
    pub(crate) wired: Wired,
    pub(crate) closer: Closer,
    /// Connects again and again until the service is closed.
    pub(crate) run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Ipc {
    /// Makes the service, which does not connect yet.
    pub(crate) fn new(parts: IpcParts) -> Self {
        let (requests_in, requests) = flume::bounded(CHANNEL);
        let client = AsyncClient::from_senders(requests_in);
        let (intake, wired) = Intake::new(client, parts.way.via(), parts.topics.clone(), parts.max_payload);
        let (publisher, status) = (Arc::clone(&wired.publisher), parts.topics.status());
        let closer = Closer::new(Arc::clone(&publisher), status.clone());
        let session = Session {
            requests,
            intake,
            publisher,
            status,
            last_status: None,
            unanswered: BTreeSet::new(),
            last_packet: 0,
            failing: None,
            denials: BTreeMap::new(),
            retry: Retry::new(),
            silence: Backoff::new(SILENCE.0, SILENCE.1),
            resume: Backoff::new(RESUME.0, RESUME.1),
            flooded: 0,
            parts,
        };
        Self { wired, closer, run: Box::pin(session.run()) }
    }
}

/// Why the service leaves a connection.
enum Ended {
    /// The agent stops.
    Closed,
    /// The publisher requested another connection.
    Dropped,
    /// The connection failed, or was never made.
    Failed(Failure),
    /// The connection delivers nothing.
    Silent,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A message that the server did not accept.
struct Failing {
    topic: String,
    size: usize,
    times: u32,
    /// Whether the server accepted another message since.
    others: bool,
}

struct Session {
    parts: IpcParts,
    requests: flume::Receiver<Outgoing>,
    intake: Intake,
    publisher: Arc<Publisher>,
    /// The topic of the status.
    status: String,
    /// What the server denies: the topic, and what to do.
    denials: BTreeMap<Denied, (String, String)>,
    /// The status as it was last published, which is published again as a check.
    last_status: Option<Vec<u8>>,
    /// The packet ids for which the publisher waits.
    unanswered: BTreeSet<u16>,
    last_packet: u16,
    failing: Option<Failing>,
    retry: Retry,
    silence: Backoff,
    resume: Backoff,
    /// How many commands were dropped since the last connection.
    flooded: u64,
}

impl Session {
    async fn run(mut self) {
        let via = self.parts.way.via();
        loop {
            let mut made_at = None;
            let ended = self.connect(&mut made_at).await;
            // Nucleus lite closes the connection at a message that is too large for it.
            let is_end = matches!(&ended, Ended::Failed(failure) if failure.is_end());
            let refused = is_end.then(|| self.publisher.ended_by_broker(self.parts.max_payload)).flatten();
            self.disconnected(made_at.is_some());
            let (message, wait) = match ended {
                Ended::Closed => return,
                Ended::Dropped => (None, Duration::ZERO),
                Ended::Silent => {
                    self.report_silence();
                    (None, self.silence.fail(1, None, fastrand::f64()))
                }
                Ended::Failed(failure) => (Some(self.explain(&failure, refused)), Duration::ZERO),
            };
            if let Some(at) = made_at {
                self.retry.ended(at.elapsed());
            }
            let mut wait = wait;
            if let Some(message) = message {
                if self.retry.is_worth_a_line(&message) {
                    tracing::warn!(%via, "{message}");
                }
                self.parts.problems.raise(UNAVAILABLE, via, message);
                wait = self.retry.wait(fastrand::f64());
            }
            if self.rest(wait).await {
                return;
            }
        }
    }

    /// Waits for `wait`; `true` if the agent stops meanwhile.
    async fn rest(&self, wait: Duration) -> bool {
        tokio::time::sleep(wait).await;
        self.publisher.is_closing()
    }

    /// Discards the state of the connection. The messages for which the publisher waits are
    /// published again on the next connection.
    fn disconnected(&mut self, was_up: bool) {
        let via = self.parts.way.via();
        self.parts.health.counters().ipc(via, |counts| counts.subscribed = false);
        self.unanswered.clear();
        self.flooded = 0;
        // The nucleus may allow it on the next connection, and without one this is not the problem.
        self.denials.clear();
        self.parts.problems.clear(DENIED, via);
        if was_up || self.publisher.connection_state().borrow().up {
            self.publisher.down(|| drop(self.requests.drain()));
        }
    }

    /// Connects and serves until the connection ends; notes when the connection was made.
    async fn connect(&mut self, made_at: &mut Option<Instant>) -> Ended {
        match self.serve(made_at).await {
            Ok(never) => never,
            Err(ended) => ended,
        }
    }

    async fn serve(&mut self, made_at: &mut Option<Instant>) -> Result<Ended, Ended> {
        let mut live = Live {
            connection: Connection::open(&self.parts.environment).await?,
            pending: BTreeMap::new(),
            subscriptions: [(Subscription::Absent, 0); 3],
            watch: None,
            resubscribe: None,
            denied: 0,
            resume_at: None,
            epoch: 0,
        };
        *made_at = Some(Instant::now());
        self.subscribe(&mut live).await?;
        loop {
            // No message is published before the status can be received, since the status has to
            // come back.
            let is_settled = live.subscriptions.iter().all(|(state, _)| *state != Subscription::Asked);
            if live.epoch == 0 && is_settled {
                self.connected(&mut live);
            }
            let has_room = live.pending.len() < WINDOW && live.epoch != 0 && live.resume_at.is_none();
            let wakes_at = live.wakes_at();
            tokio::select! {
                frame = live.connection.next() => self.receive(&mut live, frame?).await?,
                request = self.requests.recv_async(), if has_room => match request {
                    Ok(request) => self.send(&mut live, request).await?,
                    Err(_) => return Ok(Ended::Closed),
                },
                () = sleep_until(wakes_at) => {}
            }
            self.act(&mut live).await?;
        }
    }

    /// Notes that the subscriptions have their responses, and lets the other parts publish.
    fn connected(&mut self, live: &mut Live) {
        let way = self.parts.way;
        let environment = &self.parts.environment;
        self.parts.health.counters().ipc(way.via(), |counts| counts.connections += 1);
        if live.is_granted(Subject::Commands) {
            self.parts.problems.clear(UNAVAILABLE, way.via());
            if self.retry.made() {
                tracing::info!(via = %way.via(), ?environment, "commands arrive from {} by Greengrass IPC", way.title());
            }
        }
        self.up(live);
    }

    /// Lets the other parts publish, starting with the first message.
    fn up(&mut self, live: &mut Live) {
        self.publisher.up(false, &self.parts.topics.commands());
        live.epoch = self.publisher.connection_state().borrow().epoch;
    }

    /// Does what is due by now.
    async fn act(&mut self, live: &mut Live) -> Result<(), Ended> {
        let now = Instant::now();
        if live.pending.values().any(|(_, until)| *until <= now) {
            return Err(Failure::NoResponse.into());
        }
        if live.resubscribe.is_some_and(|at| at <= now) {
            live.resubscribe = None;
            self.subscribe(live).await?;
        }
        if live.resume_at.is_some_and(|at| at <= now) {
            live.resume_at = None;
            self.up(live);
        }
        match live.watch.as_mut().map_or(Due::Nothing, |watch| watch.due(now)) {
            Due::Reconnect => return Err(Ended::Silent),
            Due::Check if live.resume_at.is_none() => {
                if let Some(status) = self.last_status.clone() {
                    let topic = self.status.clone();
                    self.publish(live, topic, &status, None).await?;
                }
            }
            Due::Check | Due::Nothing => {}
        }
        Ok(())
    }

    async fn receive(&mut self, live: &mut Live, frame: Frame) -> Result<(), Ended> {
        match frame.kind {
            Kind::Ping => live.connection.pong(frame).await?,
            Kind::Message => self.message(live, &frame)?,
            Kind::Error => self.error(live, &frame)?,
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, live: &mut Live, frame: &Frame) -> Result<(), Ended> {
        let stream = frame.stream;
        if live.has_subscription(stream) {
            // Nucleus lite may deliver a message before its response to the subscription.
            let asked = live.pending.remove(&stream);
            if let Some((Pending::Subscription(subject), _)) = asked {
                self.granted(live, subject);
            }
            let is_response = frame.header("service-model-type").is_none_or(|model| model.ends_with("Response"));
            if asked.is_none() || !is_response {
                self.delivered(live, &frame.payload);
            }
            if frame.is_last() {
                return Err(Failure::Closed.into());
            }
            return Ok(());
        }
        if let Some((Pending::Publish { packet, topic, .. }, _)) = live.pending.remove(&stream) {
            self.taken(packet, &topic);
        }
        Ok(())
    }

    /// Passes a message on.
    fn delivered(&mut self, live: &mut Live, event: &[u8]) {
        let via = self.parts.way.via();
        if let Some(watch) = &mut live.watch {
            watch.delivered(Instant::now());
        }
        self.silence.succeed();
        if self.parts.problems.clear(SILENT, via) {
            tracing::info!(%via, "Greengrass IPC delivers again");
        }
        let delivery = match delivery(event) {
            Ok(delivery) => delivery,
            Err(error) => {
                tracing::debug!(%via, error, "an event of Greengrass IPC cannot be read");
                return;
            }
        };
        if delivery.topic == self.status {
            return;
        }
        // The delivery needs no acknowledgement, like a message of QoS 0.
        let publish = Publish::new(delivery.topic, QoS::AtMostOnce, delivery.payload);
        if !self.intake.take(live.epoch, publish, None) {
            self.flooded += 1;
            if self.flooded.is_power_of_two() {
                tracing::warn!(%via, "more commands than can be taken; some are dropped, and their senders repeat them");
            }
        }
    }

    fn error(&mut self, live: &mut Live, frame: &Frame) -> Result<(), Ended> {
        let error = service_error(frame);
        let Some((pending, _)) = live.pending.remove(&frame.stream) else {
            return if live.has_subscription(frame.stream) { Err(Failure::Service(error).into()) } else { Ok(()) };
        };
        match pending {
            Pending::Subscription(subject) => self.not_subscribed(live, subject, &error),
            Pending::Publish { topic, size, .. } => {
                if topic == self.status
                    && let Some(watch) = &mut live.watch
                {
                    watch.unpublished();
                }
                self.not_taken(live, topic, size, &error);
            }
        }
        Ok(())
    }
}
