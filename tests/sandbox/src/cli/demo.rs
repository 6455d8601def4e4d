//! `offboard-sandbox demo`, for users `cargo demo`.

use std::io;

use clap::Args;

use crate::demo;

/// Build the agent and show what it does, on 127.0.0.1 alone and in well under two minutes after the build
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Leave everything running at the end, and print what to type in another terminal, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(arguments: Arguments) -> io::Result<()> {
    demo::run(arguments.keep).await
}
