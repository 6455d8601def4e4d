//! What all parts of the agent share: the clocks, the stop signal, the users of the machine, the
//! failpoints, and the texts of errors.

pub mod clock;
pub mod errors;
pub mod failpoint;
pub mod stop;
pub mod users;
