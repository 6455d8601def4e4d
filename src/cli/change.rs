//! `offboard disassociate`, `associate`, `disassociate-assets`, `disassociate-project-assets`, `sync`: what becomes a request.

use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::interval;

use super::{
    Trouble,
    agent::{Agent, Answer, Common, Output},
    show::{failures, print, show, text},
};

/// How often a wait looks how far it is.
const LOOK: Duration = Duration::from_millis(500);

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
        change(common, operation, json!({"entries": entries}), &self.options).await
    }
}

impl Assets {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let Self { asset, hierarchy, child, options } = self;
        let payload = json!({"assetId": asset, "hierarchyId": hierarchy, "childAssetId": child});
        change(common, "disassociate-assets", payload, &options).await
    }
}

impl ProjectAssets {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let payload = json!({"projectId": self.project, "assetIds": names(self.assets, self.from_file)?});
        change(common, "disassociate-project-assets", payload, &self.options).await
    }
}

impl Sync {
    pub(super) async fn run(self, common: &Common) -> Result<(), Trouble> {
        let mut agent = common.connect().await?;
        request(common, &mut agent, "sync", json!({}), self.no_wait).await
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

async fn change(common: &Common, operation: &str, mut payload: Value, options: &Options) -> Result<(), Trouble> {
    let Options { dry_run, force, reason, expires_in, token, no_wait } = options;
    let mut agent = common.connect().await?;
    let people = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if *dry_run || (people && !force) {
        payload["dryRun"] = json!(true);
        let plan = agent.query(operation, payload.clone()).await?["plan"].take();
        if *dry_run {
            return show(common.output, &plan, plan_text);
        }
        confirm(&mut agent, operation, &plan).await?;
        if let Some(members) = payload.as_object_mut() {
            members.remove("dryRun");
        }
    }
    if *force {
        payload["force"] = json!(true);
    }
    for (member, value) in [
        ("reason", reason.as_ref().map(|text| json!(text))),
        ("expiresInSeconds", expires_in.map(|seconds| json!(seconds))),
        ("clientToken", token.as_ref().map(|text| json!(text))),
    ] {
        if let Some(value) = value {
            payload[member] = value;
        }
    }
    request(common, &mut agent, operation, payload, *no_wait).await
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

/// Asks a person who is about to take off more than half of what there is.
async fn confirm(agent: &mut Agent, operation: &str, plan: &Value) -> Result<(), Trouble> {
    if operation != "disassociate-client-devices" {
        return Ok(());
    }
    let devices = agent.query("status", json!({})).await?["devices"].take();
    let known: u64 = ["ASSOCIATED", "DISASSOCIATING"].iter().filter_map(|state| devices[state].as_u64()).sum();
    let entries = plan["entryCount"].as_u64().unwrap_or_default();
    if entries * 2 <= known || entries < 2 {
        return Ok(());
    }
    let mut answer = String::new();
    eprint!("{}these are more than half of the {known} devices; take them off? [y/N] ", plan_text(plan));
    let _ = std::io::stderr().flush();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Trouble::Failed("nothing was done".into()))
}

/// Sends a change, and waits for what comes of it.
async fn request(
    common: &Common,
    agent: &mut Agent,
    operation: &str,
    payload: Value,
    no_wait: bool,
) -> Result<(), Trouble> {
    let accepted = match agent.ask(operation, payload).await? {
        Answer::Accepted(body) => body,
        Answer::Rejected(body) => return Err(Trouble::Rejected(body)),
        // A request of that token that ended before, whose `accepted` comes first.
        Answer::Completed(body) => return ended(common.output, &body),
    };
    let token = text(&accepted, "clientToken");
    if no_wait {
        let line = |_: &Value| format!("accepted as {token}; offboard requests {token} tells what comes of it\n");
        return show(common.output, &accepted, line);
    }
    if common.output == Output::Table {
        eprintln!("accepted as {token}");
    }
    let completed = tokio::select! {
        completed = wait(agent, &token, &accepted) => completed?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nit goes on without you; offboard requests {token} tells what comes of it");
            return Err(Trouble::Left);
        }
    };
    ended(common.output, &completed)
}

/// Waits for the end of a request; on a terminal with a bar that shows how far it is.
async fn wait(agent: &mut Agent, token: &str, accepted: &Value) -> Result<Value, Trouble> {
    let entries = accepted["entryCount"].as_u64().filter(|_| std::io::stderr().is_terminal());
    let bar = entries.map(|entries| {
        let bar = ProgressBar::new(entries);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        bar
    });
    let mut look = interval(LOOK);
    loop {
        let answer = tokio::select! {
            answer = agent.next() => answer?,
            _ = look.tick(), if bar.is_some() => agent.ask("get-request", json!({"targetClientToken": token, "maxResults": 1})).await?,
        };
        match answer {
            Answer::Completed(body) if body["clientToken"] == token => {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                return Ok(body);
            }
            Answer::Accepted(body) if body["request"].is_object() => {
                let count = |member: &str| body["request"][member].as_u64().unwrap_or_default();
                if let Some(bar) = &bar {
                    bar.set_position(count("succeededCount") + count("failedCount"));
                    let failed = count("failedCount");
                    bar.set_message(if failed > 0 { format!("{failed} failed") } else { String::new() });
                }
            }
            _ => {}
        }
    }
}

fn ended(output: Output, completed: &Value) -> Result<(), Trouble> {
    let summary = |completed: &Value| {
        let counts = if completed["entryCount"].is_u64() {
            format!("{} of {} entries", text(completed, "succeededCount"), text(completed, "entryCount"))
        } else {
            let count = |member| text(completed, member);
            format!(
                "{} associated, {} added, {} removed",
                count("associatedCount"),
                count("addedCount"),
                count("removedCount")
            )
        };
        format!("{}: {counts}\n{}", text(completed, "status"), failures(completed))
    };
    match output {
        Output::Json => print(&format!("{completed}\n"))?,
        Output::Table => print(&summary(completed))?,
    }
    if completed["status"] == "SUCCEEDED" { Ok(()) } else { Err(Trouble::Told) }
}
