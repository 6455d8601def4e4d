//! The calls that the agent makes to the cloud, as a trait.

use std::future::Future;

use crate::domain::{CallError, CallKind, CallToken, EntryError, Target, ThingName, Timestamp};

/// One page of the devices that are associated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Name and time of association.
    pub devices: Vec<(ThingName, Option<Timestamp>)>,
    /// Continues the list; `None` at its end.
    pub next: Option<String>,
}

/// The calls. Each is one HTTP request: repetition and patience are the caller's.
pub trait Cloud: Send + Sync + 'static {
    /// Carries out a lane's call, for at most as many targets as its
    /// [`Traits`](crate::domain::Traits) say, and with a token if they say so. An empty list means
    /// that all went well, and that the service itself said so.
    fn call(
        &self,
        lane: CallKind,
        targets: &[Target],
        token: Option<&CallToken>,
    ) -> impl Future<Output = Result<Vec<EntryError>, CallError>> + Send;

    /// Reads a page of the devices that are associated with this core device.
    fn list(&self, next: Option<String>) -> impl Future<Output = Result<ListPage, CallError>> + Send;
}
