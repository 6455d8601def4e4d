//! Sends the commands that become requests, after the confirmation of a person; and `offboard
//! sync`.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Common},
    answer::fresh_token,
    failure::Failure,
    list,
    request::{self, split},
    show::show,
    text::{clean, complain},
};
use crate::{
    domain::{
        CallKind, DeviceState, Operation,
        operations::{
            changes::{CLIENT_TOKEN, DRY_RUN, EXPIRES_IN, FORCE, MAX_EXPIRY, REASON},
            spec::Names,
        },
    },
    protocol::messages::{PlanMessage, PlanResponse},
};

/// Maximum size of a list in bytes, far above the agent's default limit of pending entries.
const MAX_LIST: u64 = 64 << 20;

/// Maximum number of names unknown to the registry that are shown.
const SHOWN: usize = 20;

/// The options of the commands that become requests.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Show what the agent would do, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Allow more than guard.maxFraction of the devices, and ask for no confirmation.
    #[arg(long)]
    force: bool,

    /// A reason for people, kept with the request.
    #[arg(long)]
    reason: Option<String>,

    /// Time until the entries that were not sent expire as TimedOut: seconds, or 30s, 15m, 12h, 7d.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expires_in: Option<u64>,

    /// The request's token; a repeated command with the same token is the same request. Default: a
    /// random token
    #[arg(long, value_name = "TOKEN")]
    pub(super) token: Option<String>,

    /// Return when the request is accepted: it is on disk then, and the agent will carry it out.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Sync {
    /// Return when the request is accepted.
    #[arg(long)]
    no_wait: bool,
}

impl Sync {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        let mut agent = common.connect().await?;
        request::carry_out(common.output, &mut agent, Operation::Sync.as_str(), vec![json!({})], self.no_wait).await
    }
}

impl Options {
    /// Adds the members that the options set to a payload.
    pub(super) fn add_to(&self, payload: &mut Value) {
        let Self { dry_run: _, force, reason, expires_in, token, no_wait: _ } = self;
        for (member, value) in [
            (FORCE, force.then(|| json!(true))),
            (REASON, reason.as_ref().map(|text| json!(text))),
            (EXPIRES_IN, expires_in.map(|seconds| json!(seconds))),
            (CLIENT_TOKEN, token.as_ref().map(|text| json!(text))),
        ] {
            if let Some(value) = value {
                payload[member.name] = value;
            }
        }
    }
}

/// The names from the command line and from a list, all checked, and each once.
pub(super) fn names(arguments: Vec<String>, file: Option<&Path>, kind: &Names) -> Result<Vec<String>, Failure> {
    let mut names = Vec::with_capacity(arguments.len());
    for name in arguments {
        list::check(kind, &name).map_err(Failure::Usage)?;
        names.push(name);
    }
    if let Some(path) = file {
        let place = if path.as_os_str() == "-" { "standard input".into() } else { format!("{}", path.display()) };
        let bytes = read(path).map_err(|error| Failure::Usage(format!("--from-file {place}: {error}")))?;
        let found = list::names(&bytes, kind)
            .map_err(|faults| Failure::Usage(faults.report(&format!("--from-file {place}"))))?;
        names.extend(found);
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MAX_LIST + 1).read_to_end(&mut bytes)?;
    } else {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::other("it is a directory; name a file"));
        }
        file.take(MAX_LIST + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_LIST {
        return Err(io::Error::other(format!(
            "it has more than {} MiB, which is too large for a list of names",
            MAX_LIST >> 20
        )));
    }
    Ok(bytes)
}

/// Parses a time such as that of `--expires-in`, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 24 * 3600),
        _ => (text, 1),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(unit)).flatten();
    seconds.filter(|seconds| (1..=MAX_EXPIRY).contains(seconds)).ok_or_else(|| {
        format!(
            "{:?} is not a time of up to 365d; give seconds, or a number with s, m, h or d: 30s, 15m, 12h, 7d",
            clean(text)
        )
    })
}

/// Sends a change; `list` is the member that may have to be split over several requests.
pub(super) async fn change(
    common: &Common,
    kind: CallKind,
    mut payload: Value,
    list: Option<&str>,
    options: &Options,
) -> Result<(), Failure> {
    let operation = kind.operation().as_str();
    let Options { dry_run, force, no_wait, .. } = options;
    options.add_to(&mut payload);
    if payload[CLIENT_TOKEN.name].is_null() && !dry_run {
        // A command without an answer can be repeated only if its token is known.
        payload[CLIENT_TOKEN.name] = json!(fresh_token());
    }
    let mut agent = common.connect().await?;
    let parts = split(payload, list, agent.max_payload())?;
    let people = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    // A device to associate is usually new to the registry, so only a disassociation warns of
    // unknown names.
    let is_about_known = kind.takes_off();
    if *dry_run || is_about_known {
        let plan = plan(&mut agent, operation, &parts).await?;
        if *dry_run {
            return show(common.output, "plan", &json!(plan), plan_text);
        }
        let asks = people && !force;
        let mut was_asked = is_about_known && warn_of_unknown(&plan, asks)? && asks;
        was_asked |= asks && confirm(&mut agent, kind, &plan).await?;
        if was_asked {
            // The connection was not kept alive while the person decided.
            agent = common.connect().await?;
        }
    }
    request::carry_out(common.output, &mut agent, operation, parts, *no_wait).await
}

/// The agent's plan, summed over all parts.
async fn plan(agent: &mut Agent, operation: &str, parts: &[Value]) -> Result<PlanMessage, Failure> {
    let mut sum = PlanMessage::default();
    for part in parts {
        let mut question = part.clone();
        question[DRY_RUN.name] = json!(true);
        let PlanResponse { plan } = agent.query_as(operation, question).await?;
        add(&mut sum, plan);
    }
    Ok(sum)
}

/// Adds the counts of two plans and joins their lists.
fn add(sum: &mut PlanMessage, more: PlanMessage) {
    let PlanMessage {
        entry_count,
        cloud_call_count,
        unknown_count,
        unknown,
        guarded_count,
        guarded,
        max_fraction_exceeded,
    } = more;
    for (count, more) in [
        (&mut sum.entry_count, entry_count),
        (&mut sum.cloud_call_count, cloud_call_count),
        (&mut sum.unknown_count, unknown_count),
        (&mut sum.guarded_count, guarded_count),
    ] {
        *count = count.saturating_add(more);
    }
    sum.unknown.extend(unknown);
    sum.guarded.extend(guarded);
    sum.max_fraction_exceeded |= max_fraction_exceeded;
}

fn plan_text(plan: &PlanMessage) -> String {
    let mut lines = format!("{} entries in {} calls to the cloud\n", plan.entry_count, plan.cloud_call_count);
    for (count, names, what) in [
        (plan.unknown_count, &plan.unknown, "not in the registry"),
        (plan.guarded_count, &plan.guarded, "protected by guard.protected"),
    ] {
        if count > 0 {
            lines.push_str(&format!("{count} {what}: {}\n", some(names, count, 5)));
        }
    }
    if plan.max_fraction_exceeded {
        lines.push_str("more than guard.maxFraction of the devices; it is rejected without --force\n");
    }
    lines
}

/// The first `most` names of a list, of which there are `count` in all.
fn some(names: &[String], count: usize, most: usize) -> String {
    let mut first: Vec<String> = names.iter().take(most).map(|name| clean(name)).collect();
    if count > first.len() {
        first.push("...".into());
    }
    first.join(", ")
}

/// Shows the names that the registry does not know, which may be misspelt, and asks a person
/// whether to continue. Returns whether there are any.
fn warn_of_unknown(plan: &PlanMessage, asks: bool) -> Result<bool, Failure> {
    let count = plan.unknown_count;
    // The agent rejects a guarded command, so the reason of that rejection is more important than
    // the unknown names.
    if count == 0 || plan.guarded_count > 0 {
        return Ok(false);
    }
    let (entries, names) = (plan.entry_count, some(&plan.unknown, count, SHOWN));
    complain(&format!("{count} of {entries} names are not in the registry (case counts): {names}\n"));
    if asks && !agreed("continue with them?")? {
        return Err(nothing_done());
    }
    Ok(true)
}

fn nothing_done() -> Failure {
    Failure::Failed("nothing was done".into())
}

/// Asks the person at the terminal to confirm.
fn agreed(question: &str) -> Result<bool, Failure> {
    complain(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let failed = |error| Failure::Failed(format!("standard input: {error}; nothing was done"));
    io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Asks for confirmation if a person is about to disassociate more than half of the known devices.
/// Returns whether it asked.
async fn confirm(agent: &mut Agent, kind: CallKind, plan: &PlanMessage) -> Result<bool, Failure> {
    if !kind.takes_off() {
        return Ok(false);
    }
    let devices = agent.status().await?.devices;
    let of = |state: DeviceState| devices.get(state.as_str()).copied().unwrap_or_default();
    let known = of(DeviceState::Associated).saturating_add(of(DeviceState::Disassociating));
    let entries = plan.entry_count.saturating_sub(plan.unknown_count) as u64;
    // The agent rejects what exceeds guard.maxFraction, and says so.
    if entries.saturating_mul(2) <= known || entries < 2 || plan.max_fraction_exceeded {
        return Ok(false);
    }
    complain(&plan_text(plan));
    if agreed(&format!("these are more than half of the {known} devices; disassociate them?"))? {
        return Ok(true);
    }
    Err(nothing_done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        for (text, expected) in
            [("30", 30), ("30s", 30), ("15m", 900), ("12h", 43_200), ("7d", 604_800), ("365d", MAX_EXPIRY)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "d", "0", "0s", "-1", "+1", "1.5h", "7 d", "7w", "366d", "99999999999999999999d", "1\u{e9}"] {
            let message = seconds(text).unwrap_err();
            assert!(message.contains(&format!("{text:?}")) && message.contains("30s, 15m, 12h, 7d"), "{message}");
        }
    }
}
