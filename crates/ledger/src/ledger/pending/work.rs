//! The work on a target: what is to be done, for which entries, and its place in a queue.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::domain::{CallKind, CallToken, DeviceState, Fault, Registered, Target, Timestamp, is_default};

/// A request's number, and the index of an entry in it.
pub(crate) type Place = (u64, u32);

/// What a piece of work waits for, in the order in which queues are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Queue {
    /// A call, or its answer.
    #[default]
    #[serde(rename = "F")]
    Fresh,
    /// Another call, after an answer with a passing error of this entry.
    #[serde(rename = "R")]
    Retry,
    /// A call, when the resource of its call no longer refuses: other resources go first.
    #[serde(rename = "P")]
    Parked,
    /// The next complete list, which shows the outcome.
    #[serde(rename = "L")]
    AwaitList,
}

/// Whether a call may have carried out a piece of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CallState {
    /// No call may have carried it out.
    #[default]
    #[serde(rename = "N")]
    Unsent,
    /// A call carried it, and is not answered yet. The work cannot be withdrawn.
    #[serde(rename = "S")]
    Sent,
    /// A call that carried it was never answered: until the outcome is known, nothing makes the
    /// work unsent.
    #[serde(rename = "U")]
    OutcomeUnknown,
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

/// What is to be done about one target, for all the entries that wait for it. Up to a hundred
/// thousand of them are in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// By which kind of call.
    #[serde(rename = "k")]
    pub(crate) call_kind: CallKind,
    /// What it waits for.
    #[serde(rename = "q", default, skip_serializing_if = "is_default")]
    pub(crate) queue: Queue,
    /// Whether a call may have carried it out.
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    pub(crate) call_state: CallState,
    /// Calls that carried it.
    #[serde(rename = "n", default, skip_serializing_if = "is_default")]
    pub(crate) attempts: u32,
    /// Its place in the queue: the entry that it was made for.
    #[serde(rename = "p")]
    pub(crate) place: Place,
    /// The entries that wait for it, by request. Those from `queued_opposite` on wait for its
    /// opposite.
    #[serde(rename = "w")]
    pub(crate) waiters: SmallVec<[Waiter; 1]>,
    /// What most work does not have.
    #[serde(rename = "x", default, skip_serializing_if = "is_default")]
    pub(crate) details: Details,
}

/// The details of a piece of work, which take memory only if there are any. They are read and set
/// as if they were always there.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Details(Option<Box<Detail>>);

/// What happened to a piece of work whose first call did not end it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// Answers that named a passing error of this entry.
    #[serde(rename = "e", default, skip_serializing_if = "is_default")]
    pub(crate) entry_errors: u32,
    /// The last answer.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Arc<Fault>>,
    /// The first entry that asks for the opposite of what was sent, and waits for its turn.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(crate) queued_opposite: Option<Place>,
    /// The call that last carried it, until its outcome is known.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<Box<Call>>,
    /// For work that waits for a list.
    #[serde(rename = "l", default, skip_serializing_if = "is_default")]
    pub(crate) since: WaitsSince,
}

/// When the wait for a list began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitsSince {
    /// The count of outcomes at that moment: an older list does not count.
    #[serde(rename = "m")]
    pub(crate) outcome_seq: u64,
    /// The next request's number at that moment: an entry that joins later was not sent.
    #[serde(rename = "j")]
    pub(crate) joined_before: u64,
}

/// The details of work that has none.
static NO_DETAIL: Detail = Detail {
    entry_errors: 0,
    error: None,
    queued_opposite: None,
    call: None,
    since: WaitsSince { outcome_seq: 0, joined_before: 0 },
};

impl Deref for Details {
    type Target = Detail;

    fn deref(&self) -> &Detail {
        self.0.as_deref().unwrap_or(&NO_DETAIL)
    }
}

impl DerefMut for Details {
    fn deref_mut(&mut self) -> &mut Detail {
        self.0.get_or_insert_with(|| Box::new(NO_DETAIL.clone()))
    }
}

impl Details {
    /// Frees the memory of details that are none.
    pub(super) fn trim(&mut self) {
        if **self == NO_DETAIL {
            self.0 = None;
        }
    }
}

impl PartialEq for Details {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Details {}

impl Work {
    /// To be sent by that kind of call, for `waiters`, of which there is at least one.
    pub(super) fn new(call_kind: CallKind, waiters: SmallVec<[Waiter; 1]>) -> Self {
        Self {
            call_kind,
            queue: Queue::Fresh,
            call_state: CallState::Unsent,
            attempts: 0,
            place: waiters.first().map_or((0, 0), |waiter| waiter.0),
            waiters,
            details: Details::default(),
        }
    }

    /// Whether a call may have carried it out.
    pub(crate) fn is_sent(&self) -> bool {
        self.call_state != CallState::Unsent
    }

    /// Whether a call that carried it was never answered.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        self.call_state == CallState::OutcomeUnknown
    }

    /// Notes that a call carries it; `is_part` for a part of the call before, which was refused as
    /// a whole.
    pub(super) fn note_sent(&mut self, is_part: bool) {
        self.call_state = match self.call_state {
            CallState::Unsent => CallState::Sent,
            CallState::Sent if is_part => CallState::Sent,
            // The work was left over by a kill, or deferred while a refused call was split.
            CallState::Sent | CallState::OutcomeUnknown => CallState::OutcomeUnknown,
        };
    }

    /// Notes an answer by which its call had no effect: an earlier call may have had one.
    pub(super) fn had_no_effect(&mut self) {
        if self.call_state == CallState::Sent {
            self.call_state = CallState::Unsent;
        }
    }

    /// The token of the call that last carried it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn call_token(&self) -> Option<&CallToken> {
        self.details.call.as_ref().map(|call| &call.token)
    }

    /// Whether it is done for that entry, which waits for its target, and not for those before it.
    pub(super) fn is_for(&self, place: Place) -> bool {
        self.details.queued_opposite.is_none_or(|opposite| place < opposite)
    }

    /// How many of the waiters it is done for: they come first.
    fn served(&self) -> usize {
        self.details
            .queued_opposite
            .map_or(self.waiters.len(), |opposite| self.waiters.partition_point(|waiter| waiter.0 < opposite))
    }

    /// The entries that it is done for.
    pub(super) fn waiting(&self) -> &[Waiter] {
        &self.waiters[..self.served()]
    }

    /// The entries that ask for its opposite, and wait for their turn.
    pub(super) fn queued_opposites(&self) -> &[Waiter] {
        &self.waiters[self.served()..]
    }
}

/// A place in a queue, in the order in which work is taken. The members of the [`Place`] are apart,
/// because together they would take 8 bytes more for each piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    call_kind: CallKind,
    queue: Queue,
    /// The number of the resource, for work that is parked.
    pub(super) resource: u64,
    seq: u64,
    index: u32,
}

impl QueueKey {
    /// In the queue of work that is not parked.
    pub(super) fn new(call_kind: CallKind, queue: Queue, (seq, index): Place) -> Self {
        Self { call_kind, queue, resource: 0, seq, index }
    }

    /// The first place of the work that is parked for a resource.
    pub(super) fn parked(call_kind: CallKind, resource: u64) -> Self {
        Self { resource, ..Self::new(call_kind, Queue::Parked, (0, 0)) }
    }

    /// Of a target's work.
    pub(super) fn of(target: &Target, work: &Work) -> Self {
        let resource = if work.queue == Queue::Parked { resource(target) } else { 0 };
        Self { resource, ..Self::new(work.call_kind, work.queue, work.place) }
    }

    /// The place of the entry right behind it.
    pub(super) fn next_place(&self) -> Place {
        (self.seq, self.index.saturating_add(1))
    }
}

/// A resource's number. Two resources of one number would only be looked at one after the other.
pub(super) fn resource(target: &Target) -> u64 {
    digest(target.scope().unwrap_or_default().as_bytes()).max(1)
}

/// A device by its two objects: the state that the cloud has, and the open work.
pub(super) type Both<'r> = (Option<Registered>, Option<&'r Work>);

/// The state that messages show.
pub(crate) fn visible(registered: Option<Registered>, work: Option<&Work>) -> Option<DeviceState> {
    let under_way = work.and_then(|work| work.call_kind.traits().devices).map(|devices| devices.under_way);
    under_way.or(registered.map(|registered| match registered {
        Registered::Associated => DeviceState::Associated,
        Registered::Disassociated => DeviceState::Disassociated,
    }))
}

/// Whether a disassociation of it is open, also if it is queued behind an association.
pub(super) fn is_leaving(work: Option<&Work>) -> bool {
    work.is_some_and(|work| {
        let opposite = work.call_kind.opposite();
        work.call_kind.takes_off()
            || work.details.queued_opposite.is_some() && opposite.is_some_and(CallKind::takes_off)
    })
}

/// Whether guards count it among the devices there are.
pub(super) fn is_known(registered: Option<Registered>, work: Option<&Work>) -> bool {
    is_leaving(work) || registered == Some(Registered::Associated)
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
