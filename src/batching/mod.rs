//! Which entries go into the next call, when, and what an answer means for each. No I/O, no clock, no randomness of
//! its own: time and chance are arguments.

mod backoff;
mod gate;
mod lane;
mod rate;

pub use backoff::Backoff;
pub use gate::{Boundary, Gate};
pub use lane::{LanePlan, Next};
pub use rate::TokenBucket;
