//! Senders of commands, which wait for the results.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::wire::{Message, Wire};
use super::{SILENCE, computed, micros};

/// Send commands that disassociate devices, and print how long they took
#[derive(Debug, Clone, Args)]
pub(crate) struct Commands {
    /// The broker's port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// The core device
    #[arg(long)]
    core: String,
    /// Number of clients; each sends its share of the commands and has its share of the window
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// Maximum number of commands without an `accepted`, of all senders together
    #[arg(long, default_value_t = 500)]
    window: usize,
    /// Instead of a window: send groups of this many commands, each after the previous group is
    /// completed
    #[arg(long)]
    group: Option<usize>,
    /// Wait between two groups
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Instead of a window: each sender sends a command at this interval in milliseconds, without
    /// waiting for results
    #[arg(long)]
    every_ms: Option<u64>,
    /// Total number of commands
    #[arg(long)]
    commands: usize,
    /// Stop sending after this time
    #[arg(long, default_value_t = 3600.0)]
    seconds: f64,
    /// Number of devices in each command
    #[arg(long, default_value_t = 1)]
    entries: usize,
    /// Number of the first device
    #[arg(long, default_value_t = 1)]
    first: usize,
    /// Prefix of the tokens, unique for this load
    #[arg(long, default_value = "t")]
    prefix: String,
    /// The storeless client completes what it accepts at once
    #[arg(long)]
    storeless: bool,
}

/// The members of an answer that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    client_token: String,
    status: Option<String>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    sent: Option<Instant>,
    accepted: Option<Instant>,
    completed: Option<Instant>,
}

/// The results of one client.
#[derive(Default)]
struct Part {
    times: Vec<Times>,
    sent: usize,
    accepted: usize,
    completed: usize,
    rejected: usize,
    /// Answers that came a second time, which QoS 1 allows.
    again: usize,
    not_succeeded: usize,
}

pub(crate) async fn run(load: Commands) -> io::Result<()> {
    let senders = load.senders.max(1);
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for sender in 0..senders {
        let mut wire = Wire::connect(load.port, &format!("{}-{sender}", load.prefix)).await?;
        wire.subscribe(&format!("offboard/{}/results/{}-{sender}/#", load.core, load.prefix)).await?;
        // Adjacent ranges of numbers.
        let numbers = (load.commands * sender / senders)..(load.commands * (sender + 1) / senders);
        let load = load.clone();
        tasks.spawn(async move { send(&load, wire, sender, numbers, load.window.div_ceil(senders)).await });
    }
    let mut parts = Vec::new();
    while let Some(part) = tasks.join_next().await {
        parts.push(part.map_err(io::Error::other)??);
    }
    println!("{}", report(&load, &parts, start));
    Ok(())
}

async fn send(
    load: &Commands,
    mut wire: Wire,
    sender: usize,
    numbers: std::ops::Range<usize>,
    window: usize,
) -> io::Result<Part> {
    let topic = format!("offboard/{}/commands/{}-{sender}/disassociate-client-devices", load.core, load.prefix);
    let mut part = Part { times: vec![Times::default(); numbers.len()], ..Part::default() };
    let (start, total) = (Instant::now(), numbers.len());
    let limit = Duration::from_secs_f64(load.seconds);
    loop {
        let may_send = start.elapsed() < limit && part.sent < total;
        let next = load.every_ms.map(|every| start + Duration::from_millis(every * part.sent as u64));
        let room = match (next, load.group) {
            (Some(next), _) => usize::from(next <= Instant::now()),
            (None, Some(group)) if part.completed + part.rejected == part.sent => group,
            (None, Some(_)) => 0,
            (None, None) => window.saturating_sub(part.sent - part.accepted - part.rejected),
        };
        if may_send && room > 0 {
            if load.pause_ms > 0 && part.sent > 0 {
                tokio::time::sleep(Duration::from_millis(load.pause_ms)).await;
            }
            for _ in 0..room.min(total - part.sent) {
                let number = numbers.start + part.sent;
                wire.publish(&topic, command(load, number).as_bytes());
                part.times[part.sent].sent = Some(Instant::now());
                part.sent += 1;
            }
            wire.flush().await?;
        }
        if !may_send && part.completed + part.rejected == part.sent {
            return Ok(part);
        }
        // The time of the next command may cancel the turn. Nothing is lost as long as the socket
        // accepts all data that is written, as it does at such a rate.
        let wait = next.filter(|_| may_send).map_or(SILENCE, |next| next.saturating_duration_since(Instant::now()));
        match tokio::time::timeout(wait, wire.turn()).await {
            Ok(message) => part.take(&message?, numbers.start, &load.prefix),
            Err(_) if next.is_some() && may_send => continue,
            Err(_) => return Ok(part),
        }
        while let Some(message) = wire.waiting() {
            part.take(&message, numbers.start, &load.prefix);
        }
    }
}

fn command(load: &Commands, number: usize) -> String {
    let first = load.first + number * load.entries;
    let entries: Vec<Value> =
        (first..first + load.entries).map(|device| json!({"thingName": format!("device-{device:04}")})).collect();
    json!({"clientToken": format!("{}-{number}", load.prefix), "entries": entries}).to_string()
}

impl Part {
    fn take(&mut self, message: &Message, first: usize, prefix: &str) {
        let now = Instant::now();
        let Ok(answer) = serde_json::from_slice::<Answer>(&message.payload) else { return };
        let number = answer.client_token.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|number| number.parse::<usize>().ok()).and_then(|n| n.checked_sub(first));
        let Some(times) = number.and_then(|n| self.times.get_mut(n)) else { return };
        let (at, count) = match message.topic.rsplit('/').next() {
            Some("accepted") => (&mut times.accepted, &mut self.accepted),
            Some("completed") => (&mut times.completed, &mut self.completed),
            _ => {
                self.rejected += 1;
                return;
            }
        };
        if at.is_some() {
            self.again += 1;
            return;
        }
        *at = Some(now);
        *count += 1;
        self.not_succeeded += usize::from(answer.status.is_some_and(|status| status != "SUCCEEDED"));
    }
}

fn report(load: &Commands, parts: &[Part], start: Instant) -> Value {
    let sum = |count: fn(&Part) -> usize| parts.iter().map(count).sum::<usize>();
    let all = || parts.iter().flat_map(|part| &part.times);
    let first = all().filter_map(|times| times.sent).min().unwrap_or(start);
    let last =
        |at: fn(&Times) -> Option<Instant>| all().filter_map(at).max().map_or(0.0, |at| (at - first).as_secs_f64());
    let mut report = json!({
        "sent": sum(|part| part.sent), "accepted": sum(|part| part.accepted), "completed": sum(|part| part.completed),
        "rejected": sum(|part| part.rejected), "again": sum(|part| part.again),
        "notSucceeded": sum(|part| part.not_succeeded),
        "secondsToAccepted": last(|times| times.accepted), "secondsToCompleted": last(|times| times.completed),
        "computed": computed(),
    });
    if load.group == Some(1) || load.every_ms.is_some() {
        // The microseconds to `accepted` and to `completed` of each command, in the order of the
        // commands.
        let waits: Vec<[u64; 2]> = all()
            .filter_map(|times| Some([times.accepted? - times.sent?, times.completed? - times.sent?].map(micros)))
            .collect();
        report["waits"] = json!(waits);
    }
    report
}
