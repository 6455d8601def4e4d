//! The outbox: publishes the messages that the ledger owes, in order, and forgets each message when
//! the broker has acknowledged it.
//!
//! The outbox reads ahead: while one read of the ledger waits for its turn, the messages of the read
//! before are published.
//!
//! A broker that refuses a publish may never acknowledge it. Such a message is put on hold, with
//! the other messages of the same client; the messages of other clients continue.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    domain::{ClientId, Via},
    ledger::{self, Ledger, Owed, Replies},
    local::broker::{ConnectionState, Publisher, Tag},
    protocol::{ResultKind, Topics, messages},
    runtime::{clock::sleep_until, failpoint, stop::Stop},
};

/// The most messages in flight: two for each command, and half of the library's table of 100.
const WINDOW: usize = 48;

/// The most messages that are read and not published yet: what the broker acknowledges while a read
/// waits for a group of commands and its sync.
const READ_AHEAD: usize = 256;

/// A message is put on hold if the broker does not acknowledge it for this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The wait before another read after the ledger failed.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// How long to wait for room on the connection.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a message is on hold, at first and at most.
const HOLD: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

/// What a read of the ledger found: the messages, and the last place that it looked at.
type Found = Result<(Vec<Owed>, Option<u64>), ledger::Unavailable>;

/// A read of the ledger that is under way.
struct Reading {
    answer: oneshot::Receiver<Found>,
    /// The place from which it reads, `None` if it only forgets messages.
    from: Option<u64>,
    /// [`Outbox::restarts`] when it began.
    restarts: u64,
}

/// The outcome of an attempt to publish a message.
enum Publishing {
    UnderWay,
    /// The connection is down or has no room.
    NoRoom,
    /// The broker ends the connection over this message.
    Refused,
}

struct OnHold {
    /// The client whose other messages wait, too.
    client: Option<ClientId>,
    until: Instant,
    delay: Duration,
    /// The time has come, and the messages are looked at again.
    is_over: bool,
}

pub(crate) struct Outbox {
    ledger: Ledger,
    /// The transport that the outbox serves.
    via: Via,
    publisher: Arc<Publisher>,
    topics: Topics,
    max_bytes: usize,
    connection: ConnectionState,
    /// The opening of the store that the outbox reads.
    run: u64,
    /// The number from which to read on.
    cursor: u64,
    /// Counts how often the outbox started again with the first message.
    restarts: u64,
    /// The ledger may owe messages from `cursor` on.
    is_behind: bool,
    reading: Option<Reading>,
    /// Messages that are read and not published yet, in order.
    ready: VecDeque<Owed>,
    /// Messages that the broker acknowledged, and that the ledger still owes.
    done: Vec<u64>,
    under_way: BTreeMap<u64, (Instant, ClientId)>,
    /// When to look again after the connection had no room.
    full_until: Option<Instant>,
    /// When to read again after the ledger failed.
    unread_until: Option<Instant>,
    on_hold: BTreeMap<u64, OnHold>,
}

impl Outbox {
    pub(crate) fn new(ledger: Ledger, via: Via, publisher: Arc<Publisher>, topics: Topics, max_bytes: usize) -> Self {
        Self {
            ledger,
            via,
            publisher,
            topics,
            max_bytes,
            connection: ConnectionState::default(),
            run: 0,
            cursor: 0,
            restarts: 0,
            is_behind: true,
            reading: None,
            ready: VecDeque::new(),
            done: Vec::new(),
            under_way: BTreeMap::new(),
            full_until: None,
            unread_until: None,
            on_hold: BTreeMap::new(),
        }
    }

    pub(crate) async fn run(mut self, mut delivered: mpsc::Receiver<Tag>, stop: Stop) {
        let mut outgoing = self.ledger.outgoing();
        let mut connection = self.publisher.connection_state();
        while !stop.is_requested() {
            self.connection(*connection.borrow_and_update());
            self.opening(self.ledger.summary().borrow().run);
            // Under load a change of the ledger is always due, and must not keep these waiting.
            if let Ok(tag) = delivered.try_recv() {
                self.acknowledged(tag, &mut delivered);
            }
            if let Some(Ok(found)) = self.reading.as_mut().map(|reading| reading.answer.try_recv()) {
                self.found(found);
            }
            let now = Instant::now();
            self.hold_late(now);
            self.publish_ready();
            if self.reading.is_none() {
                self.read().await;
            }
            let wakes_at = self.wakes_at(now);
            tokio::select! {
                biased;
                Ok(()) = outgoing.changed() => self.is_behind = true,
                Ok(()) = connection.changed() => {}
                Some(tag) = delivered.recv() => self.acknowledged(tag, &mut delivered),
                found = answer(&mut self.reading) => self.found(found),
                () = sleep_until(wakes_at) => {}
                () = stop.requested() => {}
            }
        }
    }

    /// Starts again with the first message.
    fn restart(&mut self) {
        self.cursor = 0;
        self.restarts += 1;
        self.is_behind = true;
        self.ready.clear();
    }

    /// Notes the connection. On a new one, the outbox starts again with the first message.
    fn connection(&mut self, connection: ConnectionState) {
        if connection.epoch != self.connection.epoch {
            self.connection = connection;
            self.restart();
            self.under_way.clear();
        }
    }

    /// Notes the opening of the store. A store that failed may not have forgotten the messages that
    /// were reported as delivered, so the outbox starts again with the first message.
    fn opening(&mut self, run: u64) {
        if run != self.run {
            self.run = run;
            self.restart();
        }
    }

    /// The first of the times after `now` at which to look again.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let late = self.under_way.values().flat_map(|(since, _)| [*since + PATIENCE, *since + PATIENCE * 3]);
        let held = self.on_hold.values().map(|held| held.until);
        let looks = late.chain(held).chain(self.full_until).chain(self.unread_until);
        looks.filter(|at| *at > now).min()
    }

    fn hold_late(&mut self, now: Instant) {
        // If the broker acknowledges other messages meanwhile, it denies this one. If it
        // acknowledges nothing, it may just be slow.
        let acknowledged = self.publisher.acknowledged_at();
        let denied = |since: &Instant| {
            let others = acknowledged.is_some_and(|at| at > *since);
            *since + if others { PATIENCE } else { PATIENCE * 3 } <= now
        };
        let late: Vec<u64> = self.under_way.iter().filter(|(_, (since, _))| denied(since)).map(|(n, _)| *n).collect();
        for n in late {
            let Some((_, client)) = self.under_way.remove(&n) else { continue };
            let delay = self.hold(n, Some(client.clone()), now);
            tracing::warn!(
                %client,
                message = n,
                again_in_seconds = delay.as_secs(),
                "the broker does not acknowledge a result; the message is on hold: check that the agent may publish to \
                 the client's results topic"
            );
        }
        let over = |held: &&mut OnHold| held.until <= now && !held.is_over;
        if self.on_hold.values_mut().filter(over).map(|held| held.is_over = true).count() > 0 {
            // The hold of a message has ended: look at all messages again.
            self.restart();
        }
    }

    /// Puts a message on hold, with the other messages of `client`. Returns for how long.
    fn hold(&mut self, n: u64, client: Option<ClientId>, now: Instant) -> Duration {
        let delay = self.on_hold.get(&n).map_or(HOLD.0, |held| (held.delay * 2).min(HOLD.1));
        self.on_hold.insert(n, OnHold { client, until: now + delay, delay, is_over: false });
        delay
    }

    /// Publishes the messages that are read until the window is full.
    fn publish_ready(&mut self) {
        if !self.connection.up || self.ready.is_empty() {
            return;
        }
        let held = self.held();
        while self.under_way.len() < WINDOW
            && let Some(owed) = self.ready.front()
        {
            let (n, client) = (owed.n, owed.request.client.clone());
            let is_held = match self.on_hold.get(&n) {
                Some(held) => held.until > Instant::now(),
                None => held.contains(&client),
            };
            if !is_held && !self.under_way.contains_key(&n) {
                match self.publish(owed) {
                    Publishing::UnderWay => {
                        failpoint::pass("outbox-published");
                        self.under_way.insert(n, (Instant::now(), client));
                    }
                    Publishing::NoRoom => {
                        // The connection is down or has no room. The next acknowledgement makes
                        // room, or the publisher gives the connection up.
                        self.full_until = Some(Instant::now() + LOOK_AGAIN);
                        return;
                    }
                    Publishing::Refused => {
                        self.hold(n, None, Instant::now());
                    }
                }
            }
            self.ready.pop_front();
        }
    }

    /// The clients that have a message on hold.
    fn held(&self) -> BTreeSet<ClientId> {
        self.on_hold.values().filter_map(|held| held.client.clone()).collect()
    }

    fn publish(&self, owed: &Owed) -> Publishing {
        let Owed { n, request, completed, failures, unknown } = owed;
        let n = *n;
        let max_bytes = self.publisher.max_payload(self.max_bytes);
        let (kind, payload) = if *completed {
            (ResultKind::Completed, messages::completed(request, failures.clone(), max_bytes))
        } else {
            (ResultKind::Accepted, messages::accepted(request, unknown.clone(), max_bytes))
        };
        let topic = self.topics.result(&request.client, request.operation.as_str(), kind);
        if self.publisher.drops(&Tag::Owed(n), &topic, payload.len()) {
            return Publishing::Refused;
        }
        match self.publisher.publish(Some(self.connection.epoch), &topic, payload, false, Tag::Owed(n)) {
            true => Publishing::UnderWay,
            false => Publishing::NoRoom,
        }
    }

    /// Notes the messages that the broker has acknowledged: this one and all others that were
    /// reported by now.
    fn acknowledged(&mut self, first: Tag, more: &mut mpsc::Receiver<Tag>) {
        let mut tag = Some(first);
        while let Some(Tag::Owed(n)) = tag {
            self.under_way.remove(&n);
            if self.on_hold.remove(&n).is_some() {
                // Messages of this client can be published again.
                self.restart();
            }
            self.done.push(n);
            tag = more.try_recv().ok();
        }
        failpoint::pass("outbox-delivered");
    }

    /// Forgets the acknowledged messages and reads the next ones in one job, since under load each
    /// job waits for a sync. If a crash undoes the forgetting, a message is published twice, which
    /// its receiver expects.
    async fn read(&mut self) {
        let has_room = self.connection.up && self.ready.len() <= READ_AHEAD / 2;
        let limit = if has_room && self.is_behind { READ_AHEAD - self.ready.len() } else { 0 };
        let is_waiting = self.unread_until.is_some_and(|at| at > Instant::now());
        if is_waiting || limit == 0 && self.done.is_empty() {
            return;
        }
        let (via, from, done) = (self.via, self.cursor, std::mem::take(&mut self.done));
        let rule = move |tx: &mut ledger::Tx<'_>| {
            for n in &done {
                ledger::delivered(tx, *n)?;
            }
            if limit == 0 {
                return Ok((Vec::new(), None));
            }
            ledger::owed(tx, via, from, limit, messages::MAX_ERROR_ENTRIES)
        };
        // A message that becomes owed from now on sets this again.
        self.is_behind &= limit == 0;
        match self.ledger.submit(Replies::AtOnce, rule).await {
            Ok(answer) => {
                let from = (limit > 0).then_some(from);
                self.reading = Some(Reading { answer, from, restarts: self.restarts });
            }
            Err(error) => self.unread(&error),
        }
    }

    /// Takes over what a read found.
    fn found(&mut self, found: Found) {
        let Some(Reading { from, restarts, .. }) = self.reading.take() else { return };
        let (owed, last) = match found {
            Ok(found) => found,
            Err(error) => return self.unread(&error),
        };
        self.unread_until = None;
        // After a restart the messages are read again.
        let (Some(from), Some(last), true) = (from, last, restarts == self.restarts) else { return };
        // A message that was forgotten with its request must no longer hold up others.
        self.on_hold.retain(|n, _| !(from..=last).contains(n) || owed.iter().any(|owed| owed.n == *n));
        self.ready.extend(owed);
        self.cursor = last + 1;
        self.is_behind = true;
    }

    /// The ledger failed. All messages are still owed, and are published again when it is open. The
    /// ledger wakes the outbox then, but that may be before this answer of it is seen.
    fn unread(&mut self, error: &ledger::Unavailable) {
        if self.unread_until.is_none() {
            tracing::warn!(%error, "the outbox cannot be read");
        }
        self.restart();
        self.unread_until = Some(Instant::now() + READ_AGAIN);
    }
}

/// The answer of a read, which never comes if none is under way.
async fn answer(reading: &mut Option<Reading>) -> Found {
    match reading {
        Some(reading) => {
            (&mut reading.answer).await.unwrap_or_else(|_| Err(ledger::Unavailable("the agent is stopping".into())))
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
