//! The small objects that the ledger's state consists of, and their images in the journal.
//!
//! An [`Image`] is the new value of one object. Setting an image twice changes nothing, so that a
//! journal may be replayed over a state, or a registry, that has some of it already.
//!
//! An image is JSON: a reader ignores members that it does not know and takes the default for those
//! that are missing, so that a rollback runs the old binary on new data. A change that breaks this
//! needs a new [`SCHEMA`].

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use crate::domain::{
    Access, CallKind, CallToken, ClientId, ClientToken, Device, DeviceState, Event, Fault, Now, Registered, Request,
    SyncCounts, Tally, Target, ThingName, Timestamp,
};

/// Version of the whole layout, journal and registry. A store with a larger one is left untouched.
pub const SCHEMA: u64 = 1;

/// A request's number, and the index of an entry in it.
pub(crate) type Place = (u64, u32);

/// How much there is to do by one kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Targets with work.
    pub work: u64,
    /// Of these, the ones that wait for a repetition, for reasons of their own or of their
    /// resource.
    pub retrying: u64,
    /// And those whose outcome the next complete list shows.
    pub verifying: u64,
}

impl Load {
    /// Counts one more target with work in that queue, or one less.
    pub(super) fn count(&mut self, queue: Queue, by: i64) {
        let add = |count: &mut u64| *count = count.saturating_add_signed(by);
        add(&mut self.work);
        match queue {
            Queue::Fresh => {}
            Queue::Retry | Queue::Parked => add(&mut self.retrying),
            Queue::AwaitList => add(&mut self.verifying),
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
    boot: u64,
    /// The monotonic time of that reading, in milliseconds since that boot.
    mono: u64,
    /// What had passed then.
    pub(crate) millis: u64,
    /// A confirmed wall time, the boot of that moment, and what had passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<(Timestamp, u64, u64)>,
}

impl Elapsed {
    /// Reads it at `now`.
    pub(super) fn at(self, now: Now) -> Self {
        let passed = if self.boot == now.boot { now.mono.0.saturating_sub(self.mono) } else { 0 };
        Self { boot: now.boot, mono: now.mono.0, millis: self.millis.saturating_add(passed), ..self }
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
    #[serde(skip_serializing_if = "is_default")]
    pub run: u64,
    /// The next request's number.
    #[serde(skip_serializing_if = "is_default")]
    pub next_seq: u64,
    /// The next request's number when this run began.
    #[serde(skip_serializing_if = "is_default")]
    pub first_seq: u64,
    /// The next outgoing message's number.
    #[serde(skip_serializing_if = "is_default")]
    pub next_outgoing: u64,
    /// Counts outcomes; see [`crate::domain::Device::mark`].
    #[serde(skip_serializing_if = "is_default")]
    pub mark: u64,
    /// Bytes of the keys and values in the registry.
    #[serde(skip_serializing_if = "is_default")]
    pub registry_bytes: u64,
    /// Counts the registries: a damaged one is replaced.
    #[serde(skip_serializing_if = "is_default")]
    pub generation: u64,
    /// Requests that have not ended.
    #[serde(skip_serializing_if = "is_default")]
    pub open_requests: u64,
    /// Entries of changes that have not ended.
    #[serde(skip_serializing_if = "is_default")]
    pub open_entries: u64,
    /// Messages that the broker has not acknowledged.
    #[serde(skip_serializing_if = "is_default")]
    pub outgoing: u64,
    /// Devices that the cloud lists, or whose disassociation is open.
    #[serde(skip_serializing_if = "is_default")]
    pub known: u64,
    /// Devices whose disassociation is open, also if it is queued behind an association.
    #[serde(skip_serializing_if = "is_default")]
    pub leaving: u64,
    /// Devices that are shown as `ASSOCIATED`.
    #[serde(skip_serializing_if = "is_default")]
    pub associated: u64,
    /// Devices that are shown as `ASSOCIATING`.
    #[serde(skip_serializing_if = "is_default")]
    pub associating: u64,
    /// Devices that are shown as `DISASSOCIATING`.
    #[serde(skip_serializing_if = "is_default")]
    pub disassociating: u64,
    /// Devices that are shown as `DISASSOCIATED`.
    #[serde(skip_serializing_if = "is_default")]
    pub disassociated: u64,
    /// What there is to do, by kind of call, in the order of [`CallKind::ALL`].
    #[serde(skip_serializing_if = "is_default")]
    pub loads: [Load; CallKind::ALL.len()],
    /// Requests for a sync that have not ended.
    #[serde(skip_serializing_if = "is_default")]
    pub open_syncs: u64,
    /// Whether the registry was ever read from the cloud to its end.
    #[serde(skip_serializing_if = "is_default")]
    pub synced: bool,
    /// Whether the registry was made, and bound to the journal.
    #[serde(skip_serializing_if = "is_default")]
    pub is_bound: bool,
    /// The measure of retention and deadlines.
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a piece of work waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Queue {
    /// To be sent, or sent and not answered.
    #[default]
    #[serde(rename = "F")]
    Fresh,
    /// Answered with a passing error of this entry: sent again after a while.
    #[serde(rename = "R")]
    Retry,
    /// The resource of its call refused: other resources go first.
    #[serde(rename = "P")]
    Parked,
    /// The next complete list shows the outcome.
    #[serde(rename = "L")]
    AwaitList,
}

/// The call that last carried an entry, where the service recognises a repetition by its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Made for this content, and for no other.
    pub(super) token: CallToken,
    /// A hash of all its entries.
    pub(super) content: String,
}

/// An entry that waits for a target, and the association that the registry knew when its request
/// was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiter(pub(crate) Place, pub(crate) Option<Timestamp>);

/// What is to be done about one target, for all the entries that wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// By which kind of call.
    #[serde(rename = "k")]
    pub(crate) lane: CallKind,
    /// Where it waits.
    #[serde(rename = "q", default, skip_serializing_if = "is_default")]
    pub(crate) queue: Queue,
    /// Its place in the queue: the entry that it was made for.
    #[serde(rename = "p")]
    pub(crate) place: Place,
    /// The entries that wait for it, by request. Those from `queued_opposite` on wait for its
    /// opposite.
    #[serde(rename = "w")]
    pub(crate) waiters: SmallVec<[Waiter; 1]>,
    /// Sent, and the outcome is not known: not to be withdrawn.
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    pub(crate) sent: bool,
    /// A call that carried it was never answered: until the outcome is known, nothing makes it
    /// unsent.
    #[serde(rename = "u", default, skip_serializing_if = "is_default")]
    pub(crate) outcome_unknown: bool,
    /// Calls that carried it.
    #[serde(rename = "n", default, skip_serializing_if = "is_default")]
    pub(crate) attempts: u32,
    /// Answers that named a passing error of this entry.
    #[serde(rename = "e", default, skip_serializing_if = "is_default")]
    pub(crate) entry_errors: u32,
    /// The last answer.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Arc<Fault>>,
    /// The count of outcomes when it began to wait for a list: an older list does not count.
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    pub(crate) outcome_seq: u64,
    /// The next request's number at that moment: who joins later has not been sent.
    #[serde(rename = "j", default, skip_serializing_if = "is_default")]
    pub(crate) joined_before: u64,
    /// The first entry that asks for the opposite of what was sent, and waits for its turn.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(crate) queued_opposite: Option<Place>,
    /// The call that last carried it, until its outcome is known.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<Box<Call>>,
}

impl Work {
    /// To be sent by that kind of call, for `waiters`, of which there is at least one.
    pub(super) fn new(lane: CallKind, waiters: SmallVec<[Waiter; 1]>) -> Self {
        Self {
            lane,
            queue: Queue::Fresh,
            place: waiters.first().map_or((0, 0), |waiter| waiter.0),
            waiters,
            sent: false,
            outcome_unknown: false,
            attempts: 0,
            entry_errors: 0,
            error: None,
            outcome_seq: 0,
            joined_before: 0,
            queued_opposite: None,
            call: None,
        }
    }

    /// The token of the call that last carried it.
    #[cfg(test)]
    pub(crate) fn call_token(&self) -> Option<&CallToken> {
        self.call.as_ref().map(|call| &call.token)
    }

    /// Whether it is done for that entry, which waits for its target, and not for those before it.
    pub(super) fn is_for(&self, place: Place) -> bool {
        self.queued_opposite.is_none_or(|opposite| place < opposite)
    }

    /// How many of the waiters it is done for: they come first.
    fn served(&self) -> usize {
        self.queued_opposite
            .map_or(self.waiters.len(), |opposite| self.waiters.partition_point(|waiter| waiter.0 < opposite))
    }

    /// The entries that it is done for.
    pub(super) fn waiting(&self) -> &[Waiter] {
        &self.waiters[..self.served()]
    }

    /// The entries that ask for its opposite, and wait for their turn.
    pub(super) fn opposed_by(&self) -> &[Waiter] {
        &self.waiters[self.served()..]
    }
}

/// A place in a queue, in the order in which work is taken. The number is that of the resource, for
/// work that is parked.
pub(crate) type QueueKey = (CallKind, Queue, u64, Place);

/// The key of a target's work in its queue.
pub(super) fn queue_key(target: &Target, work: &Work) -> QueueKey {
    let resource = if work.queue == Queue::Parked { resource(target) } else { 0 };
    (work.lane, work.queue, resource, work.place)
}

/// A resource's number. Two resources of one number would only be looked at one after the other.
pub(super) fn resource(target: &Target) -> u64 {
    digest(target.scope().unwrap_or_default().as_bytes()).max(1)
}

/// One entry of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Slot {
    /// It waits for its target.
    #[serde(rename = "o")]
    Open(#[serde(with = "as_key")] Target),
    /// It succeeded.
    #[serde(rename = "s")]
    Succeeded,
    /// It ended without success.
    #[serde(rename = "f")]
    Failed(#[serde(with = "as_key")] Target, Arc<Fault>),
}

/// A request in memory: it is open, or a message of it is owed, or the registry does not have it
/// yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Its constant part and its totals.
    #[serde(rename = "r")]
    pub(crate) request: Request,
    /// Its entries, in the order of the command.
    #[serde(rename = "e")]
    pub(crate) slots: Vec<Slot>,
    /// The first names of devices that the registry did not know when the command arrived.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unknown: Vec<String>,
    /// The registry has it.
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    pub(crate) stored: bool,
}

/// What changes of a request while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What became of the entries.
    #[serde(rename = "t")]
    pub(crate) tally: Tally,
    /// When the last entry ended.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(crate) completed_at: Option<Timestamp>,
    /// The same by [`Elapsed`].
    #[serde(rename = "l", default, skip_serializing_if = "is_default")]
    pub(crate) completed_elapsed: u64,
    /// What a sync found.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(crate) sync: Option<SyncCounts>,
}

impl Progress {
    /// Of a request.
    pub(super) fn of(request: &Request) -> Self {
        let Request { tally, completed_at, completed_elapsed, sync, .. } = request;
        Self { tally: *tally, completed_at: *completed_at, completed_elapsed: *completed_elapsed, sync: *sync }
    }

    /// Puts it into the request.
    pub(super) fn set(self, request: &mut Request) {
        let Self { tally, completed_at, completed_elapsed, sync } = self;
        (request.tally, request.completed_at) = (tally, completed_at);
        (request.completed_elapsed, request.sync) = (completed_elapsed, sync);
    }
}

/// A request that is forgotten, and whose rows the registry still has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    /// Whose it was.
    pub(crate) client: ClientId,
    /// Its token.
    pub(crate) token: ClientToken,
}

/// A message that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    /// Of which request.
    pub(crate) seq: u64,
    /// `completed`, else `accepted`.
    pub(crate) completed: bool,
}

/// A device of the registry with its history; empty where there is neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceRow {
    /// What the cloud last said, and what was last asked.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<Device>,
    /// When the device was last changed, by [`Elapsed`].
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    pub(crate) changed: u64,
    /// What happened, the oldest event first, each with its time by [`Elapsed`].
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<(u64, Event)>,
}

impl DeviceRow {
    /// Whether there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        self.device.is_none() && self.events.is_empty()
    }
}

/// What the rules need to know of a device about which a command is accepted or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Listed {
    /// Whether the cloud lists it.
    pub(crate) registered: Registered,
    /// Since when, as far as that is known.
    #[serde(default)]
    pub(crate) association: Option<Timestamp>,
    /// When the agent associated it, as long as that association is the one that is listed.
    #[serde(default)]
    pub(crate) ours: Option<Timestamp>,
}

impl From<&Device> for Listed {
    fn from(device: &Device) -> Self {
        Self { registered: device.registered, association: device.association, ours: device.ours }
    }
}

/// A device's row that the registry does not have yet in this form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// The row; empty to delete it.
    #[serde(rename = "r")]
    pub(crate) row: Box<DeviceRow>,
    /// Bytes of the row that the registry has, 0 for none.
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    pub(crate) stored: u64,
    /// Which change of a device's row this is, in memory.
    #[serde(skip)]
    pub(crate) change: u64,
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Key {
    /// A request with all its entries.
    Request(u64),
    /// What changes of a request while it is open.
    Progress(u64),
    /// An entry of a request.
    Slot(u64, u32),
    /// A request that is forgotten.
    Forgotten(u64),
    /// The work on a target.
    Work(Target),
    /// A message in the outbox.
    Owed(u64),
    /// A command without a token whose PUBACK was not sent.
    Unacknowledged([u8; 32]),
    /// A device whose retained message is out of date.
    Outdated(ThingName),
    /// A device's row.
    Device(ThingName),
    /// The broker's client of a device.
    Access(ThingName),
}

/// The new value of an object, `None` where it is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Image<'a> {
    /// Of all that follow it in a group: numbers and totals.
    #[serde(rename = "t")]
    Counters(Counters),
    #[serde(rename = "r")]
    Request(u64, Option<Cow<'a, Kept>>),
    #[serde(rename = "p")]
    Progress(u64, Progress),
    #[serde(rename = "e")]
    Slot(u64, u32, Cow<'a, Slot>),
    #[serde(rename = "g")]
    Forgotten(u64, Option<Cow<'a, Forgotten>>),
    #[serde(rename = "w")]
    Work(#[serde(with = "as_key")] Cow<'a, Target>, Option<Cow<'a, Work>>),
    #[serde(rename = "o")]
    Owed(u64, Option<Outgoing>),
    #[serde(rename = "u")]
    Unacknowledged([u8; 32], Option<u64>),
    #[serde(rename = "q")]
    Outdated(Cow<'a, ThingName>, Option<u64>),
    #[serde(rename = "d")]
    Device(Cow<'a, ThingName>, Option<Cow<'a, Changed>>),
    #[serde(rename = "a")]
    Access(Cow<'a, ThingName>, Option<Cow<'a, Access>>),
}

/// A device as its two objects have it: what the cloud says of it, and what is to be done.
pub(super) type Both<'r> = (Option<Registered>, Option<&'r Work>);

/// The state that people see.
pub(super) fn visible(registered: Option<Registered>, work: Option<&Work>) -> Option<DeviceState> {
    let under_way = work.and_then(|work| work.lane.traits().devices).map(|devices| devices.under_way);
    under_way.or(registered.map(|registered| match registered {
        Registered::Associated => DeviceState::Associated,
        Registered::Disassociated => DeviceState::Disassociated,
    }))
}

/// Whether a disassociation of it is open, also if it is queued behind an association.
pub(super) fn is_leaving(work: Option<&Work>) -> bool {
    work.is_some_and(|work| {
        let opposite = work.lane.traits().devices.and_then(|devices| devices.opposite);
        work.lane.takes_off() || work.queued_opposite.is_some() && opposite.is_some_and(CallKind::takes_off)
    })
}

/// Whether guards count it among the devices there are.
pub(super) fn is_known(registered: Option<Registered>, work: Option<&Work>) -> bool {
    is_leaving(work) || registered == Some(Registered::Associated)
}

/// A target as its key, which is one text in any version of the agent.
mod as_key {
    use std::borrow::Borrow;

    use super::{Cow, Deserialize, Deserializer, Serializer, Target};

    pub(super) fn serialize<S: Serializer>(target: &impl Borrow<Target>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&target.borrow().key())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromTarget>(deserializer: D) -> Result<T, D::Error> {
        let key = Cow::<str>::deserialize(deserializer)?;
        let target = Target::from_key(&key).ok_or_else(|| serde::de::Error::custom("not the key of a target"))?;
        Ok(T::from_target(target))
    }

    pub(super) trait FromTarget {
        fn from_target(target: Target) -> Self;
    }

    impl FromTarget for Target {
        fn from_target(target: Target) -> Self {
            target
        }
    }

    impl FromTarget for Cow<'_, Target> {
        fn from_target(target: Target) -> Self {
            Cow::Owned(target)
        }
    }
}

/// Distinguishes one content from another: 128 bits of its SHA-256, as text.
pub(super) fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
