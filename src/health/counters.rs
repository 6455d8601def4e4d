//! Counters of external events since the start, for metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::domain::{AccessCommand, CallKind, RejectionCode, Via};

/// The counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls, by call kind and kind of response.
    pub calls: BTreeMap<(CallKind, &'static str), u64>,
    /// Commands that were rejected, by code.
    pub rejections: BTreeMap<RejectionCode, u64>,
    /// Entries in calls that have no response yet.
    pub in_flight: BTreeMap<CallKind, u64>,
    /// Connections to the broker that were made.
    pub connections: u64,
    /// Whether there is a connection now.
    pub connected: bool,
    /// Whether the broker granted the subscription to commands on the current connection.
    pub subscribed: bool,
    /// Whether the broker's dynamic-security plugin answers the agent on this connection.
    pub plugin_granted: bool,
    /// The plugin's responses, by command and by whether the command succeeded.
    pub plugin_answers: BTreeMap<(AccessCommand, bool), u64>,
    /// Messages to the plugin without a response.
    pub plugin_silent: u64,
    /// The counts of each transport over Greengrass IPC that is on.
    pub ipc: BTreeMap<Via, IpcCounts>,
}

/// The counts of one transport over Greengrass IPC since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpcCounts {
    /// Connections that were made.
    pub connections: u64,
    /// Whether commands arrive: the subscription is granted on the current connection.
    pub subscribed: bool,
    /// Connections that were abandoned because they delivered nothing any more.
    pub silences: u64,
}

/// Keeps the counts; shared by all parts of the agent.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No code that holds the lock can panic and leave the counts half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current counts.
    #[must_use]
    pub fn get(&self) -> Counts {
        self.counts().clone()
    }

    /// Notes that a call with this many entries is in flight; with none, that the call is over.
    pub fn calling(&self, kind: CallKind, entries: usize) {
        self.counts().in_flight.insert(kind, entries as u64);
    }

    /// Notes that a call got a response, or failed, in the way that `answer` names.
    pub fn called(&self, kind: CallKind, answer: &'static str) {
        *self.counts().calls.entry((kind, answer)).or_default() += 1;
    }

    /// How many responses of that name there were to the call kinds that `is_counted` selects.
    #[must_use]
    pub fn answers(&self, answer: &'static str, is_counted: impl Fn(CallKind) -> bool) -> u64 {
        let counts = self.counts();
        let counted = counts.calls.iter().filter(|((kind, name), _)| *name == answer && is_counted(*kind));
        counted.map(|(_, count)| *count).sum()
    }

    /// Notes that a command was rejected.
    pub fn rejected(&self, code: RejectionCode) {
        *self.counts().rejections.entry(code).or_default() += 1;
    }

    /// Notes that the connection to the broker was made, or that it ended.
    pub fn connected(&self, is_up: bool) {
        let mut counts = self.counts();
        counts.connections += u64::from(is_up);
        counts.connected = is_up;
        counts.subscribed = false;
        counts.plugin_granted = false;
    }

    /// Notes whether the broker's dynamic-security plugin responds to the agent.
    pub fn plugin_granted(&self, is_granted: bool) {
        self.counts().plugin_granted = is_granted;
    }

    /// Notes the plugin's response to a command, which succeeded or not; or that a message had no
    /// response.
    pub fn plugin_answered(&self, answer: Option<(AccessCommand, bool)>) {
        let mut counts = self.counts();
        match answer {
            Some(answer) => *counts.plugin_answers.entry(answer).or_default() += 1,
            None => counts.plugin_silent += 1,
        }
    }

    /// Changes the counts of a transport over Greengrass IPC.
    pub fn ipc(&self, via: Via, change: impl FnOnce(&mut IpcCounts)) {
        change(self.counts().ipc.entry(via).or_default());
    }

    /// Notes that the broker granted the subscription.
    pub fn subscribed(&self) {
        self.counts().subscribed = true;
    }
}
