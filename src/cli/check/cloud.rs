//! Tests the cloud in place of the agent: one list call, with the credentials that this process
//! finds.

use std::time::Duration;

use super::finding::{Finding, Problems, cloud_findings, error};
use crate::{
    agent::list_call::{self, ListCall},
    config::Config,
};

pub(super) async fn findings(config: &Config, patience: Duration) -> Vec<Finding> {
    let ListCall { page, problems, skew } = match list_call::list(config, patience).await {
        Ok(trial) => trial,
        Err(message) => return vec![error("cloud", message)],
    };
    let listed = page.map(|page| {
        let more = if page.next.is_some() { " and more" } else { "" };
        format!("the list call is allowed; {}{more} devices are associated", page.devices.len())
    });
    let problems: Problems = problems.into_iter().map(|(code, problem)| (code.into(), problem.message)).collect();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a difference, shown in seconds")]
    let skew = skew.map(|millis| millis as f64 / 1000.0);
    cloud_findings(&problems, listed, skew)
}
