//! A stand-in for the IPC server of a Greengrass nucleus. It behaves as nucleus lite 2.6.0
//! (measured, and read in its source) or as the classic nucleus (read in its source). A test
//! compares it with PyPI's `awsiotsdk` (`tests/awsiotsdk.rs`).
//!
//! It does not implement: operations other than publish and subscribe of both services and
//! `GetConfiguration`; the check of the process that connects under a component's name.

mod access;
mod exchange;
mod frame;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use server::Connection;

/// The component name of the agent.
pub const COMPONENT: &str = "com.offboard.Agent";

/// The nucleus whose rules the stand-in follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nucleus lite.
    Lite,
    /// The classic nucleus.
    Classic,
}

impl Kind {
    /// Maximum size of a frame after its prelude.
    fn max_frame(self) -> usize {
        match self {
            Self::Lite => 10_000,
            Self::Classic => 24 << 20,
        }
    }

    /// Maximum size of a payload from AWS IoT Core to a component, including its topic.
    fn max_from_iot_core(self) -> usize {
        match self {
            // The whole MQTT packet has to fit into 5000 bytes.
            Self::Lite => 4990,
            Self::Classic => 131_072,
        }
    }

    fn socket(self) -> &'static str {
        match self {
            Self::Lite => "gg-ipc.socket",
            Self::Classic => "ipc.socket",
        }
    }
}

/// The two services that carry messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Local publish/subscribe.
    PubSub,
    /// AWS IoT Core.
    IotCore,
}

/// A message that a component published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Counts of connections, frames and payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted connections.
    pub accepted: usize,
    /// Connections that were refused because of their token or name.
    pub refused: usize,
    /// Connections that were closed because of a frame that is too large or not valid.
    pub broken: usize,
    /// Size of the largest received frame in bytes.
    pub largest_frame: usize,
    /// Size of the largest published payload in bytes.
    pub largest_payload: usize,
}

/// The options of a stand-in.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nucleus whose rules it follows.
    pub kind: Kind,
    /// The `accessControl` of [`COMPONENT`].
    pub access_control: Value,
    /// The service that provides the credentials of the token exchange service: its address and its
    /// token.
    pub credentials: Option<(String, String)>,
}

impl Options {
    /// Options that allow everything below `offboard/`.
    pub fn of(kind: Kind) -> Self {
        let policy = |service: &str, operations: [&str; 2]| {
            let operations = operations.map(|name| format!("aws.greengrass#{name}"));
            (
                format!("aws.greengrass.ipc.{service}"),
                json!({"offboard:1": {"operations": operations, "resources": ["offboard/*"]}}),
            )
        };
        let access_control: serde_json::Map<_, _> = [
            policy("pubsub", ["PublishToTopic", "SubscribeToTopic"]),
            policy("mqttproxy", ["PublishToIoTCore", "SubscribeToIoTCore"]),
        ]
        .into_iter()
        .collect();
        Self { kind, access_control: access_control.into(), credentials: None }
    }
}

pub(crate) struct State {
    kind: Kind,
    access_control: Value,
    token: String,
    /// The port of the token exchange service; 0 if there is none.
    port: u16,
    is_offline: bool,
    connections: BTreeMap<u64, Arc<Connection>>,
    next_connection: u64,
    published: BTreeMap<Service, Vec<Message>>,
    counts: Counts,
}

/// The state that connections and the token exchange service share.
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running stand-in, in threads of its own. It stops when it is dropped.
pub struct Nucleus {
    dir: PathBuf,
    shared: Arc<Shared>,
    listening: Option<server::Listening>,
    exchange: Option<exchange::Exchange>,
    credentials: Option<(String, String)>,
}

impl Nucleus {
    /// Starts a stand-in whose socket is in `dir`.
    ///
    /// # Errors
    /// The socket or the port cannot be opened.
    pub fn start(dir: &Path, options: Options) -> io::Result<Self> {
        let Options { kind, access_control, credentials } = options;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                kind,
                access_control,
                token: token(),
                port: 0,
                is_offline: false,
                connections: BTreeMap::new(),
                next_connection: 0,
                published: BTreeMap::new(),
                counts: Counts::default(),
            }),
        });
        let mut nucleus = Self { dir: dir.to_owned(), shared, listening: None, exchange: None, credentials };
        nucleus.go_up()?;
        nucleus.move_token_exchange()?;
        Ok(nucleus)
    }

    /// The path of the server's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(self.shared.lock().kind.socket())
    }

    /// The token of [`COMPONENT`].
    pub fn token(&self) -> String {
        self.shared.lock().token.clone()
    }

    /// The environment variables of a component at its start. They do not follow later changes.
    pub fn environment(&self) -> Vec<(String, String)> {
        let (token, port) = (self.token(), self.shared.lock().port);
        let mut variables = vec![
            ("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT".to_owned(), self.socket().display().to_string()),
            ("SVCUID".to_owned(), token.clone()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN".to_owned(), token),
        ];
        if port > 0 {
            let uri = format!("http://localhost:{port}{}", exchange::PATH);
            variables.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), uri));
        }
        variables
    }

    /// Stops the server: all connections are closed, and nothing listens on the socket.
    pub fn go_down(&mut self) {
        self.listening = None;
        let closed = std::mem::take(&mut self.shared.lock().connections);
        closed.into_values().for_each(|connection| connection.close());
    }

    /// Starts the server again; nucleus lite has forgotten its tokens then.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub fn go_up(&mut self) -> io::Result<()> {
        let socket = self.socket();
        {
            let mut state = self.shared.lock();
            if state.kind == Kind::Lite {
                state.token = token();
            }
        }
        self.listening = Some(server::listen(&socket, &self.shared)?);
        Ok(())
    }

    /// Invalidates the token; connections remain.
    pub fn void_token(&self) {
        self.shared.lock().token = token();
    }

    /// Simulates a restart of a service's daemon: existing subscriptions deliver no more messages,
    /// and their clients are not notified.
    pub fn silence(&self, service: Service) {
        let connections: Vec<_> = self.shared.lock().connections.values().cloned().collect();
        connections.iter().for_each(|connection| connection.silence(service));
    }

    /// Disconnects the core device from AWS IoT Core, or reconnects it.
    pub fn offline(&self, is_offline: bool) {
        self.shared.lock().is_offline = is_offline;
    }

    /// Restarts the token exchange service on another port.
    ///
    /// # Errors
    /// No port is available.
    pub fn move_token_exchange(&mut self) -> io::Result<()> {
        let Some((uri, token)) = self.credentials.clone() else { return Ok(()) };
        let exchange = exchange::Exchange::start(&self.shared, uri, token)?;
        self.shared.lock().port = exchange.port();
        self.exchange = Some(exchange);
        Ok(())
    }

    /// The number of requests to the token exchange service since its last start.
    pub fn asked_for_credentials(&self) -> usize {
        self.exchange.as_ref().map_or(0, exchange::Exchange::asked)
    }

    /// Replaces the `accessControl`.
    pub fn set_access_control(&self, access_control: Value) {
        self.shared.lock().access_control = access_control;
    }

    /// Publishes a message from the cloud or from another component. Returns the number of
    /// subscriptions that received it.
    pub fn publish(&self, service: Service, topic: &str, payload: &[u8]) -> usize {
        server::deliver(&self.shared, None, service, topic, &server::Content::Binary(payload.to_vec()))
    }

    /// Publishes a JSON message from another component.
    pub fn publish_json(&self, topic: &str, message: &Value) -> usize {
        server::deliver(&self.shared, None, Service::PubSub, topic, &server::Content::Json(message.clone()))
    }

    /// The messages that components have published to a service so far.
    pub fn published(&self, service: Service) -> Vec<Message> {
        self.shared.lock().published.get(&service).cloned().unwrap_or_default()
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// The number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }
}

impl std::fmt::Debug for Nucleus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nucleus").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Drop for Nucleus {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// A token of 16 base64 characters, as nucleus lite makes it.
fn token() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(16).collect()
}
