//! The types of the domain and their pure rules: no I/O, no clock, no async.

mod access;
mod backoff;
mod broadcast;
mod call_error;
mod call_kind;
mod command;
mod device;
mod fault;
mod history;
mod limits;
mod names;
mod operation;
mod outcome;
mod rejection;
mod request;
mod target;
mod time;
mod verdict;
mod via;
mod whose;
mod window;

pub use access::{Access, AccessAnswer, AccessCommand, AccessError, AccessEvent, AccessStep, AccessView};
pub use backoff::Backoff;
pub use broadcast::{BroadcastAction, is_own, may_be_broadcast};
pub use call_error::{
    CERTIFICATE_REFUSED, CallError, CallFault, CloudState, EntryError, NAME_NOT_RESOLVED, PROXY_FAILED,
};
pub use call_kind::{CallKind, OnDevices, Service, Traits};
pub use command::{Cancel, Change, Command, Page, Query};
pub use device::{Device, DeviceState, DeviceView, Registered, is_superseded};
pub use fault::Fault;
pub use history::{Asked, Event, Happened};
pub use limits::{Guard, Limits};
pub(crate) use names::MAX_TOKEN;
pub use names::{AssetId, CallToken, ClientId, ClientToken, InvalidName, MonitorId, Pattern, ThingName};
#[cfg(test)]
pub(crate) use names::{MAX_CLIENT, MAX_EXTERNAL, MAX_THING, MAX_USER};
pub use operation::Operation;
pub use outcome::{EntryFailure, Outcome, RequestStatus, Tally};
pub use rejection::{FieldFault, Reason, Rejection, RejectionCode};
pub use request::{Request, SyncCounts};
pub use target::{ChildAsset, Target};
pub use time::{Mono, Now, Timestamp};
pub use verdict::Verdict;
pub use via::Via;
pub use whose::Whose;
pub use window::{Again, Window};
