//! A stand-in for the IPC server of a Greengrass nucleus, as nucleus lite 2.6.0 behaves (measured, and read in its source),
//! or as the classic nucleus does (read in its source). It is held against PyPI's `awsiotsdk` (`tests/awsiotsdk.rs`).
//!
//! What it does not do, so that nobody tests that with it: other operations than publish and subscribe of both services and
//! `GetConfiguration`; a look at the process of who connects by a component's name.

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

/// The component that the agent is.
pub const COMPONENT: &str = "com.offboard.Agent";

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nucleus lite.
    Lite,
    /// The classic nucleus.
    Classic,
}

impl Kind {
    /// Largest part of a frame after its prelude.
    fn max_frame(self) -> usize {
        match self {
            Self::Lite => 10_000,
            Self::Classic => 24 << 20,
        }
    }

    /// Largest payload that gets from AWS IoT Core to a component, with its topic.
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
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: usize,
    /// Connections that were not, for their token or their name.
    pub refused: usize,
    /// Connections that were closed over a frame that is too large, or is none.
    pub broken: usize,
    /// Bytes of the largest frame that arrived.
    pub largest_frame: usize,
    /// Bytes of the largest payload that was published.
    pub largest_payload: usize,
}

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose rules hold.
    pub kind: Kind,
    /// The `accessControl` of [`COMPONENT`].
    pub access_control: Value,
    /// Where the token exchange service gets good answers from: its address and its token.
    pub credentials: Option<(String, String)>,
}

impl Options {
    /// Everything below `offboard/` is allowed.
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
    /// The token exchange service's; 0 where there is none.
    port: u16,
    is_offline: bool,
    connections: BTreeMap<u64, Arc<Connection>>,
    next_connection: u64,
    published: BTreeMap<Service, Vec<Message>>,
    counts: Counts,
}

/// State that connections and the token exchange service share.
pub(crate) struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running stand-in, in threads of its own. Stops when it is dropped.
pub struct Nucleus {
    dir: PathBuf,
    shared: Arc<Shared>,
    listening: Option<server::Listening>,
    exchange: Option<exchange::Exchange>,
    credentials: Option<(String, String)>,
}

impl Nucleus {
    /// Starts one whose socket is in `dir`.
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

    /// The server's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(self.shared.lock().kind.socket())
    }

    /// The token of [`COMPONENT`].
    pub fn token(&self) -> String {
        self.shared.lock().token.clone()
    }

    /// The variables that a component is started with. They do not follow later changes.
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

    /// The server goes down: all connections are closed, and nobody listens.
    pub fn go_down(&mut self) {
        self.listening = None;
        let closed = std::mem::take(&mut self.shared.lock().connections);
        closed.into_values().for_each(|connection| connection.close());
    }

    /// The server comes up; on nucleus lite with no memory of its tokens.
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

    /// The token is void from now on, connections stay.
    pub fn void_token(&self) {
        self.shared.lock().token = token();
    }

    /// The daemon of a service restarts: present subscriptions deliver nothing any more, and nobody is told.
    pub fn silence(&self, service: Service) {
        let connections: Vec<_> = self.shared.lock().connections.values().cloned().collect();
        connections.iter().for_each(|connection| connection.silence(service));
    }

    /// The core device loses its connection to AWS IoT Core, or gets it back.
    pub fn offline(&self, is_offline: bool) {
        self.shared.lock().is_offline = is_offline;
    }

    /// The token exchange service restarts, on another port.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn move_token_exchange(&mut self) -> io::Result<()> {
        let Some((uri, token)) = self.credentials.clone() else { return Ok(()) };
        let exchange = exchange::Exchange::start(&self.shared, uri, token)?;
        self.shared.lock().port = exchange.port();
        self.exchange = Some(exchange);
        Ok(())
    }

    /// How often the token exchange service was asked since its last start.
    pub fn asked_for_credentials(&self) -> usize {
        self.exchange.as_ref().map_or(0, exchange::Exchange::asked)
    }

    /// Another `accessControl` from now on.
    pub fn set_access_control(&self, access_control: Value) {
        self.shared.lock().access_control = access_control;
    }

    /// A message from elsewhere: from the cloud, or from another component. Returns to how many subscriptions it went.
    pub fn publish(&self, service: Service, topic: &str, payload: &[u8]) -> usize {
        server::deliver(&self.shared, None, service, topic, &server::Content::Binary(payload.to_vec()))
    }

    /// A message from another component, as JSON.
    pub fn publish_json(&self, topic: &str, message: &Value) -> usize {
        server::deliver(&self.shared, None, Service::PubSub, topic, &server::Content::Json(message.clone()))
    }

    /// What components have published to a service so far.
    pub fn published(&self, service: Service) -> Vec<Message> {
        self.shared.lock().published.get(&service).cloned().unwrap_or_default()
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Connections that are there now.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }
}

impl Drop for Nucleus {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// 16 characters of base64, as nucleus lite's.
fn token() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(16).collect()
}
