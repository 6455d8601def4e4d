//! The words of the domain, as types and pure rules: no I/O, no clock, no async.

mod access;
mod backoff;
mod call_error;
mod call_kind;
mod command;
mod device;
mod history;
mod names;
mod rejection;
mod request;
mod time;
mod verdict;

pub use access::{Access, AccessAnswer, AccessCommand, AccessError, AccessEvent, AccessStep, AccessView};
pub use backoff::Backoff;
pub use call_error::{CallError, CallFault, CloudState, EntryError};
pub use call_kind::{CallKind, OnDevices, Service, Traits};
pub use command::{Cancel, Change, ChildAsset, Command, Operation, Page, Query, Target};
pub use device::{Device, DeviceState, DeviceView, Registered, is_superseded};
pub use history::{Asked, Event, Happened};
pub(crate) use names::MAX_TOKEN;
pub use names::{AssetId, CallToken, ClientId, ClientToken, InvalidName, MonitorId, Pattern, ThingName};
#[cfg(test)]
pub(crate) use names::{MAX_CLIENT, MAX_EXTERNAL, MAX_THING, MAX_USER};
pub use rejection::{FieldFault, Reason, Rejection, RejectionCode};
pub use request::{Again, EntryFailure, Fault, Outcome, Request, RequestStatus, SyncCounts, Tally, Window};
pub use time::{Mono, Now, Timestamp};
pub use verdict::Verdict;
