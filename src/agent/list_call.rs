//! One list call with the credentials of this process. `check` makes it if no agent runs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::ipc::access_source;
use crate::{
    cloud::{Aws, Cloud, ListPage},
    config::Config,
    domain::{CallFault, CallKind},
    health::{Code, Health, Problem},
    runtime::clock::Clock,
};

/// The outcome of the call.
pub(crate) struct ListCall {
    /// The first page, if the cloud answered with one.
    pub(crate) page: Option<ListPage>,
    /// What a running agent would show in `status`.
    pub(crate) problems: BTreeMap<Code, Problem>,
    /// How many milliseconds the cloud's clock is ahead of the local clock.
    pub(crate) skew: Option<i64>,
}

/// Requests the first page of the list, and waits no longer than `patience`.
///
/// # Errors
/// The environment names a file that cannot be used.
pub(crate) async fn list(config: &Config, patience: Duration) -> Result<ListCall, String> {
    let clock = Clock::start();
    let health = Health::new(clock.clone());
    let sink = Arc::clone(&health);
    let cloud = Aws::new(config, clock, Box::new(move |millis| sink.set_skew(millis)), access_source())?;
    let list = async {
        match cloud.list(None).await {
            // The response gave the cloud's time, and the next call is signed with that time.
            Err(error) if error.fault == CallFault::Clock => cloud.list(None).await,
            answer => answer,
        }
    };
    let answer = timeout(patience, list).await;
    if let Ok(answer) = &answer {
        health.answered(CallKind::List, answer.as_ref().map(|_| ()), false);
    }
    let page = answer.ok().and_then(Result::ok);
    Ok(ListCall { page, problems: health.snapshot().problems, skew: health.skew() })
}
