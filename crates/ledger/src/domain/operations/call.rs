//! The properties in which the kinds of cloud calls differ. The rules of the ledger, the planner and
//! the dispatcher use a call kind through its [`Traits`] alone.

use super::service::Service;
use crate::domain::{DeviceState, Registered};

/// What the calls of a kind mean for the device that an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDevices {
    /// The device's state in messages until the outcome is known.
    pub under_way: DeviceState,
    /// What the cloud's list shows after a successful call. The next list settles an outcome that
    /// the call left open.
    pub goal: Registered,
}

/// The properties that distinguish the calls of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Identifies the call kind in keys of the store.
    pub letter: &'static str,
    /// The service whose API the call belongs to.
    pub service: Service,
    /// The IAM action that a policy has to allow.
    pub action: &'static str,
    /// The resource of that permission in an example of a policy; `None` for a permission that the
    /// main example contains.
    pub resource: Option<PolicyResource>,
    /// Appended to the codes of problems in `status`, to distinguish the problems of this kind from
    /// those of other kinds.
    pub suffix: &'static str,
    /// The API's limit of entries for one call; 0 where calls carry no entries.
    pub max_entries: usize,
    /// Whether a call removes something. `guard.protected` applies to its targets.
    pub removes: bool,
    /// The letter of the kind of call that undoes this one.
    pub opposite: Option<&'static str>,
    /// Set where the entries are devices of the registry.
    pub devices: Option<OnDevices>,
    /// Whether a call is about a resource other than this core device
    /// ([`Target::scope`](super::target::Target::scope)). A refusal or a conflict then concerns that
    /// resource only: entries of other resources are sent first, and no list settles an outcome.
    pub scoped: bool,
    /// Whether the service recognises a repeated call by its `clientToken`. The token is stored
    /// with the entries before they are sent, and it stays with the call's content until the
    /// outcome is known.
    pub token: bool,
    /// Whether calls are spaced evenly instead of sent in bursts: the service accepts one change of
    /// a resource at a time.
    pub paced: bool,
}

/// A resource of a permission, in the policy that the documents show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyResource {
    /// The name of the statement.
    pub sid: &'static str,
    /// The resource, as the last part of an ARN.
    pub resource: &'static str,
    /// Whether the statement selects resources by a tag.
    pub tagged: bool,
}
