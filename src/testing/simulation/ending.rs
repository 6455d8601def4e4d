//! The end of a seed: without faults, everything converges.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::sleep;

use super::{clients, world::World};
use crate::{
    domain::{Access, Registered, ThingName},
    ledger::view::{Totals, View},
};

/// Virtual time after the faults within which all has to be well.
const CONVERGES: Duration = Duration::from_secs(4 * 3600);

/// Waits until every client was answered, and compares the final states.
pub(super) async fn converges(world: &World) {
    let limit = world.plan.rough + world.plan.lull + CONVERGES;
    if tokio::time::timeout(limit, clients::run(world.clone())).await.is_err() {
        let state = world.state();
        let open: Vec<_> = state
            .seen
            .asked
            .keys()
            .filter(|key| !state.ears.get(*key).is_some_and(|h| h.completed || h.refused))
            .cloned()
            .collect();
        drop(state);
        world.violate(2, format!("never answered: {open:?}"));
        return;
    }
    while !world.fine() {
        sleep(Duration::from_secs(1)).await;
    }
    if world.plan.calm {
        let state = world.state();
        let (calls, sent) = (state.cloud.calls, state.cloud.sent);
        let entries = world.plan.devices;
        drop(state);
        if calls != entries.div_ceil(100) || sent != entries {
            world.violate(5, format!("{entries} entries that waited together took {calls} calls with {sent} entries"));
        }
    }
    // Longer than an unknown outcome takes to be known. The pages of a list may take minutes: what
    // changed last is only in a list that began after it.
    let fine_since = world.now();
    let quiet = tokio::time::timeout(CONVERGES, async {
        loop {
            sleep(Duration::from_secs(700)).await;
            let (totals, access) = found(world);
            let is_listed = world.state().cloud.taken_in.as_ref().is_some_and(|(begun, _)| *begun >= fine_since);
            let is_managed = access.values().all(|access| access.command().is_none() || access.error.is_some());
            if totals.open_requests == 0
                && totals.owed == 0
                && totals.work.values().all(|load| load.awaiting_list == 0)
                && is_managed
                && is_listed
            {
                return;
            }
        }
    });
    if quiet.await.is_err() {
        let (totals, access) = found(world);
        world.violate(7, format!("it does not come to rest: {totals:?} {access:?}"));
        return;
    }
    compare(world);
}

/// The totals, and the broker's clients that the agent manages.
fn found(world: &World) -> (Totals, BTreeMap<ThingName, Access>) {
    let state = world.state();
    (state.disk.live.totals(), state.disk.live.access())
}

/// At rest the registry has the cloud's associations, and each request has exactly one end.
fn compare(world: &World) {
    let mut wrong = None;
    {
        let state = world.state();
        let devices = state.disk.live.devices().into_iter();
        let registered: Vec<(String, i64)> = devices
            .filter(|(_, device)| device.registered == Registered::Associated)
            .map(|(thing, device)| (thing.to_string(), device.association.map_or(0, |at| at.0)))
            .collect();
        let listed: Vec<(String, i64)> = state.cloud.associated.clone().into_iter().collect();
        if registered != listed {
            wrong = Some((7, format!("the registry has {registered:?}, the cloud {listed:?}")));
        }
        let clients = state.plugin.wrong();
        if world.plan.local_access && !clients.is_empty() {
            wrong = Some((15, format!("clients of the broker are not as they should be: {clients:?}")));
        }
        for key in state.seen.accepted.keys() {
            if !state.seen.completed.contains_key(key) && state.seen.asked.contains_key(key) {
                wrong = Some((2, format!("accepted, and never completed: {key:?}")));
            }
        }
    }
    if let Some((invariant, text)) = wrong {
        world.violate(invariant, text);
    }
}
