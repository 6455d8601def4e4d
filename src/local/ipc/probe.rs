//! Tries what the agent does over Greengrass IPC, for `offboard check` if no agent runs.

use super::{
    connection::{Connection, Failure},
    environment::Environment,
    operation::{Request, Way},
    session::denial,
};
use crate::protocol::{Topics, status::OFFLINE};

/// Connects, subscribes as the agent does, and publishes that it is offline.
///
/// # Errors
/// What the server refuses, and what to do.
pub(crate) async fn probe(environment: &Environment, way: Way, topics: &Topics) -> Result<(), String> {
    let failed =
        |failure: Failure| format!("Greengrass IPC at {environment:?}: {failure}; check that the nucleus runs");
    let mut connection = Connection::open(environment).await.map_err(failed)?;
    for filter in [Some(topics.commands()), topics.broadcasts(), Some(topics.status())].into_iter().flatten() {
        match connection.call(Request::subscribe(way, &filter)).await {
            Ok(_) => {}
            Err(Failure::Service(error)) => return Err(denial(way, way.subscribing(), &filter, &error)),
            Err(failure) => return Err(failed(failure)),
        }
    }
    match connection.call(Request::publish(way, &topics.status(), OFFLINE.as_bytes())).await {
        Ok(_) => Ok(()),
        Err(Failure::Service(error)) => Err(denial(way, way.publishing(), &topics.status(), &error)),
        Err(failure) => Err(failed(failure)),
    }
}
