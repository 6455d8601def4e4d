//! Which payloads are accepted as commands, and which members a rejection names.

use proptest::prelude::*;

use super::*;
use crate::domain::{DeviceState, Page, Query, RejectionCode};

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
fn a_member_that_occurs_twice_is_a_fault() {
    let twice = [
        (
            "disassociate-client-devices",
            r#"{"clientToken":"d1","entries":[{"thingName":"device-0001"}],"entries":[{"thingName":"device-0002"}]}"#,
            "entries",
        ),
        ("disassociate-client-devices", r#"{"dryRun":true,"entries":[{"thingName":"a"}],"dryRun":false}"#, "dryRun"),
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
    let text = r#"{"entries":[{"thingName":"a"},{"thingName":"b"},{"thingName":"a"}],"coreDeviceThingName":"MyCore"}"#;
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

    // Names that take as many bytes of JSON as possible, against the smallest
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
    let text = format!(r#"{{"assetId":"{a}","hierarchyId":"externalId:line","childAssetId":"{b}","reason":"sold"}}"#);
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
