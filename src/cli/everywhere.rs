//! A subcommand with `--everywhere`: its command goes to every core device whose agent receives
//! broadcasts over the broker.

mod responses;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use self::responses::{Accepted, Responses};
use super::{
    agent::Common,
    answer::{Answer, Output, fresh_token},
    change::{Options, seconds},
    failure::Failure,
    request::{status, whole},
    show::print,
    text::{clean, columns, complain, json_line},
};
use crate::{
    domain::{
        MAX_TOKEN, Operation, RequestStatus,
        operations::changes::{CLIENT_TOKEN, DRY_RUN},
    },
    protocol::messages::{ErrorEntry, RequestMessage},
};

/// Maximum number of names in one broadcast: `accepted` names as many of those that its core device
/// does not know, so that the names that no core device knows are complete.
const NAMES: usize = 100;

/// Maximum number of core devices whose answers are kept, far above any fleet on one broker.
const MAX_CORES: usize = 100_000;

#[derive(Debug, Args)]
pub(super) struct Everywhere {
    /// Disassociate them from every core device that knows them, with a broadcast over the broker,
    /// and show what each core device answers. Needs acceptBroadcast in the agents' configuration
    #[arg(long, requires = "mqtt_url", conflicts_with_all = ["core", "no_wait"])]
    pub(super) everywhere: bool,

    /// Time to collect the answers to --everywhere: seconds, or 30s, 15m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "10s", requires = "everywhere")]
    collect: u64,
}

/// The names of a command, as the member of its payload that lists them.
pub(super) struct Listed {
    pub(super) member: &'static str,
    /// The member of each element that has the name; `None` if the element is the name.
    pub(super) element: Option<&'static str>,
    pub(super) names: Vec<String>,
}

impl Everywhere {
    /// Broadcasts a command, and shows what is answered.
    pub(super) async fn run(
        self,
        common: &Common,
        operation: Operation,
        listed: Listed,
        options: &Options,
    ) -> Result<(), Failure> {
        let broadcasts = broadcasts(&listed, options)?;
        let mut line = common.connect_to_all().await?;
        let until = Instant::now() + Duration::from_secs(self.collect);
        let mut early = Vec::new();
        for broadcast in &broadcasts {
            early.extend(line.publish(operation.as_str(), &broadcast.payload).await?);
        }
        let mut collected = Collected { broadcasts, cores: BTreeMap::new() };
        early.into_iter().for_each(|(core, answer)| collected.add(core, answer));
        let collecting = async {
            while let Ok(received) = timeout_at(until, line.next_of_any()).await {
                let (core, answer) = received?;
                collected.add(core, answer);
            }
            Ok(())
        };
        tokio::select! {
            ended = collecting => ended?,
            // What came until now is shown.
            _ = tokio::signal::ctrl_c() => complain("\n"),
        }
        match common.output {
            Output::Json => print(&json_line(&collected.json()))?,
            Output::Table => print(&collected.table())?,
        }
        collected.verdict(self.collect)
    }
}

/// One broadcast: its token, its names and its payload.
struct Broadcast {
    token: String,
    names: Vec<String>,
    payload: Value,
}

/// Distributes the names over as many broadcasts as they need. The tokens of several are
/// `<token>.1` and so on.
///
/// # Errors
/// A token would be too long.
fn broadcasts(listed: &Listed, options: &Options) -> Result<Vec<Broadcast>, Failure> {
    let token = options.token.clone().unwrap_or_else(fresh_token);
    let count = listed.names.len().div_ceil(NAMES);
    let token_of = |n: usize| if count > 1 { format!("{token}.{n}") } else { token.clone() };
    let longest = token_of(count);
    if count > 1 && longest.chars().count() > MAX_TOKEN {
        return Err(Failure::Usage(format!(
            "--token {token}: the names are sent in {count} broadcasts, up to {longest}, and a token has at most \
             {MAX_TOKEN} characters; choose a shorter one"
        )));
    }
    let broadcast = |(n, names): (usize, &[String])| {
        let token = token_of(n + 1);
        let element = |name: &String| match listed.element {
            Some(member) => json!({member: name}),
            None => json!(name),
        };
        let mut payload = json!({listed.member: names.iter().map(element).collect::<Vec<Value>>()});
        options.add_to(&mut payload);
        payload[CLIENT_TOKEN.name] = json!(token);
        if options.dry_run {
            payload[DRY_RUN.name] = json!(true);
        }
        Broadcast { token, names: names.to_vec(), payload }
    };
    Ok(listed.names.chunks(NAMES).enumerate().map(broadcast).collect())
}

/// The broadcasts, and the answers by the names of core devices and the numbers of broadcasts.
struct Collected {
    broadcasts: Vec<Broadcast>,
    cores: BTreeMap<String, BTreeMap<usize, Responses>>,
}

/// What a core device answered to all broadcasts.
struct Outcome {
    entries: u64,
    text: String,
    is_good: bool,
    is_open: bool,
}

impl Collected {
    /// Adds an answer, unless it belongs to another command under the same client's name.
    fn add(&mut self, core: String, answer: Answer) {
        let token = answer.token().unwrap_or_default();
        let Some(n) = self.broadcasts.iter().position(|broadcast| broadcast.token == token) else { return };
        if self.cores.len() >= MAX_CORES && !self.cores.contains_key(&core) {
            return;
        }
        let answers = self.cores.entry(core).or_default().entry(n).or_default();
        let is_dry_run = self.broadcasts[n].payload[DRY_RUN.name] == true;
        if let Err(failure) = answers.add(answer, is_dry_run) {
            answers.unreadable = Some(failure);
        }
    }

    /// The names that no core device knows, as far as the core devices say so, in the order in
    /// which they were given. A core device that knows one of the names answers, and only its
    /// `accepted` says which it does not know.
    fn unknown(&self) -> Vec<&str> {
        let mut unknown = Vec::new();
        for (n, broadcast) in self.broadcasts.iter().enumerate() {
            let answers = self.cores.values().filter_map(|core| core.get(&n));
            let accepted = answers.map(|one| one.accepted.as_ref());
            let of_others: Option<Vec<BTreeSet<&String>>> =
                accepted.map(|accepted| Some(accepted?.1.unknown().iter().collect())).collect();
            let Some(of_others) = of_others else { continue };
            let names = broadcast.names.iter().filter(|name| of_others.iter().all(|others| others.contains(name)));
            unknown.extend(names.map(String::as_str));
        }
        unknown
    }

    fn outcomes(&self) -> impl Iterator<Item = (&String, Outcome)> {
        self.cores.iter().map(|(core, answers)| (core, outcome(answers)))
    }

    fn json(&self) -> Value {
        let core = |(core, answers): (&String, &BTreeMap<usize, Responses>)| {
            let all = |member: fn(&Responses) -> Option<&Value>| -> Vec<&Value> {
                answers.values().filter_map(member).collect()
            };
            json!({
                "coreDeviceThingName": core,
                "accepted": all(|one| Some(&one.accepted.as_ref()?.0)),
                "rejected": all(|one| Some(&one.rejected.as_ref()?.0)),
                "completed": all(|one| Some(&one.completed.as_ref()?.0)),
            })
        };
        let tokens: Vec<&str> = self.broadcasts.iter().map(|broadcast| broadcast.token.as_str()).collect();
        json!({"clientTokens": tokens, "cores": self.cores.iter().map(core).collect::<Vec<_>>(), "unknown": self.unknown()})
    }

    fn table(&self) -> String {
        let row = |(core, outcome): (&String, Outcome)| [clean(core), outcome.entries.to_string(), outcome.text];
        let rows: Vec<[String; 3]> = self.outcomes().map(row).collect();
        let mut text = if rows.is_empty() { String::new() } else { columns(["core", "accepted", "outcome"], &rows) };
        let failed: Vec<[String; 4]> = self.cores.iter().flat_map(|(core, answers)| failed(core, answers)).collect();
        if !failed.is_empty() {
            text.push('\n');
            text.push_str(&columns(["core", "failed", "code", "message"], &failed));
        }
        let unknown = self.unknown();
        if !unknown.is_empty() {
            let names = unknown.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
            text.push_str(&format!("no core device that answered knows: {names}\n"));
        }
        text
    }

    /// Whether the command succeeded: at least one core device answered, and each did what it
    /// accepted.
    fn verdict(&self, seconds: u64) -> Result<(), Failure> {
        let outcomes: Vec<Outcome> = self.outcomes().map(|(_, outcome)| outcome).collect();
        if outcomes.is_empty() {
            return Err(Failure::NoAnswer(format!(
                "no core device answered within {seconds} s: none that is connected knows one of the devices, or none has \
                 acceptBroadcast, or the broker drops the command; check that it lets --client-id publish to the topic of \
                 broadcasts"
            )));
        }
        let open = outcomes.iter().filter(|outcome| outcome.is_open).count();
        if open > 0 {
            let token = self.broadcasts.first().map_or("TOKEN", |broadcast| {
                if self.broadcasts.len() > 1 { whole(&broadcast.token) } else { &broadcast.token }
            });
            complain(&format!(
                "{open} of {} core devices have not finished, and continue; the same command with --token {token} shows \
                 their outcomes\n",
                outcomes.len()
            ));
        }
        let rejection = self.cores.values().flat_map(BTreeMap::values).find_map(|one| one.rejected.as_ref());
        match rejection {
            Some((body, _)) if outcomes.iter().all(|outcome| outcome.entries == 0) => Err(Failure::of_rejection(body)),
            _ if open == 0 && outcomes.iter().all(|outcome| outcome.is_good) => Ok(()),
            _ => Err(Failure::Reported),
        }
    }
}

fn outcome(answers: &BTreeMap<usize, Responses>) -> Outcome {
    let mut texts = Vec::new();
    let completed: Vec<&RequestMessage> = answers.values().filter_map(|one| Some(&one.completed.as_ref()?.1)).collect();
    let mut outcome = Outcome { entries: 0, text: String::new(), is_good: true, is_open: false };
    if !completed.is_empty() {
        let sum = |count: fn(&RequestMessage) -> Option<u32>| -> u64 {
            completed.iter().filter_map(|one| count(one)).map(u64::from).sum()
        };
        let (status, succeeded) = (status(&completed), sum(|one| one.succeeded_count));
        texts.push(format!("{}: {succeeded} of {} entries", clean(&status), sum(|one| one.entry_count)));
        outcome.is_good = status == RequestStatus::Succeeded.as_str();
    }
    for one in answers.values() {
        // A core device that was restarted may have published `completed` alone again.
        outcome.entries += match (&one.accepted, &one.completed) {
            (Some((_, accepted)), _) => accepted.entries(),
            (None, Some((_, completed))) => completed.entry_count.unwrap_or_default().into(),
            (None, None) => 0,
        };
        if let Some((_, rejection)) = &one.rejected {
            outcome.is_good = false;
            texts.push(format!("rejected: {} ({})", clean(&rejection.message), clean(&rejection.code)));
        }
        if let Some(failure) = &one.unreadable {
            outcome.is_good = false;
            texts.push(failure.to_string());
        }
        match &one.accepted {
            Some((_, Accepted::Plan(plan))) => texts.push(format!("would make {} calls", plan.cloud_call_count)),
            Some(_) if one.completed.is_none() => outcome.is_open = true,
            _ => {}
        }
    }
    if outcome.is_open {
        texts.push("not finished".into());
    }
    outcome.text = texts.join("; ");
    outcome
}

/// The failed entries of a core device.
fn failed(core: &str, answers: &BTreeMap<usize, Responses>) -> Vec<[String; 4]> {
    let completed = answers.values().filter_map(|one| one.completed.as_ref());
    let entries = completed.flat_map(|(_, request)| request.error_entries.iter().flatten());
    let row = |entry: &ErrorEntry| {
        [core.to_owned(), entry.name().unwrap_or_default().to_owned(), entry.code.clone(), entry.message.clone()]
    };
    entries.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(names: &[&str], answers: &[(&str, Answer)]) -> Collected {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let broadcast = Broadcast { token: "t".into(), names, payload: json!({}) };
        let mut collected = Collected { broadcasts: vec![broadcast], cores: BTreeMap::new() };
        for (core, answer) in answers {
            let answer = match answer {
                Answer::Accepted(body) => Answer::Accepted(body.clone()),
                Answer::Rejected(body) => Answer::Rejected(body.clone()),
                Answer::Completed(body) => Answer::Completed(body.clone()),
            };
            collected.add((*core).to_owned(), answer);
        }
        collected
    }

    fn accepted(entries: u64, unknown: &[&str]) -> Answer {
        Answer::Accepted(json!({"clientToken": "t", "entryCount": entries, "acceptedAt": "x", "unknown": unknown}))
    }

    fn completed(status: &str, entries: u64, succeeded: u64) -> Answer {
        let body = json!({"clientToken": "t", "operation": "o", "status": status, "acceptedAt": "x", "entryCount": entries,
            "succeededCount": succeeded});
        Answer::Completed(body)
    }

    #[test]
    fn a_row_for_each_core_device_and_the_names_that_none_knows() {
        let answers = [
            ("A", accepted(1, &["b", "x"])),
            ("B", accepted(1, &["a", "x"])),
            ("A", completed("SUCCEEDED", 1, 1)),
            ("B", completed("SUCCEEDED", 1, 1)),
            // Another command of the same client.
            ("C", Answer::Accepted(json!({"clientToken": "u", "entryCount": 1}))),
        ];
        let all = collected(&["a", "b", "x"], &answers);
        let table = "core  accepted  outcome\nA     1         SUCCEEDED: 1 of 1 entries\n\
                     B     1         SUCCEEDED: 1 of 1 entries\nno core device that answered knows: x\n";
        assert_eq!(all.table(), table);
        assert!(all.verdict(10).is_ok());
        assert_eq!(all.json()["unknown"], json!(["x"]));
    }

    #[test]
    fn what_is_not_finished_or_rejected_is_no_success() {
        let none = collected(&["a"], &[]);
        assert!(matches!(none.verdict(10), Err(Failure::NoAnswer(_))));
        assert_eq!(none.table(), "no core device that answered knows: a\n");
        let open = collected(&["a"], &[("A", accepted(1, &[]))]);
        assert!(matches!(open.verdict(10), Err(Failure::Reported)) && open.table().contains("not finished"));
        let rejection =
            || Answer::Rejected(json!({"clientToken": "t", "operation": "o", "code": "C", "message": "no\u{1b}[2J"}));
        let rejected = collected(&["a"], &[("A", rejection())]);
        assert!(matches!(rejected.verdict(10), Err(Failure::Rejected(_))));
        assert_eq!(rejected.json()["unknown"], json!([]), "a core device that knows none of them does not answer");
        let late = collected(&["a"], &[("A", completed("SUCCEEDED", 1, 1))]);
        assert_eq!(late.json()["unknown"], json!([]), "its accepted may be lost");
        let mixed = [("A", rejection()), ("B", accepted(1, &[])), ("B", completed("SUCCEEDED", 1, 1))];
        let mixed = collected(&["a"], &mixed);
        assert!(matches!(mixed.verdict(10), Err(Failure::Reported)));
        assert!(mixed.table().contains("A     0         rejected: no\u{fffd}[2J (C)\n"), "{}", mixed.table());
    }
}
