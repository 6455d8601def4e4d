//! A command's payload: JSON in, a [`Command`] or the wrong members out. Nothing that is unknown is
//! passed over.

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

/// Longest `reason`, in characters: it is kept in the request's record, which has to stay small.
pub(super) const MAX_REASON: usize = 256;

/// Longest `nextToken`, in characters: the longest name that a list goes on after, and its check
/// sum, are shorter.
const MAX_NEXT_TOKEN: usize = 512;

/// Longest `expiresInSeconds`, a year.
const MAX_EXPIRY: u64 = 365 * 24 * 3600;

/// Parses the payload of a command whose topic names `operation`, on the core device `core`, which
/// may name
/// `max_entries` different things.
///
/// The token comes apart from the rest, since a rejection echoes it too. Beside the payload this
/// takes memory for the entries, about 120 bytes each, and for nothing else.
///
/// # Errors
/// A `ValidationException` that names the members that are missing, unknown, wrong or there twice,
/// 20 at most.
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

/// What all changes have in common beside their targets.
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

/// The different targets that a command names, up to one more than it may name.
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

    /// A command with more can never be accepted.
    fn finish(self, fields: &mut Fields<'_, '_>, key: &str) -> Vec<Target> {
        if self.targets.len() as u64 > self.max {
            fields.fault(key, format!("has more than limits.maxPendingEntries, {}; split the command", self.max));
        }
        self.targets
    }
}

/// `entries: [{thingName}]`, each name once.
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

/// `projectId` and `assetIds: []`, each asset once.
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
        // Not a query.
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::RejectionCode;

    fn parse(operation: &str, payload: &str) -> Result<Command, Rejection> {
        let core = ThingName::new("MyCore").unwrap();
        parse_command(&core, operation, payload.as_bytes(), 100_000).1.map(|(_, command)| command)
    }

    fn faults(operation: &str, payload: &str) -> Vec<String> {
        let rejection = parse(operation, payload).unwrap_err();
        assert_eq!(rejection.code, RejectionCode::ValidationException);
        rejection.fields.into_iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn what_stands_there_twice_is_a_fault() {
        let twice = [
            (
                "disassociate-client-devices",
                r#"{"clientToken":"d1","entries":[{"thingName":"device-0001"}],"entries":[{"thingName":"device-0002"}]}"#,
                "entries",
            ),
            (
                "disassociate-client-devices",
                r#"{"dryRun":true,"entries":[{"thingName":"a"}],"dryRun":false}"#,
                "dryRun",
            ),
            (
                "disassociate-client-devices",
                r#"{"dryRun":true,"entries":[{"thingName":"a"}],"dry\u0052un":false}"#,
                "dryRun",
            ),
            (
                "associate-client-devices",
                r#"{"entries":[{"thingName":"a"},{"thingName":"b","thingName":"c"}]}"#,
                "entries[1].thingName",
            ),
            ("sync", r#"{"clientToken":"a","clientToken":"a"}"#, "clientToken"),
            ("get-device", r#"{"thingName":"a","thingName":null}"#, "thingName"),
        ];
        for (operation, text, name) in twice {
            assert_eq!(faults(operation, text), [name], "{text}");
        }
    }

    #[test]
    fn a_command_with_more_entries_than_can_be_pending_is_rejected_and_repetitions_do_not_count() {
        let payload = |different: usize| {
            let entries: Vec<_> = (0..40).map(|n| format!("{{\"thingName\":\"d{}\"}}", n % different)).collect();
            format!("{{\"entries\":[{}]}}", entries.join(","))
        };
        let core = ThingName::new("MyCore").unwrap();
        let parse = |text: String| parse_command(&core, "disassociate-client-devices", text.as_bytes(), 10).1;
        assert!(parse(payload(10)).is_ok());
        let rejection = parse(payload(11)).unwrap_err();
        assert!(rejection.message.contains("limits.maxPendingEntries, 10"), "{}", rejection.message);
    }

    #[test]
    fn the_aws_cli_input_is_a_command() {
        let text =
            r#"{"entries":[{"thingName":"a"},{"thingName":"b"},{"thingName":"a"}],"coreDeviceThingName":"MyCore"}"#;
        let Command::Change(change) = parse("disassociate-client-devices", text).unwrap() else { panic!() };
        let names: Vec<_> = change.targets.iter().map(Target::name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(!change.force && !change.dry_run);
    }

    #[test]
    fn a_misspelt_member_disassociates_nothing() {
        let text = r#"{"entries":[{"thingName":"a"}],"dryrun":true}"#;
        assert_eq!(faults("disassociate-client-devices", text), ["dryrun"]);
    }

    #[test]
    fn every_wrong_member_is_named() {
        let text = r#"{"clientToken":"a b","coreDeviceThingName":"Other","entries":[{"thingName":"a"},{},{"thingName":"a b"},
            7,{"thingName":"c","x":1}],"force":"yes","expiresInSeconds":0,"issuedAt":"now","reason":1}"#;
        let mut expected = vec![
            "clientToken",
            "coreDeviceThingName",
            "entries[1].thingName",
            "entries[2].thingName",
            "entries[3]",
            "entries[3].thingName",
            "entries[4].x",
            "expiresInSeconds",
            "force",
            "issuedAt",
            "reason",
        ];
        let mut named = faults("disassociate-client-devices", text);
        named.sort_unstable();
        expected.sort_unstable();
        assert_eq!(named, expected);
    }

    #[test]
    fn a_rejection_is_small_however_much_is_wrong() {
        let entries = vec!["{}"; 5000].join(",");
        let rejection = parse("disassociate-client-devices", &format!("{{\"entries\":[{entries}]}}")).unwrap_err();
        assert_eq!(rejection.fields.len(), MAX_FAULTS);
        assert!(rejection.message.starts_with("5000 members"), "{}", rejection.message);

        // As many bytes of JSON as a member's name can make, against the smallest
        // `limits.maxPayloadBytes`.
        for character in ["\\u0001", "\\\"", "\u{10ffff}"] {
            let members: Vec<_> = (10..40).map(|n| format!("\"{n}{}\":1", character.repeat(160))).collect();
            let rejection = parse("sync", &format!("{{{}}}", members.join(","))).unwrap_err();
            let message = crate::protocol::messages::rejected(None, "sync", &rejection, usize::MAX);
            assert!(message.len() <= 16_384, "{} bytes", message.len());
        }
    }

    #[test]
    fn assets_are_named_as_in_sitewise() {
        let (a, b) = ("a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f", "b1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f");
        let text =
            format!(r#"{{"assetId":"{a}","hierarchyId":"externalId:line","childAssetId":"{b}","reason":"sold"}}"#);
        let Command::Change(change) = parse("disassociate-assets", &text).unwrap() else { panic!() };
        assert_eq!(change.targets.iter().map(Target::key).collect::<Vec<_>>(), [format!("c{a} externalId:line {b}")]);
        let text = format!(r#"{{"projectId":"{a}","assetIds":["{b}","{a}","{b}"],"expiresInSeconds":9}}"#);
        let Command::Change(change) = parse("disassociate-project-assets", &text).unwrap() else { panic!() };
        assert_eq!(change.targets.iter().map(Target::name).collect::<Vec<_>>(), [b, a]);
        let zero = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            faults("disassociate-assets", &format!(r#"{{"assetId":"{zero}","childAssetId":7,"entries":[]}}"#)),
            ["assetId", "hierarchyId", "childAssetId", "entries"]
        );
        assert_eq!(
            faults(
                "disassociate-project-assets",
                &format!(r#"{{"projectId":"externalId:ab","assetIds":["{a}",7,"{zero}"]}}"#)
            ),
            ["projectId", "assetIds[1]", "assetIds[2]"]
        );
        assert_eq!(faults("disassociate-project-assets", r#"{"assetIds":[]}"#), ["projectId", "assetIds"]);
    }

    #[test]
    fn queries_parse() {
        assert!(matches!(
            parse("list-devices", r#"{"state":"ASSOCIATED","maxResults":7}"#),
            Ok(Command::Query(Query::Devices {
                state: Some(DeviceState::Associated),
                page: Page { max_results: Some(7), .. }
            }))
        ));
        assert_eq!(faults("list-devices", r#"{"state":"associated"}"#), ["state"]);
        assert_eq!(faults("list-requests", r#"{"maxResults":101}"#), ["maxResults"]);
        assert_eq!(faults("get-device", "{}"), ["thingName"]);
        assert_eq!(parse("reboot", "{}").unwrap_err().reason, Some(Reason::UnknownOperation));
        assert_eq!(parse("sync", "").unwrap_err().reason, Some(Reason::CannotParse));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..200), n in 0..Operation::ALL.len()) {
            let core = ThingName::new("MyCore").unwrap();
            let _ = parse_command(&core, Operation::ALL[n].as_str(), &payload, 100_000);
        }
    }
}
