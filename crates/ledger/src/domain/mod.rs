//! The types of the domain and their pure rules: no I/O, no clock, no async.

mod access;
mod backoff;
mod broadcast;
mod call_error;
mod command;
mod device;
mod fault;
mod history;
mod limits;
mod names;
pub mod operations;
mod outcome;
mod pattern;
mod query;
mod record;
mod rejection;
mod request;
mod text_enum;
mod time;
mod verdict;
mod via;
mod whose;
mod window;

pub use access::{Access, AccessAnswer, AccessCommand, AccessError, AccessEvent, AccessStep, AccessView};
pub use backoff::{Backoff, THROTTLED_FACTOR};
pub use broadcast::{BroadcastAction, is_own};
pub use call_error::{
    CERTIFICATE_REFUSED, CallError, CallFault, CloudState, EntryError, NAME_NOT_RESOLVED, PROXY_FAILED,
};
pub use command::{Change, Command};
pub use device::{Device, DeviceState, DeviceView, Registered, RequestedBy, is_superseded};
pub use fault::Fault;
pub use history::{Asked, Event, EventKind};
pub use limits::{Guard, Limits};
pub use names::{CallToken, ClientId, ClientToken, InvalidName, MAX_CLIENT, MAX_THING, MAX_TOKEN, MAX_USER, ThingName};
pub use operations::{
    CallKind, Effect, Operation,
    call::{OnDevices, Traits},
    service::{Service, Switch},
    site_wise::{AssetId, ChildAsset, MonitorId},
    target::Target,
};
pub use outcome::{EntryFailure, Outcome, RequestStatus, Tally};
pub use pattern::Pattern;
pub use query::{Cancel, Page, Query};
pub(crate) use record::is_default;
pub use rejection::{Decided, FieldFault, Reason, Rejection, RejectionCode};
pub use request::{Request, SyncCounts};
pub(crate) use text_enum::{text_enum, text_records, texts};
pub use time::{Mono, Now, Timestamp, WallClock};
pub use verdict::Verdict;
pub use via::Via;
pub use whose::Whose;
pub use window::{Again, Window};
