//! The health of the agent: what it has observed of the cloud, the broker and the clock, in memory.
//! The parts of the agent write it, and `status` and `metrics` show it.

mod call_problem;
mod counters;
mod state;

pub use call_problem::Code;
pub(crate) use call_problem::WITHOUT_LIST;
pub use counters::{Counters, Counts, IpcCounts};
pub use state::{Health, Problem, Reach, Snapshot};
