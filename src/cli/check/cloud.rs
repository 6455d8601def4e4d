//! The cloud, tried in the agent's place: one list call, with the credentials that this process finds.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{Finding, Problems, cloud_findings, error};
use crate::{
    agent,
    cloud::{Aws, Cloud},
    config::Config,
    domain::{CallFault, CallKind},
    health::Conditions,
    ledger::Summary,
    runtime::clock::Clock,
};

pub(super) async fn findings(config: &Config, patience: Duration) -> Vec<Finding> {
    let clock = Clock::start();
    let conditions = Conditions::new(clock.clone(), watch::channel(Summary::default()).1);
    let noted = Arc::clone(&conditions);
    let cloud = match Aws::new(config, clock, Box::new(move |millis| noted.skew(millis)), agent::access_source()) {
        Ok(cloud) => cloud,
        Err(message) => return vec![error("cloud", message)],
    };
    let list = async {
        match cloud.list(None).await {
            // The answer told the cloud's time, and the next call is signed with that.
            Err(error) if error.fault == CallFault::Clock => cloud.list(None).await,
            answer => answer,
        }
    };
    let answer = timeout(patience, list).await;
    let listed = match &answer {
        Ok(Ok(page)) => {
            let more = if page.next.is_some() { " and more" } else { "" };
            Some(format!("the list call is allowed; {}{more} devices are associated", page.devices.len()))
        }
        _ => None,
    };
    if let Ok(answer) = &answer {
        conditions.answered(CallKind::List, answer.as_ref().map(|_| ()));
    }
    let problems: Problems =
        conditions.snapshot().problems.into_iter().map(|(code, problem)| (code.into(), problem.message)).collect();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a difference, shown in seconds")]
    let skew = conditions.counts().skew.map(|millis| millis as f64 / 1000.0);
    cloud_findings(&problems, listed, skew)
}
