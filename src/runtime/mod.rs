//! What all parts share and what reads the machine: clocks, the stop signal, users, failpoints, and
//! the texts of errors.

pub mod clock;
pub(crate) mod errors;
pub mod failpoint;
pub(crate) mod stop;
pub(crate) mod users;
