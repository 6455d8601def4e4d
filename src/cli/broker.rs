//! The connection to the agent over the broker, as any other client of the broker.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use rumqttc::{ClientError, ConnectionError, Event, Incoming, QoS, SubscribeReasonCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    answer::{Answer, MAX_EARLY, fresh_token},
    failure::Failure,
};
use crate::{
    config,
    domain::{
        ClientId, Operation, ThingName,
        operations::changes::{CLIENT_TOKEN, DRY_RUN},
    },
    mqtt::client::{self, Brief},
    protocol::Topics,
};

/// Maximum size of a payload, below the agent's default `limits.maxPayloadBytes`, which is below
/// the limit of Greengrass's broker.
pub(super) const MAX_PAYLOAD: usize = 128_000;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The options for commands over the broker.
#[derive(Debug, Args)]
#[command(next_help_heading = "Over the broker, from any machine")]
pub(super) struct Broker {
    // Not a documentation comment, in which the brackets would become links.
    #[arg(long, value_name = "URL", help = "Connect over the broker: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")]
    mqtt_url: Option<String>,

    /// The core device whose agent receives the command; not with --everywhere.
    #[arg(long = "core-device-thing-name", id = "core", value_name = "THING", requires = "mqtt_url")]
    core: Option<String>,

    /// Your own name on the broker: your thing name, or on Mosquitto your user name or your
    /// certificate's common name. The agent records it as the client of the request
    #[arg(long, value_name = "THING", requires = "mqtt_url")]
    client_id: Option<String>,

    /// The certificate authority of the broker, PEM; default: the system's certificate authorities
    #[arg(long, value_name = "FILE", requires = "mqtt_url")]
    ca_file: Option<PathBuf>,

    /// Your certificate, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["mqtt_url", "key_file"])]
    cert_file: Option<PathBuf>,

    /// The key of your certificate, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["mqtt_url", "cert_file"])]
    key_file: Option<PathBuf>,

    /// User name on the broker; the password is read from $OFFBOARD_MQTT_PASSWORD, which a list of
    /// processes does not show
    #[arg(long, value_name = "NAME", requires = "mqtt_url")]
    username: Option<String>,

    /// The topicPrefix of the agent's configuration.
    #[arg(long, value_name = "PREFIX", default_value = "offboard", requires = "mqtt_url")]
    topic_prefix: String,
}

/// The broker's address, the agent's topics and the client's own name.
pub(super) struct Address {
    mqtt: config::Mqtt,
    topics: Topics,
    /// The filter that matches the results of the client's commands.
    results: String,
    client: ClientId,
}

/// A connection to the agent over the broker.
pub(super) struct BrokerConnection {
    mqtt: Brief,
    /// The broker and the options of the connection.
    address: config::Mqtt,
    topics: Topics,
    client: ClientId,
    /// Tokens of this process's own commands; the results of other commands under the same name are
    /// ignored.
    tokens: HashSet<String>,
    /// Answers to earlier commands that came while this process waited for a later answer.
    early: VecDeque<Answer>,
}

impl Broker {
    /// The address that the options name; `None` if the command uses the local socket.
    pub(super) fn address(&self) -> Result<Option<Address>, Failure> {
        let (Some(url), Some(client), Some(core)) = (&self.mqtt_url, &self.client_id, &self.core) else {
            return self.incomplete("--client-id and --core-device-thing-name");
        };
        let (mqtt, client) = self.sender(url, client)?;
        let core = ThingName::new(core).map_err(|error| Failure::Usage(format!("--core-device-thing-name {error}")))?;
        if mqtt.client_id == config::default_client_id(&core) {
            return Err(Failure::Usage(format!(
                "--client-id {client} is the agent's own name on the broker, which would close the agent's connection; use \
                 your own name"
            )));
        }
        let topics = Topics::new(&self.prefix()?, &core);
        Ok(Some(Address { mqtt, results: topics.results_of(&client), topics, client }))
    }

    /// The address of all core devices; `None` if no broker is named.
    pub(super) fn address_of_all(&self) -> Result<Option<Address>, Failure> {
        let (Some(url), Some(client)) = (&self.mqtt_url, &self.client_id) else {
            return self.incomplete("--client-id");
        };
        let (mqtt, client) = self.sender(url, client)?;
        let topics = Topics::of_all(&self.prefix()?);
        Ok(Some(Address { mqtt, results: topics.results_of_any(&client), topics, client }))
    }

    /// No address without a URL; with one, `wanted` is missing.
    fn incomplete<T>(&self, wanted: &str) -> Result<Option<T>, Failure> {
        match self.mqtt_url {
            Some(_) => Err(Failure::Usage(format!("--mqtt-url needs {wanted}"))),
            None => Ok(None),
        }
    }

    /// The first level of the topics, by the rule of the agent's configuration: the agent has no
    /// topics below another one.
    fn prefix(&self) -> Result<String, Failure> {
        config::topic_prefix(&self.topic_prefix).map_err(|error| Failure::Usage(format!("--topic-prefix {error}")))
    }

    /// The broker's address and the client's own name.
    fn sender(&self, url: &str, client: &str) -> Result<(config::Mqtt, ClientId), Failure> {
        let usage = |name: &str, error: String| Failure::Usage(format!("{name} {error}"));
        let (tls, host, port) =
            config::broker_url(url).map_err(|error| usage("--mqtt-url", in_flags(without_none(&error))))?;
        let client = ClientId::new(client).map_err(|error| error.to_string());
        let client =
            client.and_then(|client| if client.is_local() { Err("must not begin with @".into()) } else { Ok(client) });
        let client = client.map_err(|error| usage("--client-id", error))?;
        let password = std::env::var("OFFBOARD_MQTT_PASSWORD").unwrap_or_default();
        let mqtt = config::Mqtt {
            host,
            port,
            tls,
            client_id: client.to_string(),
            ca_file: self.ca_file.clone(),
            identity: self.cert_file.clone().zip(self.key_file.clone()),
            login: self.username.clone().map(|name| (name, password)),
            keep_alive: KEEP_ALIVE,
        };
        Ok((mqtt, client))
    }

    /// Connects, and subscribes to the agent's results for this client.
    pub(super) async fn connect(&self, address: Address, patience: Duration) -> Result<BrokerConnection, Failure> {
        let Address { mqtt, topics, results, client } = address;
        if let Some(caution) = config::readable_password(&mqtt) {
            eprintln!("warning: {}", in_flags(caution));
        }
        let mut options = client::options(&mqtt);
        options.set_clean_session(true);
        client::secure(&mqtt, &mut options).map_err(|error| Failure::Usage(in_flags(error)))?;
        let mut line = BrokerConnection {
            mqtt: Brief::new(options),
            address: mqtt,
            topics,
            client,
            tokens: HashSet::new(),
            early: VecDeque::new(),
        };
        match timeout(patience, line.mqtt.subscribe(&results)).await {
            Ok(Ok(true)) => Ok(line),
            Ok(Ok(false)) => Err(Failure::NoAnswer(format!(
                "the broker denies the subscription to {results}; allow it to {}",
                line.client
            ))),
            Ok(Err(error)) => Err(line.broken(&error)),
            Err(_) => {
                let (address, seconds) = (&line.address, patience.as_secs());
                Err(Failure::NoAnswer(format!("{address:?}: the broker did not answer within {seconds} s")))
            }
        }
    }
}

/// The expected addresses of a broker, without the `none` of the configuration.
fn without_none(error: &str) -> String {
    error.replace(", mqtts://HOST[:PORT] or none", " or mqtts://HOST[:PORT]")
}

/// Replaces the configuration keys in one of the agent's messages by the options of the command
/// line.
fn in_flags(text: String) -> String {
    const FLAGS: [(&str, &str); 6] = [
        ("mqtt.caFile", "--ca-file"),
        ("mqtt.certFile", "--cert-file"),
        ("mqtt.keyFile", "--key-file"),
        ("mqtt.username", "--username"),
        ("mqtt.password", "OFFBOARD_MQTT_PASSWORD in the environment"),
        ("mqtt.url", "--mqtt-url"),
    ];
    FLAGS.into_iter().fold(text, |text, (key, flag)| text.replace(key, flag))
}

impl BrokerConnection {
    async fn poll(&mut self) -> Result<Event, Failure> {
        self.mqtt.poll().await.map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &ConnectionError) -> Failure {
        let config::Mqtt { host, port, .. } = &self.address;
        let error = client::in_words(error);
        let text =
            "check --mqtt-url, the authority and certificate if there is one, and that the broker lets you connect as";
        Failure::NoAnswer(format!("the broker at {host}:{port}: {error}; {text} {}", self.client))
    }

    /// Publishes a command with a token, and waits for its first answer. The answer to `status` is
    /// the message that the broker retains.
    pub(super) async fn ask(&mut self, operation: &str, mut payload: Value) -> Result<Answer, Failure> {
        if operation == "status" {
            return self.status().await;
        }
        let token = match payload[CLIENT_TOKEN.name].as_str() {
            Some(token) => token.to_owned(),
            None => fresh_token(),
        };
        payload[CLIENT_TOKEN.name] = json!(token);
        self.tokens.insert(token.clone());
        let is_question = payload[DRY_RUN.name] == true
            || Operation::parse(operation).is_none_or(|operation| operation.call_kind().is_none());
        self.publish(operation, &payload).await?;
        loop {
            let answer = self.receive(Some(operation)).await?;
            if answer.is_to(&token, Some(operation)) {
                if is_question {
                    self.tokens.remove(&token);
                }
                return Ok(answer);
            }
            if self.early.len() >= MAX_EARLY {
                return Err(Failure::NoAnswer("the broker sends results without an end".into()));
            }
            self.early.push_back(answer);
        }
    }

    /// Publishes a command, and does not wait for an answer. Returns results of earlier commands
    /// that came before this one could be sent, each with its core device's name.
    pub(super) async fn publish(&mut self, operation: &str, payload: &Value) -> Result<Vec<(String, Answer)>, Failure> {
        let topic = self.topics.command(&self.client, operation);
        let payload = payload.to_string();
        if payload.len() > MAX_PAYLOAD {
            let text = format!(
                "the command has {} bytes, and over the broker {MAX_PAYLOAD} are sent; shorten it",
                payload.len()
            );
            return Err(Failure::Usage(text));
        }
        let mut early = Vec::new();
        loop {
            match self.mqtt.client.try_publish(&topic, QoS::AtLeastOnce, false, payload.as_str()) {
                Ok(()) => return Ok(early),
                // The queue of the client is full until the broker takes more.
                Err(ClientError::TryRequest(_)) => early.extend(result(&self.poll().await?)),
                Err(error) => return Err(Failure::Failed(error.to_string())),
            }
        }
    }

    /// The next result for this client from any core device, with the core device's name.
    pub(super) async fn next_of_any(&mut self) -> Result<(String, Answer), Failure> {
        loop {
            if let Some(result) = result(&self.poll().await?) {
                return Ok(result);
            }
        }
    }

    /// The next answer to a command of this process.
    pub(super) async fn next(&mut self) -> Result<Answer, Failure> {
        match self.early.pop_front() {
            Some(answer) => Ok(answer),
            None => self.receive(None).await,
        }
    }

    /// The next answer to a command of this process, or a rejection without a token of the
    /// operation that is waited for.
    async fn receive(&mut self, asking: Option<&str>) -> Result<Answer, Failure> {
        loop {
            let Event::Incoming(Incoming::Publish(publish)) = self.poll().await? else { continue };
            let kind = publish.topic.rsplit('/').next().unwrap_or_default();
            let Ok(body) = serde_json::from_slice(&publish.payload) else { continue };
            let Some(answer) = Answer::new(kind, Value::Object(body)) else { continue };
            let is_ours = match answer.token() {
                Some(token) => self.tokens.contains(token),
                None => asking.is_some_and(|operation| answer.is_to("", Some(operation))),
            };
            if is_ours {
                return Ok(answer);
            }
        }
    }

    /// Waits for the retained status, which may come before the acknowledgement of the subscription
    /// (MQTT 3.1.1, section 3.8.4).
    async fn status(&mut self) -> Result<Answer, Failure> {
        let topic = self.topics.status();
        self.mqtt
            .client
            .try_subscribe(topic.as_str(), QoS::AtLeastOnce)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        loop {
            match self.poll().await? {
                Event::Incoming(Incoming::SubAck(ack)) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
                    let client = &self.client;
                    let text = format!("the broker denies the subscription to {topic}; allow it to {client}");
                    return Err(Failure::NoAnswer(text));
                }
                Event::Incoming(Incoming::Publish(publish)) if publish.topic == topic => {
                    if let Ok(status) = serde_json::from_slice(&publish.payload) {
                        return Ok(Answer::Accepted(Value::Object(status)));
                    }
                }
                _ => {}
            }
        }
    }
}

/// A result from a core device, with the name of that core device.
fn result(event: &Event) -> Option<(String, Answer)> {
    let Event::Incoming(Incoming::Publish(publish)) = event else { return None };
    let levels: Vec<&str> = publish.topic.split('/').collect();
    let [_, core, "results", _, _, kind] = levels.as_slice() else { return None };
    let body = serde_json::from_slice(&publish.payload).ok()?;
    Some((ThingName::new(core).ok()?.to_string(), Answer::new(kind, Value::Object(body))?))
}
