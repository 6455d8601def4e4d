//! The cloud side: the calls that the agent makes, what goes into them and when, and what their answers mean.

mod api;
mod aws;
pub(crate) mod dispatcher;
pub mod gate;
pub mod planner;
pub mod rate;
pub(crate) mod reconciler;

pub use api::{Cloud, ListPage};
pub use aws::Aws;
pub(crate) use aws::{AccessSource, TokenExchangeAccess};
pub(crate) use aws::{CERTIFICATE_REFUSED, NAME_NOT_RESOLVED, PROXY_FAILED, proxy_faults};
