//! The AsyncAPI 3 document: which message is on which topic, and how it travels.

use serde_json::{Map, Value, json};

use super::commands;
use crate::{
    domain::{ClientId, Operation, ThingName},
    protocol::status::OFFLINE,
    protocol::{ResultKind, Topics},
};

/// The last levels of a result's topic.
const KINDS: [ResultKind; 3] = [ResultKind::Accepted, ResultKind::Rejected, ResultKind::Completed];

/// Each parameter of an address, its placeholder in the topics that are made, and its description.
const PARAMETERS: [(&str, &str, &str); 6] = [
    ("topicPrefix", "PREFIX", "The agent's `topicPrefix`; `offboard` if it is not configured."),
    ("coreThingName", "CORE", "The core device's thing name."),
    (
        "client",
        "CLIENT",
        "The sender's own thing name, 1 to 128 of `a-z A-Z 0-9 : _ -`. The broker's policy has to tie it to the sender.",
    ),
    ("operation", "OPERATION", "The operation, as in the topic of the command."),
    ("kind", "KIND", "The kind of result."),
    ("thingName", "THING", "The device's thing name."),
];

/// An address as AsyncAPI writes one, from a topic of the agent's own making.
fn address(topic: &str) -> (String, Value) {
    let (mut levels, mut parameters) = (Vec::new(), Map::new());
    for level in topic.split('/') {
        let Some((name, _, about)) = PARAMETERS.iter().find(|(_, stand_in, _)| *stand_in == level) else {
            levels.push(level.to_owned());
            continue;
        };
        levels.push(format!("{{{name}}}"));
        let mut parameter = json!({"description": about});
        match *name {
            "topicPrefix" => parameter["default"] = json!("offboard"),
            "operation" => parameter["enum"] = Operation::ALL.iter().map(|operation| operation.as_str()).collect(),
            "kind" => parameter["enum"] = KINDS.iter().map(|kind| kind.as_str()).collect(),
            _ => {}
        }
        parameters.insert((*name).to_owned(), parameter);
    }
    (levels.join("/"), json!(parameters))
}

fn channel(topic: &str, description: &str, messages: &[&str]) -> Value {
    let (address, parameters) = address(topic);
    let of = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/messages/{name}")}));
    json!({"address": address, "parameters": parameters, "description": description,
        "messages": messages.iter().map(of).collect::<Map<_, _>>(), "servers": [{"$ref": "#/servers/broker"}]})
}

fn message(name: &str, summary: &str, examples: &[Value]) -> Value {
    let examples: Vec<_> = examples.iter().map(|payload| json!({"payload": payload})).collect();
    // The schemas say the same in draft-07, which is what AsyncAPI's own tools read.
    json!({"name": name, "summary": summary, "contentType": "application/json",
        "payload": {"$ref": format!("schemas/{name}.json")}, "examples": examples})
}

/// How it is published.
fn bindings(retain: bool) -> Value {
    json!({"mqtt": {"qos": 1, "retain": retain, "bindingVersion": "0.2.0"}})
}

/// Examples of what the agent publishes; the results answer the example of
/// `disassociate-client-devices`.
pub(super) fn examples(name: &str) -> Vec<Value> {
    let request = json!({"clientToken": "retire-7", "operation": "disassociate-client-devices"});
    let with = |members: Value| {
        let mut message = request.clone();
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        message
    };
    let (accepted, completed) = ("2026-11-21T09:00:00.123Z", "2026-11-21T09:00:00.456Z");
    match name {
        "accepted" => vec![with(json!({"entryCount": 1, "acceptedAt": accepted, "unknownCount": 0}))],
        "rejected" => vec![with(json!({"code": "ValidationException", "reason": "FIELD_VALIDATION_FAILED",
            "message": "dryrun is not a member of this operation",
            "fields": [{"name": "dryrun", "message": "is not a member of this operation"}]}))],
        "completed" => {
            vec![with(json!({"status": "SUCCEEDED", "entryCount": 1, "succeededCount": 1, "failedCount": 0,
            "unknownCount": 0, "errorEntries": [], "acceptedAt": accepted, "completedAt": completed}))]
        }
        "status" => {
            let devices = json!({"ASSOCIATED": 240, "ASSOCIATING": 0, "DISASSOCIATED": 0, "DISASSOCIATING": 10});
            let online = json!({"state": "ONLINE", "version": crate::VERSION, "health": "OK", "problems": [],
                "cloud": "REACHABLE", "devices": devices, "pendingEntries": 10, "openRequests": 1,
                "lastSyncAt": accepted, "startedAt": accepted});
            vec![online, serde_json::from_str(OFFLINE).unwrap()]
        }
        "metrics" => vec![json!({"at": accepted, "metrics": [{"name": "offboard_cloud_calls_total", "value": 3.0,
            "labels": {"action": "greengrass:BatchDisassociateClientDeviceFromCoreDevice", "answer": "ok"}}]})],
        "device" => vec![json!({"thingName": "sensor-7", "state": "DISASSOCIATING", "requestedBy": "bench-tool",
            "clientToken": "retire-7", "requestedAt": accepted, "attempts": 1, "changedAt": accepted})],
        _ => panic!("{name} has no example"),
    }
}

/// The whole document.
pub(super) fn document() -> Value {
    let core = ThingName::new("CORE").unwrap();
    let client = ClientId::new("CLIENT").unwrap();
    let topics = Topics::new("PREFIX", &core);
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());

    let accepting = topics.clone().with_broadcasts(true);
    let one_core = Operation::ALL.iter().map(|operation| (operation, topics.commands()));
    let broadcasts = Operation::ALL.iter().filter(|operation| operation.spec().broadcast);
    let all_cores = broadcasts.map(|operation| (operation, accepting.broadcasts().unwrap()));
    for (operation, filter) in one_core.chain(all_cores) {
        let (name, about) = (operation.as_str(), operation.spec().about);
        let topic = filter.replacen('+', "CLIENT", 1).replacen('+', name, 1);
        let is_broadcast = accepting.parse_command(&topic).unwrap().is_broadcast;
        let id = if is_broadcast { format!("broadcast-{name}") } else { name.to_owned() };
        channels.insert(id.clone(), channel(&topic, about, &[name]));
        messages.insert(name.to_owned(), message(name, about, &[commands::example(*operation)]));
        // What is carried out later also completes.
        let kinds = KINDS.iter().filter(|kind| operation.call_kind().is_some() || **kind != ResultKind::Completed);
        let answers: Vec<_> =
            kinds.map(|kind| json!({"$ref": format!("#/channels/results/messages/{}", kind.as_str())})).collect();
        operations.insert(
            id.clone(),
            json!({"action": "receive", "summary": about, "channel": {"$ref": format!("#/channels/{id}")},
                "messages": [{"$ref": format!("#/channels/{id}/messages/{name}")}], "bindings": bindings(false),
                "reply": {"channel": {"$ref": "#/channels/results"}, "messages": answers}}),
        );
    }

    let mut send = |name: &str, topic: &str, about: &str, sent: &[(&str, &str)], retain: bool| {
        let names: Vec<_> = sent.iter().map(|(message, _)| *message).collect();
        channels.insert(name.to_owned(), channel(topic, about, &names));
        for (each, summary) in sent {
            messages.insert((*each).to_owned(), message(each, summary, &examples(each)));
        }
        let sent: Vec<_> =
            names.iter().map(|each| json!({"$ref": format!("#/channels/{name}/messages/{each}")})).collect();
        operations.insert(
            format!("send-{name}"),
            json!({"action": "send", "summary": about, "channel": {"$ref": format!("#/channels/{name}")},
                "messages": sent, "bindings": bindings(retain)}),
        );
    };
    let result = topics.result(&client, "OPERATION", ResultKind::Accepted).replace("accepted", "KIND");
    let results = [
        (
            "accepted",
            "The command is stored durably, or the response to a query. Comes before `completed`; both may come twice.",
        ),
        ("rejected", "The command was rejected, and why."),
        ("completed", "The outcome, once all entries have ended, be it days later."),
    ];
    send("results", &result, "What became of a command; `kind` is the message's name.", &results, false);
    let about = "The status of the agent: at each connection and at each change, at most once a second. The last will is \
                 `{\"state\":\"OFFLINE\"}`, and so is the end of a clean stop.";
    send("status", &topics.status(), about, &[("status", "The status of the agent.")], true);
    let about = "Counters and gauges, every `metrics.intervalSeconds` where that is set.";
    send(
        "metrics",
        &topics.metrics(),
        about,
        &[("metrics", "All of them, with their names in docs/metrics.md.")],
        false,
    );
    let about = "A device, where `publishDevices` is set; cleared, by an empty message, when it is disassociated.";
    let device = topics.device(&ThingName::new("THING").unwrap());
    send("devices", &device, about, &[("device", "A device of the registry.")], true);

    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Offboard",
            "version": crate::VERSION,
            "description": "Disassociates client devices from an AWS IoT Greengrass V2 core device, over its local MQTT broker. \
                            Made by the agent's tests from its code; seen from the agent: it receives commands and sends \
                            results.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": server(&address(&topics.status()).0)},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    })
}

/// The core's own broker, by the agent's defaults.
fn server(status: &str) -> Value {
    let env = |name: &str| match name {
        "AWS_IOT_THING_NAME" => Some("MyCore".to_owned()),
        "AWS_REGION" => Some("eu-central-1".to_owned()),
        _ => None,
    };
    let (config, _) = crate::config::parse("{}", env).unwrap();
    let mqtt = config.mqtt.unwrap();
    json!({
        "host": format!("{}:{}", mqtt.host, mqtt.port),
        "protocol": if mqtt.tls { "secure-mqtt" } else { "mqtt" },
        "protocolVersion": "3.1.1",
        "description": "The core device's local broker. The binding is the agent's own connection.",
        "bindings": {"mqtt": {
            "clientId": mqtt.client_id,
            "cleanSession": false,
            "keepAlive": mqtt.keep_alive.as_secs(),
            "lastWill": {"topic": status, "qos": 1, "retain": true, "message": OFFLINE},
            "bindingVersion": "0.2.0",
        }},
    })
}

#[test]
fn each_reference_leads_somewhere_and_each_example_is_valid() {
    let (document, schemas, validators) = (document(), super::schemas(), super::validators());
    let mut unused: std::collections::BTreeSet<_> = schemas.keys().cloned().collect();
    let mut rest = vec![&document];
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(members) => rest.extend(members.values()),
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
        let Some(reference) = value["$ref"].as_str() else { continue };
        if let Some(inside) = reference.strip_prefix('#') {
            assert!(document.pointer(inside).is_some(), "{reference}");
        } else {
            let name = reference.strip_prefix("schemas/").and_then(|name| name.strip_suffix(".json"));
            unused.remove(name.unwrap_or_else(|| panic!("{reference} is no schema")));
        }
    }
    assert!(unused.is_empty(), "on no topic: {unused:?}");
    for (name, message) in document["components"]["messages"].as_object().unwrap() {
        for example in message["examples"].as_array().unwrap() {
            validators[name].validate(&example["payload"]).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
