//! Senders of commands, which wait for what comes back.

use std::io;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::wire::{Message, Wire};
use super::{SILENCE, computed, micros};

/// Send commands that take devices off, and print how long they took
#[derive(Debug, Clone, Args)]
pub(crate) struct Commands {
    /// The broker's port on 127.0.0.1
    #[arg(long)]
    port: u16,
    /// The core device
    #[arg(long)]
    core: String,
    /// How many clients send; each has its share of the commands and of the window
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// Commands that may be without an `accepted`, all senders together
    #[arg(long, default_value_t = 500)]
    window: usize,
    /// Instead of a window: so many commands at once, and the next ones when all of these are completed
    #[arg(long)]
    group: Option<usize>,
    /// Wait between two groups
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Instead of a window: a command of each sender every so many milliseconds, whatever came back
    #[arg(long)]
    every_ms: Option<u64>,
    /// Commands in all
    #[arg(long)]
    commands: usize,
    /// Send no more of them after so long
    #[arg(long, default_value_t = 3600.0)]
    seconds: f64,
    /// Devices in each command
    #[arg(long, default_value_t = 1)]
    entries: usize,
    /// The first device's number
    #[arg(long, default_value_t = 1)]
    first: usize,
    /// Makes the tokens of this load its own
    #[arg(long, default_value = "t")]
    prefix: String,
    /// The storeless client completes what it accepts at once
    #[arg(long)]
    storeless: bool,
}

/// What is looked at of an answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    client_token: String,
    status: Option<String>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    sent: Option<Instant>,
    accepted: Option<Instant>,
    completed: Option<Instant>,
}

/// One client's part.
#[derive(Default)]
struct Part {
    told: Vec<Told>,
    sent: usize,
    accepted: usize,
    completed: usize,
    rejected: usize,
    /// Told a second time, which QoS 1 allows.
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
        // Ranges of numbers that lie beside each other.
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
    let mut part = Part { told: vec![Told::default(); numbers.len()], ..Part::default() };
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
                part.told[part.sent].sent = Some(Instant::now());
                part.sent += 1;
            }
            wire.flush().await?;
        }
        if !may_send && part.completed + part.rejected == part.sent {
            return Ok(part);
        }
        // The next command's time cancels the turn, which loses nothing as long as the socket takes all that is written,
        // as it does at such a pace.
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
        let Some(told) = number.and_then(|n| self.told.get_mut(n)) else { return };
        let (at, count) = match message.topic.rsplit('/').next() {
            Some("accepted") => (&mut told.accepted, &mut self.accepted),
            Some("completed") => (&mut told.completed, &mut self.completed),
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
    let all = || parts.iter().flat_map(|part| &part.told);
    let first = all().filter_map(|told| told.sent).min().unwrap_or(start);
    let last =
        |at: fn(&Told) -> Option<Instant>| all().filter_map(at).max().map_or(0.0, |at| (at - first).as_secs_f64());
    let mut report = json!({
        "sent": sum(|part| part.sent), "accepted": sum(|part| part.accepted), "completed": sum(|part| part.completed),
        "rejected": sum(|part| part.rejected), "again": sum(|part| part.again),
        "notSucceeded": sum(|part| part.not_succeeded),
        "secondsToAccepted": last(|told| told.accepted), "secondsToCompleted": last(|told| told.completed),
        "computed": computed(),
    });
    if load.group == Some(1) || load.every_ms.is_some() {
        // Microseconds of each, in the order of the commands.
        let waits: Vec<[u64; 2]> = all()
            .filter_map(|told| Some([told.accepted? - told.sent?, told.completed? - told.sent?].map(micros)))
            .collect();
        report["waits"] = json!(waits);
    }
    report
}
