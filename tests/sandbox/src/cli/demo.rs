//! `offboard-sandbox demo`, which users run as `cargo demo`.

use std::io;

use clap::Args;

use crate::demo;

/// Build the agent and demonstrate it, on 127.0.0.1 alone and in well under two minutes after the
/// build
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Leave everything running at the end, and print commands for another terminal, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(arguments: Arguments) -> io::Result<()> {
    demo::run(arguments.keep).await
}
