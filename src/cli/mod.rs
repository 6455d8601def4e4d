//! The command line: one file for each kind of subcommand.

mod agent;
mod broker;
mod bundle;
mod change;
mod check;
mod list;
mod log;
#[cfg(test)]
mod manuals;
mod program_file;
mod query;
mod request;
mod run;
mod show;
mod socket;
#[cfg(feature = "watch")]
mod watch;

use std::{fmt, process::ExitCode};

use clap::{Args, Parser, Subcommand, error::ErrorKind};
use serde_json::Value;

use self::agent::Common;

/// What was asked did not come about.
const EXIT_FAILED: u8 = 1;
/// The agent did not take it.
const EXIT_REJECTED: u8 = 2;
/// There is no agent, or it does not answer.
const EXIT_NO_ANSWER: u8 = 3;
/// Usage and configuration errors (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;
/// A part of the agent failed, which is a defect (EX_SOFTWARE of sysexits.h).
const EXIT_FAILED_PART: u8 = 70;

/// Takes client devices off their AWS IoT Greengrass core device, offline if need be.
///
/// All commands but `run` ask the running agent: on its own machine over the socket in its data
/// directory, and from elsewhere, with --mqtt-url, over the broker. On a core device, run them as
/// the user that the agent runs as (sudo -u ggc_user; on nucleus lite sudo -u gg_component): the
/// deployed program file belongs to that user, and a command that root runs from it warns.
#[derive(Debug, Parser)]
#[command(name = "offboard", version, after_help = "Exit status: 0 done, 1 failed, 2 rejected, 3 no answer, 64 usage.")]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

/// A command that asks the agent.
#[derive(Debug, Args)]
struct Asking<A: Args> {
    #[command(flatten)]
    what: A,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the agent, until SIGTERM or SIGINT.
    Run(run::Run),
    /// Take client devices off this core device.
    ///
    /// Examples:
    ///   offboard disassociate sensor-7 sensor-8 --reason "line 3 was sold"
    ///   offboard disassociate --from-file retired.txt --dry-run
    #[command(verbatim_doc_comment)]
    Disassociate(Asking<change::Devices>),
    /// Associate client devices with this core device.
    Associate(Asking<change::Devices>),
    /// Take an asset of AWS IoT SiteWise from its parent.
    DisassociateAssets(Asking<change::Assets>),
    /// Take assets out of a project of SiteWise Monitor.
    DisassociateProjectAssets(Asking<change::ProjectAssets>),
    /// Withdraw what of a request was not sent yet.
    Cancel(Asking<query::Cancel>),
    /// Show requests, or one with what failed of it.
    Requests(Asking<query::Requests>),
    /// Show the registry, or one device.
    Devices(Asking<query::Devices>),
    /// Read the cloud's list now.
    Sync(Asking<change::Sync>),
    /// Show how the agent is. Fails if something is wrong.
    Status(Asking<query::Status>),
    /// Check what the agent needs, one line each: configuration, data directory, store, broker,
    /// credentials, cloud, clock.
    ///
    /// Fails if there is an error; a warning is none.
    Check(Asking<check::Check>),
    /// Write an archive for whoever is to help: configuration without secrets, status, metrics, the
    /// latest requests, versions.
    SupportBundle(Asking<bundle::SupportBundle>),
    /// Watch the agent at work, on a terminal of 80x24 or more.
    ///
    /// Keys: Up, Down, j, k and the page keys select; Enter looks into a request or a device; Tab
    /// goes to the other list; s shows devices of one state; p shows all problems; r asks now; ?
    /// tells of the keys; q, Esc or Ctrl-C ends it.
    #[cfg(feature = "watch")]
    Watch(Asking<watch::Watch>),
}

/// Why a command did not end well.
#[derive(Debug)]
enum Trouble {
    /// The command line makes no sense.
    Usage(String),
    /// It did not come about.
    Failed(String),
    /// The same, and it was told already.
    Told,
    /// A person did not want to wait.
    Left,
    /// The agent's `rejected`.
    Rejected(Value),
    /// Nobody answers.
    NoAnswer(String),
}

impl Trouble {
    /// Tells it, and gives the exit status.
    fn tell(&self) -> u8 {
        if !matches!(self, Self::Told | Self::Left) {
            show::complain(&format!("{self}\n"));
        }
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Failed(_) | Self::Told | Self::Left => EXIT_FAILED,
            Self::Rejected(_) => EXIT_REJECTED,
            Self::NoAnswer(_) => EXIT_NO_ANSWER,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::NoAnswer(text) => f.write_str(text),
            Self::Told => f.write_str("it did not come about, as was told"),
            Self::Left => f.write_str("not waited for"),
            Self::Rejected(rejection) => {
                write!(f, "rejected: {} ({})", show::text(rejection, "message"), show::text(rejection, "code"))?;
                for field in rejection["fields"].as_array().into_iter().flatten() {
                    write!(f, "\n  {} {}", show::text(field, "name"), show::text(field, "message"))?;
                }
                Ok(())
            }
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Fails only if the terminal is gone.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(EXIT_USAGE),
            };
        }
    };
    program_file::warn();
    if let Subcommands::Run(run) = command {
        return run.execute();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(Trouble::Failed(error.to_string()).tell()),
    };
    match runtime.block_on(ask(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => ExitCode::from(trouble.tell()),
    }
}

async fn ask(command: Subcommands) -> Result<(), Trouble> {
    match command {
        Subcommands::Run(_) => Ok(()),
        Subcommands::Disassociate(Asking { what, common }) => what.run(&common, "disassociate-client-devices").await,
        Subcommands::Associate(Asking { what, common }) => what.run(&common, "associate-client-devices").await,
        Subcommands::DisassociateAssets(Asking { what, common }) => what.run(&common).await,
        Subcommands::DisassociateProjectAssets(Asking { what, common }) => what.run(&common).await,
        Subcommands::Cancel(Asking { what, common }) => what.run(&common).await,
        Subcommands::Requests(Asking { what, common }) => what.run(&common).await,
        Subcommands::Devices(Asking { what, common }) => what.run(&common).await,
        Subcommands::Sync(Asking { what, common }) => what.run(&common).await,
        Subcommands::Status(Asking { what, common }) => what.run(&common).await,
        Subcommands::Check(Asking { what, common }) => what.run(&common).await,
        Subcommands::SupportBundle(Asking { what, common }) => what.run(&common).await,
        #[cfg(feature = "watch")]
        Subcommands::Watch(Asking { what, common }) => what.run(&common).await,
    }
}
