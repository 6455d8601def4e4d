//! What the agent knows of the world outside, in memory. The parts write what they see, and
//! `status` and `metrics` show it.

mod call_problem;
mod counters;
mod state;

pub use call_problem::Code;
pub use counters::{Counters, Counts, IpcCounts};
pub use state::{Health, Problem, Reach, Snapshot};
