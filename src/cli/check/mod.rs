//! `offboard check`: checks each requirement of the agent, one line each. The command asks a
//! running agent, which uses all of them anyway; where no agent runs, the command tests them
//! itself.

mod agent;
mod broker;
mod certificates;
mod cloud;
mod finding;
mod local;

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::{Value, json};

use self::finding::{Finding, State, caution, error, ok, warning};
use super::{
    agent::Common,
    answer::Output,
    data_directory::is_held,
    failure::Failure,
    show::print,
    text::{columns, json_line},
};
use crate::{
    agent::{cautions, ipc},
    config::{self, Config},
    domain::FieldFault,
    runtime::users,
};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The agent's configuration, a JSON file; default: the variable OFFBOARD_CONFIG, then the
    /// configuration of the running agent
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A configuration and its origin.
struct Source {
    text: String,
    from: String,
    /// The user who provided the configuration, if that is neither root nor the user of this
    /// process, and the command that this user should run.
    foreign: Option<Foreign>,
}

/// Another user. Root's `check` must not connect to a host or open a file that this user names,
/// since it would do so as root.
struct Foreign {
    user: u32,
    options: String,
    /// The data directory of the user's agent, if it runs.
    directory: Option<PathBuf>,
}

impl Foreign {
    fn finding(&self, what: &'static str) -> Finding {
        let (user, sudo, options) = (users::described(self.user), users::for_sudo(self.user), &self.options);
        let text = format!(
            "not tried: {user} gave the configuration, and this process connects to no host and opens no file that another user \
             names; run: sudo -u {sudo} offboard check {options}"
        );
        warning(what, text)
    }
}

impl Check {
    pub(super) async fn run(self, common: &Common) -> Result<(), Failure> {
        common.only_here("check")?;
        let findings = self.findings(common).await?;
        let row = |one: &Finding| [one.what.to_owned(), one.state.as_str().to_owned(), one.message.clone()];
        let rows: Vec<[String; 3]> = findings.iter().map(row).collect();
        match common.output {
            Output::Json => print(&json_line(&report(&findings)))?,
            Output::Table => print(&columns(["check", "result", "what"], &rows))?,
        }
        if findings.iter().any(|one| one.state == State::Error) { Err(Failure::Reported) } else { Ok(()) }
    }

    /// The findings as JSON.
    pub(super) async fn report(&self, common: &Common) -> Result<Value, Failure> {
        Ok(report(&self.findings(common).await?))
    }

    async fn findings(&self, common: &Common) -> Result<Vec<Finding>, Failure> {
        let env = config::environment().map_err(|error| Failure::Usage(error.to_string()))?;
        let Source { text, from, foreign } = self.source(common).await?;
        let (config, unknown) = match config::parse(&text, &env) {
            Ok(parsed) => parsed,
            Err(config::ConfigError(faults)) => {
                let finding = |fault: &FieldFault| error("configuration", format!("{} {}", fault.name, fault.message));
                return Ok(faults.iter().map(finding).collect());
            }
        };
        let mut findings = vec![configuration(&config, &from, &unknown)];
        let has_configuration = foreign.is_none() && (self.config.is_some() || variable().is_some());
        let dir = match (common.data_dir(has_configuration), &foreign) {
            (Some(dir), _) => dir,
            (None, None) => config.data_dir.clone(),
            (None, Some(Foreign { directory: Some(directory), .. })) => directory.clone(),
            (None, Some(foreign)) => {
                findings.push(foreign.finding("agent"));
                return Ok(findings);
            }
        };
        let agent = common.connect_in(&dir).await;
        if agent.is_err() {
            findings.extend(cautions::find(&config).into_iter().map(|(code, message)| caution(code, message)));
        }
        findings.extend(local::findings(&dir, agent.is_ok()));
        match (&config.mqtt, &foreign) {
            (Some(_), Some(foreign)) => findings.push(foreign.finding("certificates")),
            (Some(mqtt), None) => findings.extend(certificates::findings(mqtt).await),
            (None, _) => {}
        }
        match agent {
            Ok(mut agent) => {
                let listed = match common.connect_in(&dir).await {
                    Ok(agent) => agent::list(agent).await,
                    Err(_) => None,
                };
                findings.extend(agent::findings(&mut agent, &config, listed).await?);
            }
            // A test in place of a running agent would use the agent's client id, and the broker
            // would close the agent's connection.
            Err(cause) if !is_absent(&cause) || is_held(&dir) => {
                let text = format!(
                    "{}: an agent may run there, and cannot be reached ({cause}); run this command as the agent's user (sudo -u USER)",
                    dir.display()
                );
                findings.push(error("agent", text));
            }
            Err(_) => {
                if let Some(foreign) = &foreign {
                    findings.push(foreign.finding("agent"));
                    return Ok(findings);
                }
                findings.push(broker::finding(&config, common.patience()).await);
                let broker = findings.last().map(|broker| broker.state);
                if broker == Some(State::Ok) {
                    findings.extend(broker::local_access(&config, common.patience()).await);
                }
                let tried = ipc::trial(&config, common.patience()).await.into_iter();
                findings.extend(tried.map(|one| one.map_or_else(|text| error("ipc", text), |text| ok("ipc", text))));
                findings.extend(cloud::findings(&config, common.patience()).await);
                let text = match broker {
                    Some(State::Warning) => "no agent answers in this data directory",
                    _ => "no agent answers in this data directory; this command tested the connections in its place",
                };
                findings.push(warning("agent", text));
            }
        }
        Ok(findings)
    }

    async fn source(&self, common: &Common) -> Result<Source, Failure> {
        if let Some(path) = &self.config {
            let failed = |error| Failure::Usage(format!("--config {}: {error}", path.display()));
            let (text, owner) = read(path).map_err(failed)?;
            let options = format!("--config {}", path.display());
            let is_foreign = ![0, rustix::process::geteuid().as_raw()].contains(&owner);
            let foreign = is_foreign.then_some(Foreign { user: owner, options, directory: None });
            return Ok(Source { text, from: path.display().to_string(), foreign });
        }
        if let Some(text) = variable() {
            return Ok(Source { text, from: "OFFBOARD_CONFIG".into(), foreign: None });
        }
        let mut agent = match common.connect_here().await {
            Ok(agent) => agent,
            Err(failure) => {
                let text = "there is no configuration: name one by --config or OFFBOARD_CONFIG, or name the data directory of \
                            an agent that runs, as the user that it runs as (sudo -u USER)";
                return Err(Failure::Usage(format!("{text} ({failure})")));
            }
        };
        let shown = agent.query("configuration", json!({})).await?;
        let foreign = agent.foreign().map(|(user, directory)| Foreign {
            user,
            options: format!("--data-dir {}", directory.display()),
            directory: Some(directory.to_path_buf()),
        });
        Ok(Source { text: shown.to_string(), from: "the running agent".into(), foreign })
    }
}

/// `{"checks": [{"check", "result", "message"}]}`.
fn report(findings: &[Finding]) -> Value {
    let shown =
        |one: &Finding| json!({"check": one.what, "result": one.state.as_str(), "message": one.message.as_str()});
    json!({"checks": findings.iter().map(shown).collect::<Vec<_>>()})
}

/// The text of a configuration file, and its owner.
fn read(path: &Path) -> io::Result<(String, u32)> {
    let mut file = File::open(path)?;
    let owner = file.metadata()?.uid();
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok((text, owner))
}

/// The configuration in the variable. An empty variable counts as unset, as it does for the agent.
fn variable() -> Option<String> {
    std::env::var("OFFBOARD_CONFIG").ok().filter(|text| !text.is_empty())
}

/// Whether the error of the socket shows that no agent listens.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | NotADirectory)
}

fn configuration(config: &Config, from: &str, unknown: &[String]) -> Finding {
    let Config { core, region, .. } = config;
    let mut faults = Vec::new();
    if !unknown.is_empty() {
        faults.push(format!("{} is not known and has no effect; check the spelling", unknown.join(", ")));
    }
    if !config::is_like_a_region(region) {
        faults.push(format!(
            "region \"{region}\" is not the name of an AWS region such as eu-central-1; correct region, or AWS_REGION"
        ));
    }
    if faults.is_empty() {
        return ok("configuration", format!("from {from}: core device {core} in {region}"));
    }
    warning("configuration", format!("from {from}: {}", faults.join("; ")))
}
