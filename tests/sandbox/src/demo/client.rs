//! A client of the agent, such as a bench tool: it publishes commands and waits for the results.

use std::io;
use std::time::Duration;

use offboard_sandbox::broker::Broker;
use rumqttc::{AsyncClient, ClientError, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

/// Maximum time of each wait, far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Maximum size of a packet. The agent's own limit for a message is 130,000 bytes; the library's
/// default is 10 KiB.
const MAX_PACKET: usize = 1 << 20;

/// The messages received so far.
#[derive(Debug, Default)]
struct Received {
    subscribed: usize,
    /// The last status, retained or new.
    status: Value,
    results: Vec<Answer>,
    /// Why the connection was lost.
    lost: Option<String>,
}

/// A message on a results topic.
#[derive(Debug)]
struct Answer {
    operation: String,
    /// `accepted`, `rejected` or `completed`.
    kind: String,
    body: Value,
}

/// A connected client, which may be shared between tasks.
#[derive(Debug)]
pub(super) struct Client {
    name: String,
    root: String,
    mqtt: AsyncClient,
    received: watch::Receiver<Received>,
}

impl Client {
    /// Connects as `name`, and subscribes to the results for it and to the status of `core`'s
    /// agent.
    pub(super) async fn connect(broker: &Broker, name: &str, core: &str) -> io::Result<Self> {
        let root = format!("offboard/{core}");
        let mut options = MqttOptions::new(name, "127.0.0.1", broker.port());
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        let (mqtt, mut events) = AsyncClient::new(options, 100);
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let (sender, received) = watch::channel(Received::default());
        let results = format!("{root}/results/{name}/");
        for filter in [format!("{results}#"), format!("{root}/status")] {
            mqtt.subscribe(filter, QoS::AtLeastOnce).await.map_err(unsent)?;
        }
        tokio::spawn(receive(events, sender, results));
        let client = Self { name: name.to_owned(), root, mqtt, received };
        client
            .wait("the broker to take the subscriptions", |received| (received.subscribed == 2).then_some(()))
            .await?;
        Ok(client)
    }

    /// Sends a command with this token. The other functions wait for its results.
    pub(super) async fn send(&self, operation: &str, token: &str, mut body: Value) -> io::Result<()> {
        body["clientToken"] = json!(token);
        let topic = format!("{}/commands/{}/{operation}", self.root, self.name);
        self.mqtt.publish(topic, QoS::AtLeastOnce, false, body.to_string()).await.map_err(unsent)
    }

    /// Waits for a command to be accepted.
    ///
    /// # Errors
    /// The command is rejected, or neither accepted nor rejected in time.
    pub(super) async fn accepted(&self, operation: &str, token: &str) -> io::Result<Value> {
        let what = format!("{operation} {token} to be accepted");
        let (kind, body) = self
            .wait(&what, |received| {
                let ours = received.results.iter().filter(|answer| answer.is_for(operation, token));
                let first = ours.into_iter().find(|answer| answer.kind != "completed");
                first.map(|answer| (answer.kind.clone(), answer.body.clone()))
            })
            .await?;
        match kind.as_str() {
            "accepted" => Ok(body),
            _ => Err(io::Error::other(format!("{operation} {token} was {kind}: {body}"))),
        }
    }

    /// Waits for a command to be completed.
    pub(super) async fn completed(&self, operation: &str, token: &str) -> io::Result<Value> {
        let what = format!("{operation} {token} to be completed");
        let found = |answer: &&Answer| answer.is_for(operation, token) && answer.kind == "completed";
        self.wait(&what, |received| received.results.iter().find(found).map(|answer| answer.body.clone())).await
    }

    /// Sends a query and waits for its answer. The token has to be new.
    pub(super) async fn ask(&self, operation: &str, body: Value) -> io::Result<Value> {
        let token = format!("question-{}", fastrand::u64(..));
        self.send(operation, &token, body).await?;
        self.accepted(operation, &token).await
    }

    /// Waits for a status of the agent that satisfies `like`; `what` describes it.
    pub(super) async fn status(&self, what: &str, like: impl Fn(&Value) -> bool) -> io::Result<Value> {
        let waited = self.wait(what, |received| like(&received.status).then(|| received.status.clone())).await;
        waited.map_err(|error| {
            let last = &self.received.borrow().status;
            io::Error::new(error.kind(), format!("{error}; the agent's last status: {last}"))
        })
    }

    async fn wait<T>(&self, what: &str, mut find: impl FnMut(&Received) -> Option<T>) -> io::Result<T> {
        let mut received = self.received.clone();
        let mut found = None;
        let waiting = received.wait_for(|received| {
            found = find(received);
            found.is_some() || received.lost.is_some()
        });
        let Ok(ended) = timeout(PATIENCE, waiting).await else {
            let message = format!("waited {} s in vain for {what}", PATIENCE.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        let lost = ended.map(|received| received.lost.clone()).ok().flatten();
        found.ok_or_else(|| {
            let why = lost.unwrap_or_else(|| "its task ended".to_owned());
            io::Error::other(format!("lost the connection to the broker ({why}) while waiting for {what}"))
        })
    }
}

impl Answer {
    fn is_for(&self, operation: &str, token: &str) -> bool {
        self.operation == operation && self.body["clientToken"] == token
    }
}

/// Receives messages until the connection ends. It does not reconnect, because the broker is in
/// this process.
async fn receive(mut events: EventLoop, sender: watch::Sender<Received>, results: String) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::SubAck(_))) => sender.send_modify(|received| received.subscribed += 1),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let body = serde_json::from_slice(&publish.payload).unwrap_or_default();
                let result = publish.topic.strip_prefix(&results).and_then(|rest| rest.split_once('/'));
                sender.send_modify(|received| match result {
                    Some((operation, kind)) => {
                        received.results.push(Answer { operation: operation.to_owned(), kind: kind.to_owned(), body });
                    }
                    None => received.status = body,
                });
            }
            Ok(_) => {}
            Err(error) => {
                sender.send_modify(|received| received.lost = Some(error.to_string()));
                return;
            }
        }
    }
}

fn unsent(error: ClientError) -> io::Error {
    io::Error::other(format!("cannot send to the broker: {error}"))
}
