//! The open work in memory, and the rules about it.
//!
//! [`State`] holds the small objects that everything consists of. A rule is a function on a
//! transaction ([`Tx`]): it decides from the state, the input and the time, and sets new values of
//! objects. It reads the registry where the state does not have a device or a request, and does no
//! other I/O. What a rule changed becomes images in the journal; replaying these gives the state.

mod accept;
mod access;
mod audit;
mod broadcast;
mod counters;
mod ending;
mod group;
mod history;
mod list;
mod mend;
mod object;
mod outbox;
mod queries;
mod retention;
mod settle;
mod state;
mod summary;
mod take;
mod tx;
mod waiters;
mod work;

pub use accept::{Order, PLAN_NAMES, Plan, accept, acknowledged, is_repeated, plan};
pub use access::{DueAccess, UnknownClients, access_answered, due_access};
pub(crate) use audit::{all_devices, audit};
pub use broadcast::{accept_broadcast, is_own_device, names_own_device, plan_broadcast};
pub use counters::{Counters, Load};
pub use ending::{Canceled, cancel, expire};
pub use group::{Ended, Group, Touched};
pub(crate) use group::{devices_to_write, read, write};
pub use list::{ListMark, apply_page, begin_list, end_list, remove_unlisted, sync_wanted};
pub use object::SCHEMA;
pub(crate) use object::{DeviceRow, Forgotten, Image, Kept, Key, Listed, Settled, Slot};
pub use outbox::{Outdated, Owed, delivered, outdated, owed, published};
pub use queries::{
    Rows, device, devices, failures, find_request, history, open_entries, request, requests, unknown_names, waiting,
};
pub use retention::{Early, forget_devices, forget_requests};
pub use settle::{settle, settle_by_list};
pub use state::AccessLoad;
pub use state::State;
pub use summary::Summary;
pub use take::{Pick, Taken, take};
pub use tx::Tx;
#[cfg(any(test, feature = "testing"))]
pub(crate) use work::Queue;
pub(crate) use work::{Work, visible};
