//! The socket, the connections, and the operations.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::access::{allows, filters};
use super::frame::{ACCEPTED, Frame, TERMINATE, kind};
use super::{COMPONENT, Kind, Message, Service, Shared};

/// Time after which a client that does not read is disconnected.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open socket.
pub(super) struct Listening {
    path: PathBuf,
    is_closed: Arc<AtomicBool>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // Wakes the thread.
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
    }
}

pub(super) fn listen(path: &Path, shared: &Arc<Shared>) -> io::Result<Listening> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    let is_closed = Arc::new(AtomicBool::new(false));
    let (shared, closed) = (Arc::clone(shared), Arc::clone(&is_closed));
    thread::Builder::new().name("IPC".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            if closed.load(Ordering::Relaxed) {
                return;
            }
            let shared = Arc::clone(&shared);
            let _ = thread::Builder::new().name("IPC connection".into()).spawn(move || serve(&shared, stream));
        }
    })?;
    Ok(Listening { path: path.to_owned(), is_closed })
}

struct Subscription {
    service: Service,
    filter: String,
    gets_own: bool,
    is_silent: bool,
}

/// An accepted connection.
pub(super) struct Connection {
    number: u64,
    stream: UnixStream,
    writing: Mutex<()>,
    subscriptions: Mutex<BTreeMap<i32, Subscription>>,
}

impl Connection {
    pub(super) fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub(super) fn silence(&self, service: Service) {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.values_mut().filter(|one| one.service == service).for_each(|one| one.is_silent = true);
    }

    fn send(&self, frame: &Frame) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if (&self.stream).write_all(&frame.encode()).is_err() {
            self.close();
        }
    }

    fn respond(&self, stream: i32, model: &str, body: &Value) {
        self.send(&message(stream, model, body));
    }

    fn refuse(&self, stream: i32, code: &str, text: &str) {
        let headers =
            [(":content-type", "application/json"), ("service-model-type", &*format!("aws.greengrass#{code}"))];
        let body = json!({"_message": text, "_errorCode": code}).to_string();
        self.send(&Frame::new(kind::ERROR, TERMINATE, stream, &headers, body.into_bytes()));
    }
}

fn message(stream: i32, model: &str, body: &Value) -> Frame {
    let headers = [(":content-type", "application/json"), ("service-model-type", model)];
    Frame::new(kind::MESSAGE, 0, stream, &headers, body.to_string().into_bytes())
}

fn serve(shared: &Arc<Shared>, stream: UnixStream) {
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let Some(connection) = connect(shared, stream) else { return };
    let max = shared.lock().kind.max_frame();
    loop {
        match Frame::read(&mut &connection.stream, max) {
            Ok((frame, size)) => {
                {
                    let mut state = shared.lock();
                    state.counts.largest_frame = state.counts.largest_frame.max(size);
                }
                handle(shared, &connection, &frame);
            }
            Err(error) => {
                let mut state = shared.lock();
                state.counts.broken += usize::from(error.kind() == io::ErrorKind::InvalidData);
                state.connections.remove(&connection.number);
                drop(state);
                connection.close();
                return;
            }
        }
    }
}

/// Performs the handshake.
fn connect(shared: &Arc<Shared>, stream: UnixStream) -> Option<Arc<Connection>> {
    let (frame, _) = Frame::read(&mut &stream, 10_000).ok()?;
    let body: Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
    let is_connect = frame.number(":message-type") == kind::CONNECT && frame.text(":version") == "0.1.0";
    let mut state = shared.lock();
    let is_lite = state.kind == Kind::Lite;
    let by_token = body["authToken"].as_str();
    let is_right = match by_token {
        Some(token) => token == state.token,
        // The classic nucleus accepts only tokens.
        None => is_lite && body["componentName"] == COMPONENT,
    };
    if !is_connect || !is_right {
        state.counts.refused += 1;
        drop(state);
        if !is_lite {
            let _ = (&stream).write_all(&Frame::new(kind::CONNECT_ACK, 0, 0, &[], Vec::new()).encode());
        }
        return None;
    }
    state.counts.accepted += 1;
    state.next_connection += 1;
    let number = state.next_connection;
    let token = state.token.clone();
    let connection =
        Arc::new(Connection { number, stream, writing: Mutex::default(), subscriptions: Mutex::default() });
    state.connections.insert(number, Arc::clone(&connection));
    drop(state);
    let svcuid = [("svcuid", token.as_str())];
    let headers: &[_] = if by_token.is_none() { &svcuid } else { &[] };
    connection.send(&Frame::new(kind::CONNECT_ACK, ACCEPTED, 0, headers, Vec::new()));
    Some(connection)
}

fn handle(shared: &Arc<Shared>, connection: &Arc<Connection>, frame: &Frame) {
    let stream = frame.number(":stream-id");
    match frame.number(":message-type") {
        kind::PING => {
            connection.send(&Frame::new(kind::PING_RESPONSE, 0, 0, &[], frame.payload.clone()));
            return;
        }
        kind::MESSAGE if frame.number(":message-flags") & TERMINATE != 0 => {
            connection.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream);
            return;
        }
        kind::MESSAGE => {}
        _ => return,
    }
    let body: Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
    let operation = frame.text("operation");
    match operation.strip_prefix("aws.greengrass#").unwrap_or_default() {
        "PublishToTopic" => publish(shared, connection, stream, Service::PubSub, operation, &body),
        "PublishToIoTCore" => publish(shared, connection, stream, Service::IotCore, operation, &body),
        "SubscribeToTopic" => subscribe(shared, connection, stream, Service::PubSub, operation, &body),
        "SubscribeToIoTCore" => subscribe(shared, connection, stream, Service::IotCore, operation, &body),
        "GetConfiguration" => get_configuration(shared, connection, stream, &body),
        _ => connection.refuse(stream, "ServiceError", "Unhandled operation."),
    }
}

/// The content of a message.
pub(super) enum Content {
    Binary(Vec<u8>),
    Json(Value),
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Binary(bytes) => bytes.clone(),
            Self::Json(value) => value.to_string().into_bytes(),
        }
    }
}

/// The topic and the content of a publish; `None` if its parameters violate the service model.
fn parameters(service: Service, body: &Value) -> Option<(&str, Content)> {
    let decoded = |value: &Value| BASE64_STANDARD.decode(value.as_str()?).ok().map(Content::Binary);
    match service {
        Service::IotCore => {
            let is_quality = matches!(body["qos"].as_str(), Some("0" | "1" | "2"));
            let content =
                if body["payload"].is_null() { Some(Content::Binary(vec![])) } else { decoded(&body["payload"]) };
            is_quality.then_some((body["topicName"].as_str()?, content?))
        }
        Service::PubSub => {
            let message = &body["publishMessage"];
            let content = match (&message["jsonMessage"], &message["binaryMessage"]) {
                (Value::Object(json), Value::Null) => Content::Json(json.get("message")?.clone()),
                (Value::Null, Value::Object(binary)) => decoded(binary.get("message")?)?,
                _ => return None,
            };
            Some((body["topic"].as_str()?, content))
        }
    }
}

fn publish(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    stream: i32,
    service: Service,
    operation: &str,
    body: &Value,
) {
    let Some((topic, content)) = parameters(service, body) else {
        connection.refuse(stream, "ServiceError", "Received invalid parameters.");
        return;
    };
    {
        let mut state = shared.lock();
        if !allows(&state.access_control, service, operation, topic) {
            drop(state);
            connection.refuse(stream, "UnauthorizedError", "IPC Operation not authorized.");
            return;
        }
        if service == Service::IotCore && state.is_offline {
            drop(state);
            connection.refuse(stream, "ServiceError", "Failed to publish the message.");
            return;
        }
        let payload = content.bytes();
        state.counts.largest_payload = state.counts.largest_payload.max(payload.len());
        state.published.entry(service).or_default().push(Message { topic: topic.to_owned(), payload });
    }
    deliver(shared, Some(connection.number), service, topic, &content);
    connection.respond(stream, &format!("{operation}Response"), &json!({}));
}

fn subscribe(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    stream: i32,
    service: Service,
    operation: &str,
    body: &Value,
) {
    let name = if service == Service::PubSub { "topic" } else { "topicName" };
    let Some(filter) = body[name].as_str() else {
        connection.refuse(stream, "ServiceError", "Received invalid parameters.");
        return;
    };
    let (is_allowed, kind) = {
        let state = shared.lock();
        (allows(&state.access_control, service, operation, filter), state.kind)
    };
    if !is_allowed {
        connection.refuse(stream, "UnauthorizedError", "IPC Operation not authorized.");
        return;
    }
    let gets_own = kind == Kind::Lite || service == Service::IotCore || body["receiveMode"] == "RECEIVE_ALL_MESSAGES";
    let subscription = Subscription { service, filter: filter.to_owned(), gets_own, is_silent: false };
    connection.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).insert(stream, subscription);
    connection.respond(stream, &format!("{operation}Response"), &json!({}));
}

/// Delivers a message once to each subscription that matches; returns their number.
pub(super) fn deliver(shared: &Shared, from: Option<u64>, service: Service, topic: &str, content: &Content) -> usize {
    let (connections, kind, is_offline) = {
        let state = shared.lock();
        let connections: Vec<_> = state.connections.values().cloned().collect();
        (connections, state.kind, state.is_offline)
    };
    let payload = content.bytes();
    if service == Service::IotCore && (is_offline || topic.len() + payload.len() > kind.max_from_iot_core()) {
        // The publisher is not notified.
        return 0;
    }
    let (model, body) = match (service, content) {
        (Service::IotCore, _) => (
            "aws.greengrass#IoTCoreMessage",
            json!({"message": {"topicName": topic, "payload": BASE64_STANDARD.encode(payload)}}),
        ),
        (Service::PubSub, Content::Binary(bytes)) => (
            "aws.greengrass#SubscriptionResponseMessage",
            json!({"binaryMessage": {"message": BASE64_STANDARD.encode(bytes), "context": {"topic": topic}}}),
        ),
        (Service::PubSub, Content::Json(value)) => (
            "aws.greengrass#SubscriptionResponseMessage",
            json!({"jsonMessage": {"message": value, "context": {"topic": topic}}}),
        ),
    };
    let mut count = 0;
    for connection in connections {
        let subscriptions = connection.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let streams: Vec<i32> = subscriptions
            .iter()
            .filter(|(_, one)| {
                let is_own = from == Some(connection.number);
                one.service == service && !one.is_silent && (one.gets_own || !is_own) && filters(&one.filter, topic)
            })
            .map(|(stream, _)| *stream)
            .collect();
        drop(subscriptions);
        for stream in streams {
            let frame = message(stream, model, &body);
            if frame.encode().len() <= kind.max_frame() {
                connection.send(&frame);
                count += 1;
            }
        }
    }
    count
}

fn get_configuration(shared: &Shared, connection: &Connection, stream: i32, body: &Value) {
    let component = body["componentName"].as_str().unwrap_or(COMPONENT);
    let (kind, port) = {
        let state = shared.lock();
        (state.kind, state.port)
    };
    let configuration = match (component, kind) {
        // Nucleus lite returns the port as a string, the classic nucleus besides the configured
        // port.
        ("aws.greengrass.TokenExchangeService", Kind::Lite) => json!({"port": port.to_string()}),
        ("aws.greengrass.TokenExchangeService", Kind::Classic) => json!({"port": 0, "activePort": port}),
        (COMPONENT, _) => json!({"accessControl": shared.lock().access_control}),
        _ => Value::Null,
    };
    let path: Vec<_> = body["keyPath"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let found = path.iter().try_fold(&configuration, |value, key| value.get(key)).filter(|value| !value.is_null());
    match (found, path.last()) {
        (None, _) => connection.refuse(stream, "ResourceNotFoundError", "Key not found."),
        (Some(value), Some(key)) => {
            let value = if value.is_object() { value.clone() } else { json!({*key: value}) };
            let body = json!({"componentName": component, "value": value});
            connection.respond(stream, "aws.greengrass#GetConfigurationResponse", &body);
        }
        (Some(value), None) => {
            let body = json!({"componentName": component, "value": value});
            connection.respond(stream, "aws.greengrass#GetConfigurationResponse", &body);
        }
    }
}
