//! `offboard-sandbox load`: the loads that `benches/run` uses for its measurements.

use std::io;

use clap::Subcommand;

use crate::load::{self, Commands, Messages, Storeless};

/// Send a load to a broker and its subscribers, for benches/run
#[derive(Debug, Subcommand)]
pub(super) enum Arguments {
    Commands(Commands),
    Messages(Messages),
    Storeless(Storeless),
}

pub(super) async fn run(arguments: Arguments) -> io::Result<()> {
    match arguments {
        Arguments::Commands(arguments) => load::commands(arguments).await,
        Arguments::Messages(arguments) => load::messages(arguments).await,
        Arguments::Storeless(arguments) => load::storeless(arguments).await,
    }
}
