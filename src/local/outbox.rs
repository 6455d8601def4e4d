//! The outbox: publishes what the ledger owes, in order, and forgets it when the broker has it.
//!
//! A broker that refuses a publish may never acknowledge it: such a message is set aside, and with
//! it the others of the same client, while everybody else's go on.

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

/// Messages under way at a time: two for each command, and half of the library's table of 100.
const WINDOW: usize = 48;

/// Without an acknowledgement for so long, a message is set aside.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for room on the line.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a message is set aside, at first and at most.
const ASIDE: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

/// What came of an attempt to publish a message.
enum Publishing {
    UnderWay,
    /// The line is down or has no room.
    NoRoom,
    /// The broker ends the connection over it.
    Refused,
}

struct Aside {
    /// The client whose other messages wait, too.
    client: Option<ClientId>,
    until: Instant,
    delay: Duration,
}

pub(crate) struct Outbox {
    ledger: Ledger,
    /// The transport that it serves.
    via: Via,
    line: Arc<Publisher>,
    topics: Topics,
    max_bytes: usize,
    link: ConnectionState,
    /// The opening of the store that it reads.
    run: u64,
    /// The place to go on from.
    cursor: u64,
    under_way: BTreeMap<u64, (Instant, ClientId)>,
    /// The line had no room: when to look again.
    full_until: Option<Instant>,
    aside: BTreeMap<u64, Aside>,
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
            aside: BTreeMap::new(),
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
            self.set_aside(now);
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

    /// A new connection: from the first one on.
    fn connection(&mut self, link: ConnectionState) {
        if link.epoch != self.link.epoch {
            self.link = link;
            self.cursor = 0;
            self.under_way.clear();
        }
    }

    /// A store that failed may not have forgotten what it was told was delivered: from the first
    /// one on.
    fn opening(&mut self, run: u64) {
        if run != self.run {
            self.run = run;
            self.cursor = 0;
        }
    }

    /// The next of the times that had not come when they were last looked at.
    fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let late = self.under_way.values().flat_map(|(since, _)| [*since + PATIENCE, *since + PATIENCE * 3]);
        let looks = late.chain(self.aside.values().map(|aside| aside.until)).chain(self.full_until);
        looks.filter(|at| *at > now).min()
    }

    fn set_aside(&mut self, now: Instant) {
        // What a broker leaves out while it acknowledges others, it denies; one that acknowledges
        // nothing may just be slow.
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
        if self.aside.values().any(|aside| aside.until <= now) {
            // Their time has come: look at everything again.
            self.cursor = 0;
        }
    }

    /// Puts a message on hold, and with it the others of `client`; for how long.
    fn hold(&mut self, n: u64, client: Option<ClientId>, now: Instant) -> Duration {
        let delay = self.aside.get(&n).map_or(ASIDE.0, |aside| (aside.delay * 2).min(ASIDE.1));
        self.aside.insert(n, Aside { client, until: now + delay, delay });
        delay
    }

    /// Forgets what is done, and publishes until the window is full or nothing is left.
    async fn fill(&mut self, mut done: Vec<u64>) -> Result<(), ledger::Unavailable> {
        loop {
            let limit = if self.link.up { WINDOW.saturating_sub(self.under_way.len()) } else { 0 };
            if limit == 0 && done.is_empty() {
                return Ok(());
            }
            let from = self.cursor;
            let (owed, last) = self.next(std::mem::take(&mut done), limit).await?;
            let Some(last) = last else { return Ok(()) };
            // Forgotten with its request: nobody is to be held up for it any more.
            self.aside.retain(|n, _| !(from..=last).contains(n) || owed.iter().any(|owed| owed.n == *n));
            let held = self.held();
            for owed in owed {
                let client = owed.request.client.clone();
                let is_held = match self.aside.get(&owed.n) {
                    Some(aside) => aside.until > Instant::now(),
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
                        // The line is down, or has no room: what is delivered next makes some, or
                        // the line gives up on it.
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

    /// Clients of which a message is set aside.
    fn held(&self) -> BTreeSet<ClientId> {
        self.aside.values().filter_map(|aside| aside.client.clone()).collect()
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

    /// Notes what the broker has, this and whatever else is told by now.
    fn acknowledged(&mut self, first: Tag, more: &mut mpsc::Receiver<Tag>) -> Vec<u64> {
        let mut done = Vec::new();
        let mut tag = Some(first);
        while let Some(Tag::Owed(n)) = tag {
            self.under_way.remove(&n);
            if self.aside.remove(&n).is_some() {
                // The way to this client is free again.
                self.cursor = 0;
            }
            done.push(n);
            tag = more.try_recv().ok();
        }
        failpoint::pass("outbox-delivered");
        done
    }

    /// Forgets what the broker has, and reads what is next, in one go: under load each question
    /// waits for a sync. If the forgetting is lost in a crash the message goes out twice, which its
    /// receiver expects.
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
            // They are still owed, and go out again.
            self.cursor = 0;
        })
    }
}
