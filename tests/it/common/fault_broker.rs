//! A small broker for one client, the agent, in this process: it misbehaves in ways that Mosquitto
//! cannot be configured to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::BytesMut;
use rumqttc::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::{Broker, CORE, Contract, Value, World, json};

/// How it behaves; may change at any time, and does not end a connection by changing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    Well,
    /// Takes connections, and says nothing.
    Silent,
    /// Answers a connection with what is not MQTT, or not what it should be.
    Noise,
    /// Accepts a client, and closes its connection.
    Bounce,
    /// Refuses every subscription.
    DenySubscriptions,
    /// Sends, and reads nothing.
    Deaf,
}

#[derive(Default)]
pub struct Seen {
    /// Topics with their payloads, as published by the agent.
    pub published: Vec<(String, Value)>,
    /// Acknowledgements of commands.
    pub acknowledged: usize,
    /// When a connection was made.
    pub connections: Vec<Instant>,
    /// When a subscription was asked for.
    pub subscriptions: Vec<Instant>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    waiting: VecDeque<(String, String)>,
    /// Sent and not acknowledged, by packet id.
    under_way: VecDeque<(u16, (String, String))>,
}

struct Shared {
    state: Mutex<State>,
    behavior: watch::Sender<Behavior>,
    /// Wakes when there is a command to send.
    more: watch::Sender<()>,
    /// Publishes on topics that contain this are never acknowledged: so Greengrass's broker denies
    /// them.
    denied: &'static str,
    window: usize,
    contract: Contract,
}

pub struct FaultBroker {
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for FaultBroker {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.shared.contract.verify();
        }
    }
}

impl FaultBroker {
    /// `window` is how many commands it has under way at a time.
    pub fn start(behavior: Behavior, denied: &'static str, window: usize) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // What is not read shall be felt soon.
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (behavior, more) = (watch::channel(behavior).0, watch::channel(()).0);
        let shared =
            Arc::new(Shared { state: Mutex::default(), behavior, more, denied, window, contract: Contract::default() });
        let serve = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut last: Option<JoinHandle<()>> = None;
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Some(last) = last.take() {
                    // A new connection of a client ends its old one.
                    last.abort();
                    let _ = last.await;
                }
                let shared = Arc::clone(&serve);
                last = Some(tokio::spawn(async move {
                    let _ = shared.connection(stream).await;
                }));
            }
        });
        Self { port, shared, task }
    }

    /// A world whose agent has this broker and no other.
    pub async fn world(&self, devices: usize) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut broker = Broker::absent(dir.path());
        broker.port = self.port;
        World::with(dir, broker, devices).await
    }

    pub fn set(&self, behavior: Behavior) {
        self.shared.behavior.send_replace(behavior);
    }

    pub fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.shared.state.lock().unwrap().seen)
    }

    /// Sends a command in the name of `client` when its turn comes.
    pub fn command(&self, client: &str, operation: &str, body: &Value) {
        let topic = format!("offboard/{CORE}/commands/{client}/{operation}");
        let body = body.to_string();
        self.shared.contract.sent(&topic, body.as_bytes());
        self.shared.state.lock().unwrap().waiting.push_back((topic, body));
        self.shared.more.send_replace(());
    }

    /// The tokens of what the agent published as `kind` to `client`.
    pub fn tokens(&self, client: &str, kind: &str) -> Vec<Value> {
        let (start, end) = (format!("offboard/{CORE}/results/{client}/"), format!("/{kind}"));
        self.look(|seen| {
            let fits = seen.published.iter().filter(|(topic, _)| topic.starts_with(&start) && topic.ends_with(&end));
            fits.map(|(_, body)| body["clientToken"].clone()).collect()
        })
    }

    /// The last status.
    pub fn status(&self) -> Value {
        let topic = format!("offboard/{CORE}/status");
        self.look(|seen| seen.published.iter().rev().find(|(t, _)| *t == topic).map_or(json!(null), |s| s.1.clone()))
    }
}

/// What servers that are no MQTT broker answer; each kind shows another fault of the client
/// library.
fn noise(n: usize) -> Vec<u8> {
    match n % 6 {
        0 => b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        1 => vec![0; 4096],
        // Not the packet that it should be, with a long topic in it.
        2 => {
            let mut bytes = BytesMut::new();
            Packet::Publish(Publish::new("x".repeat(60_000), QoS::AtMostOnce, "noise"))
                .write(&mut bytes, 1 << 20)
                .unwrap();
            bytes.to_vec()
        }
        // A length that never ends.
        3 => vec![0xFF; 16],
        // A packet of 256 MiB.
        4 => vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'x'],
        // Random, and the same each time.
        _ => std::iter::repeat_with({
            let mut random = fastrand::Rng::with_seed(n as u64);
            move || random.u8(..)
        })
        .take(2000)
        .collect(),
    }
}

impl Shared {
    async fn connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut behavior = self.behavior.subscribe();
        let mut more = self.more.subscribe();
        let n = {
            let state = &mut *self.state.lock().unwrap();
            state.seen.connections.push(Instant::now());
            // What the last connection left is delivered again.
            let again: Vec<_> = state.under_way.drain(..).map(|(_, command)| command).collect();
            again.into_iter().rev().for_each(|command| state.waiting.push_front(command));
            state.seen.connections.len()
        };
        let mut input = BytesMut::new();
        let (mut subscribed, mut packet_id) = (false, 0);
        loop {
            let now = *behavior.borrow_and_update();
            more.mark_unchanged();
            if now == Behavior::Noise {
                stream.write_all(&noise(n)).await?;
                // Not closed at once, or the client might not read it.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(200), async {
                    while stream.read_buf(&mut input).await? > 0 {}
                    std::io::Result::Ok(())
                })
                .await;
                return Ok(());
            }
            let mut output = BytesMut::new();
            while let Ok(packet) = Packet::read(&mut input, 1 << 20) {
                let bounced = now == Behavior::Bounce && matches!(packet, Packet::Connect(_));
                let answer = match packet {
                    Packet::Connect(_) => Some(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))),
                    Packet::Subscribe(subscribe) => {
                        self.state.lock().unwrap().seen.subscriptions.push(Instant::now());
                        subscribed = now != Behavior::DenySubscriptions;
                        let code = if subscribed {
                            SubscribeReasonCode::Success(QoS::AtLeastOnce)
                        } else {
                            SubscribeReasonCode::Failure
                        };
                        Some(Packet::SubAck(SubAck::new(subscribe.pkid, vec![code])))
                    }
                    Packet::PingReq => Some(Packet::PingResp),
                    Packet::PubAck(ack) => {
                        let mut state = self.state.lock().unwrap();
                        let first = state.under_way.pop_front().map(|(id, _)| id);
                        assert_eq!(first, Some(ack.pkid), "acknowledgements come in the order of arrival");
                        state.seen.acknowledged += 1;
                        None
                    }
                    Packet::Publish(publish) => {
                        self.contract.received(&publish.topic, &publish.payload);
                        let body = serde_json::from_slice(&publish.payload).unwrap_or_default();
                        let is_denied = !self.denied.is_empty() && publish.topic.contains(self.denied);
                        self.state.lock().unwrap().seen.published.push((publish.topic, body));
                        (!is_denied).then(|| Packet::PubAck(PubAck::new(publish.pkid)))
                    }
                    _ => None,
                };
                if let Some(answer) = answer {
                    answer.write(&mut output, 1 << 20).unwrap();
                }
                if bounced {
                    return stream.write_all(&output).await;
                }
            }
            while subscribed && let Some((topic, body)) = self.next(packet_id % 1000 + 1) {
                packet_id = packet_id % 1000 + 1;
                let mut publish = Publish::new(topic, QoS::AtLeastOnce, body);
                publish.pkid = packet_id;
                Packet::Publish(publish).write(&mut output, 1 << 20).unwrap();
            }
            stream.write_all(&output).await?;
            tokio::select! {
                read = stream.read_buf(&mut input), if !matches!(now, Behavior::Deaf | Behavior::Silent) => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
                _ = more.changed() => {}
                _ = behavior.changed() => {}
            }
        }
    }

    /// The next command to be sent, which is under way as `packet_id` from now on.
    fn next(&self, packet_id: u16) -> Option<(String, String)> {
        let mut state = self.state.lock().unwrap();
        if state.under_way.len() >= self.window {
            return None;
        }
        let command = state.waiting.pop_front()?;
        state.under_way.push_back((packet_id, command.clone()));
        Some(command)
    }
}
