//! A request from a command's side: it is sent in several parts where it is too long for one
//! payload, waited for, and reported as one request.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{
    agent::Agent,
    answer::{Answer, Output, fresh_token},
    failure::{Failure, read},
    show::{failures, print, show},
    text::{clean, complain, json_line},
};
use crate::{
    domain::{
        MAX_TOKEN, Operation, RejectionCode, RequestStatus,
        operations::{
            changes::CLIENT_TOKEN,
            requests::{MAX_RESULTS, TARGET_TOKEN},
        },
    },
    protocol::messages::{ChangeResponse, RequestMessage, RequestResponse},
};

/// How often a waiting command queries the progress, on a terminal and elsewhere. The agent's
/// `completed` may be lost with a connection.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_UNSEEN: Duration = Duration::from_secs(10);

/// Maximum number of failed entries that are queried, which is the maximum of `completed`.
const FAILURES: usize = 100;

/// The member that says that a message has not all failed entries.
const TRUNCATED: &str = "errorEntriesTruncated";

/// Bytes of a payload outside its list: the largest `reason`, and the other members.
const BESIDE_LIST: usize = 4096;

/// An accepted part of a request.
struct Part {
    /// The token as the agent sent it.
    token: String,
    entries: Option<u64>,
    ended: u64,
    failed: u64,
    /// The end of the request, as a message and as it was sent.
    completed: Option<(RequestMessage, Value)>,
}

/// Splits a payload whose list makes it longer than `max` bytes. The tokens of the parts are
/// `<token>.1` and so on.
///
/// # Errors
/// A token of a part would be too long.
pub(super) fn split(mut payload: Value, list: Option<&str>, max: usize) -> Result<Vec<Value>, Failure> {
    let Some(list) = list.filter(|_| payload.to_string().len() > max) else { return Ok(vec![payload]) };
    let Value::Array(items) = payload[list].take() else { return Ok(vec![payload]) };
    let mut lists: Vec<Vec<Value>> = vec![Vec::new()];
    let mut size = 0;
    for item in items {
        let bytes = item.to_string().len() + 1;
        if size + bytes > max.saturating_sub(BESIDE_LIST) {
            lists.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(last) = lists.last_mut() {
            last.push(item);
        }
    }
    lists.retain(|list| !list.is_empty());
    let token = payload[CLIENT_TOKEN.name].as_str().map_or_else(fresh_token, str::to_owned);
    let longest = format!("{token}.{}", lists.len());
    if longest.chars().count() > MAX_TOKEN {
        let text = format!(
            "--token {token}: the list is sent in {} parts, up to {longest}, and a token has at most {MAX_TOKEN} characters; choose a shorter one",
            lists.len()
        );
        return Err(Failure::Usage(text));
    }
    let part = |(n, items): (usize, Vec<Value>)| {
        let mut part = payload.clone();
        part[list] = Value::Array(items);
        part[CLIENT_TOKEN.name] = json!(format!("{token}.{}", n + 1));
        part
    };
    Ok(lists.into_iter().enumerate().map(part).collect())
}

/// Sends a change, waits for its end, and prints the result.
pub(super) async fn carry_out(
    output: Output,
    agent: &mut Agent,
    operation: &str,
    payloads: Vec<Value>,
    no_wait: bool,
) -> Result<(), Failure> {
    let mut parts = Vec::with_capacity(payloads.len());
    let given = payloads.first().and_then(|payload| payload[CLIENT_TOKEN.name].as_str()).map(str::to_owned);
    let given = given.map(|token| if payloads.len() > 1 { whole(&token).to_owned() } else { token });
    for (n, payload) in payloads.into_iter().enumerate() {
        let answer = agent.ask(operation, payload).await.map_err(|failure| unanswered(failure, given.as_deref()))?;
        let token = answer.token().unwrap_or_default().to_owned();
        match answer {
            Answer::Rejected(rejection) => {
                if n > 0 {
                    complain(&format!(
                        "{n} of the parts were accepted before, and the agent carries them out: {}\n",
                        names(&parts)
                    ));
                }
                return Err(agent.refused(&rejection));
            }
            Answer::Accepted(body) => {
                let accepted: ChangeResponse = read(&format!("response to {operation}"), &body)?;
                parts.push((Part::new(token, accepted.entry_count), body));
            }
            // The request had ended before; its `accepted` follows, or the two crossed.
            Answer::Completed(body) => {
                let completed: RequestMessage = read("completed", &body)?;
                let mut part = Part::new(token, completed.entry_count);
                part.completed = Some((completed, body.clone()));
                parts.push((part, body));
            }
        }
    }
    let names = names(&parts);
    let first = parts.first().map_or_else(|| "TOKEN".into(), |(part, _)| clean(&part.token));
    let hint = format!("offboard requests {first} shows the result");
    if no_wait {
        let accepted = merge(parts.into_iter().map(|(_, body)| body).collect(), None);
        return match output {
            Output::Json => print(&json_line(&accepted)),
            Output::Table => print(&format!("accepted as {names}; {hint}\n")),
        };
    }
    if output == Output::Table {
        complain(&format!("accepted as {names}\n"));
    }
    let mut parts: Vec<Part> = parts.into_iter().map(|(part, _)| part).collect();
    tokio::select! {
        waited = wait(agent, &mut parts) => waited.map_err(|failure| unanswered(failure, given.as_deref()))?,
        _ = tokio::signal::ctrl_c() => {
            complain(&format!("\nthe agent continues the request; {hint}\n"));
            return Err(Failure::Left);
        }
    }
    let (completed, bodies): (Vec<RequestMessage>, Vec<Value>) =
        parts.into_iter().filter_map(|part| part.completed).unzip();
    let status = status(&completed.iter().collect::<Vec<_>>());
    let whole = merge(bodies, Some(&status));
    show(output, "completed", &whole, summary)?;
    if status == RequestStatus::Succeeded.as_str() { Ok(()) } else { Err(Failure::Reported) }
}

/// The token of the whole request, by that of its first part.
pub(super) fn whole(first: &str) -> &str {
    first.strip_suffix(".1").unwrap_or(first)
}

/// Says how to repeat a command that may have reached the agent.
fn unanswered(failure: Failure, token: Option<&str>) -> Failure {
    match (failure, token) {
        (Failure::NoAnswer(text), Some(token)) => Failure::NoAnswer(format!(
            "{text}; the agent may still carry out the command: the same command with --token {} shows the result, and \
             is not carried out twice",
            clean(token)
        )),
        (failure, _) => failure,
    }
}

fn names(parts: &[(Part, Value)]) -> String {
    parts.iter().map(|(part, _)| clean(&part.token)).collect::<Vec<_>>().join(", ")
}

impl Part {
    fn new(token: String, entries: Option<u32>) -> Self {
        Self { token, entries: entries.map(u64::from), ended: 0, failed: 0, completed: None }
    }
}

/// Waits for the end of all parts. On a terminal a bar shows the progress.
async fn wait(agent: &mut Agent, parts: &mut [Part]) -> Result<(), Failure> {
    let entries: Option<u64> = parts.iter().map(|part| part.entries).sum();
    let bar = entries.filter(|_| std::io::stderr().is_terminal()).map(|entries| {
        let bar = ProgressBar::new(entries);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar
    });
    let pace = if bar.is_some() { LOOK } else { LOOK_UNSEEN };
    let first = Instant::now() + if bar.is_some() { Duration::ZERO } else { pace };
    let mut look = interval_at(first, pace);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(open) = parts.iter().find(|part| part.completed.is_none()) {
        let question = json!({(TARGET_TOKEN.name): open.token, (MAX_RESULTS.name): FAILURES});
        let answer = tokio::select! {
            answer = agent.next() => Some(answer?),
            _ = look.tick() => agent.ask_in_time("get-request", question).await?,
        };
        match answer {
            // The agent deleted the request, or lost it with a damaged store: no result will come.
            Some(Answer::Rejected(rejection)) => match Failure::of_rejection(&rejection) {
                Failure::Rejected(why) if why.code != RejectionCode::ResourceNotFoundException.as_str() => {}
                Failure::Rejected(_) => return Err(agent.refused(&rejection)),
                failure => return Err(failure),
            },
            Some(answer) => note(parts, answer)?,
            None => {}
        }
        if let Some(bar) = &bar {
            bar.set_position(parts.iter().map(|part| part.ended).sum());
            let failed: u64 = parts.iter().map(|part| part.failed).sum();
            bar.set_message(if failed > 0 { format!("{failed} failed") } else { String::new() });
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(())
}

/// Updates the part that an answer is about, with its progress or its end. Both `completed` and the
/// answer to `get-request`, which has the same form, can report the end; the first one counts.
fn note(parts: &mut [Part], answer: Answer) -> Result<(), Failure> {
    let is_of_query = answer.operation() == Some(Operation::GetRequest.as_str());
    let (request, body) = match answer {
        Answer::Completed(body) => (read::<RequestMessage>("completed", &body)?, body),
        Answer::Accepted(mut body) if is_of_query => {
            let RequestResponse { mut request, next_token } = read("response to get-request", &body)?;
            let mut body = body["request"].take();
            if let (Some(_), Value::Object(members)) = (next_token, &mut body) {
                request.error_entries_truncated = Some(true);
                members.insert(TRUNCATED.into(), json!(true));
            }
            (request, body)
        }
        _ => return Ok(()),
    };
    let is_of = |part: &&mut Part| part.completed.is_none() && request.client_token == part.token;
    if let Some(part) = parts.iter_mut().find(is_of) {
        let count = |count: Option<u32>| u64::from(count.unwrap_or_default());
        part.failed = count(request.failed_count);
        part.ended = count(request.succeeded_count) + part.failed;
        if request.completed_at.is_some() {
            part.completed = Some((request, body));
        }
    }
    Ok(())
}

/// The status of a request that was sent in parts.
pub(super) fn status(parts: &[&RequestMessage]) -> String {
    let all = |status: &str| parts.iter().all(|part| part.status == status);
    match parts {
        [one] => one.status.to_string(),
        _ if all(RequestStatus::Succeeded.as_str()) => RequestStatus::Succeeded.as_str().into(),
        _ if parts.iter().any(|part| part.succeeded_count > Some(0)) => {
            RequestStatus::PartiallySucceeded.as_str().into()
        }
        _ => [RequestStatus::Canceled, RequestStatus::TimedOut]
            .into_iter()
            .find(|status| all(status.as_str()))
            .unwrap_or(RequestStatus::Failed)
            .as_str()
            .into(),
    }
}

/// Merges the messages about the parts of one request into one message: counts are summed, and
/// lists are joined. A member that this version does not know is kept, too.
fn merge(mut messages: Vec<Value>, status: Option<&str>) -> Value {
    if messages.len() == 1 {
        return messages.swap_remove(0);
    }
    let sum = |member: &str| messages.iter().filter_map(|one| one[member].as_u64()).sum::<u64>();
    let first = messages.first().cloned().unwrap_or_default();
    let mut whole = json!({});
    for (member, value) in first.as_object().into_iter().flatten() {
        whole[member] = match value {
            Value::Number(_) => json!(sum(member)),
            Value::Array(_) => messages.iter().filter_map(|one| one[member].as_array()).flatten().cloned().collect(),
            _ if member == "status" && status.is_some() => json!(status),
            _ if member == "completedAt" => {
                messages.iter().filter_map(|one| one[member].as_str()).max().map_or(Value::Null, |at| json!(at))
            }
            Value::String(token) if member == CLIENT_TOKEN.name => {
                json!(token.rsplit_once('.').map_or(token.as_str(), |(token, _)| token))
            }
            _ => value.clone(),
        };
    }
    if messages.iter().any(|one| one[TRUNCATED] == true) {
        whole[TRUNCATED] = json!(true);
    }
    whole
}

fn summary(completed: &RequestMessage) -> String {
    let count = |count: Option<u32>| count.map(|count| count.to_string()).unwrap_or_default();
    let counts = if completed.entry_count.is_some() {
        format!("{} of {} entries", count(completed.succeeded_count), count(completed.entry_count))
    } else {
        let (associated, added) = (count(completed.associated_count), count(completed.added_count));
        format!("{associated} associated, {added} added, {} removed", count(completed.removed_count))
    };
    format!("{}: {counts}\n{}", clean(&completed.status), failures(completed, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_into_parts_that_fit_and_lose_nothing() {
        let names: Vec<Value> = (0..1000).map(|n| json!({"thingName": format!("device-{n}")})).collect();
        let payload = json!({"clientToken": "t", "force": true, "entries": names});
        let parts = split(payload.clone(), Some("entries"), 10_000).unwrap();
        assert!(parts.len() > 3 && parts.iter().all(|part| part.to_string().len() <= 10_000 && part["force"] == true));
        let tokens: Vec<_> = parts.iter().take(2).map(|part| part["clientToken"].clone()).collect();
        assert_eq!(tokens, ["t.1", "t.2"]);
        let together: Vec<Value> = parts.iter().flat_map(|part| part["entries"].as_array().unwrap().clone()).collect();
        assert_eq!(json!(together), payload["entries"]);
        assert_eq!(split(payload.clone(), Some("entries"), 1 << 20).unwrap(), std::slice::from_ref(&payload));
        let long = json!({"clientToken": "t".repeat(63), "entries": payload["entries"]});
        assert!(
            matches!(split(long, Some("entries"), 10_000), Err(Failure::Usage(_))),
            "before any part of it is sent"
        );
    }

    #[test]
    fn parts_are_reported_as_one() {
        let failed = |n: u32| json!({"thingName": n.to_string(), "code": "c", "message": "m", "unknown": n});
        let part = |n: u32, status: &str, succeeded: u32, at: &str| {
            json!({"clientToken": format!("t.{n}"), "operation": "o", "status": status, "entryCount": 2, "succeededCount": succeeded,
                "failedCount": 2 - succeeded, "errorEntries": [failed(n)], "acceptedAt": "1", "completedAt": at})
        };
        let whole = |bodies: Vec<Value>| {
            let parts: Vec<RequestMessage> = bodies.iter().map(|body| read("completed", body).unwrap()).collect();
            merge(bodies, Some(&status(&parts.iter().collect::<Vec<_>>())))
        };
        let some = whole(vec![part(1, "SUCCEEDED", 2, "5"), part(2, "FAILED", 0, "3")]);
        let expected = json!({"clientToken": "t", "operation": "o", "status": "PARTIALLY_SUCCEEDED", "entryCount": 4,
            "succeededCount": 2, "failedCount": 2, "errorEntries": [failed(1), failed(2)], "acceptedAt": "1",
            "completedAt": "5"});
        assert_eq!(some, expected);
        assert_eq!(whole(vec![part(1, "TIMED_OUT", 0, "5"), part(2, "TIMED_OUT", 0, "5")])["status"], "TIMED_OUT");
        assert_eq!(whole(vec![part(1, "TIMED_OUT", 0, "5"), part(2, "CANCELED", 0, "5")])["status"], "FAILED");
    }
}
