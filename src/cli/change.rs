//! `offboard disassociate`, `associate`, `disassociate-assets`, `disassociate-project-assets`, `sync`: what becomes a request.

use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Trouble,
    agent::{Agent, Common},
    request::{self, split},
    show::{show, text},
};

/// What the commands that become requests have in common.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Show what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,

    /// Go past guard.maxFraction, and ask nothing.
    #[arg(long)]
    force: bool,

    /// Kept with the request, for people.
    #[arg(long)]
    reason: Option<String>,

    /// What is not sent by then ends as TimedOut.
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u64>,

    /// The request's name; the same one again is the same request. Without it the agent makes one.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,

    /// Return once it is accepted: it is on disk then, and will be carried out.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Devices {
    /// Thing names.
    #[arg(value_name = "THING", required_unless_present = "from_file")]
    things: Vec<String>,

    /// More of them, one a line, from a file or, with -, from standard input.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct Assets {
    /// The parent asset, by id or externalId:
    #[arg(long, value_name = "ASSET")]
    asset: String,

    /// The parent's hierarchy that the child is in.
    #[arg(long, value_name = "HIERARCHY")]
    hierarchy: String,

    /// The child asset.
    #[arg(long, value_name = "ASSET")]
    child: String,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct ProjectAssets {
    /// The project of SiteWise Monitor.
    #[arg(long, value_name = "PROJECT")]
    project: String,

    /// Assets in it.
    #[arg(value_name = "ASSET", required_unless_present = "from_file")]
    assets: Vec<String>,

    /// More of them, one a line, from a file or, with -, from standard input.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Args)]
pub(super) struct Sync {
    /// Return once it is accepted.
    #[arg(long)]
    no_wait: bool,
}

impl Devices {
    pub(super) async fn run(self, common: &Common, operation: &str) -> Result<(), Trouble> {
        let names = names(self.things, self.from_file)?;
        let entries: Vec<Value> = names.into_iter().map(|name| json!({"thingName": name})).collect();
        change(common, operation, json!({"entries": entries}), Some("entries"), &self.options).await
    }
}

impl Assets {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let Self { asset, hierarchy, child, options } = self;
        let payload = json!({"assetId": asset, "hierarchyId": hierarchy, "childAssetId": child});
        change(common, "disassociate-assets", payload, None, &options).await
    }
}

impl ProjectAssets {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let payload = json!({"projectId": self.project, "assetIds": names(self.assets, self.from_file)?});
        change(common, "disassociate-project-assets", payload, Some("assetIds"), &self.options).await
    }
}

impl Sync {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let mut agent = common.connect().await?;
        request::carry_out(common.output, &mut agent, "sync", vec![json!({})], self.no_wait).await
    }
}

/// Names from the command line and from a file, where empty lines and those that begin with `#` count for nothing.
fn names(mut names: Vec<String>, file: Option<PathBuf>) -> Result<Vec<String>, Trouble> {
    let Some(path) = file else { return Ok(names) };
    let read = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&path)
    };
    let text = read.map_err(|error| Trouble::Usage(format!("--from-file {}: {error}", path.display())))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.extend(lines.map(str::to_owned));
    if names.is_empty() {
        return Err(Trouble::Usage(format!("--from-file {}: there are no names in it", path.display())));
    }
    Ok(names)
}

/// Asks for a change; `list` is the member that may have to be split over several requests.
async fn change(
    common: &Common,
    operation: &str,
    mut payload: Value,
    list: Option<&str>,
    options: &Options,
) -> Result<(), Trouble> {
    let Options { dry_run, force, reason, expires_in, token, no_wait } = options;
    for (member, value) in [
        ("force", force.then(|| json!(true))),
        ("reason", reason.as_ref().map(|text| json!(text))),
        ("expiresInSeconds", expires_in.map(|seconds| json!(seconds))),
        ("clientToken", token.as_ref().map(|text| json!(text))),
    ] {
        if let Some(value) = value {
            payload[member] = value;
        }
    }
    let mut agent = common.connect().await?;
    let parts = split(payload, list, agent.max_payload())?;
    let people = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if *dry_run || (people && !force) {
        let plan = plan(&mut agent, operation, &parts).await?;
        if *dry_run {
            return show(common.output, &plan, plan_text);
        }
        if confirm(&mut agent, operation, &plan).await? {
            // Nobody kept the connection alive while a person thought.
            agent = common.connect().await?;
        }
    }
    request::carry_out(common.output, &mut agent, operation, parts, *no_wait).await
}

/// What the agent would do, over all parts.
async fn plan(agent: &mut Agent, operation: &str, parts: &[Value]) -> Result<Value, Trouble> {
    let mut sum = Value::Null;
    for part in parts {
        let mut question = part.clone();
        question["dryRun"] = json!(true);
        let plan = agent.query(operation, question).await?["plan"].take();
        sum = match sum {
            Value::Null => plan,
            sum => add(sum, &plan),
        };
    }
    Ok(sum)
}

/// Counts are added, and lists put one after the other.
fn add(mut sum: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        match (&mut sum[name], value) {
            (Value::Array(names), Value::Array(more)) => names.extend(more.iter().cloned()),
            (count, more) => *count = json!(count.as_u64().unwrap_or_default() + more.as_u64().unwrap_or_default()),
        }
    }
    sum
}

fn plan_text(plan: &Value) -> String {
    let mut lines =
        format!("{} entries in {} calls to the cloud\n", text(plan, "entryCount"), text(plan, "cloudCallCount"));
    for (count, names, what) in [
        ("unknownCount", "unknown", "not in the registry"),
        ("guardedCount", "guarded", "protected by guard.protected"),
    ] {
        if plan[count].as_u64().is_some_and(|count| count > 0) {
            let all: Vec<&str> = plan[names].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let more = if plan[count].as_u64() > Some(5) { ", ..." } else { "" };
            let first = all.into_iter().take(5).collect::<Vec<_>>().join(", ");
            lines.push_str(&format!("{} {what}: {first}{more}\n", text(plan, count)));
        }
    }
    lines
}

/// Asks a person who is about to take off more than half of what there is. Whether there was a question.
async fn confirm(agent: &mut Agent, operation: &str, plan: &Value) -> Result<bool, Trouble> {
    if operation != "disassociate-client-devices" {
        return Ok(false);
    }
    let devices = agent.query("status", json!({})).await?["devices"].take();
    let known: u64 = ["ASSOCIATED", "DISASSOCIATING"].iter().filter_map(|state| devices[state].as_u64()).sum();
    let entries = plan["entryCount"].as_u64().unwrap_or_default();
    if entries * 2 <= known || entries < 2 {
        return Ok(false);
    }
    let mut answer = String::new();
    eprint!("{}these are more than half of the {known} devices; take them off? [y/N] ", plan_text(plan));
    let _ = std::io::stderr().flush();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(true);
    }
    Err(Trouble::Failed("nothing was done".into()))
}
