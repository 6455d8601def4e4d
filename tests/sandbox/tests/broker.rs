//! The properties of the embedded broker that other tests rely on.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use offboard_sandbox::broker::Broker;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

fn client(broker: &Broker, name: &str) -> (AsyncClient, EventLoop) {
    AsyncClient::new(MqttOptions::new(name, "127.0.0.1", broker.port()), 10)
}

async fn until(events: &mut EventLoop, wanted: impl Fn(&Packet) -> bool) -> Packet {
    let search = async {
        loop {
            match events.poll().await.unwrap() {
                Event::Incoming(packet) if wanted(&packet) => return packet,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), search).await.expect("not received")
}

#[tokio::test]
async fn brokers_are_apart_and_keep_what_is_retained() {
    let (one, other) = (Broker::start().unwrap(), Broker::start().unwrap());
    assert_ne!(one.url(), other.url());
    for broker in [&one, &other] {
        let (sender, mut events) = client(broker, "sender");
        // Publishes twice to a topic without any earlier subscription: the first publish must not
        // close the connection.
        for payload in [broker.url(), broker.url()] {
            sender.publish("a/b", QoS::AtLeastOnce, true, payload).await.unwrap();
            until(&mut events, |packet| matches!(packet, Packet::PubAck(_))).await;
        }
    }
    let (receiver, mut events) = client(&one, "receiver");
    receiver.subscribe("a/#", QoS::AtLeastOnce).await.unwrap();
    let Packet::Publish(publish) = until(&mut events, |packet| matches!(packet, Packet::Publish(_))).await else {
        unreachable!("it was waited for")
    };
    assert!(publish.retain);
    assert_eq!(publish.payload, one.url());
}
