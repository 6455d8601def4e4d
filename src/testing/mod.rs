//! The simulation of the whole agent, and the generation of schemas; compiled for tests only.

pub(crate) mod schemas;
mod fleet;
mod simulation;
