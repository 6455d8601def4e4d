//! Findings from the running agent, which is connected, lists, and measures all the time.

use serde_json::json;

use super::finding::{
    CLOCK, CLOUD, CREDENTIALS, Finding, Problems, QUOTA, all, caution, cloud_findings, error, local_access_works, ok,
    warning,
};
use crate::{
    agent::{cautions, ipc::ways},
    cli::{
        agent::Agent,
        answer::Answer,
        failure::{Failure, read},
        text::clean,
    },
    config::{self, Config},
    domain::{RequestStatus, Via, operations::requests::TARGET_TOKEN},
    protocol::{
        messages::RequestMessage,
        metrics::{MetricsMessage, Sample},
    },
};

const BROKER: &[&str] = &["BROKER_UNREACHABLE", "CONNECTION_UNSTABLE", "SUBSCRIPTION_DENIED"];
const IPC: &[&str] = &["IPC_UNAVAILABLE", "IPC_DENIED", "IPC_SILENT"];
const STORE: &[&str] = &["STORE_FULL", "STORE_TOO_NEW", "STORE_FAILING", "STORE_OF_ANOTHER_CORE", "STORE_LIMIT"];
const REPLACED: &[&str] = &["STORE_REPLACED"];

/// Problems that have a finding of their own; the others are shown with the agent.
const SHOWN: [&[&str]; 9] = [BROKER, IPC, STORE, REPLACED, CREDENTIALS, CLOCK, QUOTA, CLOUD, &["LOCAL_ACCESS_"]];

/// Makes the agent call the list operation, so that its state of the cloud is current. An error of
/// that call appears among the agent's problems.
pub(super) async fn list(mut agent: Agent) -> Option<String> {
    let Ok(accepted @ Answer::Accepted(_)) = agent.ask("sync", json!({})).await else { return None };
    let completed: Option<RequestMessage> = match agent.next_in_time().await {
        Some(Answer::Completed(body)) => read("completed", &body).ok(),
        _ => None,
    };
    match completed {
        Some(RequestMessage { status, associated_count: Some(count), .. })
            if status == RequestStatus::Succeeded.as_str() =>
        {
            Some(format!("the list call is allowed; {count} devices are associated"))
        }
        _ => {
            // The check does not wait for the result any longer.
            let _ = agent.ask("cancel", json!({(TARGET_TOKEN.name): accepted.token()})).await;
            None
        }
    }
}

pub(super) async fn findings(
    agent: &mut Agent,
    config: &Config,
    listed: Option<String>,
) -> Result<Vec<Finding>, Failure> {
    let status = agent.status().await?;
    let metrics: MetricsMessage = agent.query_as("metrics", json!({})).await?;
    let problems: Problems =
        status.problems.iter().map(|problem| (clean(&problem.code), clean(&problem.message))).collect();
    // The configuration with which the agent was started counts, even if the file has changed
    // since.
    let shown = agent.query("configuration", json!({})).await?;
    let own = config::parse(&shown.to_string(), |_| None).map_or_else(|_| config.clone(), |(own, _)| own);
    let mut findings = vec![broker(&own, &problems, &metrics)];
    findings.extend(ways(&own).map(|way| ipc(&own, (way.via(), way.title()), &problems, &metrics)));
    if shown != config.shown {
        findings.push(warning(
            "configuration",
            "the running agent was started with another configuration; restart it to apply this one",
        ));
    }
    let cautions = cautions::CODES.iter().filter_map(|code| Some((*code, problems.get(*code)?)));
    findings.extend(cautions.map(|(code, message)| caution(code, message.clone())));
    findings.extend(cloud_findings(&problems, listed, gauge(&metrics, "offboard_clock_skew_seconds")));
    findings.extend(local_access(&own, &problems, &metrics));
    if let Some(message) = all(&problems, STORE) {
        findings.push(error("store", message));
    } else if let Some(message) = all(&problems, REPLACED) {
        findings.push(warning("store", message));
    }
    let (version, since) = (clean(&status.version), clean(&status.started_at));
    let is_shown = |code: &str| SHOWN.iter().copied().flatten().any(|kind| code.starts_with(kind));
    let others: Vec<String> = problems
        .iter()
        .filter(|(code, _)| !is_shown(code) && !cautions::CODES.contains(&code.as_str()))
        .map(|(code, message)| format!("{code}: {message}"))
        .collect();
    findings.push(if others.is_empty() {
        ok("agent", format!("version {version} runs since {since}"))
    } else {
        warning("agent", others.join("; "))
    });
    Ok(findings)
}

fn broker(config: &Config, problems: &Problems, metrics: &MetricsMessage) -> Finding {
    let Some(mqtt) = &config.mqtt else { return ok("broker", "mqtt.url is none: the agent uses no broker") };
    if let Some(message) = all(problems, BROKER) {
        return error("broker", format!("{mqtt:?}: {message}"));
    }
    let filter = config.topics().commands();
    match (gauge(metrics, "offboard_connected"), gauge(metrics, "offboard_subscribed")) {
        (Some(1.0), Some(1.0)) => {
            ok("broker", format!("the agent is connected by {mqtt:?} and subscribed to {filter}"))
        }
        (Some(1.0), _) => error("broker", format!("{mqtt:?}: the subscription to {filter} was not answered yet")),
        _ => error("broker", format!("{mqtt:?}: the agent is not connected yet; look again in a few seconds")),
    }
}

/// The transport over Greengrass IPC of that name and title.
fn ipc(config: &Config, (via, title): (Via, &str), problems: &Problems, metrics: &MetricsMessage) -> Finding {
    let is_this = |one: &Sample| {
        one.name == "offboard_ipc_subscribed" && one.labels.get("via").is_some_and(|label| label == via.as_str())
    };
    let is_subscribed = metrics.metrics.iter().any(|one| is_this(one) && one.value > 0.0);
    let filter = config.topics().commands();
    // The two transports share their problems, whose messages name them. Without a connection the
    // other ones are not the cause.
    let named = IPC.iter().filter_map(|code| problems.get(*code)).find(|message| message.contains(title));
    match named.cloned().or_else(|| all(problems, IPC).filter(|_| !is_subscribed)) {
        Some(message) => error("ipc", message),
        _ if is_subscribed => ok("ipc", format!("{title}: the agent is subscribed to {filter}")),
        _ => error("ipc", format!("{title}: the agent is not subscribed yet; look again in a few seconds")),
    }
}

/// Whether the agent may send commands to the broker's plugin, which it tests at its start.
fn local_access(config: &Config, problems: &Problems, metrics: &MetricsMessage) -> Option<Finding> {
    const WHAT: &str = "local access";
    config.local_access.as_ref()?;
    if let Some(message) = problems.get("LOCAL_ACCESS_DENIED") {
        return Some(error(WHAT, message));
    }
    if let Some(message) = problems.get("LOCAL_ACCESS_UNKNOWN_CLIENT") {
        return Some(warning(WHAT, message));
    }
    Some(match gauge(metrics, "offboard_local_access_granted") {
        Some(1.0) => local_access_works(config, "the broker's dynamic-security plugin answers the agent".into()),
        _ => warning(WHAT, "not known: the broker's dynamic-security plugin was not asked on this connection yet"),
    })
}

fn gauge(metrics: &MetricsMessage, name: &str) -> Option<f64> {
    Some(metrics.metrics.iter().find(|one| one.name == name)?.value)
}
