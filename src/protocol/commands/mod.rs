//! Parses the payload of a command: JSON in, a [`Command`] or the wrong members out. An unknown
//! member is never ignored.

use std::{collections::HashSet, hash::Hash, time::Duration};

use serde_json::value::RawValue;

use super::payload;
use crate::{
    domain::{
        AssetId, Cancel, Change, ClientId, ClientToken, Command, DeviceState, MonitorId, Operation, Page, Query,
        Reason, Rejection, RequestStatus, Target, ThingName, Timestamp, Via, Whose,
    },
    protocol::json::{Faults, Fields, MAX_FAULTS, Style, each},
};

/// The longest `reason`, in characters. It is kept in the record of the request, which has to stay
/// small.
pub(super) const MAX_REASON: usize = 256;

/// The longest `nextToken`, in characters. The longest name after which a list continues, together
/// with its checksum, is shorter.
const MAX_NEXT_TOKEN: usize = 512;

/// The longest `expiresInSeconds`: one year.
const MAX_EXPIRY: u64 = 365 * 24 * 3600;

/// Parses the payload of a command whose topic names `operation`, on the core device `core`. The
/// command may name `max_entries` distinct things.
///
/// The token is returned separately, since a rejection echoes it, too. In addition to the payload
/// this takes memory for the entries, about 120 bytes for each, and for nothing else.
///
/// # Errors
/// A `ValidationException` that names the members that are missing, unknown, wrong or duplicate, at
/// most 20.
pub fn parse_command(
    core: &ThingName,
    operation: &str,
    payload: &[u8],
    max_entries: u64,
) -> (Option<ClientToken>, Result<(Operation, Command), Rejection>) {
    let value = match payload::json(payload) {
        Ok(value) => value,
        Err(rejection) => return (payload::token_of(payload), Err(rejection)),
    };
    let mut faults = Faults::limited(MAX_FAULTS);
    let mut fields = Fields::of(value, Style::Message, &mut faults);
    let token = fields.parsed("clientToken", ClientToken::new);
    let Some(operation) = Operation::parse(operation) else {
        let message = format!("there is no operation {:?}", operation.chars().take(64).collect::<String>());
        return (token, Err(Rejection::invalid(Reason::UnknownOperation, message)));
    };
    let command = match operation {
        Operation::DisassociateClientDevices | Operation::AssociateClientDevices => {
            check_core(core, &mut fields);
            let targets = entries(&mut fields, max_entries);
            Some(change(operation, targets, &mut fields))
        }
        Operation::DisassociateAssets => {
            let target = child(&mut fields);
            Some(change(operation, target.into_iter().collect(), &mut fields))
        }
        Operation::DisassociateProjectAssets => {
            let targets = project_assets(&mut fields, max_entries);
            Some(change(operation, targets, &mut fields))
        }
        Operation::Sync => Some(Command::Change(Change {
            operation,
            targets: vec![Target::Registry],
            force: false,
            dry_run: false,
            issued_at: issued_at(&mut fields),
            expires_in: None,
            reason: None,
        })),
        Operation::Cancel => {
            let client = whose(&mut fields);
            let token = fields.required("targetClientToken", ClientToken::new);
            token.map(|token| Command::Cancel(Cancel { client, token }))
        }
        Operation::GetRequest | Operation::ListRequests | Operation::GetDevice | Operation::ListDevices => {
            query(operation, &mut fields).map(Command::Query)
        }
    };
    fields.close();
    let result = match command {
        Some(command) if faults.is_empty() => Ok((operation, command)),
        _ => Err(rejection(faults)),
    };
    (token, result)
}

fn rejection(faults: Faults) -> Rejection {
    let (faults, count) = faults.into_parts();
    let mut rejection = Rejection::fields(faults);
    if count > MAX_FAULTS {
        rejection.message = format!("{count} members are not valid; the first {MAX_FAULTS} are named");
    }
    rejection
}

fn check_core(core: &ThingName, fields: &mut Fields<'_, '_>) {
    let _: Option<ThingName> = fields.parsed("coreDeviceThingName", |named| {
        if named == core.as_str() {
            Ok(core.clone())
        } else {
            Err(format!("must be this core device, {core}, or left away"))
        }
    });
}

/// What all changes have in common, with their targets.
fn change(operation: Operation, targets: Vec<Target>, fields: &mut Fields<'_, '_>) -> Command {
    Command::Change(Change {
        operation,
        targets,
        force: fields.flag("force").unwrap_or(false),
        dry_run: fields.flag("dryRun").unwrap_or(false),
        issued_at: issued_at(fields),
        expires_in: fields.whole("expiresInSeconds", 1, MAX_EXPIRY).map(Duration::from_secs),
        reason: fields.short("reason", MAX_REASON),
    })
}

/// The distinct targets that a command names, at most one more than it may name.
struct Targets<N> {
    seen: HashSet<N>,
    targets: Vec<Target>,
    max: u64,
}

impl<N: Eq + Hash> Targets<N> {
    fn new(max: u64) -> Self {
        Self { seen: HashSet::new(), targets: Vec::new(), max }
    }

    fn insert(&mut self, name: N, target: impl FnOnce() -> Target) {
        if self.seen.len() as u64 <= self.max && self.seen.insert(name) {
            self.targets.push(target());
        }
    }

    /// Returns the targets. A command with more than the maximum can never be accepted.
    fn finish(self, fields: &mut Fields<'_, '_>, key: &str) -> Vec<Target> {
        if self.targets.len() as u64 > self.max {
            fields.fault(key, format!("has more than limits.maxPendingEntries, {}; split the command", self.max));
        }
        self.targets
    }
}

/// `entries: [{thingName}]`, with each name once.
fn entries(fields: &mut Fields<'_, '_>, max: u64) -> Vec<Target> {
    let mut targets = Targets::new(max);
    if let Some(list) = fields.filled("entries", "{\"thingName\"}") {
        each(list, |n, item| {
            let mut entry = fields.item("entries", n, item);
            let name = entry.required("thingName", ThingName::new);
            entry.close();
            if let Some(name) = name {
                targets.insert(name.clone(), || Target::Device(name));
            }
        });
    }
    targets.finish(fields, "entries")
}

/// `assetId`, `hierarchyId`, `childAssetId`.
fn child(fields: &mut Fields<'_, '_>) -> Option<Target> {
    let mut id = |name| fields.required(name, AssetId::new);
    let (asset, hierarchy, child) = (id("assetId"), id("hierarchyId"), id("childAssetId"));
    Some(Target::child(asset?, hierarchy?, child?))
}

/// `projectId` and `assetIds: []`, with each asset once.
fn project_assets(fields: &mut Fields<'_, '_>, max: u64) -> Vec<Target> {
    let project = fields.required("projectId", MonitorId::new);
    let mut targets = Targets::new(max);
    if let Some(list) = fields.filled("assetIds", "asset's id") {
        each(list, |n, item: &RawValue| {
            if let Some(asset) = fields.element("assetIds", n, item, MonitorId::new)
                && let Some(project) = &project
            {
                targets.insert(asset.clone(), || Target::project_asset(project.clone(), asset));
            }
        });
    }
    targets.finish(fields, "assetIds")
}

fn issued_at(fields: &mut Fields<'_, '_>) -> Option<Timestamp> {
    fields
        .parsed("issuedAt", |text| Timestamp::parse(text).ok_or("must be a time as in RFC 3339, 2026-11-20T21:37:00Z"))
}

fn page(fields: &mut Fields<'_, '_>) -> Page {
    Page {
        next_token: fields.short("nextToken", MAX_NEXT_TOKEN),
        max_results: fields.whole("maxResults", 1, Page::MAX_ROWS as u64).and_then(|n| usize::try_from(n).ok()),
    }
}

/// `targetClient` and `targetVia`.
fn whose(fields: &mut Fields<'_, '_>) -> Whose {
    Whose {
        client: fields.parsed("targetClient", ClientId::new),
        via: fields.parsed("targetVia", |text| one_of(text, Via::ALL, Via::as_str)),
    }
}

fn query(operation: Operation, fields: &mut Fields<'_, '_>) -> Option<Query> {
    Some(match operation {
        Operation::GetRequest => {
            let token = fields.required("targetClientToken", ClientToken::new);
            let client = whose(fields);
            Query::Request { page: page(fields), client, token: token? }
        }
        Operation::ListRequests => Query::Requests {
            client: whose(fields),
            status: fields.parsed("status", |text| one_of(text, RequestStatus::ALL, RequestStatus::as_str)),
            page: page(fields),
        },
        Operation::GetDevice => {
            let history = fields.flag("history").unwrap_or(false);
            Query::Device { thing: fields.required("thingName", ThingName::new)?, history }
        }
        Operation::ListDevices => Query::Devices {
            state: fields.parsed("state", |text| one_of(text, DeviceState::ALL, DeviceState::as_str)),
            page: page(fields),
        },
        // The other operations are not queries.
        _ => return None,
    })
}

fn one_of<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
        format!("must be one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests;
