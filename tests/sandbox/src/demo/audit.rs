//! The end of the demo: compares the agent's results with the calls that the cloud counted.

use std::collections::BTreeSet;
use std::io;

use offboard_sandbox::cloud::{Cloud, Operation};
use serde_json::{Value, json};

use super::client::Client;
use super::show::{heading, row, say, table};
use super::{CORE, DEVICES, FIRST, REFUSED, SECOND, SPOILER, THIRD, sensors, text};

/// The devices, in the agent's registry and in the cloud.
#[derive(Debug)]
pub(super) struct Registry {
    associated: BTreeSet<String>,
    disassociated: BTreeSet<String>,
    cloud: BTreeSet<String>,
}

impl Registry {
    /// The current devices.
    pub(super) async fn now(client: &Client, cloud: &Cloud) -> io::Result<Self> {
        Ok(Self {
            associated: devices(client, "ASSOCIATED").await?,
            disassociated: devices(client, "DISASSOCIATED").await?,
            cloud: cloud.associated(CORE).into_keys().collect(),
        })
    }
}

/// Prints the results.
///
/// # Errors
/// The agent and the cloud do not agree, or the result is not the requested one.
pub(super) async fn close(client: &Client, cloud: &Cloud, before: &Registry) -> io::Result<()> {
    heading("What happened");
    let requests = requests(client).await?;
    say("The requests over the broker, as the agent lists them:");
    let mut rows = vec![row([&"token", &"status", &"entries", &"disassociated", &"not"])];
    let members = ["clientToken", "status", "entryCount", "succeededCount", "failedCount"];
    rows.extend(requests.iter().map(|request| members.map(|member| text(&request[member])).to_vec()));
    table(&rows);

    say("The calls that reached the cloud, by its own count:");
    table(&calls(cloud));

    let after = Registry::now(client, cloud).await?;
    say("The devices:");
    table(&[
        row([&"", &"before", &"after"]),
        row([&"agent, ASSOCIATED", &before.associated.len(), &after.associated.len()]),
        row([&"agent, DISASSOCIATED", &before.disassociated.len(), &after.disassociated.len()]),
        row([&"cloud, associated", &before.cloud.len(), &after.cloud.len()]),
    ]);

    let taken: Vec<usize> = sensors(1, DEVICES).map(|thing| cloud.effective_disassociations(&thing)).collect();
    let twice = taken.iter().filter(|times| **times > 1).count();
    say(format_args!("Devices disassociated more than once: {twice}."));

    // The status and the list are computed in different ways: from counters, and from the records.
    let status = client.status("the status to follow", |status| {
        let count = |state: &str| status["devices"][state].as_u64().unwrap_or_default();
        let counted = count("ASSOCIATED") == after.associated.len() as u64;
        counted && count("DISASSOCIATED") == after.disassociated.len() as u64 && status["pendingEntries"] == 0
    });
    status.await?;

    let by_broker: u64 = requests.iter().filter_map(|request| request["succeededCount"].as_u64()).sum();
    let succeeded = by_broker + THIRD.1 as u64;
    let faults: Vec<&str> = [
        (before.associated == before.cloud, "the registries differed at the beginning"),
        (after.associated == after.cloud, "the registries differ"),
        (succeeded == taken.iter().sum::<usize>() as u64, "the cloud has counted other disassociations"),
        (twice == 0, "a device was disassociated twice"),
        (after.cloud == left(), "the remaining devices are not the expected ones"),
        (as_expected(&requests), "a request did not end as expected"),
    ]
    .into_iter()
    .filter_map(|(holds, fault)| (!holds).then_some(fault))
    .collect();
    if !faults.is_empty() {
        return Err(io::Error::other(format!("the agent and the cloud do not agree: {}", faults.join("; "))));
    }
    let left = after.cloud.len();
    say(format_args!("Agent and cloud agree: the same {left} devices are left, and {succeeded} were disassociated."));
    Ok(())
}

/// The devices that should remain.
fn left() -> BTreeSet<String> {
    let asked: BTreeSet<String> =
        sensors(1, FIRST.1).chain(sensors(301, SECOND.1)).chain(sensors(401, THIRD.1)).collect();
    let refused = [REFUSED[0], REFUSED[1], SPOILER];
    sensors(1, DEVICES).filter(|thing| !asked.contains(thing) || refused.contains(&thing.as_str())).collect()
}

/// Whether the two requests over the broker, newest first, ended as they should.
fn as_expected(requests: &[Value]) -> bool {
    let summary = |request: &Value| {
        let count = |member: &str| request[member].as_u64().unwrap_or_default();
        (text(&request["clientToken"]), text(&request["status"]), count("succeededCount"), count("failedCount"))
    };
    requests.iter().map(summary).collect::<Vec<_>>()
        == [
            (SECOND.0.to_owned(), "SUCCEEDED".to_owned(), 50, 0),
            (FIRST.0.to_owned(), "PARTIALLY_SUCCEEDED".to_owned(), 247, 3),
        ]
}

async fn requests(client: &Client) -> io::Result<Vec<Value>> {
    let mut answer = client.ask("list-requests", json!({})).await?;
    match answer["requests"].take() {
        Value::Array(requests) => Ok(requests),
        other => Err(io::Error::other(format!("list-requests was answered without requests: {other}"))),
    }
}

/// All devices of a state, page by page.
async fn devices(client: &Client, state: &str) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut question = json!({"state": state});
    loop {
        let mut answer = client.ask("list-devices", question.clone()).await?;
        let page = answer["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
        names.extend(page.iter().map(|device| text(&device["thingName"])));
        match answer["nextToken"].take() {
            Value::Null => return Ok(names),
            next => question["nextToken"] = next,
        }
    }
}

fn calls(cloud: &Cloud) -> Vec<Vec<String>> {
    let calls = cloud.calls();
    let mut rows = vec![row([&"operation", &"calls", &"answered 200"])];
    for (operation, name) in [
        (Operation::Disassociate, "disassociate"),
        (Operation::Associate, "associate"),
        (Operation::List, "list (pages)"),
        (Operation::Credentials, "credentials"),
    ] {
        let well = calls.iter().filter(|call| call.operation == operation && call.status == Some(200)).count();
        rows.push(row([&name, &cloud.count(operation), &well]));
    }
    rows
}
