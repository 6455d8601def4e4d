//! The loads that `benches/run` uses for its measurements: commands, plain messages, and a client
//! that answers commands without storing anything. Each prints one line of JSON.

mod commands;
mod messages;
mod storeless;
mod wire;

use std::time::Duration;

pub(crate) use commands::{Commands, run as commands};
pub(crate) use messages::{Messages, run as messages};
pub(crate) use storeless::{Storeless, run as storeless};

/// Time without messages after which the missing ones count as lost.
const SILENCE: Duration = Duration::from_secs(30);

/// Processor time of this process, user and system, in seconds.
fn computed() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
