//! The clients: they send commands, repeat those that were not answered, and receive results.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{
    broker,
    world::{BEGIN, World},
};

/// What a client heard of one of its commands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) accepted: bool,
    /// For good: it will not be taken later.
    pub(super) refused: bool,
    /// Not now.
    later: bool,
    pub(super) completed: bool,
}

pub(super) type Ears = BTreeMap<(String, String), Heard>;

pub(super) fn hears(world: &World, address: &str, body: &Value) {
    let mut levels = address.split('/');
    let (Some(client), Some(_), Some(kind)) = (levels.next(), levels.next(), levels.next()) else { return };
    let Some(token) = body["clientToken"].as_str() else { return };
    let mut state = world.state();
    let heard = state.ears.entry((client.to_owned(), token.to_owned())).or_default();
    match kind {
        "accepted" => heard.accepted = true,
        "completed" => heard.completed = true,
        _ => match body["code"].as_str() {
            Some("ThrottlingException" | "InternalServerException") => heard.later = true,
            _ => heard.refused = true,
        },
    }
    drop(state);
    world.mail.notify_waiters();
}

/// A command that is sent until it is answered.
struct Command {
    client: String,
    token: String,
    operation: &'static str,
    payload: Value,
    things: BTreeSet<String>,
}

fn draw(world: &World, n: usize) -> Command {
    let plan = world.plan.clone();
    let now = world.now();
    let mut guard = world.state();
    let rng = &mut guard.rng;
    let client = format!("c{}", rng.usize(0..plan.clients));
    let token = format!("t{n}");
    if !plan.calm && rng.u8(..) < 30 {
        let payload = json!({"clientToken": token});
        return Command { client, token, operation: "sync", payload, things: BTreeSet::new() };
    }
    let count = if plan.calm {
        // All of them, in six commands.
        0
    } else if rng.u8(..) < 40 {
        20 + rng.usize(0..100)
    } else {
        1 + rng.usize(0..6)
    };
    let mut things: BTreeSet<String> = (0..count)
        .map(|_| match rng.u8(..) {
            0..6 => format!("x{}", rng.usize(0..8)),
            6..9 => format!("bad{}", rng.usize(0..3)),
            _ => format!("d{:03}", rng.usize(0..plan.devices)),
        })
        .collect();
    if plan.calm {
        things = (0..plan.devices).filter(|i| i % plan.commands == n).map(|i| format!("d{i:03}")).collect();
    }
    let entries: Vec<Value> = things.iter().map(|name| json!({"thingName": name})).collect();
    let mut payload = json!({"clientToken": token, "entries": entries});
    if !plan.calm && rng.u8(..) < 30 {
        payload["expiresInSeconds"] = json!(1 + rng.u32(0..600));
    }
    if !plan.calm && rng.u8(..) < 20 {
        let wall = BEGIN + now - rng.i64(0..100_000);
        payload["issuedAt"] = json!(crate::domain::Timestamp(wall).to_string());
    }
    let associates = plan.associates && rng.u8(..) < 80;
    let operation = if associates { "associate-client-devices" } else { "disassociate-client-devices" };
    Command { client, token, operation, payload, things }
}

/// Sends all commands of the plan over the rough time, and returns when each has its answers.
pub(super) async fn run(world: World) {
    let mut all = tokio::task::JoinSet::new();
    for n in 0..world.plan.commands {
        let world = world.clone();
        all.spawn(async move {
            let rough = u64::try_from(world.plan.rough.as_millis()).unwrap();
            let begin = if world.plan.calm { 20_000 } else { world.state().rng.u64(0..rough) };
            sleep(Duration::from_millis(begin)).await;
            ask(&world, draw(&world, n)).await;
        });
    }
    while all.join_next().await.is_some() {}
}

async fn ask(world: &World, command: Command) {
    let Command { client, token, operation, payload, things } = command;
    let key = (client.clone(), token.clone());
    {
        let seen = &mut world.state().seen;
        seen.asked.insert(key.clone(), things);
        if operation.starts_with("associate") {
            seen.associations.insert(key.clone());
        }
    }
    let cancels = !world.plan.calm && world.chance(0.1);
    // A client that believes a rejection never asks again.
    let believes = !world.plan.calm && world.chance(0.3);
    // The other clients rely on the published results: a client that asks again gets them again,
    // and would not miss a result that the agent forgot.
    let asks_again = world.chance(0.5);
    loop {
        world.note(|| format!("{client} sends {operation} {payload}"));
        broker::publish(world, &client, operation, &payload);
        if cancels && world.chance(0.5) {
            broker::publish(world, &client, "cancel", &json!({"targetClientToken": token}));
        }
        if world.chance(0.1) {
            broker::publish(world, &client, "get-request", &json!({"targetClientToken": token}));
        }
        // Somebody impatient.
        let patience = world.now() + i64::try_from(world.span(2000, 90_000).as_millis()).unwrap();
        loop {
            let mail = world.mail.notified();
            let heard = world.state().ears.get(&key).copied().unwrap_or_default();
            if heard.completed || heard.refused {
                return;
            }
            if heard.later && !heard.accepted && believes {
                world.note(|| format!("{client} believes that {token} is rejected"));
                return;
            }
            if heard.later && !heard.accepted {
                world.state().ears.entry(key.clone()).or_default().later = false;
                sleep(world.span(1000, 20_000)).await;
                break;
            }
            // A client that was answered asks again only now and then, or never.
            if world.now() > patience && (!heard.accepted || asks_again && world.chance(0.1)) {
                break;
            }
            let _ = timeout(Duration::from_secs(if heard.accepted { 60 } else { 2 }), mail).await;
        }
    }
}
