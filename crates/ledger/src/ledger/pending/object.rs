//! The small objects that the ledger's state consists of, and their images in the journal.
//!
//! An [`Image`] is the new value of one object. Setting an image twice changes nothing, so that a
//! journal may be replayed over a state, or a registry, that has some of the images already.
//!
//! An image is JSON: a reader ignores members that it does not know and takes the default for those
//! that are missing, so that a rollback runs the old binary on new data. From the first release on,
//! a change that breaks this needs a new [`SCHEMA`].

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{counters::Counters, work::Work};
use crate::domain::{
    Access, ClientId, ClientToken, Device, EntryFailure, Event, Fault, Registered, Request, SyncCounts, Tally, Target,
    ThingName, Timestamp, is_default,
};

/// Bytes that an open entry is counted for: its images in the journal and its rows, measured and
/// rounded up.
pub(super) const BYTES_AN_ENTRY: u64 = 512;

/// Bytes that a request in memory is counted for, beside its entries.
pub(super) const BYTES_A_REQUEST: u64 = 1024;

/// Bytes that a message in the outbox is counted for.
pub(super) const BYTES_A_MESSAGE: u64 = 64;

/// Version of the whole layout, journal and registry. A store with a larger one is left untouched.
pub const SCHEMA: u64 = 1;

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

/// A request in memory: it is open, or one of its messages is owed, or the registry does not have
/// it yet.
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
    #[serde(skip)]
    pub(crate) change: ChangeNumber,
}

/// Which change of the state an object changed last with, in memory. It is no part of the object:
/// all numbers are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChangeNumber(pub(crate) u64);

impl ChangeNumber {
    /// The number of one more change, of which there were `changes`.
    pub(super) fn next(changes: &mut u64) -> Self {
        *changes += 1;
        Self(*changes)
    }
}

impl PartialEq for ChangeNumber {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ChangeNumber {}

/// A finished request, with what the registry keeps of it.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// Its constant part and its totals.
    pub(crate) request: Request,
    /// Its entries without success, with their indexes.
    pub(crate) failures: Vec<(u32, EntryFailure)>,
    /// The first names of devices that the registry did not know when the command arrived.
    pub(crate) unknown: Vec<String>,
}

impl From<&Kept> for Settled {
    fn from(kept: &Kept) -> Self {
        let Kept { request, slots, unknown, .. } = kept;
        let failed = |(index, slot): (u32, &Slot)| match slot {
            Slot::Failed(target, fault) => {
                Some((index, EntryFailure { target: target.clone(), fault: (**fault).clone() }))
            }
            Slot::Open(_) | Slot::Succeeded => None,
        };
        let failures = (0..).zip(slots).filter_map(failed).collect();
        Self { request: request.clone(), failures, unknown: unknown.clone() }
    }
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
    /// The same by [`Elapsed`](super::counters::Elapsed).
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
    /// Bytes of its rows.
    #[serde(default)]
    pub(crate) bytes: u64,
}

/// A message that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    /// Of which request.
    #[serde(rename = "s")]
    pub(crate) seq: u64,
    /// `completed`, else `accepted`.
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    pub(crate) completed: bool,
}

/// A device of the registry with its history; empty where there is neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceRow {
    /// What the cloud last said, and what was last asked.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<Device>,
    /// When the device was last changed, by [`Elapsed`](super::counters::Elapsed).
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    pub(crate) changed: u64,
    /// The events, the oldest one first, each with its time by
    /// [`Elapsed`](super::counters::Elapsed).
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
    #[serde(rename = "r")]
    pub(crate) registered: Registered,
    /// Since when, as far as that is known.
    #[serde(rename = "a", default)]
    pub(crate) association: Option<Timestamp>,
    /// When the agent associated it, as long as that association is the one that is listed.
    #[serde(rename = "o", default)]
    pub(crate) associated_by_agent_at: Option<Timestamp>,
}

impl From<&Device> for Listed {
    fn from(device: &Device) -> Self {
        Self {
            registered: device.registered,
            association: device.association,
            associated_by_agent_at: device.associated_by_agent_at,
        }
    }
}

/// A device's row that the registry does not have yet in this form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// The row; empty to delete it. A checkpoint shares it with the thread that writes it.
    #[serde(rename = "r")]
    pub(crate) row: Arc<DeviceRow>,
    /// Bytes of the row that the registry has, 0 for none.
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    pub(crate) stored: u64,
    #[serde(skip)]
    pub(crate) change: ChangeNumber,
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
    /// Numbers and totals; the last image of them in a group counts.
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
