//! The retained device messages (`publishDevices`): all of them if the broker kept no session, then
//! those of devices that changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    domain::{DeviceState, DeviceView, ThingName},
    health::Health,
    ledger::{self, Ledger, Replies},
    local::broker::{ConnectionState, Publisher, Tag},
    protocol::{Topics, messages},
    runtime::{clock::sleep_until, stop::Stop},
};

/// The time from one message to the next: 200 messages a second (docs/interface.md, "Connection to
/// the broker").
const PACE: Duration = Duration::from_millis(5);

/// The most messages in flight.
const WINDOW: usize = 16;

/// If the broker acknowledges nothing for this long, it denies these messages, and publishing
/// pauses for as long.
const PATIENCE: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(3600);

pub(crate) struct Devices {
    pub(crate) ledger: Ledger,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) topics: Topics,
    pub(crate) health: Arc<Health>,
    pub(crate) stop: Stop,
}

/// The progress of publishing on this connection.
struct Progress {
    connection: ConnectionState,
    /// The last device of the full round; `None` when the round is over.
    round: Option<Option<String>>,
    changed_after: Option<ThingName>,
    under_way: BTreeMap<ThingName, Instant>,
    rest_until: Option<Instant>,
    next_at: Instant,
}

impl Progress {
    fn new(connection: ConnectionState) -> Self {
        Self {
            connection,
            round: (connection.up && !connection.session).then_some(None),
            changed_after: None,
            under_way: BTreeMap::new(),
            rest_until: None,
            next_at: Instant::now(),
        }
    }
}

impl Devices {
    pub(crate) async fn run(self, mut delivered: mpsc::Receiver<Tag>) {
        let mut changes = self.ledger.devices();
        let mut connection = self.publisher.connection_state();
        let mut progress = Progress::new(ConnectionState::default());
        while !self.stop.is_requested() {
            changes.mark_unchanged();
            let now = *connection.borrow_and_update();
            if now.epoch != progress.connection.epoch {
                progress = Progress::new(now);
            }
            let idle = match self.publish_some(&mut progress).await {
                Ok(idle) => idle,
                Err(error) => {
                    tracing::warn!(%error, "devices cannot be read");
                    true
                }
            };
            let wake = if idle { progress.rest_until } else { Some(progress.next_at) };
            let late = progress.under_way.values().min().map(|since| *since + PATIENCE);
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => {}
                Ok(()) = connection.changed() => {}
                Some(tag) = delivered.recv() => self.delivered(tag, &mut progress).await,
                () = sleep_until(wake) => {}
                () = sleep_until(late) => self.denied(&mut progress),
                () = self.stop.requested() => {}
            }
        }
    }

    fn denied(&self, progress: &mut Progress) {
        if progress.under_way.values().any(|since| since.elapsed() >= PATIENCE) {
            progress.under_way.clear();
            progress.rest_until = Some(Instant::now() + REST);
            let topic = self.topics.status().replace("/status", "/devices/+");
            self.health.raise(
                "DEVICES_NOT_PUBLISHED",
                format!(
                    "the broker does not acknowledge {topic}; allow us to publish there, or set publishDevices to false"
                ),
            );
        }
    }

    /// Publishes one message. Returns `true` if there is no message, or no room for it.
    async fn publish_some(&self, progress: &mut Progress) -> Result<bool, ledger::Unavailable> {
        let now = Instant::now();
        progress.rest_until = progress.rest_until.filter(|until| *until > now);
        if !progress.connection.up || progress.rest_until.is_some() || progress.under_way.len() >= WINDOW {
            return Ok(true);
        }
        if now < progress.next_at {
            return Ok(false);
        }
        progress.next_at = now + PACE;
        if let Some(after) = progress.round.clone() {
            let rows = self.ledger.run_unsynced(move |tx| ledger::devices(tx, None, after.as_deref(), 1)).await?;
            match rows.rows.into_iter().next() {
                Some((name, view)) => {
                    // This message is not one that the outbox owes: no part waits for its delivery.
                    let thing = view.thing.clone();
                    if self.publish(progress, &thing, Some(view), 0) {
                        progress.round = Some(Some(name));
                    }
                }
                None => progress.round = None,
            }
            return Ok(false);
        }
        let after = progress.changed_after.take();
        let found = self.ledger.run_unsynced(move |tx| ledger::outdated(tx, after.as_ref(), 1)).await?;
        let Some(outdated) = found.into_iter().next() else { return Ok(true) };
        progress.changed_after = Some(outdated.thing.clone());
        if !progress.under_way.contains_key(&outdated.thing) {
            self.publish(progress, &outdated.thing, outdated.view, outdated.change);
        }
        Ok(false)
    }

    fn publish(&self, progress: &mut Progress, thing: &ThingName, view: Option<DeviceView>, change: u64) -> bool {
        let payload = match view {
            // An empty payload clears the retained message.
            None => Vec::new(),
            Some(view) if view.state == DeviceState::Disassociated => Vec::new(),
            // `syncedAt` is left out, since it would change every message at every sync.
            Some(view) => messages::to_json(&messages::device(view, None)),
        };
        let tag = Tag::Device(thing.clone(), change);
        let sent =
            self.publisher.publish(Some(progress.connection.epoch), &self.topics.device(thing), payload, true, tag);
        if sent {
            progress.under_way.insert(thing.clone(), Instant::now());
        }
        sent
    }

    async fn delivered(&self, tag: Tag, progress: &mut Progress) {
        let Tag::Device(thing, change) = tag else { return };
        progress.under_way.remove(&thing);
        progress.rest_until = None;
        self.health.clear("DEVICES_NOT_PUBLISHED");
        let done = self.ledger.submit(Replies::AtOnce, move |tx| ledger::published(tx, &thing, change));
        let _ = done.await;
    }
}

#[cfg(test)]
mod tests;
