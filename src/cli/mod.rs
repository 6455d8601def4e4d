//! The command line: one file for each subcommand.

mod log;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand, error::ErrorKind};

/// Usage and configuration errors (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

/// Takes client devices off their AWS IoT Greengrass core device, offline if need be.
#[derive(Debug, Parser)]
#[command(name = "offboard", version)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Run the agent, until SIGTERM or SIGINT.
    Run(run::Run),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
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
    match arguments.command {
        Subcommands::Run(run) => run.execute(),
    }
}
