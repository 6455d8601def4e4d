//! The simulation of the whole agent, and the generation of schemas; compiled for tests only.

mod fleet;
pub(crate) mod schemas;
mod simulation;
