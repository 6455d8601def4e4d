//! The minimal client that answers commands: it stores nothing and calls no cloud. It uses the
//! agent's MQTT client library.

use std::io;

use clap::Args;
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use serde_json::{Value, json};

/// Answer each command with `accepted` and `completed`, at once
#[derive(Debug, Args)]
pub(crate) struct Storeless {
    /// The broker's port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// The core device
    #[arg(long)]
    core: String,
}

pub(crate) async fn run(arguments: Storeless) -> io::Result<()> {
    let Storeless { port, core } = arguments;
    let mut options = MqttOptions::new("storeless", "127.0.0.1", port);
    // The agent's own settings.
    options.set_inflight(100).set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 1 << 16);
    let mut network = events.network_options();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    let filter = format!("offboard/{core}/commands/+/+");
    client.subscribe(filter, QoS::AtLeastOnce).await.map_err(io::Error::other)?;
    loop {
        match events.poll().await.map_err(io::Error::other)? {
            Event::Incoming(Incoming::SubAck(_)) => println!("ready"),
            Event::Incoming(Incoming::Publish(publish)) => {
                let body: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
                let results = publish.topic.replacen("/commands/", "/results/", 1);
                let operation = "disassociate-client-devices";
                let (token, at) = (&body["clientToken"], "2026-11-21T09:00:00.123Z");
                let accepted = json!({"clientToken": token, "operation": operation, "entryCount": 1, "acceptedAt": at});
                let completed = json!({
                    "clientToken": token, "operation": operation, "status": "SUCCEEDED", "entryCount": 1,
                    "succeededCount": 1, "failedCount": 0, "errorEntries": [], "acceptedAt": at, "completedAt": at,
                });
                for (kind, message) in [("accepted", accepted), ("completed", completed)] {
                    let topic = format!("{results}/{kind}");
                    // The channel is longer than the window of any load.
                    client
                        .try_publish(topic, QoS::AtLeastOnce, false, message.to_string())
                        .map_err(io::Error::other)?;
                }
            }
            _ => {}
        }
    }
}
