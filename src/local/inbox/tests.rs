//! The inbox between a ledger in memory and a test, which is the broker.

use bytes::Bytes;
use rumqttc::{Publish, QoS};
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::Via,
    local::broker::{Intake, Wired},
    runtime::stop,
    testing::parts::{self, Sent, Wire},
};

struct Rig {
    parts: parts::Rig,
    intake: Intake,
    wire: Wire,
    epoch: u64,
    last_packet: u16,
    stop: Option<stop::Stopper>,
}

impl Rig {
    fn new(settings: &str) -> Self {
        let parts = parts::Rig::new(settings);
        let (client, requests) = Wire::client();
        let max_payload = parts.config.limits.max_payload_bytes;
        let (intake, wired) = Intake::new(client, Via::Mqtt, parts.topics(), max_payload);
        let Wired { publisher, inbound, waiting, .. } = wired;
        let (stopper, stop) = stop::channel();
        let inbox = Inbox {
            core: parts.config.core.clone(),
            max_payload,
            max_payload_key: "limits.maxPayloadBytes",
            max_entries: parts.config.batch.max_entries,
            max_pending: parts.config.limits.max_pending_entries,
            max_database: parts.config.limits.max_database_bytes,
            off: parts.config.off.clone(),
            accept_broadcast: parts.config.accept_broadcast,
            ledger: parts.ledger.clone(),
            health: Arc::clone(&parts.health),
            clock: parts.clock.clone(),
            waiting: Some(waiting),
            stop,
        };
        tokio::spawn(inbox.run(inbound));
        let wire = Wire::new(publisher, requests);
        let epoch = wire.up(true);
        Self { parts, intake, wire, epoch, last_packet: 0, stop: Some(stopper) }
    }

    /// The broker delivers a message at QoS 1; returns its packet id.
    fn deliver(&mut self, topic: &str, payload: &str, change: impl FnOnce(&mut Publish)) -> u16 {
        self.last_packet += 1;
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, Bytes::from(payload.to_owned()));
        publish.pkid = self.last_packet;
        change(&mut publish);
        assert!(self.intake.take(self.epoch, publish, None));
        self.last_packet
    }

    fn command(&mut self, operation: &str, payload: &Value) -> u16 {
        self.deliver(&format!("offboard/MyCore/commands/bench/{operation}"), &payload.to_string(), |_| ())
    }

    /// What the agent sends: the code of a rejection, the operation of a response, the packet of an
    /// acknowledgement.
    async fn sent(&mut self) -> Vec<String> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let shown = |sent: Sent| match sent {
            Sent::Ack(packet) => format!("ack {packet}"),
            Sent::Message(_, topic, content) => {
                assert!(topic.starts_with("offboard/MyCore/results/bench/"), "{topic}");
                let code = word(&content["code"]);
                if code.is_empty() { word(&content["operation"]) } else { code }
            }
        };
        self.wire.sent().await.into_iter().map(shown).collect()
    }
}

fn disassociate(token: Option<&str>, thing: &str) -> Value {
    let mut command = json!({"entries": [{"thingName": thing}]});
    if let Some(token) = token {
        command["clientToken"] = token.into();
    }
    command
}

/// The outbox publishes `accepted`; the inbox acknowledges.
#[tokio::test(start_paused = true)]
async fn a_command_is_acknowledged_when_the_ledger_has_it() {
    let mut rig = Rig::new("");
    rig.command("disassociate-client-devices", &disassociate(Some("t1"), "a"));
    assert_eq!(rig.sent().await, ["ack 1"]);
    assert_eq!(rig.parts.find("bench", "t1").await.map(|request| request.tally.open), Some(1));
    rig.parts.disk.files.fail_syncs(1);
    rig.command("disassociate-client-devices", &disassociate(Some("t2"), "a"));
    assert_eq!(rig.sent().await, ["InternalServerException", "ack 2"], "what is not durable is not accepted");
    assert!(rig.parts.find("bench", "t2").await.is_none());
}

/// A command that was accepted is being carried out, whatever the store takes meanwhile.
#[tokio::test(start_paused = true)]
async fn while_the_stores_file_is_too_large_a_repeated_command_is_answered() {
    let mut rig = Rig::new("");
    rig.parts.disk.registry.set_size(1 << 40);
    rig.command("disassociate-client-devices", &disassociate(Some("t1"), "a"));
    assert_eq!(rig.sent().await, ["ack 1"]);
    // The ledger looks at the file's size, rewrites it in vain, and looks again.
    while rig.parts.ledger.summary().borrow().store_bytes == 0 {
        rig.parts.find("bench", "t1").await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.command("disassociate-client-devices", &disassociate(Some("t2"), "a"));
    assert_eq!(rig.sent().await, ["ThrottlingException", "ack 2"]);
    rig.command("disassociate-client-devices", &disassociate(Some("t1"), "a"));
    assert_eq!(rig.sent().await, ["ack 3"]);
}

#[tokio::test(start_paused = true)]
async fn responses_and_acknowledgements_keep_the_order_of_the_commands() {
    let mut rig = Rig::new("");
    rig.command("list-devices", &json!({}));
    rig.command("disassociate-client-devices", &disassociate(Some("t1"), "a"));
    rig.command("disassociate-client-devices", &json!({"entries": []}));
    rig.command("get-request", &json!({"targetClientToken": "t1"}));
    rig.command("disassociate-client-devices", &disassociate(Some("t1"), "b"));
    let sent = rig.sent().await;
    let expected = [
        "list-devices",
        "ack 1",
        "ack 2",
        "ValidationException",
        "ack 3",
        "get-request",
        "ack 4",
        "ConflictException",
        "ack 5",
    ];
    assert_eq!(sent, expected);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_rejected_and_acknowledged() {
    let mut rig = Rig::new(r#""limits":{"maxPayloadBytes":16384}"#);
    let topic = "offboard/MyCore/commands/bench/disassociate-client-devices";
    let good = disassociate(Some("t1"), "a").to_string();
    rig.deliver(topic, &good, |publish| publish.retain = true);
    rig.deliver(topic, &" ".repeat(20_000), |_| ());
    rig.deliver(topic, "{", |_| ());
    rig.deliver("offboard/MyCore/commands/bench/no-such-thing", "{}", |_| ());
    let sent = rig.sent().await;
    let rejected: Vec<&String> = sent.iter().filter(|one| !one.starts_with("ack")).collect();
    assert_eq!(rejected, vec!["ValidationException"; 4]);
    assert_eq!(sent.len(), 8, "{sent:?}");
    assert!(rig.parts.find("bench", "t1").await.is_none());
}

/// Without a token only the delivery shows that it is the same command.
#[tokio::test(start_paused = true)]
async fn a_repeated_delivery_is_the_same_request_until_the_broker_has_the_acknowledgement() {
    let mut rig = Rig::new("");
    let (topic, payload) =
        ("offboard/MyCore/commands/bench/disassociate-client-devices", disassociate(None, "a").to_string());
    rig.deliver(topic, &payload, |_| ());
    // The connection ends before the response, so that the broker delivers it again.
    rig.wire.down();
    assert_eq!(rig.sent().await, Vec::<String>::new());
    rig.epoch = rig.wire.up(true);
    rig.deliver(topic, &payload, |publish| publish.dup = true);
    assert_eq!(rig.sent().await, ["ack 2"]);
    let open = |rig: &Rig| rig.parts.ledger.summary().borrow().open_requests;
    assert_eq!(open(&rig), 1);
    rig.deliver(topic, &payload, |_| ());
    assert_eq!((rig.sent().await, open(&rig)), (vec!["ack 3".to_owned()], 2));
}

/// A response that comes after its connection must not reach another one.
#[tokio::test(start_paused = true)]
async fn a_response_stays_on_the_connection_of_its_command() {
    let mut rig = Rig::new("");
    rig.command("list-devices", &json!({}));
    rig.wire.down();
    rig.epoch = rig.wire.up(true);
    rig.command("list-devices", &json!({}));
    assert_eq!(rig.sent().await, ["list-devices", "ack 2"]);
}

#[tokio::test(start_paused = true)]
async fn at_a_stop_what_was_taken_gets_its_response() {
    let mut rig = Rig::new("");
    rig.command("disassociate-client-devices", &disassociate(Some("t1"), "a"));
    tokio::task::yield_now().await;
    rig.stop.take().unwrap().stop();
    assert_eq!(rig.sent().await, ["ack 1"]);
    assert_eq!(rig.parts.find("bench", "t1").await.map(|request| request.tally.open), Some(1));
}
