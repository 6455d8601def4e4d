//! [`View`]: what the ledger holds, in terms of the domain. The simulation's oracle and the tests
//! of the rules judge the ledger by it alone, so that they stay as they are when the ledger stores
//! its state in another way.
//!
//! Only [`image`] knows how the ledger lays out its state. A view never repairs: it panics on a
//! record that it cannot read, since a test has failed then.

#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests use this; a panic fails them")]

mod image;

use std::collections::BTreeMap;

pub use self::image::Image;
use super::Load;
use crate::domain::{
    Access, CallKind, CallToken, ClientId, ClientToken, Device, DeviceState, EntryFailure, Event, Fault, Request,
    Target, ThingName, Timestamp,
};

/// A request's number, and the index of an entry in it.
pub type Place = (u64, u32);

/// The state of a ledger at one moment: what the agent sees, or the durable image that a power cut
/// would leave at this instant.
pub trait View {
    /// The number that the next accepted request gets. The sequence of a durable image is the
    /// durable sequence: each request that was accepted with a smaller number is on disk.
    fn sequence(&self) -> u64;

    /// The number of a client's request with that token.
    fn find(&self, client: &ClientId, token: &ClientToken) -> Option<u64>;

    /// A request by its number.
    fn request(&self, seq: u64) -> Option<Request>;

    /// All requests, by number.
    fn requests(&self) -> Vec<Request>;

    /// The first names of a request's devices that the registry did not know when the command
    /// arrived.
    fn unknown_names(&self, seq: u64) -> Vec<String>;

    /// The entries of a request that have not ended, by index.
    fn open_entries(&self, seq: u64) -> Vec<(u32, Target)>;

    /// The entries of a request that ended without success, by index.
    fn failed_entries(&self, seq: u64) -> Vec<(u32, EntryFailure)>;

    /// Commands without a token whose PUBACK was not sent: the hash of the delivery, and the
    /// request's number.
    fn unacknowledged(&self) -> Vec<([u8; 32], u64)>;

    /// The targets that something is to be done about.
    fn targets(&self) -> Vec<Target>;

    /// What is to be done about a target.
    fn work(&self, target: &Target) -> Option<Work>;

    /// The entries that wait for a target, by request.
    fn waiters(&self, target: &Target) -> Vec<Waiter>;

    /// The registry's record of a device.
    fn device(&self, thing: &ThingName) -> Option<Device>;

    /// All devices of the registry.
    fn devices(&self) -> BTreeMap<ThingName, Device>;

    /// The messages that the broker has not acknowledged, in the order in which they became due.
    fn owed(&self) -> Vec<Owed>;

    /// The devices whose retained message is out of date, each with the number of its last change.
    fn outdated(&self) -> BTreeMap<ThingName, u64>;

    /// The history of each device that has one, the oldest event first. What a query adds from open
    /// requests is not part of it.
    fn history(&self) -> BTreeMap<ThingName, Vec<Event>>;

    /// The broker's clients of devices, as far as the agent manages them.
    fn access(&self) -> BTreeMap<ThingName, Access>;

    /// The totals as the ledger keeps them, not counted again.
    fn totals(&self) -> Totals;
}

/// What is to be done about one target, for all the entries that wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The kind of call that it needs.
    pub call_kind: CallKind,
    /// Where it waits.
    pub queue: Queue,
    /// Its place in the queue: the entry that it was made for.
    pub place: Place,
    /// It is in a call whose response has not arrived.
    pub sent: bool,
    /// A call that carried it was never answered.
    pub outcome_unknown: bool,
    /// Calls that carried it.
    pub attempts: u32,
    /// Responses that named a passing error of this entry.
    pub entry_errors: u32,
    /// The last response.
    pub error: Option<Fault>,
    /// The first entry that asks for the opposite of what was sent, and waits for its turn.
    pub queued_opposite: Option<Place>,
    /// The token of the call that last carried it, where the service knows a repeated call by its
    /// token.
    pub call: Option<CallToken>,
}

/// Where work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// To be sent, or sent and not answered.
    Fresh,
    /// To be sent again after a passing error of this entry.
    Retry,
    /// The resource of its call refused: other resources go first.
    Parked,
    /// The next complete list shows the outcome.
    AwaitList,
}

/// An entry that waits for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The entry.
    pub place: Place,
    /// The association that the registry knew when the request was accepted.
    pub known_association: Option<Timestamp>,
}

/// A message that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its place in the outbox.
    pub n: u64,
    /// The request's number.
    pub seq: u64,
    /// `completed`, else `accepted`.
    pub completed: bool,
}

/// The totals that limits and `status` use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Requests that have not ended.
    pub open_requests: u64,
    /// Their entries that have not ended.
    pub open_entries: u64,
    /// Messages that the broker has not acknowledged.
    pub owed: u64,
    /// Devices, in the order of [`DeviceState::ALL`].
    pub devices: Vec<(DeviceState, u64)>,
    /// What is to be done, by the kind of call.
    pub work: BTreeMap<CallKind, Load>,
    /// Whether the registry was ever read from the cloud to its end.
    pub synced: bool,
}

/// A request with its entries.
type WholeRequest = (Request, Vec<String>, Vec<(u32, Target)>, Vec<(u32, EntryFailure)>);

/// All that a view shows but its totals: for comparing two states, or two ledgers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    requests: Vec<WholeRequest>,
    unacknowledged: Vec<([u8; 32], u64)>,
    work: Vec<(Target, Option<Work>, Vec<Waiter>)>,
    devices: BTreeMap<ThingName, Device>,
    owed: Vec<Owed>,
    outdated: BTreeMap<ThingName, u64>,
    history: BTreeMap<ThingName, Vec<Event>>,
    access: BTreeMap<ThingName, Access>,
}

impl Snapshot {
    /// What a view shows now.
    pub fn of(view: &impl View) -> Self {
        let whole = |request: Request| {
            let seq = request.seq;
            (request, view.unknown_names(seq), view.open_entries(seq), view.failed_entries(seq))
        };
        let with_waiters = |target: Target| {
            let (work, waiters) = (view.work(&target), view.waiters(&target));
            (target, work, waiters)
        };
        Self {
            requests: view.requests().into_iter().map(whole).collect(),
            unacknowledged: view.unacknowledged(),
            work: view.targets().into_iter().map(with_waiters).collect(),
            devices: view.devices(),
            owed: view.owed(),
            outdated: view.outdated(),
            history: view.history(),
            access: view.access(),
        }
    }
}
