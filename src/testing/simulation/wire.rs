//! The simulated connection between the agent and the broker. It checks each message against the
//! guarantees of the agent.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use rumqttc::{Publish, QoS, Request};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{
    broker::{Message, WINDOW, change_of, find, on_disk},
    plugin,
    world::{Millis, World},
};
use crate::{
    health::Health,
    local::broker::{Intake, Publisher},
    protocol::{Topics, dynsec},
};

/// The agent's end of the wire, in the place of the client library's event loop and our poller.
pub(super) struct Wire {
    pub(super) world: World,
    pub(super) run: u64,
    pub(super) intake: Intake,
    pub(super) publisher: Arc<Publisher>,
    pub(super) requests: flume::Receiver<Request>,
    pub(super) health: Arc<Health>,
    pub(super) topics: Topics,
}

impl Wire {
    pub(super) async fn run(self) {
        loop {
            sleep(self.world.span(10, 10_000)).await;
            if self.world.state().broker.down {
                self.health.raise("BROKER_UNREACHABLE", "simulated");
                continue;
            }
            self.health.clear("BROKER_UNREACHABLE");
            let session = {
                let mut state = self.world.state();
                state.broker.cut = false;
                state.broker.disconnect();
                std::mem::replace(&mut state.broker.session, true)
            };
            self.world.note(|| format!("connected, session {session}"));
            self.publisher.up(session, &self.topics.commands());
            let epoch = self.publisher.connection_state().borrow().epoch;
            // As they arrive, so that a cut ends both at the same moment.
            tokio::select! {
                biased;
                () = self.send() => {}
                () = self.receive(epoch) => {}
                () = self.until_cut() => {}
            }
            self.world.state().broker.disconnect();
            self.publisher.down(|| while self.requests.try_recv().is_ok() {});
        }
    }

    async fn until_cut(&self) {
        loop {
            let mail = self.world.mail.notified();
            if std::mem::take(&mut self.world.state().broker.cut) {
                return;
            }
            mail.await;
        }
    }

    async fn pause(&self) {
        let slow = !self.world.fine() && !self.world.plan.calm && self.world.chance(0.01);
        if slow {
            self.world.state().broker.slow_at = Some(self.world.now());
        }
        sleep(self.world.span(0, if slow { 40_000 } else { 6 })).await;
    }

    /// From the agent to the broker.
    async fn send(&self) {
        let mut packet = 0_u16;
        let mut under_way = BTreeSet::new();
        while let Ok(request) = self.requests.recv_async().await {
            if !self.world.lives(self.run) {
                return;
            }
            match request {
                Request::Publish(publish) => {
                    if under_way.len() >= 100 {
                        self.world.violate(9, "more than 100 publishes without an acknowledgement");
                    }
                    packet = packet % 30_000 + 1;
                    self.publisher.on_wire(packet);
                    let denied = self.sent(&publish);
                    self.pause().await;
                    if denied {
                        under_way.insert(packet);
                        continue;
                    }
                    self.arrived(&publish);
                    if publish.topic == dynsec::COMMANDS
                        && let Some(response) = plugin::command(&self.world, &publish.payload)
                        && (self.world.fine() || !self.world.chance(0.1))
                    {
                        self.world.state().broker.responses.push_back(response);
                    }
                    self.world.state().broker.acks.push_back(packet);
                    self.world.mail.notify_waiters();
                }
                Request::PubAck(ack) => {
                    self.acknowledges(ack.pkid);
                    self.pause().await;
                    self.world.state().broker.unacknowledged.remove(&ack.pkid);
                    self.world.mail.notify_waiters();
                }
                Request::Subscribe(filter) if filter.filters.iter().any(|one| one.path == dynsec::RESPONSES) => {
                    self.pause().await;
                    let is_granted = !self.world.state().plugin.denied;
                    self.intake.plugin_subscribed(is_granted);
                }
                Request::Disconnect(_) => return,
                _ => self.pause().await,
            }
        }
    }

    /// From the broker to the agent.
    async fn receive(&self, epoch: u64) {
        let mut again = self.world.now() + 5000;
        loop {
            let mail = self.world.mail.notified();
            let (ack, response, message) = {
                let mut guard = self.world.state();
                let broker = &mut guard.broker;
                let ack = broker.acks.pop_front();
                let response = if ack.is_none() { broker.responses.pop_front() } else { None };
                let mut message = None;
                if ack.is_none() && response.is_none() && broker.unacknowledged.len() < WINDOW {
                    message = broker.queue.pop_front().map(|message| {
                        broker.next_id = broker.next_id % 60_000 + 1;
                        broker.unacknowledged.insert(broker.next_id, message.clone());
                        (broker.next_id, message)
                    });
                }
                (ack, response, message)
            };
            if let Some(ack) = ack {
                self.pause().await;
                self.publisher.on_delivered(ack);
            } else if let Some(response) = response {
                self.pause().await;
                self.intake.take(epoch, Publish::new(dynsec::RESPONSES, QoS::AtMostOnce, response), None);
            } else if let Some((id, message)) = message {
                self.pause().await;
                self.deliver(epoch, id, message);
            } else {
                let _ = timeout(Duration::from_secs(5), mail).await;
                if self.world.plan.impatient_broker && self.world.now() >= again {
                    again = self.world.now() + 5000;
                    let all = self.world.state().broker.unacknowledged.clone();
                    for (id, message) in all {
                        self.deliver(epoch, id, Message { dup: true, ..message });
                    }
                }
            }
        }
    }

    fn deliver(&self, epoch: u64, id: u16, message: Message) {
        let Message { topic, payload, dup } = message;
        if let Some(key) = change_of(&topic, &payload) {
            let seen = &mut self.world.state().seen;
            *seen.delivered.entry(key.clone()).or_default() += 1;
            // The other copy may be accepted.
            seen.gone.remove(&key);
        }
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, Bytes::from(payload));
        publish.pkid = id;
        publish.dup = dup;
        if !self.intake.take(epoch, publish, None) {
            self.world.violate(9, "a command is dropped");
        }
    }

    /// A command is acknowledged: it is on disk, or its sender got a rejection.
    fn acknowledges(&self, id: u16) {
        let state = self.world.state();
        let Some(message) = state.broker.unacknowledged.get(&id) else { return };
        let Some((client, operation)) = message.topic.rsplit_once('/').map(|(left, operation)| {
            (left.rsplit_once('/').map(|(_, client)| client.to_owned()).unwrap_or_default(), operation.to_owned())
        }) else {
            return;
        };
        let payload: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let Some(token) = payload["clientToken"].as_str().map(str::to_owned) else { return };
        let is_change = operation == "disassociate-client-devices" || operation == "sync";
        let key = (client, token);
        let kept = on_disk(&state, &key).is_some();
        let refused = state.seen.rejected.contains(&key) || state.seen.lost.contains(&key);
        drop(state);
        // A rejection that the broker seems to deny may be dropped; its sender has no answer and
        // asks again.
        let slow = self.world.state().broker.slow_at.is_some_and(|at| self.world.now() - at < 400_000);
        let denied = self.world.plan.denied_client && key.0 == self.last_client();
        if is_change && !kept && !refused && !denied && !slow {
            self.world.violate(1, format!("the command {key:?} is acknowledged and is neither on disk nor rejected"));
        }
    }

    /// The agent publishes a message; returns whether the broker denies it.
    fn sent(&self, publish: &Publish) -> bool {
        let payload = String::from_utf8_lossy(&publish.payload).into_owned();
        self.world.note(|| format!("run {} says {} {payload}", self.run, publish.topic));
        let Some(address) = publish.topic.strip_prefix("offboard/MyCore/results/") else { return false };
        let mut levels = address.split('/');
        let (client, operation, kind) = (levels.next(), levels.next(), levels.next());
        let (Some(client), Some(operation), Some(kind)) = (client, operation, kind) else {
            self.world.violate(0, format!("a result on {}", publish.topic));
            return false;
        };
        let body: Value = serde_json::from_str(&payload).unwrap_or_default();
        let token = body["clientToken"].as_str().unwrap_or_default().to_owned();
        let key = (client.to_owned(), token);
        let is_change = operation == "disassociate-client-devices" || operation == "sync";
        match kind {
            "accepted" | "completed" if self.world.state().seen.lost.contains(&key) => {
                let seen = &mut self.world.state().seen;
                let said = if kind == "accepted" { &mut seen.accepted } else { &mut seen.completed };
                said.insert(key, payload);
            }
            "accepted" if is_change => self.says_accepted(key, payload),
            "completed" => self.says_completed(key, &body, payload),
            "rejected" => self.says_rejected(key),
            _ => {}
        }
        self.world.plan.denied_client && !self.world.fine() && client == self.last_client()
    }

    /// The client whose results a broker may deny.
    fn last_client(&self) -> String {
        format!("c{}", self.world.plan.clients - 1)
    }

    /// Of a command that was delivered once, and rejected, nothing is left, now or later.
    fn says_rejected(&self, key: (String, String)) {
        let mut guard = self.world.state();
        let state = &mut *guard;
        state.seen.rejected.insert(key.clone());
        if state.seen.delivered.get(&key) != Some(&1) {
            return;
        }
        let is_here = find(&state.disk.live, &key).is_some();
        state.seen.gone.insert(key.clone());
        drop(guard);
        if is_here {
            self.world.violate(12, format!("{key:?} is rejected, and is here"));
        }
    }

    fn says_accepted(&self, key: (String, String), payload: String) {
        let mut wrong = None;
        {
            let mut state = self.world.state();
            if on_disk(&state, &key).is_none() {
                wrong = Some((1, format!("accepted, and not on disk: {key:?}")));
            }
            if state.seen.accepted.get(&key).is_some_and(|before| *before != payload) {
                wrong = Some((2, format!("accepted in two ways: {key:?}")));
            }
            state.seen.accepted.insert(key, payload);
        }
        if let Some((invariant, text)) = wrong {
            self.world.violate(invariant, text);
        }
    }

    fn says_completed(&self, key: (String, String), body: &Value, payload: String) {
        if let Some((invariant, text)) = self.completed_wrongly(&key, body, &payload) {
            self.world.violate(invariant, text);
        }
        self.world.state().seen.completed.insert(key, payload);
    }

    fn completed_wrongly(&self, key: &(String, String), body: &Value, payload: &str) -> Option<(u8, String)> {
        let state = self.world.state();
        if state.seen.completed.get(key).is_some_and(|before| before != payload) {
            return Some((2, format!("completed in two ways: {key:?}")));
        }
        let Some(seq) = on_disk(&state, key) else {
            return Some((2, format!("completed, and not on disk: {key:?}")));
        };
        let asked = state.seen.asked.get(key)?;
        let accepted: Millis = state.disk.accepted_at.get(&seq).copied().unwrap_or(Millis::MAX);
        if body["errorEntriesTruncated"] == true {
            return None;
        }
        let failed: BTreeSet<&str> =
            body["errorEntries"].as_array().into_iter().flatten().filter_map(|one| one["thingName"].as_str()).collect();
        let done = if state.seen.associations.contains(key) { &state.cloud.here } else { &state.cloud.gone };
        for name in asked.iter().filter(|name| !failed.contains(name.as_str())) {
            // An answer may be on its way into the ledger while a request joins its call.
            if done.get(name).is_none_or(|at| *at + 1000 < accepted) {
                return Some((3, format!("{key:?} reports {name} as done, and the cloud did not report it")));
            }
        }
        let counted = (body["succeededCount"].as_u64(), body["failedCount"].as_u64());
        let right = ((asked.len() - failed.len()) as u64, failed.len() as u64);
        if !asked.is_empty() && counted != (Some(right.0), Some(right.1)) {
            return Some((2, format!("{key:?} counts {counted:?}, and has {right:?}")));
        }
        None
    }

    /// The broker has the message, and delivers it to its subscriber.
    fn arrived(&self, publish: &Publish) {
        let Some(address) = publish.topic.strip_prefix("offboard/MyCore/results/") else { return };
        let body: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
        super::clients::hears(&self.world, address, &body);
    }
}
