//! The command line, with one file for each kind of subcommand.

mod agent;
mod answer;
mod broker;
mod bundle;
mod change;
mod check;
mod data_directory;
mod everywhere;
mod failure;
mod list;
mod log;
#[cfg(test)]
mod manuals;
mod program_file;
mod query;
mod recording;
mod request;
mod run;
mod show;
mod socket;
mod subcommands;
mod text;
#[cfg(feature = "watch")]
mod watch;

use std::process::ExitCode;

use self::{
    agent::Common,
    failure::{EXIT_USAGE, Failure},
};
use clap::{Args, Parser, Subcommand, error::ErrorKind};

/// Disassociates client devices from their AWS IoT Greengrass core device, offline if need be.
///
/// All commands but `run` connect to the running agent: on its own machine over the socket in its
/// data directory, and from elsewhere, with --mqtt-url, over the broker. On a core device, run them
/// as the agent's user (sudo -u ggc_user; on nucleus lite sudo -u gg_component): the deployed
/// program file belongs to that user, and a command that root runs from it prints a warning.
#[derive(Debug, Parser)]
#[command(name = "offboard", version, after_help = "Exit status: 0 done, 1 failed, 2 rejected, 3 no answer, 64 usage.")]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

/// A command that connects to the agent.
#[derive(Debug, Args)]
struct Asking<A: Args> {
    #[command(flatten)]
    what: A,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the agent until SIGTERM or SIGINT.
    Run(run::Run),
    #[command(flatten)]
    Change(subcommands::Change),
    /// Withdraw the entries of a request that were not sent yet.
    Cancel(Asking<query::Cancel>),
    /// Show requests, or one request with its failed entries.
    Requests(Asking<query::Requests>),
    /// Show the devices of the registry, or one device.
    Devices(Asking<query::Devices>),
    /// Read the cloud's list of devices now.
    Sync(Asking<change::Sync>),
    /// Show the agent's status. Fails if the agent has a problem.
    Status(Asking<query::Status>),
    /// Check the requirements of the agent, one line each: configuration, data directory, store,
    /// broker, credentials, cloud, clock.
    ///
    /// Fails if a check has an error; a warning is not an error.
    Check(Asking<check::Check>),
    /// Write an archive for support: configuration without secrets, status, metrics, the latest
    /// requests, versions.
    ///
    /// With --with-journal also a recording: what the agent decided and why, event by event, as
    /// `offboard-sandbox replay` shows it.
    SupportBundle(Asking<bundle::SupportBundle>),
    /// Watch the running agent, on a terminal of 80x24 or more.
    ///
    /// Keys: Up, Down, j, k and the page keys select; Enter opens a request or a device; Tab
    /// switches to the other list; s shows devices of one state; p shows all problems; r refreshes
    /// now; ? shows the keys; q, Esc or Ctrl-C quits.
    #[cfg(feature = "watch")]
    Watch(Asking<watch::Watch>),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Printing fails only if the terminal is gone.
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
        Err(error) => return ExitCode::from(Failure::Failed(error.to_string()).report()),
    };
    match runtime.block_on(ask(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report()),
    }
}

async fn ask(command: Subcommands) -> Result<(), Failure> {
    match command {
        Subcommands::Run(_) => Ok(()),
        Subcommands::Change(what) => what.run().await,
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
