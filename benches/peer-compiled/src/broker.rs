//! The connection to the broker: commands come in, answers and results go out.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, Incoming, LastWill, MqttOptions, Outgoing, Publish};
use rumqttc::{NetworkOptions, QoS};
use tokio::signal::unix::{SignalKind, signal};

use crate::ledger::Job;
use crate::{Config, Result};

/// Maximum number of messages in flight to the broker, as in the Python peer.
const IN_FLIGHT: u16 = 100;
/// Capacity of the channel to the connection. The channel uses memory only for the messages in it.
const WAITING: usize = 1 << 20;
const OFFLINE: &str = r#"{"state":"OFFLINE"}"#;

/// Passes messages to the connection, and records which of them complete a request.
pub struct Publisher {
    client: AsyncClient,
    root: String,
    session: Mutex<Session>,
}

/// One connection. A message of an earlier connection is published again from the ledger.
#[derive(Default)]
struct Session {
    connected: bool,
    /// For each message in the client's channel, in its order: the request that the message
    /// completes.
    waiting: VecDeque<Option<i64>>,
}

impl Publisher {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn publish_result(&self, client: &str, kind: &str, body: String, completes: Option<i64>) {
        let topic = format!("{}/results/{client}/{}/{kind}", self.root, crate::OPERATION);
        self.publish(topic, false, body, completes);
    }

    pub fn publish_status(&self, body: String) {
        self.publish(format!("{}/status", self.root), true, body, None);
    }

    /// Without a connection no message is published: at the next connection the ledger publishes
    /// all results that the broker does not have, and the broker repeats commands without a PUBACK.
    fn publish(&self, topic: String, retain: bool, body: String, completes: Option<i64>) {
        let mut session = self.session();
        let published = session.connected && self.client.try_publish(topic, QoS::AtLeastOnce, retain, body).is_ok();
        if published {
            session.waiting.push_back(completes);
        }
    }

    pub fn acknowledge(&self, command: &Publish) {
        if self.session().connected {
            let _ = self.client.try_ack(command);
        }
    }
}

pub fn connect(config: &Config) -> (Publisher, EventLoop) {
    let root = format!("offboard/{}", config.core);
    let mut options = MqttOptions::new(format!("{}-offboard", config.core), "127.0.0.1", config.port);
    options
        .set_clean_session(false)
        .set_manual_acks(true)
        .set_keep_alive(Duration::from_secs(30))
        .set_inflight(IN_FLIGHT)
        .set_max_packet_size(1 << 20, 1 << 20)
        .set_last_will(LastWill::new(format!("{root}/status"), OFFLINE, QoS::AtLeastOnce, true));
    let (client, mut events) = AsyncClient::new(options, WAITING);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    (Publisher { client, root, session: Mutex::default() }, events)
}

/// Runs the connection until SIGTERM.
pub async fn run(config: &Config, publisher: &Publisher, mut events: EventLoop, inbox: &SyncSender<Job>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut in_flight: Vec<Option<i64>> = vec![None; usize::from(IN_FLIGHT) + 1];
    loop {
        let event = tokio::select! {
            event = events.poll() => event,
            _ = terminate.recv() => return stop(publisher, events).await,
        };
        match event {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                *publisher.session() = Session { connected: true, waiting: VecDeque::new() };
                let filter = format!("offboard/{}/commands/+/+", config.core);
                publisher.client.try_subscribe(filter, QoS::AtLeastOnce)?;
                inbox.send(Job::Connected)?;
            }
            Ok(Event::Incoming(Incoming::Publish(message))) => {
                inbox.send(Job::Command(message))?;
            }
            Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                in_flight[usize::from(id)] = publisher.session().waiting.pop_front().flatten();
            }
            Ok(Event::Incoming(Incoming::PubAck(ack))) => {
                if let Some(request) = in_flight[usize::from(ack.pkid)].take() {
                    inbox.send(Job::Acknowledged(request))?;
                }
            }
            Ok(_) => {}
            Err(_) => {
                {
                    let mut session = publisher.session();
                    session.connected = false;
                    events.clean();
                    events.pending.clear();
                    events.state.collision = None;
                    events.state.events.clear();
                }
                in_flight.fill(None);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn stop(publisher: &Publisher, mut events: EventLoop) -> Result<()> {
    publisher.publish_status(OFFLINE.to_owned());
    publisher.client.try_disconnect()?;
    let gone = async { while !matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_)) {} };
    let _ = tokio::time::timeout(Duration::from_secs(5), gone).await;
    Ok(())
}
