//! The retained device messages (`publishDevices`): those of devices that changed; and all of them,
//! in a full round, after the start and if the broker kept no session.

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

/// How long publishing waits when other messages leave no room for one.
const ROOM: Duration = Duration::from_millis(100);

/// How long publishing waits after the ledger failed.
const READ_AGAIN: Duration = Duration::from_secs(1);

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

/// A message in flight.
struct InFlight {
    since: Instant,
    /// As of which change it is, and whether a pass found a later one.
    change: u64,
    is_outdated: bool,
    /// If it is one of the full round: the round's place before it.
    round: Option<Place>,
}

/// The device after which the full round continues; `None` at its beginning.
type Place = Option<String>;

/// The progress of publishing.
struct Progress {
    connection: ConnectionState,
    /// The place of the full round; `None` when the round is over.
    round: Option<Place>,
    /// The last device of the present pass over those that changed.
    changed_after: Option<ThingName>,
    /// Devices that the present pass has passed may have changed.
    is_pass_due: bool,
    in_flight: BTreeMap<ThingName, InFlight>,
    /// When the broker last acknowledged a message.
    delivered_at: Option<Instant>,
    rest_until: Option<Instant>,
    next_at: Instant,
}

impl Progress {
    /// A process begins with a full round: what the broker has may be of an earlier configuration,
    /// or the last process may have ended during a round.
    fn new() -> Self {
        Self {
            connection: ConnectionState::default(),
            round: Some(None),
            changed_after: None,
            is_pass_due: true,
            in_flight: BTreeMap::new(),
            delivered_at: None,
            rest_until: None,
            next_at: Instant::now(),
        }
    }

    /// Begins on another connection.
    fn connect(&mut self, connection: ConnectionState) {
        self.put_back();
        if connection.up && !connection.session {
            self.round = Some(None);
        }
        (self.connection, self.rest_until, self.next_at) = (connection, None, Instant::now());
    }

    /// The broker may not have the messages in flight: they are to be published again.
    fn put_back(&mut self) {
        let in_flight = std::mem::take(&mut self.in_flight);
        if let Some(first) = in_flight.into_values().filter_map(|message| message.round).min() {
            self.round = Some(first);
        }
        (self.changed_after, self.is_pass_due) = (None, true);
    }
}

impl Devices {
    pub(crate) async fn run(self, mut delivered: mpsc::Receiver<Tag>) {
        let mut changes = self.ledger.devices();
        let mut connection = self.publisher.connection_state();
        let mut progress = Progress::new();
        while !self.stop.is_requested() {
            let now = *connection.borrow_and_update();
            if now.epoch != progress.connection.epoch {
                progress.connect(now);
            }
            let wake = match self.publish_some(&mut progress).await {
                Ok(true) => progress.rest_until,
                Ok(false) => Some(progress.next_at),
                Err(error) => {
                    tracing::warn!(%error, "devices cannot be read");
                    Some(Instant::now() + READ_AGAIN)
                }
            };
            let late = progress.in_flight.values().map(|message| message.since + PATIENCE).min();
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => progress.is_pass_due = true,
                Ok(()) = connection.changed() => {}
                Some(tag) = delivered.recv() => self.delivered(tag, &mut progress).await,
                () = sleep_until(wake) => {}
                () = sleep_until(late) => self.denied(&mut progress),
                () = self.stop.requested() => {}
            }
        }
    }

    fn denied(&self, progress: &mut Progress) {
        let is_late = |message: &InFlight| message.since.elapsed() >= PATIENCE;
        if let Some(first) = progress.in_flight.values().filter(|one| is_late(one)).map(|one| one.since).min() {
            if progress.delivered_at.is_some_and(|at| at > first) {
                // The broker denies these topics only. The round does not begin again for them.
                progress.in_flight.retain(|_, message| !is_late(message));
            } else {
                progress.put_back();
            }
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

    /// Publishes one message, of a device that changed if there is one, else of the full round.
    /// Returns `true` if there is nothing to do until a device changes or a message is delivered.
    async fn publish_some(&self, progress: &mut Progress) -> Result<bool, ledger::Unavailable> {
        let now = Instant::now();
        progress.rest_until = progress.rest_until.filter(|until| *until > now);
        if !progress.connection.up || progress.rest_until.is_some() || progress.in_flight.len() >= WINDOW {
            return Ok(true);
        }
        if now < progress.next_at {
            return Ok(false);
        }
        if progress.is_pass_due || progress.changed_after.is_some() {
            return self.publish_changed(progress).await.map(|()| false);
        }
        let Some(place) = progress.round.clone() else { return Ok(true) };
        let after = place.clone();
        let found = self.ledger.run_unsynced(move |tx| ledger::devices(tx, None, after.as_deref(), 1)).await?;
        progress.round = match found.rows.into_iter().next() {
            Some((name, view)) => {
                // This message is not one that the outbox owes: no part waits for its delivery.
                let thing = view.thing.clone();
                let is_in_flight = progress.in_flight.contains_key(&thing);
                let is_sent = is_in_flight || self.publish(progress, &thing, Some(view), 0, Some(place.clone()));
                Some(if is_sent { Some(name) } else { place })
            }
            None => None,
        };
        Ok(false)
    }

    /// Publishes the next device that changed, unless a message of it is in flight. A pass over
    /// these devices ends after the last one of them.
    async fn publish_changed(&self, progress: &mut Progress) -> Result<(), ledger::Unavailable> {
        let after = progress.changed_after.clone();
        if after.is_none() {
            progress.is_pass_due = false;
        }
        let found = self.ledger.run_unsynced(move |tx| ledger::outdated(tx, after.as_ref(), 1)).await;
        // The pass is not over.
        let found = found.inspect_err(|_| progress.is_pass_due = true)?;
        let Some(outdated) = found.into_iter().next() else {
            progress.changed_after = None;
            return Ok(());
        };
        if let Some(message) = progress.in_flight.get_mut(&outdated.thing) {
            message.is_outdated |= message.change != outdated.change;
        } else if !self.publish(progress, &outdated.thing, outdated.view, outdated.change, None) {
            progress.is_pass_due = true;
            return Ok(());
        }
        progress.changed_after = Some(outdated.thing);
        Ok(())
    }

    /// Returns `false` if there is no room for the message.
    fn publish(
        &self,
        progress: &mut Progress,
        thing: &ThingName,
        view: Option<DeviceView>,
        change: u64,
        round: Option<Place>,
    ) -> bool {
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
        let now = Instant::now();
        progress.next_at = now + if sent { PACE } else { ROOM };
        if sent {
            progress.in_flight.insert(thing.clone(), InFlight { since: now, change, is_outdated: false, round });
        }
        sent
    }

    async fn delivered(&self, tag: Tag, progress: &mut Progress) {
        let Tag::Device(thing, change) = tag else { return };
        progress.is_pass_due |= progress.in_flight.remove(&thing).is_some_and(|message| message.is_outdated);
        (progress.rest_until, progress.delivered_at) = (None, Some(Instant::now()));
        self.health.clear("DEVICES_NOT_PUBLISHED");
        let done = self.ledger.submit(Replies::AtOnce, move |tx| ledger::published(tx, &thing, change));
        let _ = done.await;
    }
}

#[cfg(test)]
mod tests;
