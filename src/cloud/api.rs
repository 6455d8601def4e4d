//! The calls that the agent makes to the cloud, as a trait.

use std::future::Future;

use crate::domain::{CallError, CallKind, CallToken, EntryError, Target, ThingName, Timestamp};

/// One page of the devices that are associated with the core device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The thing name and the time of the association, where the cloud gives it.
    pub devices: Vec<(ThingName, Option<Timestamp>)>,
    /// The token that continues the list; `None` on the last page.
    pub next: Option<String>,
}

/// The calls. Each method sends one HTTP request; the caller decides about retries and waits.
pub trait Cloud: Send + Sync + 'static {
    /// Makes a call of the kind `call_kind`, for at most as many targets as its
    /// [`Traits`](crate::domain::Traits) allow, and with a token if they require one. An empty list
    /// means that every entry succeeded, and that the service itself confirmed it.
    fn call(
        &self,
        call_kind: CallKind,
        targets: &[Target],
        token: Option<&CallToken>,
    ) -> impl Future<Output = Result<Vec<EntryError>, CallError>> + Send;

    /// Reads one page of the devices that are associated with this core device.
    fn list(&self, next: Option<String>) -> impl Future<Output = Result<ListPage, CallError>> + Send;
}
