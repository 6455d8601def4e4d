//! The broker, and the wire to it: in order until it is cut, then what was under way is lost.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use tokio::time::sleep;

use super::world::{Millis, State, World};
use crate::{
    domain::{ClientId, ClientToken},
    ledger::view::{Image, View},
};

/// Commands that the broker delivers without an acknowledgement.
pub(super) const WINDOW: usize = 20;

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) dup: bool,
}

#[derive(Default)]
pub(super) struct Broker {
    pub(super) down: bool,
    /// It knows the agent's session and its subscription.
    pub(super) session: bool,
    pub(super) queue: VecDeque<Message>,
    /// Delivered on this connection, by packet id.
    pub(super) unacknowledged: BTreeMap<u16, Message>,
    /// Acknowledgements for the agent.
    pub(super) acks: VecDeque<u16>,
    /// Responses of the plugin for the agent, at QoS 0.
    pub(super) responses: VecDeque<Vec<u8>>,
    pub(super) next_id: u16,
    pub(super) cut: bool,
    /// When something last took its time.
    pub(super) slow_at: Option<Millis>,
}

impl Broker {
    fn forget(&mut self) {
        self.session = false;
        self.queue.clear();
        self.unacknowledged.clear();
        self.acks.clear();
    }

    /// The connection has ended: what was not acknowledged is delivered again.
    pub(super) fn disconnect(&mut self) {
        self.acks.clear();
        self.responses.clear();
        for (_, message) in std::mem::take(&mut self.unacknowledged).into_iter().rev() {
            self.queue.push_front(Message { dup: true, ..message });
        }
    }
}

/// A client publishes; `false` if the broker doesn't take it, which the client learns.
pub(super) fn publish(world: &World, client: &str, operation: &str, payload: &Value) -> bool {
    let mut guard = world.state();
    let state = &mut *guard;
    if state.broker.down {
        return false;
    }
    if state.broker.session {
        let topic = format!("offboard/MyCore/commands/{client}/{operation}");
        let message = Message { topic, payload: payload.to_string().into_bytes(), dup: false };
        let last = state.broker.queue.len();
        // Now and then it arrives before what was sent earlier.
        let at = if last > 0 && !state.fine && state.rng.u8(..) < 10 { last - 1 } else { last };
        state.broker.queue.insert(at, message);
    }
    drop(guard);
    world.mail.notify_waiters();
    true
}

/// Cuts connections, and restarts the broker.
pub(super) async fn trouble(world: World) {
    while !world.fine() {
        sleep(world.span(1000, 200_000)).await;
        if world.fine() {
            return;
        }
        let restart = world.chance(0.3);
        world.note(|| format!("connection cut, broker restarted: {restart}"));
        world.state().broker.cut = true;
        world.mail.notify_waiters();
        if world.plan.local_access {
            let denied = world.chance(0.2);
            world.state().plugin.denied = denied;
        }
        if restart {
            if world.plan.forgetful_broker {
                world.state().broker.forget();
            }
            world.state().broker.down = true;
            sleep(world.span(100, 60_000)).await;
            world.state().broker.down = false;
        }
    }
}

/// The number of a command's request, if a power cut would leave it.
pub(super) fn on_disk(state: &State, key: &(String, String)) -> Option<u64> {
    find(&state.disk.durable, key)
}

pub(super) fn find(image: &Image, (client, token): &(String, String)) -> Option<u64> {
    image.find(&ClientId::new(client).unwrap(), &ClientToken::new(token).unwrap())
}

/// The sender and the token of a command that changes something.
pub(super) fn change_of(topic: &str, payload: &[u8]) -> Option<(String, String)> {
    let (left, operation) = topic.rsplit_once('/')?;
    let (_, client) = left.rsplit_once('/')?;
    if !["associate-client-devices", "disassociate-client-devices", "sync"].contains(&operation) {
        return None;
    }
    let payload: Value = serde_json::from_slice(payload).ok()?;
    Some((client.to_owned(), payload["clientToken"].as_str()?.to_owned()))
}
