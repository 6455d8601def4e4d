//! `offboard cancel`, `requests`, `devices`, `status`: queries, and the cancellation of a request.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Common},
    show::{device as device_text, devices_by_state, request, show},
    text::{columns, text, word},
    trouble::Trouble,
};
use crate::domain::operations::requests::{
    HISTORY, MAX_RESULTS, NEXT_TOKEN, STATE, STATUS, TARGET_CLIENT, TARGET_TOKEN, TARGET_VIA, THING_IN_QUESTION,
};
use crate::domain::{Operation, operations::spec::Member};
use crate::protocol::metrics::{MetricsMessage, exposition};

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The request's token.
    #[arg(value_name = "TOKEN")]
    token: String,

    /// The client that owns the request; default: yourself
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,

    /// The transport of that client: mqtt (the default), pubsub, iot-core.
    #[arg(long, value_name = "TRANSPORT", requires = "client")]
    via: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Requests {
    /// One request, with its failed entries; without it all requests, newest first
    #[arg(value_name = "TOKEN")]
    token: Option<String>,

    /// The client whose requests are shown; default: all clients, or yourself for one request
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,

    /// The transport of that client: mqtt (the default), pubsub, iot-core.
    #[arg(long, value_name = "TRANSPORT", requires = "client")]
    via: Option<String>,

    /// Only requests of this status: IN_PROGRESS, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED, CANCELED,
    /// TIMED_OUT
    #[arg(long, value_name = "STATUS", conflicts_with = "token")]
    status: Option<String>,

    /// Maximum number of requests, or of failed entries of one request
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Show all requests, or all failed entries of one request
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Devices {
    /// One device; without it all devices, by name
    #[arg(value_name = "THING")]
    thing: Option<String>,

    /// Only devices of this state: ASSOCIATED, ASSOCIATING, DISASSOCIATING, DISASSOCIATED
    #[arg(long, value_name = "STATE", conflicts_with = "thing")]
    state: Option<String>,

    /// Include the device's history: requests, responses of the cloud, and what its lists showed
    #[arg(long, requires = "thing")]
    history: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Show counters and gauges, in the text format of Prometheus, or as JSON with --output json
    #[arg(long)]
    metrics: bool,
}

/// A JSON object of the members that have a value.
fn members<const N: usize>(given: [(Member, Option<&String>); N]) -> Value {
    given.into_iter().filter_map(|(member, value)| Some((member.name.to_owned(), json!(value?)))).collect()
}

/// Reads all pages of a list, up to `limit` rows; `rows` is the JSON pointer (RFC 6901) to the rows
/// in an answer.
pub(super) async fn pages(
    agent: &mut Agent,
    operation: &str,
    mut payload: Value,
    limit: usize,
    rows: &str,
) -> Result<(Value, Vec<Value>), Trouble> {
    let mut all = Vec::new();
    loop {
        payload[MAX_RESULTS.name] = json!((limit - all.len()).min(100));
        let mut answer = agent.query(operation, payload.clone()).await?;
        if let Some(Value::Array(page)) = answer.pointer_mut(rows).map(Value::take) {
            all.extend(page);
        }
        let next = answer[NEXT_TOKEN.name].take();
        if next.is_null() || all.len() >= limit {
            return Ok((answer, all));
        }
        payload[NEXT_TOKEN.name] = next;
    }
}

impl Cancel {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let payload = members([
            (TARGET_TOKEN, Some(&self.token)),
            (TARGET_CLIENT, self.client.as_ref()),
            (TARGET_VIA, self.via.as_ref()),
        ]);
        let answer = common.connect().await?.query(Operation::Cancel.as_str(), payload).await?;
        show(common.output, &answer, |answer| {
            let (canceled, in_flight) = (text(answer, "canceledCount"), text(answer, "inFlightCount"));
            format!("{canceled} entries withdrawn; {in_flight} were sent, and end with the cloud's response\n")
        })
    }
}

impl Requests {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let limit = if self.all { usize::MAX } else { self.limit.max(1) };
        let mut agent = common.connect().await?;
        if self.token.is_some() {
            let payload = members([
                (TARGET_TOKEN, self.token.as_ref()),
                (TARGET_CLIENT, self.client.as_ref()),
                (TARGET_VIA, self.via.as_ref()),
            ]);
            let (mut answer, failed) =
                pages(&mut agent, Operation::GetRequest.as_str(), payload, limit, "/request/errorEntries").await?;
            let mut one = answer["request"].take();
            one["errorEntries"] = Value::Array(failed);
            return show(common.output, &one, request);
        }
        let payload = members([
            (TARGET_CLIENT, self.client.as_ref()),
            (TARGET_VIA, self.via.as_ref()),
            (STATUS, self.status.as_ref()),
        ]);
        let (_, requests) = pages(&mut agent, Operation::ListRequests.as_str(), payload, limit, "/requests").await?;
        show(common.output, &Value::Array(requests), |requests| {
            let row = |one: &Value| {
                let done = match one["entryCount"].as_u64() {
                    Some(entries) => format!("{}/{entries}", text(one, "succeededCount")),
                    None => String::new(),
                };
                let at = |member| text(one, member);
                let (token, by, via) = (at("clientToken"), at("requestedBy"), at("via"));
                [token, by, via, at("operation"), at("status"), done, at("acceptedAt")]
            };
            let rows: Vec<_> = requests.as_array().into_iter().flatten().map(row).collect();
            columns(["token", "asked by", "via", "operation", "status", "done", "accepted"], &rows)
        })
    }
}

impl Devices {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let mut agent = common.connect().await?;
        if let Some(thing) = &self.thing {
            let question = json!({(THING_IN_QUESTION.name): thing, (HISTORY.name): self.history});
            let mut answer = agent.query(Operation::GetDevice.as_str(), question).await?;
            let mut device = answer["device"].take();
            if self.history {
                device["history"] = answer["history"].take();
            }
            return show(common.output, &device, device_text);
        }
        let payload = members([(STATE, self.state.as_ref())]);
        let (_, devices) = pages(&mut agent, Operation::ListDevices.as_str(), payload, usize::MAX, "/devices").await?;
        show(common.output, &Value::Array(devices), |devices| {
            let row = |one: &Value| {
                let error = text(&one["lastError"], "code");
                [
                    text(one, "thingName"),
                    text(one, "state"),
                    text(one, "associationTimestamp"),
                    text(one, "requestedBy"),
                    error,
                    text(one, "localAccess"),
                ]
            };
            let rows: Vec<_> = devices.as_array().into_iter().flatten().map(row).collect();
            let titles = ["thing", "state", "associated", "asked by", "last error", "local access"];
            if rows.iter().all(|row| row[5].is_empty()) {
                // Most agents do not manage local access.
                let rows: Vec<_> = rows.into_iter().map(|[a, b, c, d, e, _]| [a, b, c, d, e]).collect();
                let [a, b, c, d, e, _] = titles;
                return columns([a, b, c, d, e], &rows);
            }
            columns(titles, &rows)
        })
    }
}

impl Status {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        if self.metrics {
            common.only_here("status --metrics")?;
        }
        let mut agent = common.connect().await?;
        if self.metrics {
            let metrics = agent.query("metrics", json!({})).await?;
            let message = MetricsMessage::deserialize(&metrics)
                .map_err(|error| Trouble::Failed(format!("the agent's metrics cannot be read: {error}")))?;
            return show(common.output, &metrics, |_| exposition(&message));
        }
        let status = agent.query("status", json!({})).await?;
        show(common.output, &status, |status| {
            let mut lines = format!(
                "{} {}, version {}, since {}\ncloud {}, last list {}\n{} requests open, {} entries pending\n",
                word(status, "state"),
                word(status, "health"),
                text(status, "version"),
                text(status, "startedAt"),
                word(status, "cloud"),
                Some(text(status, "lastSyncAt")).filter(|at| !at.is_empty()).unwrap_or_else(|| "never".into()),
                text(status, "openRequests"),
                text(status, "pendingEntries"),
            );
            let devices = devices_by_state(status).into_iter();
            let devices: Vec<String> = devices.map(|(state, count)| format!("{count} {state}")).collect();
            lines.push_str(&format!("devices: {}\n", devices.join(", ")));
            for problem in status["problems"].as_array().into_iter().flatten() {
                let part = |member| text(problem, member);
                lines.push_str(&format!("{} since {}: {}\n", part("code"), part("since"), part("message")));
            }
            lines
        })?;
        if status["health"] == "OK" { Ok(()) } else { Err(Trouble::Reported) }
    }
}
