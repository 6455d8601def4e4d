//! The outbox: publishes the messages that the ledger owes, in order, and forgets each message when
//! the broker has acknowledged it.
//!
//! A broker that refuses a publish may never acknowledge it. Such a message is put on hold, with
//! the other messages of the same client; the messages of other clients continue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    domain::{ClientId, Via},
    ledger::{self, Ledger, Owed},
    local::broker::{ConnectionState, Publisher, Tag},
    protocol::{ResultKind, Topics, messages},
    runtime::{clock::sleep_until, failpoint, stop::Stop},
};

/// The most messages in flight: two for each command, and half of the library's table of 100.
const WINDOW: usize = 48;

/// A message is put on hold if the broker does not acknowledge it for this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for room on the connection.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a message is on hold, at first and at most.
const HOLD: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

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
}

pub(crate) struct Outbox {
    ledger: Ledger,
    /// The transport that the outbox serves.
    via: Via,
    line: Arc<Publisher>,
    topics: Topics,
    max_bytes: usize,
    link: ConnectionState,
    /// The opening of the store that the outbox reads.
    run: u64,
    /// The number from which to continue.
    cursor: u64,
    under_way: BTreeMap<u64, (Instant, ClientId)>,
    /// When to look again after the connection had no room.
    full_until: Option<Instant>,
    on_hold: BTreeMap<u64, OnHold>,
}

impl Outbox {
    pub(crate) fn new(ledger: Ledger, via: Via, line: Arc<Publisher>, topics: Topics, max_bytes: usize) -> Self {
        Self {
            ledger,
            via,
            line,
            topics,
            max_bytes,
            link: ConnectionState::default(),
            run: 0,
            cursor: 0,
            under_way: BTreeMap::new(),
            full_until: None,
            on_hold: BTreeMap::new(),
        }
    }

    pub(crate) async fn run(mut self, mut delivered: mpsc::Receiver<Tag>, stop: Stop) {
        let mut outgoing = self.ledger.outgoing();
        let mut link = self.line.link();
        let mut done = Vec::new();
        while !stop.is_requested() {
            outgoing.mark_unchanged();
            self.connection(*link.borrow_and_update());
            self.opening(self.ledger.summary().borrow().run);
            if let Ok(tag) = delivered.try_recv() {
                done.extend(self.acknowledged(tag, &mut delivered));
            }
            let now = Instant::now();
            self.hold_late(now);
            if let Err(error) = self.fill(std::mem::take(&mut done)).await {
                tracing::warn!(%error, "the outbox cannot be read");
            }
            tokio::select! {
                biased;
                Ok(()) = outgoing.changed() => {}
                Ok(()) = link.changed() => {}
                Some(tag) = delivered.recv() => done = self.acknowledged(tag, &mut delivered),
                () = sleep_until(self.wakes_at(now)) => {}
                () = stop.requested() => {}
            }
        }
    }

    /// Notes the connection. On a new one, the outbox starts again with the first message.
    fn connection(&mut self, link: ConnectionState) {
        if link.epoch != self.link.epoch {
            self.link = link;
            self.cursor = 0;
            self.under_way.clear();
        }
    }

    /// Notes the opening of the store. A store that failed may not have forgotten the messages that
    /// were reported as delivered, so the outbox starts again with the first message.
    fn opening(&mut self, run: u64) {
        if run != self.run {
            self.run = run;
            self.cursor = 0;
        }
    }

    /// The first of the times after `now` at which to look again.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let late = self.under_way.values().flat_map(|(since, _)| [*since + PATIENCE, *since + PATIENCE * 3]);
        let looks = late.chain(self.on_hold.values().map(|held| held.until)).chain(self.full_until);
        looks.filter(|at| *at > now).min()
    }

    fn hold_late(&mut self, now: Instant) {
        // If the broker acknowledges other messages meanwhile, it denies this one. If it
        // acknowledges nothing, it may just be slow.
        let acknowledged = self.line.acknowledged_at();
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
        if self.on_hold.values().any(|held| held.until <= now) {
            // The hold of a message has ended: look at all messages again.
            self.cursor = 0;
        }
    }

    /// Puts a message on hold, with the other messages of `client`. Returns for how long.
    fn hold(&mut self, n: u64, client: Option<ClientId>, now: Instant) -> Duration {
        let delay = self.on_hold.get(&n).map_or(HOLD.0, |held| (held.delay * 2).min(HOLD.1));
        self.on_hold.insert(n, OnHold { client, until: now + delay, delay });
        delay
    }

    /// Forgets the messages in `done`, and publishes until the window is full or no message is
    /// left.
    async fn fill(&mut self, mut done: Vec<u64>) -> Result<(), ledger::Unavailable> {
        loop {
            let limit = if self.link.up { WINDOW.saturating_sub(self.under_way.len()) } else { 0 };
            if limit == 0 && done.is_empty() {
                return Ok(());
            }
            let from = self.cursor;
            let (owed, last) = self.next(std::mem::take(&mut done), limit).await?;
            let Some(last) = last else { return Ok(()) };
            // A message that was forgotten with its request must no longer hold up others.
            self.on_hold.retain(|n, _| !(from..=last).contains(n) || owed.iter().any(|owed| owed.n == *n));
            let held = self.held();
            for owed in owed {
                let client = owed.request.client.clone();
                let is_held = match self.on_hold.get(&owed.n) {
                    Some(held) => held.until > Instant::now(),
                    None => held.contains(&client),
                };
                if is_held || self.under_way.contains_key(&owed.n) {
                    continue;
                }
                let n = owed.n;
                match self.publish(owed) {
                    Publishing::UnderWay => {
                        failpoint::pass("outbox-published");
                        self.under_way.insert(n, (Instant::now(), client));
                    }
                    Publishing::NoRoom => {
                        // The connection is down or has no room. The next acknowledgement makes
                        // room, or the publisher gives the connection up.
                        self.cursor = n;
                        self.full_until = Some(Instant::now() + LOOK_AGAIN);
                        return Ok(());
                    }
                    Publishing::Refused => {
                        self.hold(n, None, Instant::now());
                    }
                }
            }
            self.cursor = last + 1;
        }
    }

    /// The clients that have a message on hold.
    fn held(&self) -> BTreeSet<ClientId> {
        self.on_hold.values().filter_map(|held| held.client.clone()).collect()
    }

    fn publish(&self, owed: Owed) -> Publishing {
        let Owed { n, request, completed, failures, unknown } = owed;
        let max_bytes = self.line.max_payload(self.max_bytes);
        let (kind, payload) = if completed {
            (ResultKind::Completed, messages::completed(&request, failures, max_bytes))
        } else {
            (ResultKind::Accepted, messages::accepted(&request, unknown, max_bytes))
        };
        let topic = self.topics.result(&request.client, request.operation.as_str(), kind);
        if self.line.drops(&Tag::Owed(n), &topic, payload.len()) {
            return Publishing::Refused;
        }
        match self.line.publish(Some(self.link.epoch), &topic, payload, false, Tag::Owed(n)) {
            true => Publishing::UnderWay,
            false => Publishing::NoRoom,
        }
    }

    /// Notes the messages that the broker has acknowledged: this one and all others that were
    /// reported by now.
    fn acknowledged(&mut self, first: Tag, more: &mut mpsc::Receiver<Tag>) -> Vec<u64> {
        let mut done = Vec::new();
        let mut tag = Some(first);
        while let Some(Tag::Owed(n)) = tag {
            self.under_way.remove(&n);
            if self.on_hold.remove(&n).is_some() {
                // Messages of this client can be published again.
                self.cursor = 0;
            }
            done.push(n);
            tag = more.try_recv().ok();
        }
        failpoint::pass("outbox-delivered");
        done
    }

    /// Forgets the acknowledged messages and reads the next ones in one job, since under load each
    /// job waits for a sync. If a crash undoes the forgetting, a message is published twice, which
    /// its receiver expects.
    async fn next(&mut self, done: Vec<u64>, limit: usize) -> Result<(Vec<Owed>, Option<u64>), ledger::Unavailable> {
        let (via, from) = (self.via, self.cursor);
        let rule = move |tx: &mut ledger::Tx<'_>| {
            for n in &done {
                ledger::delivered(tx, *n)?;
            }
            if limit == 0 {
                return Ok(Some((Vec::new(), None)));
            }
            ledger::owed(tx, via, from, limit, messages::MAX_ERROR_ENTRIES).map(Some)
        };
        self.ledger.run_unsynced(rule).await.inspect_err(|_| {
            // The messages are still owed, and are published again.
            self.cursor = 0;
        })
    }
}
