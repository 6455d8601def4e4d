//! Numbers and totals of the ledger, and the time that it knows to have passed.

use serde::{Deserialize, Serialize};

use super::work::{Both, Queue, is_known, is_leaving, visible};
use crate::domain::{CallKind, DeviceState, Now, Timestamp, is_default};

/// How much there is to do by one kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Targets with work.
    #[serde(rename = "w", skip_serializing_if = "is_default")]
    pub work: u64,
    /// Of these, the ones that wait for a repetition, for reasons of their own or of their
    /// resource.
    #[serde(rename = "r", skip_serializing_if = "is_default")]
    pub retrying: u64,
    /// And those whose outcome the next complete list shows.
    #[serde(rename = "l", skip_serializing_if = "is_default")]
    pub awaiting_list: u64,
}

impl Load {
    /// Counts one more target with work in that queue, or one less.
    pub(super) fn count(&mut self, queue: Queue, by: i64) {
        let add = |count: &mut u64| *count = count.saturating_add_signed(by);
        add(&mut self.work);
        match queue {
            Queue::Fresh => {}
            Queue::Retry | Queue::Parked => add(&mut self.retrying),
            Queue::AwaitList => add(&mut self.awaiting_list),
        }
    }
}

/// The time that the agent knows to have passed, in milliseconds: the measure of retention and of
/// relative deadlines.
///
/// Within a boot of the machine it follows the monotonic clock. The time between two boots counts
/// only as far as the cloud confirmed the wall clock before and after it. So no step of the wall
/// clock makes it run, and it never runs ahead of what really passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Elapsed {
    /// The boot in which it was last read.
    #[serde(rename = "b")]
    boot: u64,
    /// The monotonic time of that reading, in milliseconds since that boot.
    #[serde(rename = "m")]
    mono: u64,
    /// What had passed then.
    #[serde(rename = "e")]
    pub(crate) millis: u64,
    /// A confirmed wall time, the boot of that moment, and what had passed.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    confirmed: Option<(Timestamp, u64, u64)>,
}

impl Elapsed {
    /// Reads it at `now`.
    pub(super) fn at(self, now: Now) -> Self {
        let passed = if self.boot == now.boot { now.mono.0.saturating_sub(self.mono) } else { 0 };
        Self { boot: now.boot, mono: now.mono.0, millis: self.millis.saturating_add(passed), ..self }
    }

    /// The wall time of the last reading, if the cloud ever confirmed the wall clock.
    pub(crate) fn wall(&self) -> Option<Timestamp> {
        let (wall, _, millis) = self.confirmed?;
        Some(wall.after(std::time::Duration::from_millis(self.millis.saturating_sub(millis))))
    }

    /// Reads it at `now`, while the wall clock is confirmed: time between two boots counts now.
    pub(super) fn confirmed_at(self, now: Now) -> Self {
        let mut elapsed = self.at(now);
        // Within a boot a step of the clock may not have been noticed yet.
        if let Some((wall, boot, millis)) = elapsed.confirmed
            && boot != now.boot
        {
            let since = u64::try_from(now.wall.0.saturating_sub(wall.0)).unwrap_or_default();
            elapsed.millis = elapsed.millis.max(millis.saturating_add(since));
        }
        elapsed.confirmed = Some((now.wall, now.boot, elapsed.millis));
        elapsed
    }
}

/// Numbers and totals, so that limits and `status` need no scan. Each group in the journal has
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Number of this run of the agent.
    #[serde(rename = "r", skip_serializing_if = "is_default")]
    pub run: u64,
    /// The next request's number.
    #[serde(rename = "s", skip_serializing_if = "is_default")]
    pub next_seq: u64,
    /// The next request's number when this run began.
    #[serde(rename = "f", skip_serializing_if = "is_default")]
    pub first_seq: u64,
    /// The next outgoing message's number.
    #[serde(rename = "o", skip_serializing_if = "is_default")]
    pub next_outgoing: u64,
    /// Counts outcomes; see [`crate::domain::Device::outcome_seq`].
    #[serde(rename = "m", skip_serializing_if = "is_default")]
    pub outcome_seq: u64,
    /// Bytes of the keys and values in the registry.
    #[serde(rename = "b", skip_serializing_if = "is_default")]
    pub registry_bytes: u64,
    /// Counts the registries: a damaged one is replaced.
    #[serde(rename = "g", skip_serializing_if = "is_default")]
    pub generation: u64,
    /// Which attempt to write a checkpoint was the last complete one: a registry with an older one
    /// has lost rows.
    #[serde(rename = "t", skip_serializing_if = "is_default")]
    pub attempt: u64,
    /// Requests that have not ended.
    #[serde(rename = "q", skip_serializing_if = "is_default")]
    pub open_requests: u64,
    /// Entries of changes that have not ended.
    #[serde(rename = "e", skip_serializing_if = "is_default")]
    pub open_entries: u64,
    /// Messages that the broker has not acknowledged.
    #[serde(rename = "u", skip_serializing_if = "is_default")]
    pub outgoing: u64,
    /// Devices that the cloud lists, or whose disassociation is open.
    #[serde(rename = "k", skip_serializing_if = "is_default")]
    pub known: u64,
    /// Devices whose disassociation is open, also if it is queued behind an association.
    #[serde(rename = "l", skip_serializing_if = "is_default")]
    pub leaving: u64,
    /// Devices that are shown as `ASSOCIATED`.
    #[serde(rename = "ia", skip_serializing_if = "is_default")]
    pub associated: u64,
    /// Devices that are shown as `ASSOCIATING`.
    #[serde(rename = "ga", skip_serializing_if = "is_default")]
    pub associating: u64,
    /// Devices that are shown as `DISASSOCIATING`.
    #[serde(rename = "gd", skip_serializing_if = "is_default")]
    pub disassociating: u64,
    /// Devices that are shown as `DISASSOCIATED`.
    #[serde(rename = "id", skip_serializing_if = "is_default")]
    pub disassociated: u64,
    /// What there is to do, by kind of call, in the order of [`CallKind::ALL`].
    #[serde(rename = "w", skip_serializing_if = "is_default")]
    pub loads: [Load; CallKind::ALL.len()],
    /// Whether the registry was ever read from the cloud to its end.
    #[serde(rename = "sy", skip_serializing_if = "is_default")]
    pub synced: bool,
    /// Whether the registry was made, and bound to the journal.
    #[serde(rename = "bo", skip_serializing_if = "is_default")]
    pub is_bound: bool,
    /// The measure of retention and deadlines.
    #[serde(rename = "p")]
    pub(crate) elapsed: Elapsed,
}

impl Counters {
    /// How many devices are shown in a state.
    pub(crate) fn devices(&mut self, state: DeviceState) -> &mut u64 {
        match state {
            DeviceState::Associated => &mut self.associated,
            DeviceState::Associating => &mut self.associating,
            DeviceState::Disassociating => &mut self.disassociating,
            DeviceState::Disassociated => &mut self.disassociated,
        }
    }

    /// Forgets how many devices there are.
    pub(super) fn clear_devices(&mut self) {
        (self.known, self.leaving) = (0, 0);
        DeviceState::ALL.iter().for_each(|state| *self.devices(*state) = 0);
    }

    /// Counts one more device as its two objects have it, or one less.
    pub(super) fn count_device(&mut self, (device, work): Both<'_>, by: i64) {
        let add = |count: &mut u64| *count = count.saturating_add_signed(by);
        if is_known(device, work) {
            add(&mut self.known);
        }
        if is_leaving(work) {
            add(&mut self.leaving);
        }
        if let Some(state) = visible(device, work) {
            add(self.devices(state));
        }
    }

    /// Whether the two differ in anything but the time at which they were made.
    pub(super) fn differ(&self, other: &Self) -> bool {
        Self { elapsed: other.elapsed, ..*self } != *other
    }
}
