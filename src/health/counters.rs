//! Counts of what was seen of the world outside since the start, for metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::{AccessCommand, CallKind, RejectionCode, Via};

/// What was seen since the start, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls by lane and kind of answer.
    pub calls: BTreeMap<(CallKind, &'static str), u64>,
    /// Commands that were not taken, by the code that told it.
    pub rejections: BTreeMap<RejectionCode, u64>,
    /// Entries in calls that were not answered yet.
    pub in_flight: BTreeMap<CallKind, u64>,
    /// Connections to the broker that were made.
    pub connections: u64,
    /// Whether there is one now.
    pub connected: bool,
    /// Whether the broker granted the subscription to commands on it.
    pub subscribed: bool,
    /// Whether the broker's dynamic-security plugin answers the agent on this connection.
    pub plugin_granted: bool,
    /// Its answers, by command and by whether it succeeded.
    pub plugin_answers: BTreeMap<(AccessCommand, bool), u64>,
    /// Messages to it without a response.
    pub plugin_silent: u64,
    /// Each transport over Greengrass IPC that is on.
    pub ipc: BTreeMap<Via, IpcCounts>,
}

/// What was seen of one transport over Greengrass IPC since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpcCounts {
    /// Connections that were made.
    pub connections: u64,
    /// Whether commands arrive: the subscription is granted on a connection that is there.
    pub subscribed: bool,
    /// Connections that were given up because they delivered nothing any more.
    pub silences: u64,
}

/// Keeps them; shared by all parts.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing that holds the lock can leave it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts, as of now.
    #[must_use]
    pub fn get(&self) -> Counts {
        self.counts().clone()
    }

    /// A call with so many entries is under way; with none, it is over.
    pub fn calling(&self, kind: CallKind, entries: usize) {
        self.counts().in_flight.insert(kind, entries as u64);
    }

    /// A call was answered, or failed, in the way that `answer` names.
    pub fn called(&self, kind: CallKind, answer: &'static str) {
        *self.counts().calls.entry((kind, answer)).or_default() += 1;
    }

    /// How many answers of that name there were to the kinds of calls that `is_counted` names.
    #[must_use]
    pub fn answers(&self, answer: &'static str, is_counted: impl Fn(CallKind) -> bool) -> u64 {
        let counts = self.counts();
        let counted = counts.calls.iter().filter(|((kind, name), _)| *name == answer && is_counted(*kind));
        counted.map(|(_, count)| *count).sum()
    }

    /// A command was not taken.
    pub fn rejected(&self, code: RejectionCode) {
        *self.counts().rejections.entry(code).or_default() += 1;
    }

    /// The connection to the broker is there, or gone.
    pub fn connected(&self, is_up: bool) {
        let mut counts = self.counts();
        counts.connections += u64::from(is_up);
        counts.connected = is_up;
        counts.subscribed = false;
        counts.plugin_granted = false;
    }

    /// The broker's dynamic-security plugin answers the agent, or does not.
    pub fn plugin_granted(&self, is_granted: bool) {
        self.counts().plugin_granted = is_granted;
    }

    /// The plugin answered to a command, which succeeded or not; or to none of a message.
    pub fn plugin_answered(&self, answer: Option<(AccessCommand, bool)>) {
        let mut counts = self.counts();
        match answer {
            Some(answer) => *counts.plugin_answers.entry(answer).or_default() += 1,
            None => counts.plugin_silent += 1,
        }
    }

    /// Changes what is counted of a transport over Greengrass IPC.
    pub fn ipc(&self, via: Via, change: impl FnOnce(&mut IpcCounts)) {
        change(self.counts().ipc.entry(via).or_default());
    }

    /// The broker granted the subscription.
    pub fn subscribed(&self) {
        self.counts().subscribed = true;
    }
}
