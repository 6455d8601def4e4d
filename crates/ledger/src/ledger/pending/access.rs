//! The access of devices to the broker: the registry decides which clients are to be disabled, and
//! an access record keeps what was done to each.
//!
//! Access records are never stored in the registry. A registry that is lost and read anew neither
//! removes nor adds one: only a device that was associated, as far as the agent knew, becomes due
//! when it no longer is.

use std::ops::Bound;

use super::tx::Tx;
use crate::{
    domain::{AccessAnswer, AccessCommand, AccessStep, EventKind, Target, ThingName},
    ledger::registry::store::StoreError,
};

/// The next command for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAccess {
    /// The device.
    pub thing: ThingName,
    /// The command to the plugin.
    pub command: AccessCommand,
}

/// Clients that the broker does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownClients {
    /// The first device of such a client, by name.
    pub first: ThingName,
    /// How many there are.
    pub count: u64,
}

/// The next devices about whose client there is something to do, by name: those whose last attempt
/// failed, after `after`, or the others. A client that became protected meanwhile is not disabled.
///
/// # Errors
/// None yet.
pub fn due_access(
    tx: &mut Tx<'_>,
    failed: bool,
    after: Option<&ThingName>,
    limit: usize,
) -> Result<(Vec<DueAccess>, Option<UnknownClients>), StoreError> {
    let mut due = Vec::new();
    let mut after = after.cloned();
    while due.len() < limit {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let open = tx.state.access_open(failed).range::<ThingName, _>((from, Bound::Unbounded)).next();
        let Some(thing) = open.cloned() else { break };
        after = Some(thing.clone());
        let Some(access) = tx.state.access().get(&thing).cloned() else { continue };
        if access.step == AccessStep::Due && tx.rules.protects_access(&thing) {
            tx.set_access(&thing, None);
        } else if let Some(command) = access.command() {
            due.push(DueAccess { thing, command });
        }
    }
    Ok((due, unknown(tx)))
}

/// The clients that the broker does not know, if there are any.
fn unknown(tx: &Tx<'_>) -> Option<UnknownClients> {
    let count = tx.state.access_load().unknown;
    if count == 0 {
        return None;
    }
    let is_unknown = |thing: &&ThingName| {
        let error = tx.state.access().get(*thing).and_then(|access| access.error.as_ref());
        error.is_some_and(|error| error.is_unknown)
    };
    tx.state.access_open(true).iter().find(is_unknown).map(|first| UnknownClients { first: first.clone(), count })
}

/// Takes over what the plugin answered.
///
/// # Errors
/// The registry failed.
pub fn access_answered(
    tx: &mut Tx<'_>,
    answers: &[(ThingName, AccessCommand, AccessAnswer)],
) -> Result<(), StoreError> {
    for (thing, command, answer) in answers {
        let Some(before) = tx.state.access().get(thing).cloned() else { continue };
        let (after, event) = before.answered(*command, answer.clone());
        tx.set_access(thing, after);
        if let Some(event) = event {
            tx.append_event(&Target::Device(thing.clone()), EventKind::Access(event))?;
        }
    }
    Ok(())
}
