//! The ledger: the durable state of the agent. It holds the devices, the requests, and the messages
//! that the broker has not acknowledged. No other module reads or writes the store.
//!
//! * [`pending`](self) holds the open requests in memory, and the rules: functions on a transaction
//!   ([`Tx`]) that do no I/O except reads of the registry.
//! * `journal` is the write-ahead log. It makes the changes of the rules durable, group by group.
//! * `registry` stores devices and finished requests in sled. Checkpoints write them.
//! * `committer` is the thread that runs the rules. [`Ledger`] is the handle to this thread.

mod committer;
mod data_dir;
mod files;
#[cfg(all(fuzzing, feature = "testing"))]
pub mod fuzzing;
mod handle;
mod health;
mod job;
mod journal;
mod pending;
mod registry;
pub mod replay;
mod stats;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(any(test, feature = "testing"))]
pub mod view;

pub use committer::max_file_bytes;
pub use data_dir::{DataDir, Disk, NotHeld, Owner, is_held_by_another, of_another_core, schema_of};
pub use files::{check_owner, free, open_regular};
pub use handle::Ledger;
pub use health::{Loss, Lost, StoreHealth, Unavailable};
pub use job::{Replies, Step};
pub use journal::Files;
#[cfg(any(test, feature = "testing"))]
pub use journal::testing::MemFiles;
pub use pending::State;
pub use pending::{
    AccessLoad, Canceled, Counters, DueAccess, Early, Ended, Group, ListMark, Load, Order, Outdated, Owed, PLAN_NAMES,
    Pick, Plan, Rows, SCHEMA, Summary, Taken, Touched, Tx, UnknownClients, accept, accept_broadcast, access_answered,
    acknowledged, apply_page, begin_list, cancel, delivered, device, devices, due_access, end_list, expire, failures,
    find_request, forget_devices, forget_requests, history, is_own_device, is_repeated, names_own_device, open_entries,
    outdated, owed, plan, plan_broadcast, published, remove_unlisted, request, requests, settle, settle_by_list,
    sync_wanted, take, unknown_names, waiting,
};
pub use registry::store::{self, Store};
pub use registry::{room_needed, store::StoreError};
pub use stats::{COMMIT_BOUNDS, Stats};

use crate::domain::{CallKind, Guard, Limits, Target, ThingName};

/// The part of the configuration that the rules follow.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Limits of commands and of the store.
    pub limits: Limits,
    /// Devices that are never disassociated, or only with `force`.
    pub guard: Guard,
    /// Keep the retained device messages up to date.
    pub publish_devices: bool,
    /// Disable the broker's client of a device that is disassociated.
    pub local_access: bool,
    /// Kinds of calls that this configuration does not serve.
    pub off: Vec<CallKind>,
}

impl Rules {
    /// Whether the agent leaves the broker's client of that device alone.
    fn protects_access(&self, thing: &ThingName) -> bool {
        self.guard.protected.iter().any(|pattern| pattern.matches(thing.as_str()))
    }

    /// The name by which a guard keeps `target` from being sent in `call_kind`, with or without
    /// `force`; `None` if no guard does. It is the target's own name, or that of its parent.
    fn protected_name<'t>(&self, call_kind: CallKind, target: &'t Target) -> Option<&'t str> {
        let is_protected = |name: &&str| self.guard.protected.iter().any(|pattern| pattern.matches(name));
        target.guarded_names().into_iter().find(is_protected).filter(|_| call_kind.is_guarded())
    }
}
