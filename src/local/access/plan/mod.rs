//! When commands are sent to the plugin, and how many at a time. The module does no I/O, and the
//! time is an argument.
//!
//! At each change the plugin writes all of its clients to a file, and the broker serves no client
//! meanwhile: 5 ms with 1,000 clients, and longer with more. Therefore one message is in flight at
//! a time, it has as many changes as the broker makes in a short time, and then the broker gets as
//! long for its other clients.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::{AccessAnswer, AccessCommand, ThingName},
    ledger::DueAccess,
    protocol::dynsec,
};

/// The most changes in one message, at first and in the end.
const CHANGES: (usize, usize) = (4, 16);

/// How many commands one message may have for each change that is allowed. Reading a client takes
/// the broker microseconds.
const READS_EACH: usize = 4;

/// A message should take the broker no longer than the second value. If it takes less than the
/// first value, a larger message may follow.
const GOAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(200));

/// A response that has not arrived after this time will not come: the plugin responds at once, at
/// QoS 0.
const PATIENCE: Duration = Duration::from_secs(5);

/// After this many messages in a row without a response, the agent counts as denied.
const DENIED_AFTER: u32 = 2;

/// How long to wait then, at first and at most.
const DENIED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// How long to wait before commands to which the plugin responded with an error are tried again, at
/// first and at most.
const FAILED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// How long to wait after the connection or the store did not accept a message.
const LATER: Duration = Duration::from_secs(2);

/// A response, with the device that it is about.
pub(super) type Answered = (ThingName, AccessCommand, AccessAnswer);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for an event or until [`Flow::wakes_at`].
    Wait,
    /// Subscribe to the responses.
    Subscribe,
    /// Read at most `limit` due changes from the ledger and send them: either the failed ones,
    /// after a name, or the others.
    Send { failed: bool, after: Option<ThingName>, limit: usize },
}

/// A message in flight: its number, its commands, and when it was sent. A command without a device
/// tests whether the agent is allowed to send commands.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) commands: Vec<(Option<ThingName>, AccessCommand)>,
    pub(super) sent_at: Instant,
}

/// The state of the connection to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// No connection.
    Down,
    /// The subscription is to be made.
    Closed,
    /// The subscription has no response yet.
    Subscribing(Instant),
    Open,
}

/// Why the agent may not command the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The broker denies the subscription to the responses.
    Subscription,
    /// No response arrives.
    Silence,
}

/// The messages in flight, and the commands that have to wait.
#[derive(Debug)]
pub(super) struct Flow {
    way: Way,
    under_way: Option<Batch>,
    /// The most changes in one message.
    changes: usize,
    rest_until: Option<Instant>,
    /// How many attempts in a row had no response.
    silent: u32,
    /// Whether the plugin ever responded, or was tried without a response.
    is_tried: bool,
    /// Whether a change may be due.
    looks: bool,
    /// When failed commands are tried again, how long after that the next time, and how far the
    /// present round has come.
    failed_at: Option<Instant>,
    failed_delay: Duration,
    failed_after: Option<ThingName>,
}

impl Flow {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            way: Way::Down,
            under_way: None,
            changes: CHANGES.0,
            rest_until: None,
            silent: 0,
            is_tried: false,
            looks: true,
            failed_at: Some(now),
            failed_delay: FAILED.0,
            failed_after: None,
        }
    }

    /// Notes that the connection changed or ended. The message in flight may have arrived or not.
    pub(super) fn connection(&mut self, is_up: bool) {
        self.way = if is_up { Way::Closed } else { Way::Down };
        (self.under_way, self.rest_until, self.silent) = (None, None, 0);
        self.looks = true;
    }

    /// Notes that a change may be due.
    pub(super) fn look(&mut self) {
        self.looks = true;
    }

    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.rest_until = self.rest_until.filter(|until| now < *until);
        let waits = self.under_way.is_some() || self.rest_until.is_some();
        match self.way {
            _ if waits => Next::Wait,
            Way::Down | Way::Subscribing(_) => Next::Wait,
            Way::Closed => Next::Subscribe,
            Way::Open => {
                let limit = self.changes * READS_EACH;
                if self.looks {
                    Next::Send { failed: false, after: None, limit }
                } else if self.failed_at.is_some_and(|at| at <= now) {
                    Next::Send { failed: true, after: self.failed_after.clone(), limit }
                } else {
                    Next::Wait
                }
            }
        }
    }

    /// When to look again if no event happens before.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        match (&self.under_way, self.way) {
            (Some(batch), _) => Some(batch.sent_at + PATIENCE),
            (None, Way::Subscribing(since)) => Some(since + PATIENCE),
            (None, Way::Down) => None,
            (None, _) => self.rest_until.or(self.failed_at),
        }
    }

    pub(super) fn subscribing(&mut self, now: Instant) {
        self.way = Way::Subscribing(now);
    }

    /// Notes the broker's response to the subscription.
    pub(super) fn subscribed(&mut self, is_granted: bool, now: Instant) -> Option<Denied> {
        if let Way::Subscribing(_) = self.way {
            self.way = if is_granted { Way::Open } else { Way::Closed };
            if !is_granted {
                self.silent = self.silent.max(DENIED_AFTER - 1);
                return self.unanswered(Denied::Subscription, now);
            }
        }
        None
    }

    /// Selects the due changes that fit into one message; the rest stays for the next messages. If
    /// no change is due, the first message tests by reading whether the agent may command the
    /// plugin at all.
    pub(super) fn select(&mut self, failed: bool, due: Vec<DueAccess>) -> Vec<(Option<ThingName>, AccessCommand)> {
        let mut changes = 0;
        let is_taken = |due: &DueAccess| {
            changes += usize::from(due.command != AccessCommand::Read);
            due.command == AccessCommand::Read || changes <= self.changes
        };
        let mut taken: Vec<_> = due.into_iter().filter(is_taken).map(|due| (Some(due.thing), due.command)).collect();
        if failed {
            // The next commands come after the last one that is tried now.
            self.failed_after = taken.last().and_then(|(thing, _)| thing.clone());
        } else if taken.is_empty() {
            self.looks = false;
            if !self.is_tried {
                taken.push((None, AccessCommand::Read));
            }
        }
        taken
    }

    /// Notes that `count` clients are left whose last attempt failed. `is_over` says that all of
    /// them were tried again.
    pub(super) fn failed(&mut self, count: u64, is_over: bool, now: Instant) {
        if count == 0 {
            (self.failed_at, self.failed_delay, self.failed_after) = (None, FAILED.0, None);
        } else if is_over {
            self.failed_at = Some(now + self.failed_delay);
            self.failed_delay = (self.failed_delay * 2).min(FAILED.1);
            self.failed_after = None;
        } else if self.failed_at.is_none() {
            self.failed_at = Some(now + self.failed_delay);
        }
    }

    pub(super) fn sent(&mut self, batch: Batch) {
        self.under_way = Some(batch);
    }

    /// Notes that the connection or the store did not accept the message.
    pub(super) fn later(&mut self, now: Instant) {
        self.rest_until = Some(now + LATER);
        self.looks = true;
    }

    /// Handles a response. Returns the outcome of each command in the message in flight; `None` if
    /// the response belongs to another message.
    pub(super) fn response(&mut self, payload: &[u8], now: Instant) -> Option<Vec<Answered>> {
        let batch = self.under_way.as_ref()?;
        let answers = dynsec::answers(batch.number, payload);
        if answers.is_empty() {
            return None;
        }
        let batch = self.under_way.take()?;
        (self.silent, self.is_tried, self.looks) = (0, true, true);
        let changes = batch.commands.iter().filter(|(_, command)| *command != AccessCommand::Read).count();
        if changes > 0 {
            let took = now.saturating_duration_since(batch.sent_at);
            if took > GOAL.1 {
                self.changes = (self.changes / 2).max(1);
            } else if took < GOAL.0 && changes >= self.changes {
                self.changes = (self.changes * 2).min(CHANGES.1);
            }
            self.rest_until = Some(now + took);
        }
        // An index that was not requested, or that occurs twice, is not from the plugin.
        let mut seen = BTreeSet::new();
        let of = |(index, answer): (usize, AccessAnswer)| {
            let (thing, command) = batch.commands.get(index).filter(|_| seen.insert(index))?;
            Some((thing.clone()?, *command, answer))
        };
        Some(answers.into_iter().filter_map(of).collect())
    }

    /// Whether the message in flight, or the subscription, was given up for lack of a response, and
    /// what that means.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Option<Denied>> {
        let is_late = |since: Instant| now >= since + PATIENCE;
        if let Some(batch) = self.under_way.take_if(|batch| is_late(batch.sent_at)) {
            drop(batch);
            self.changes = (self.changes / 2).max(1);
        } else if let Way::Subscribing(since) = self.way
            && is_late(since)
        {
            self.way = Way::Closed;
        } else {
            return None;
        }
        Some(self.unanswered(Denied::Silence, now))
    }

    fn unanswered(&mut self, denied: Denied, now: Instant) -> Option<Denied> {
        self.silent = self.silent.saturating_add(1);
        self.looks = true;
        if self.silent < DENIED_AFTER {
            return None;
        }
        self.is_tried = true;
        let doubled = DENIED.0.saturating_mul(1 << (self.silent - DENIED_AFTER).min(8));
        self.rest_until = Some(now + doubled.min(DENIED.1));
        Some(denied)
    }
}

#[cfg(test)]
mod tests;
