//! The simulation of the whole agent, and the generation of schemas and of parts of the documents;
//! compiled for tests only.

mod documents;
mod fleet;
pub(crate) mod parts;
pub(crate) mod schemas;
mod simulation;
