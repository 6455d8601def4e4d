//! Plain messages between two clients over the broker alone: the broker's own performance.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::wire::Wire;
use super::{SILENCE, computed, micros};

const TOPIC: &str = "plain/commands";

/// Send plain messages from one client to another at QoS 1
#[derive(Debug, Args)]
pub(crate) struct Messages {
    /// The broker's port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Number of messages
    #[arg(long)]
    messages: usize,
    /// Maximum number of messages in flight; 1 measures the latency of one message
    #[arg(long, default_value_t = 500)]
    window: usize,
    /// Wait before each window
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
}

pub(crate) async fn run(load: Messages) -> io::Result<()> {
    let mut receiver = Wire::connect(load.port, "plain-receiver").await?;
    receiver.subscribe(TOPIC).await?;
    let mut sender = Wire::connect(load.port, "plain-sender").await?;
    // The typical size of a command.
    let payload = [b'x'; 80];
    let (mut sent, mut received) = (0, 0);
    let mut waits = Vec::new();
    let start = Instant::now();
    let mut began = start;
    // A separate task, so that neither direction waits for the other.
    let (give, mut taken) = tokio::sync::mpsc::channel::<usize>(1);
    let sending = tokio::spawn(async move {
        while let Some(count) = taken.recv().await {
            for _ in 0..count {
                sender.publish(TOPIC, &payload);
            }
            sender.flush().await?;
            sender.skim()?;
        }
        io::Result::Ok(())
    });
    while received < load.messages {
        let room = load.window.saturating_sub(sent - received).min(load.messages - sent);
        // Sends several messages at a time, as a client with its own window would.
        if room > 0 && (room >= load.window / 4 || sent + room == load.messages) {
            if load.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(load.pause_ms)).await;
            }
            began = Instant::now();
            give.send(room).await.map_err(io::Error::other)?;
            sent += room;
        }
        let Ok(message) = tokio::time::timeout(SILENCE, receiver.turn()).await else { break };
        message?;
        received += 1;
        while receiver.waiting().is_some() {
            received += 1;
        }
        receiver.flush().await?;
        if load.window == 1 {
            waits.push(micros(began.elapsed()));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(give);
    sending.await.map_err(io::Error::other)??;
    println!("{}", json!({"received": received, "seconds": seconds, "waits": waits, "computed": computed()}));
    Ok(())
}
