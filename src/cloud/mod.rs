//! The cloud side: the calls that the agent makes, the entries that go into each call, the time of
//! each call, and the meaning of the responses.

mod api;
mod aws;
pub(crate) mod dispatcher;
pub mod list_gate;
mod list_timing;
pub mod planner;
pub mod rate;
pub(crate) mod reconciler;

pub use api::{Cloud, ListPage};
pub use aws::Aws;
pub(crate) use aws::{AccessSource, TokenExchangeAccess, proxy_faults};
