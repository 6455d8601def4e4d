//! `offboard cancel`, `requests`, `devices`, `status`: queries, and the cancellation of a request.

use clap::Args;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Common},
    answer::Output,
    failure::{Failure, read},
    show::{device as device_text, devices_by_state, print, request, show},
    text::{clean, columns, json_line, word},
};
use crate::domain::operations::requests::{
    HISTORY, MAX_RESULTS, NEXT_TOKEN, STATE, STATUS, TARGET_CLIENT, TARGET_TOKEN, TARGET_VIA, THING_IN_QUESTION,
};
use crate::domain::{ClientId, InvalidName, Operation, operations::spec::Member};
use crate::protocol::{
    messages::{CancelResponse, DeviceMessage, DeviceResponse, RequestMessage},
    metrics::exposition,
    status::{self, HEALTH, StatusMessage},
};

#[derive(Debug, Args)]
pub(super) struct Cancel {
    /// The request's token.
    #[arg(value_name = "TOKEN")]
    token: String,

    /// The client that owns the request; default: yourself
    #[arg(long, value_name = "CLIENT", value_parser = client)]
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
    #[arg(long, value_name = "CLIENT", value_parser = client)]
    client: Option<String>,

    /// The transport of that client: mqtt (the default), pubsub, iot-core.
    #[arg(long, value_name = "TRANSPORT", requires = "client")]
    via: Option<String>,

    /// Only requests of this status: IN_PROGRESS, SUCCEEDED, PARTIALLY_SUCCEEDED, FAILED, CANCELED,
    /// TIMED_OUT
    #[arg(long, value_name = "STATUS", conflicts_with = "token")]
    status: Option<String>,

    /// Maximum number of requests, or of failed entries of one request
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = limit)]
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

/// Parses a maximum number.
fn limit(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|limit| *limit > 0).ok_or_else(|| "must be a whole number from 1".into())
}

/// Checks the name of a client before anything is sent, so that the error names the option.
fn client(name: &str) -> Result<String, InvalidName> {
    ClientId::new(name).map(|_| name.to_owned()).map_err(|_| InvalidName::TARGET_CLIENT)
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
) -> Result<(Value, Vec<Value>), Failure> {
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
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let payload = members([
            (TARGET_TOKEN, Some(&self.token)),
            (TARGET_CLIENT, self.client.as_ref()),
            (TARGET_VIA, self.via.as_ref()),
        ]);
        let answer = common.connect().await?.query(Operation::Cancel.as_str(), payload).await?;
        show(common.output, "response to cancel", &answer, |CancelResponse { canceled_count, in_flight_count }| {
            if (*canceled_count, *in_flight_count) == (0, 0) {
                return "no entry was open: the request has ended\n".into();
            }
            format!(
                "{canceled_count} entries withdrawn; {in_flight_count} were sent, and end with the cloud's response\n"
            )
        })
    }
}

impl Requests {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let limit = if self.all { usize::MAX } else { self.limit };
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
            if let Value::Object(members) = &mut one {
                members.insert("errorEntries".into(), Value::Array(failed));
            }
            return show(common.output, "request", &one, |one| request(one, false));
        }
        let payload = members([
            (TARGET_CLIENT, self.client.as_ref()),
            (TARGET_VIA, self.via.as_ref()),
            (STATUS, self.status.as_ref()),
        ]);
        let (_, requests) = pages(&mut agent, Operation::ListRequests.as_str(), payload, limit, "/requests").await?;
        show(common.output, "list of requests", &Value::Array(requests), |requests: &Vec<RequestMessage>| {
            let row = |one: &RequestMessage| {
                let done =
                    one.entry_count.map(|entries| format!("{}/{entries}", one.succeeded_count.unwrap_or_default()));
                [
                    one.client_token.clone(),
                    one.requested_by.clone().unwrap_or_default(),
                    one.via.as_deref().unwrap_or_default().to_owned(),
                    one.operation.to_string(),
                    one.status.to_string(),
                    done.unwrap_or_default(),
                    one.accepted_at.clone(),
                ]
            };
            let rows: Vec<_> = requests.iter().map(row).collect();
            columns(["token", "asked by", "via", "operation", "status", "done", "accepted"], &rows)
        })
    }
}

impl Devices {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut agent = common.connect().await?;
        if let Some(thing) = &self.thing {
            let question = json!({(THING_IN_QUESTION.name): thing, (HISTORY.name): self.history});
            let mut answer = agent.query(Operation::GetDevice.as_str(), question).await?;
            if common.output == Output::Table {
                let DeviceResponse { device, history } = read("response to get-device", &answer)?;
                return print(&device_text(&device, history.as_deref()));
            }
            let (mut device, history) = (answer["device"].take(), answer["history"].take());
            if let (true, Value::Object(members)) = (self.history, &mut device) {
                members.insert("history".into(), history);
            }
            return print(&json_line(&device));
        }
        let payload = members([(STATE, self.state.as_ref())]);
        let (_, devices) = pages(&mut agent, Operation::ListDevices.as_str(), payload, usize::MAX, "/devices").await?;
        show(common.output, "list of devices", &Value::Array(devices), |devices: &Vec<DeviceMessage>| {
            let row = |one: &DeviceMessage| {
                [
                    one.thing_name.clone(),
                    one.state.to_string(),
                    one.association_timestamp.clone().unwrap_or_default(),
                    one.requested_by.clone().unwrap_or_default(),
                    one.last_error.as_ref().map(|error| error.code.clone()).unwrap_or_default(),
                    one.local_access.as_deref().unwrap_or_default().to_owned(),
                ]
            };
            let rows: Vec<_> = devices.iter().map(row).collect();
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
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        if self.metrics {
            common.only_here("status --metrics")?;
        }
        let mut agent = common.connect().await?;
        if self.metrics {
            let metrics = agent.query("metrics", json!({})).await?;
            return show(common.output, "metrics", &metrics, exposition);
        }
        let message = agent.query("status", json!({})).await?;
        if common.output == Output::Json {
            print(&json_line(&message))?;
        }
        let status = status::read(&message).map_err(|error| Failure::unreadable("status", &error))?;
        if common.output == Output::Table {
            print(&status.as_ref().map_or_else(|| "OFFLINE\n".into(), table))?;
        }
        if status.is_some_and(|status| status.health == HEALTH[0]) { Ok(()) } else { Err(Failure::Reported) }
    }
}

fn table(status: &StatusMessage) -> String {
    let devices = devices_by_state(status).into_iter();
    let devices: Vec<String> = devices.map(|(state, count)| format!("{count} {state}")).collect();
    let mut lines = format!(
        "{} {}, version {}, since {}\ncloud {}, last list {}\n{} requests open, {} entries pending\ndevices: {}\n",
        word(&status.state),
        word(&status.health),
        clean(&status.version),
        clean(&status.started_at),
        word(&status.cloud),
        status.last_sync_at.as_deref().map_or_else(|| "never".into(), clean),
        status.open_requests,
        status.pending_entries,
        devices.join(", ")
    );
    for problem in &status.problems {
        let (code, since, message) = (clean(&problem.code), clean(&problem.since), clean(&problem.message));
        lines.push_str(&format!("{code} since {since}: {message}\n"));
    }
    lines
}
