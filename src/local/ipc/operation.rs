//! The operations of Greengrass IPC that the agent uses, as JSON (AWS IoT Greengrass V2 developer
//! guide, "Use the AWS IoT Device SDK for interprocess communication").

use aws_smithy_types::base64;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::frame::Frame;
use crate::domain::Via;

/// One of the two services that deliver commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    /// Local publish/subscribe among the components of this core device.
    PubSub,
    /// AWS IoT Core, over the nucleus's own MQTT connection.
    IotCore,
}

impl Way {
    /// The transport of its senders.
    pub(crate) fn via(self) -> Via {
        match self {
            Self::PubSub => Via::PubSub,
            Self::IotCore => Via::IotCore,
        }
    }

    /// The service's name in `accessControl`.
    pub(crate) fn service(self) -> &'static str {
        match self {
            Self::PubSub => "aws.greengrass.ipc.pubsub",
            Self::IotCore => "aws.greengrass.ipc.mqttproxy",
        }
    }

    /// The service's name for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PubSub => "local publish/subscribe",
            Self::IotCore => "AWS IoT Core",
        }
    }

    /// The configuration key that enables it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::PubSub => "ipc.pubsub",
            Self::IotCore => "ipc.iotCore",
        }
    }

    /// The operation that publishes, as `accessControl` names it.
    pub(crate) fn publishing(self) -> &'static str {
        match self {
            Self::PubSub => "aws.greengrass#PublishToTopic",
            Self::IotCore => "aws.greengrass#PublishToIoTCore",
        }
    }

    /// The operation that subscribes, as `accessControl` names it.
    pub(crate) fn subscribing(self) -> &'static str {
        match self {
            Self::PubSub => "aws.greengrass#SubscribeToTopic",
            Self::IotCore => "aws.greengrass#SubscribeToIoTCore",
        }
    }

    /// The longest topic, in bytes. AWS IoT Core ends the connection of the whole core device at a
    /// longer one.
    pub(super) fn max_topic(self) -> usize {
        match self {
            Self::PubSub | Self::IotCore => 256,
        }
    }
}

/// A request that has no stream yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    operation: &'static str,
    body: Vec<u8>,
}

impl Request {
    fn new(operation: &'static str, body: &Value) -> Self {
        Self { operation, body: body.to_string().into_bytes() }
    }

    /// Subscribes to everything that `filter` matches. The agent's own messages are delivered, too:
    /// they show the agent that the subscription works.
    pub(super) fn subscribe(way: Way, filter: &str) -> Self {
        let body = match way {
            Way::PubSub => json!({"topic": filter, "receiveMode": "RECEIVE_ALL_MESSAGES"}),
            Way::IotCore => json!({"topicName": filter, "qos": "1"}),
        };
        Self::new(way.subscribing(), &body)
    }

    /// Publishes a message. It is binary over publish/subscribe, too, since nucleus lite accepts
    /// JSON of at most 255 values.
    pub(super) fn publish(way: Way, topic: &str, payload: &[u8]) -> Self {
        let payload = base64::encode(payload);
        let body = match way {
            Way::PubSub => json!({"topic": topic, "publishMessage": {"binaryMessage": {"message": payload}}}),
            Way::IotCore => json!({"topicName": topic, "qos": "1", "payload": payload}),
        };
        Self::new(way.publishing(), &body)
    }

    /// Reads a value of a component's configuration.
    pub(super) fn get_configuration(component: &str, key: &str) -> Self {
        let body = json!({"componentName": component, "keyPath": [key]});
        Self::new("aws.greengrass#GetConfiguration", &body)
    }

    /// The request as a frame.
    pub(super) fn on(self, stream: i32) -> Frame {
        Frame::request(stream, self.operation, &format!("{}Request", self.operation), self.body)
    }
}

/// A message that a subscription delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'e> {
    #[serde(borrow)]
    json_message: Option<JsonMessage<'e>>,
    binary_message: Option<BinaryMessage>,
    message: Option<IotCoreMessage>,
}

#[derive(Deserialize)]
struct JsonMessage<'e> {
    #[serde(borrow)]
    message: &'e RawValue,
    context: Context,
}

#[derive(Deserialize)]
struct BinaryMessage {
    #[serde(default)]
    message: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    topic: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IotCoreMessage {
    topic_name: String,
    #[serde(default)]
    payload: String,
}

/// Reads an event of a subscription.
///
/// # Errors
/// The event is not of the service model.
pub(super) fn delivery(body: &[u8]) -> Result<Delivery, String> {
    let event: Event<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let decoded = |text: &str| base64::decode(text).map_err(|error| format!("its payload is not base64: {error}"));
    match event {
        Event { message: Some(IotCoreMessage { topic_name, payload }), .. } => {
            Ok(Delivery { topic: topic_name, payload: decoded(&payload)? })
        }
        Event { binary_message: Some(BinaryMessage { message, context }), .. } => {
            Ok(Delivery { topic: context.topic, payload: decoded(&message)? })
        }
        Event { json_message: Some(JsonMessage { message, context }), .. } => {
            Ok(Delivery { topic: context.topic, payload: message.get().as_bytes().to_vec() })
        }
        Event { .. } => Err("it has no message".into()),
    }
}

/// Why the server did not carry out a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceError {
    /// The error code, such as `UnauthorizedError`.
    pub(super) code: String,
    /// The server's message.
    message: String,
}

impl ServiceError {
    /// Whether the server may carry it out later, without a change of the configuration.
    pub(super) fn is_transient(&self) -> bool {
        self.code == "ServiceError"
    }

    /// Whether `accessControl` does not allow it.
    pub(super) fn is_denial(&self) -> bool {
        self.code == "UnauthorizedError"
    }
}

impl std::fmt::Display for ServiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.code),
            message => write!(f, "{}: {message}", self.code),
        }
    }
}

/// The most characters of the server's message that are shown.
const MAX_WORDS: usize = 300;

/// Reads an error response. If it has fewer members than the service model requires, the existing
/// members are quoted.
pub(super) fn service_error(frame: &Frame) -> ServiceError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        #[serde(rename = "_errorCode")]
        code: String,
        #[serde(rename = "_message")]
        words: String,
        message: String,
    }
    let Body { code, words, message } = serde_json::from_slice(&frame.payload).unwrap_or_default();
    let model = frame.header("service-model-type").and_then(|model| model.split_once('#'));
    let code = [code.as_str(), model.map_or("", |(_, name)| name), "ServiceError"];
    let code = code.into_iter().find(|code| !code.is_empty()).unwrap_or_default();
    let words = if words.is_empty() { message } else { words };
    ServiceError { code: cut(code), message: cut(&words) }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}

/// The value of a configuration key in the response to [`Request::get_configuration`].
pub(super) fn configuration_value(body: &[u8], key: &str) -> Option<Value> {
    let response: Value = serde_json::from_slice(body).ok()?;
    Some(response.get("value")?.get(key)?.clone()).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: Request) -> Value {
        serde_json::from_slice(&request.on(1).payload).unwrap()
    }

    #[test]
    fn requests_are_those_of_the_service_model() {
        let frame = Request::publish(Way::IotCore, "a/b", b"{}").on(3);
        assert_eq!(frame.header("operation"), Some("aws.greengrass#PublishToIoTCore"));
        assert_eq!(frame.header("service-model-type"), Some("aws.greengrass#PublishToIoTCoreRequest"));
        let publish = |way| body(Request::publish(way, "a/b", b"{}"));
        assert_eq!(publish(Way::IotCore), json!({"topicName": "a/b", "qos": "1", "payload": "e30="}));
        assert_eq!(
            publish(Way::PubSub),
            json!({"topic": "a/b", "publishMessage": {"binaryMessage": {"message": "e30="}}})
        );
        let subscribe = |way| body(Request::subscribe(way, "a/+"));
        assert_eq!(subscribe(Way::IotCore), json!({"topicName": "a/+", "qos": "1"}));
        assert_eq!(subscribe(Way::PubSub), json!({"topic": "a/+", "receiveMode": "RECEIVE_ALL_MESSAGES"}));
    }

    #[test]
    fn events_of_all_kinds_are_read() {
        let read = |text: &str| delivery(text.as_bytes()).map(|d| (d.topic, String::from_utf8(d.payload).unwrap()));
        let expected = Ok(("a/b".to_owned(), "{}".to_owned()));
        assert_eq!(read(r#"{"message":{"topicName":"a/b","payload":"e30="}}"#), expected);
        assert_eq!(read(r#"{"binaryMessage":{"message":"e30=","context":{"topic":"a/b"}}}"#), expected);
        assert_eq!(read(r#"{"jsonMessage":{"message":{},"context":{"topic":"a/b","x":1}}}"#), expected);
        assert_eq!(read(r#"{"message":{"topicName":"a/b"}}"#), Ok(("a/b".to_owned(), String::new())));
        for bad in ["", "{}", "[]", r#"{"message":{"topicName":"a","payload":"%"}}"#, r#"{"jsonMessage":{}}"#] {
            assert!(delivery(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_keeps_its_code_and_its_words() {
        let error = |body: &str, model: &str| {
            service_error(&Frame::request(1, "x", model, body.as_bytes().to_vec())).to_string()
        };
        let lite = r#"{"_message":"IPC Operation not authorized.","_errorCode":"UnauthorizedError"}"#;
        assert_eq!(error(lite, "aws.greengrass#UnauthorizedError"), "UnauthorizedError: IPC Operation not authorized.");
        assert_eq!(error("not JSON", "aws.greengrass#ConflictError"), "ConflictError");
        assert_eq!(error(r#"{"message":"a\nb"}"#, ""), "ServiceError: ab");
    }

    #[test]
    fn a_configuration_value_is_found_below_its_key() {
        let value = |body: &str| configuration_value(body.as_bytes(), "port");
        assert_eq!(value(r#"{"componentName":"x","value":{"port":"40123"}}"#), Some(json!("40123")));
        for none in ["", "{}", r#"{"value":{}}"#, r#"{"value":{"port":null}}"#, r#"{"value":"1"}"#] {
            assert_eq!(value(none), None, "{none}");
        }
    }
}
