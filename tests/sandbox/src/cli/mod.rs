//! The command line, with one file for each subcommand.

mod cloud;
mod demo;
mod ipc;
mod load;
mod replay;

use std::io;

use clap::{Parser, Subcommand};

/// The test environment and the demo of offboard, on this machine and without an AWS account
#[derive(Debug, Parser)]
#[command(name = "offboard-sandbox")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Cloud(cloud::Arguments),
    Demo(demo::Arguments),
    Ipc(ipc::Arguments),
    #[command(subcommand)]
    Load(load::Arguments),
    Replay(replay::Arguments),
}

impl Cli {
    pub(crate) async fn run(self) -> io::Result<()> {
        match self.command {
            Command::Cloud(arguments) => cloud::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Ipc(arguments) => ipc::run(arguments).await,
            Command::Load(arguments) => load::run(arguments).await,
            Command::Replay(arguments) => replay::run(&arguments),
        }
    }
}
