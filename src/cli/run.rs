//! `offboard run`: runs the agent.

use std::{io, path::PathBuf, process::ExitCode};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    failure::{EXIT_FAILED_PART, EXIT_USAGE},
    log,
    text::complain,
};
use crate::{
    agent::{self, RunError},
    config::{self, Config},
    domain::FieldFault,
};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The configuration, a JSON file; default: the JSON in the variable OFFBOARD_CONFIG
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    pub(super) fn execute(self) -> ExitCode {
        let hidden = hide_memory();
        let (config, unknown) = match self.read() {
            Ok(read) => read,
            Err(message) => {
                complain(&format!("{message}\n"));
                return ExitCode::from(EXIT_USAGE);
            }
        };
        // Files that are created from here on are accessible to this user alone.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let limit = log::start(config.log_format);
        if let Err(error) = hidden {
            tracing::warn!(%error, "other processes of this user can read this one's memory, which holds passwords and credentials");
        }
        for key in &unknown {
            tracing::warn!(key, "unknown configuration key; it has no effect in this version");
        }
        let ended = run(config, &unknown, limit.clone());
        limit.report();
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let status = match &error {
                    // The error was logged when it happened, before the stop.
                    RunError::Part(_) => EXIT_FAILED_PART,
                    RunError::Environment(_) | RunError::Thread(_) => EXIT_USAGE,
                };
                if status == EXIT_USAGE {
                    tracing::error!("{error}");
                }
                ExitCode::from(status)
            }
        }
    }

    fn read(&self) -> Result<(Config, Vec<String>), String> {
        let env = config::environment().map_err(|error| error.to_string())?;
        let (text, from) = match &self.config {
            Some(path) => {
                let from = format!("--config {}: ", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| format!("configuration: {from}{error}"))?;
                (text, from)
            }
            None => (env("OFFBOARD_CONFIG").unwrap_or_default(), String::new()),
        };
        config::parse(&text, env).map_err(|config::ConfigError(faults)| {
            let line = |fault: &FieldFault| format!("configuration: {from}{} {}", fault.name, fault.message);
            faults.iter().map(line).collect::<Vec<_>>().join("\n")
        })
    }
}

/// Hides this process's memory and environment, which hold the broker's password and the nucleus's
/// token, from other processes of the same user: on a core device these are all other components.
/// It also disables core dumps.
fn hide_memory() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn run(config: Config, unknown: &[String], limit: log::Limit) -> Result<(), RunError> {
    // Only the ledger's thread computes much; a second thread for the other tasks would only add
    // wake-ups.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::Thread)?;
    runtime.spawn(limit.keep_reporting());
    let ran = runtime.block_on(async {
        let handler = |kind| {
            signal(kind).map_err(|error| RunError::Environment(format!("signals cannot be handled: {error}")))
        };
        let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tracing::info!(version = crate::VERSION, core = %config.core, data_dir = %config.data_dir.display(), "offboard starts");
        agent::run(config, unknown, stop).await
    });
    // A thread that blocks in the store, in a lookup of a name or in a file must not delay the exit.
    runtime.shutdown_background();
    ran
}
