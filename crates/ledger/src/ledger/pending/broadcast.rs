//! Broadcasts: the part of a command that concerns this core device (docs/interface.md,
//! "Broadcast").

use super::{
    accept::{Order, PLAN_NAMES, Plan, accept_new, earlier, plan, repeated},
    object,
    tx::Tx,
    work::visible,
};
use crate::{
    domain::{BroadcastAction, Change, Decided, Request, Target, ThingName, is_own},
    ledger::registry::store::StoreError,
};

/// The devices of a broadcast that are not this core device's: how many, and the first names.
pub(super) type Others = (usize, Vec<String>);

/// Whether a device is this core device's own.
///
/// # Errors
/// The registry failed.
pub fn is_own_device(tx: &Tx<'_>, thing: &ThingName) -> Result<bool, StoreError> {
    let registered = tx.listed(thing)?.map(|listed| listed.registered);
    Ok(is_own(visible(registered, tx.work_of(&Target::Device(thing.clone())))))
}

/// Whether a broadcast names a device of this core device.
///
/// # Errors
/// The registry failed.
pub fn names_own_device(tx: &Tx<'_>, change: &Change) -> Result<bool, StoreError> {
    Ok(!own(tx, change)?.0.targets.is_empty())
}

/// Returns what a broadcast would do here, without doing it; `None` if it names no device of this
/// core device.
///
/// # Errors
/// The registry failed.
pub fn plan_broadcast(tx: &Tx<'_>, change: &Change) -> Result<Option<Plan>, StoreError> {
    let (own, others) = own(tx, change)?;
    if own.targets.is_empty() {
        return Ok(None);
    }
    Ok(Some(Plan { unknown: others, ..plan(tx, &own)? }))
}

/// Accepts the part of a broadcast that concerns this core device, whole or not at all; `None` if
/// none of it does. The inner result is that of [`super::accept()`].
///
/// # Errors
/// The registry failed.
pub fn accept_broadcast(tx: &mut Tx<'_>, order: &Order) -> Result<Option<Decided<Request>>, StoreError> {
    // The content is that of the whole broadcast: what concerns this core device has changed when
    // the broadcast is repeated. A command to this core device alone has other content.
    let content = object::hash(format!("broadcast {}", order.change.content()).as_bytes());
    let (own, others) = own(tx, &order.change)?;
    let earlier = match earlier(tx, order)? {
        Some(seq) => tx.request(seq)?,
        None => None,
    };
    let is_same = earlier.as_ref().map(|request| request.content == content);
    Ok(match (BroadcastAction::of(!own.targets.is_empty(), is_same), earlier) {
        (BroadcastAction::Repeat | BroadcastAction::Conflict, Some(request)) => {
            Some(repeated(tx, order, request, &content))
        }
        (BroadcastAction::Accept, _) => {
            let order = Order { change: own, ..order.clone() };
            Some(accept_new(tx, &order, content, Some(others))?)
        }
        _ => None,
    })
}

/// The part of a command that concerns this core device, and its other devices.
fn own(tx: &Tx<'_>, change: &Change) -> Result<(Change, Others), StoreError> {
    let (mut targets, mut others) = (Vec::new(), (0, Vec::new()));
    for target in &change.targets {
        let is_own = match target {
            Target::Device(thing) => is_own_device(tx, thing)?,
            _ => false,
        };
        if is_own {
            targets.push(target.clone());
            continue;
        }
        others.0 += 1;
        if others.1.len() < PLAN_NAMES {
            others.1.push(target.name().to_owned());
        }
    }
    Ok((Change { targets, ..change.clone() }, others))
}
