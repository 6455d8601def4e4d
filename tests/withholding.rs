//! A broker with Greengrass's ways (Moquette's): it never acknowledges a publish that its policies deny.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, missing_docs)]

mod common;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::BytesMut;
use common::*;
use rumqttc::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// Commands without an acknowledgement that such a broker has under way.
const WINDOW: usize = 10;

#[derive(Default)]
struct Seen {
    /// Topics with their payloads, as published by the agent.
    published: Vec<(String, Value)>,
    /// Acknowledgements of commands.
    acknowledged: usize,
}

/// Serves one connection after the other. Acknowledges nothing on a topic that contains `denied`.
async fn serve(
    listener: TcpListener,
    denied: &'static str,
    mut commands: mpsc::Receiver<(String, String)>,
    seen: Arc<Mutex<Seen>>,
) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = connection(&mut stream, denied, &mut commands, &seen).await;
    }
}

async fn connection(
    stream: &mut TcpStream,
    denied: &str,
    commands: &mut mpsc::Receiver<(String, String)>,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let mut input = BytesMut::new();
    let (mut subscribed, mut packet_id) = (false, 0_u16);
    let mut under_way: VecDeque<u16> = VecDeque::new();
    loop {
        let mut output = BytesMut::new();
        while let Ok(packet) = Packet::read(&mut input, 1 << 20) {
            let answer = match packet {
                Packet::Connect(_) => Some(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))),
                Packet::Subscribe(subscribe) => {
                    subscribed = true;
                    let code = SubscribeReasonCode::Success(QoS::AtLeastOnce);
                    Some(Packet::SubAck(SubAck::new(subscribe.pkid, vec![code])))
                }
                Packet::PingReq => Some(Packet::PingResp),
                Packet::PubAck(ack) => {
                    assert_eq!(under_way.pop_front(), Some(ack.pkid), "acknowledgements come in the order of arrival");
                    seen.lock().unwrap().acknowledged += 1;
                    None
                }
                Packet::Publish(publish) => {
                    let body = serde_json::from_slice(&publish.payload).unwrap_or_default();
                    let is_denied = publish.topic.contains(denied);
                    seen.lock().unwrap().published.push((publish.topic, body));
                    (!is_denied).then(|| Packet::PubAck(PubAck::new(publish.pkid)))
                }
                _ => None,
            };
            if let Some(answer) = answer {
                answer.write(&mut output, 1 << 20).unwrap();
            }
        }
        while subscribed
            && under_way.len() < WINDOW
            && let Ok((topic, body)) = commands.try_recv()
        {
            packet_id = packet_id % 1000 + 1;
            under_way.push_back(packet_id);
            let mut publish = Publish::new(topic, QoS::AtLeastOnce, body);
            publish.pkid = packet_id;
            Packet::Publish(publish).write(&mut output, 1 << 20).unwrap();
        }
        stream.write_all(&output).await?;
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_result_that_is_never_acknowledged_stalls_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut broker = Broker::absent(dir.path());
    broker.port = listener.local_addr().unwrap().port();
    let (send, commands) = mpsc::channel(1000);
    let seen: Arc<Mutex<Seen>> = Arc::default();
    tokio::spawn(serve(listener, "/results/denied/", commands, Arc::clone(&seen)));
    let command = |client: &str, n: usize| {
        let topic = format!("offboard/{CORE}/commands/{client}/disassociate-client-devices");
        let body = json!({"clientToken": format!("t{n}"), "entries": [{"thingName": format!("d{n:04}")}]});
        (topic, body.to_string())
    };
    // More results than the agent has under way at a time.
    for n in 0..10 {
        send.send(command("denied", n)).await.unwrap();
    }
    // Several times the client library's table of packet ids.
    for n in 0..300 {
        send.send(command("bench", n)).await.unwrap();
    }
    let mut world = World::with(dir, broker, 300).await;
    world.start_agent();
    let results = |kind: &str| {
        let topic = format!("offboard/{CORE}/results/bench/disassociate-client-devices/{kind}");
        let seen = seen.lock().unwrap();
        let tokens = seen.published.iter().filter(|(t, _)| *t == topic).map(|(_, body)| body["clientToken"].clone());
        tokens.collect::<Vec<Value>>()
    };
    // Those that are denied are in the way for 30 s, and no longer.
    until("everybody else is answered", || results("completed").len() >= 300).await;
    let expected: Vec<Value> = (0..300).map(|n| json!(format!("t{n}"))).collect();
    assert_eq!(results("accepted"), expected, "once each, in order");
    assert_eq!(results("completed").len(), 300);
    until("every command is acknowledged", || seen.lock().unwrap().acknowledged == 310).await;
    let denied = seen.lock().unwrap().published.iter().filter(|(topic, _)| topic.contains("/denied/")).count();
    assert!((1..=20).contains(&denied), "{denied} messages to the denied topic");
}
