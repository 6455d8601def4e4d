//! A client on the broker that sends commands and keeps what the agent publishes, and what tests
//! ask of those messages.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use tokio::sync::watch;

use super::{CORE, Contract, LOOK, PATIENCE, Value, World, entries, json, names};

/// A message that a client received.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub body: Value,
}

/// A client on the broker: it sends commands as `name`, and keeps every result, status, device and
/// metrics message that it receives. The contract is checked on all of them.
pub struct Client {
    pub name: String,
    mqtt: AsyncClient,
    seen: Arc<Mutex<Vec<Message>>>,
    contract: Arc<Contract>,
    changed: watch::Receiver<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.contract.verify();
        }
    }
}

impl Client {
    /// Connects without a login, and waits until it has subscribed.
    pub async fn connect(port: u16, name: &str) -> Self {
        Self::connect_with(MqttOptions::new(format!("{name}-test"), "127.0.0.1", port), name).await
    }

    /// With a login or TLS of its own.
    pub async fn connect_with(mut options: MqttOptions, name: &str) -> Self {
        options.set_max_packet_size(2 << 20, 2 << 20).set_inflight(1000).set_clean_session(false);
        let (mqtt, mut event_loop) = AsyncClient::new(options, 20_000);
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let contract: Arc<Contract> = Arc::default();
        let (sender, mut changed) = watch::channel(());
        let (keep, hold, client, name_) = (Arc::clone(&seen), Arc::clone(&contract), mqtt.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            loop {
                match event_loop.poll().await {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        client.try_subscribe(format!("offboard/{CORE}/results/{name_}/#"), QoS::AtLeastOnce).unwrap();
                        client.try_subscribe(format!("offboard/{CORE}/status"), QoS::AtLeastOnce).unwrap();
                        client.try_subscribe(format!("offboard/{CORE}/devices/+"), QoS::AtLeastOnce).unwrap();
                        client.try_subscribe(format!("offboard/{CORE}/metrics"), QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => sender.send_replace(()),
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        hold.received(&publish.topic, &publish.payload);
                        let body = serde_json::from_slice(&publish.payload).unwrap_or(Value::Null);
                        keep.lock().unwrap().push(Message { topic: publish.topic, body });
                        sender.send_replace(());
                    }
                    Ok(_) => {}
                    // The broker is away; the session goes on when it is back.
                    Err(_) => tokio::time::sleep(LOOK).await,
                }
            }
        });
        tokio::time::timeout(PATIENCE, changed.changed()).await.expect("subscribed").unwrap();
        Self { name: name.into(), mqtt, seen, contract, changed, task }
    }

    /// Sends a command with QoS 1; it does not wait for anything.
    pub fn send(&self, operation: &str, body: &Value) {
        self.send_bytes(operation, body.to_string());
    }

    /// Sends a command whose payload may be anything.
    pub fn send_bytes(&self, operation: &str, body: impl Into<Vec<u8>>) {
        self.publish(&format!("offboard/{CORE}/commands/{}/{operation}", self.name), false, body);
    }

    /// Publishes to any topic.
    pub fn publish(&self, topic: &str, retain: bool, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.contract.sent(topic, &body);
        self.mqtt.try_publish(topic, QoS::AtLeastOnce, retain, body).unwrap();
    }

    /// Subscribes to more than the messages of [`CORE`].
    pub fn subscribe(&self, filter: &str) {
        self.mqtt.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
    }

    /// All messages since the last [`Self::forget`].
    pub fn seen(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets all messages, so that a wait is for a new one.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// Waits for a message that `wanted` accepts; an earlier one counts, too. Fails with `what`.
    pub async fn wait<R>(&self, what: &str, wanted: impl Fn(&Message) -> Option<R>) -> R {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                self.contract.verify();
                if let Some(found) = self.seen.lock().unwrap().iter().find_map(&wanted) {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!(
                "waited in vain until {what}; the last messages: {:#?}",
                self.seen().iter().rev().take(4).collect::<Vec<_>>()
            ),
        }
    }

    /// Waits for a result for `token`: `kind` is `accepted`, `rejected` or `completed`.
    pub async fn result(&self, token: &str, kind: &str) -> Value {
        let what = format!("{token} is {kind}");
        self.wait(&what, |message| {
            let fits = message.topic.ends_with(&format!("/{kind}")) && message.body["clientToken"] == token;
            fits.then(|| message.body.clone())
        })
        .await
    }

    /// All results of a kind for `token` that have come until now.
    pub fn results(&self, token: &str, kind: &str) -> Vec<Value> {
        let fits = |m: &Message| m.topic.ends_with(&format!("/{kind}")) && m.body["clientToken"] == token;
        self.seen().into_iter().filter(fits).map(|message| message.body).collect()
    }

    /// Sends a command or a query with a new token, and waits for its `accepted`.
    pub async fn ask(&self, operation: &str, mut body: Value) -> Value {
        let token = format!("ask-{:016x}", fastrand::u64(..));
        body["clientToken"] = json!(token);
        self.send(operation, &body);
        self.result(&token, "accepted").await
    }

    /// Waits until the broker has received all that was sent before.
    pub async fn ask_broker(&self) {
        let topic = format!("offboard/{CORE}/results/{}/echo", self.name);
        let text = format!("{:016x}", fastrand::u64(..));
        self.publish(&topic, false, json!(text).to_string());
        self.wait("the broker's echo", |m| (m.topic == topic && m.body == text).then_some(())).await;
    }

    /// Waits for a status that `wanted` accepts: the last one, or a later one.
    pub async fn status(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                self.contract.verify();
                let last = self.seen.lock().unwrap().iter().rev().find(|m| m.topic.ends_with("/status")).cloned();
                if let Some(last) = last
                    && wanted(&last.body)
                {
                    return last.body;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => {
                let last = self.seen().into_iter().rev().find(|m| m.topic.ends_with("/status"));
                panic!("waited in vain until {what}; the last status: {last:#?}")
            }
        }
    }

    /// Sends a command that disassociates these devices.
    pub fn disassociate(&self, token: &str, names: &[String]) {
        self.send("disassociate-client-devices", &json!({"clientToken": token, "entries": entries(names)}));
    }
}

/// The codes of the problems in a status.
pub fn problem_codes(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().into_iter().flatten();
    problems.map(|problem| problem["code"].as_str().unwrap()).collect()
}

/// The codes of the problems of the data directory in a status.
pub fn store_problems(status: &Value) -> Vec<&str> {
    problem_codes(status).into_iter().filter(|code| code.starts_with("STORE_")).collect()
}

/// After any damage: a new command is accepted and carried out, without a restart, and the registry
/// shows what the cloud has.
pub async fn works(world: &World, client: &Client, token: &str, device: usize) {
    world.cloud.offline(false);
    client.disassociate(token, &names(device..device + 1));
    client.result(token, "accepted").await;
    assert_eq!(client.result(token, "completed").await["status"], "SUCCEEDED");
    client
        .status("the registry is the cloud's", |s| s["devices"]["ASSOCIATED"] == world.cloud.associated(CORE).len())
        .await;
}

/// Sends a command or a query, and waits for its `accepted` or its `rejected`.
pub async fn answer(client: &Client, operation: &str, mut body: Value) -> Result<Value, Value> {
    let token = format!("ask-{:016x}", fastrand::u64(..));
    body["clientToken"] = json!(token);
    client.send(operation, &body);
    client
        .wait(&format!("{operation} is answered"), |message| {
            let fits = message.body["clientToken"] == token.as_str();
            match message.topic.rsplit('/').next() {
                Some("accepted") if fits => Some(Ok(message.body.clone())),
                Some("rejected") if fits => Some(Err(message.body.clone())),
                _ => None,
            }
        })
        .await
}

impl Client {
    /// All messages since the last time, which are then forgotten.
    pub fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}
