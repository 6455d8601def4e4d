//! Each message fits its limit, whatever it contains.

use serde_json::Value;

use super::*;
use crate::domain::{
    ClientId, ClientToken, EntryFailure, Fault, FieldFault, Operation, Outcome, Rejection, Request, Tally, Target,
    ThingName, Timestamp,
};

fn request(entries: u32) -> Request {
    Request {
        seq: 1,
        client: ClientId::new("bench").unwrap(),
        token: ClientToken::new("t1").unwrap(),
        operation: Operation::DisassociateClientDevices,
        content: String::new(),
        tally: Tally::open(entries),
        accepted_at: Timestamp(0),
        issued_at: None,
        expires_at: None,
        lifetime_ms: None,
        delivery: None,
        completed_at: Some(Timestamp(1000)),
        reason: None,
        boot: 1,
        accepted_mono: 0,
        accepted_elapsed: 0,
        completed_elapsed: 0,
        clock_confirmed: true,
        sync: None,
        unknown: Some(0),
    }
}

#[test]
fn messages_are_those_of_the_interface() {
    let mut request = request(2);
    let expected = r#"{"clientToken":"t1","operation":"disassociate-client-devices","entryCount":2,"acceptedAt":"1970-01-01T00:00:00.000Z","unknownCount":0}"#;
    assert_eq!(String::from_utf8(accepted(&request, Vec::new(), 4096)).unwrap(), expected);
    let names: Vec<String> = (0..100).map(|n| format!("{n:0>128}")).collect();
    let cut = accepted(&request, names.clone(), 4096);
    assert!(cut.len() <= 4096 && serde_json::from_slice::<serde_json::Value>(&cut).unwrap()["unknown"][0] == names[0]);
    let fault = Fault::new("Code", "why");
    request.tally.end(&Outcome::Succeeded);
    request.tally.end(&Outcome::Failed(fault.clone()));
    let failure = EntryFailure { target: Target::Device(ThingName::new("s3").unwrap()), fault };
    let expected = r#"{"clientToken":"t1","operation":"disassociate-client-devices","status":"PARTIALLY_SUCCEEDED","entryCount":2,"succeededCount":1,"failedCount":1,"unknownCount":0,"errorEntries":[{"thingName":"s3","code":"Code","message":"why"}],"acceptedAt":"1970-01-01T00:00:00.000Z","completedAt":"1970-01-01T00:00:01.000Z"}"#;
    assert_eq!(String::from_utf8(completed(&request, vec![failure], 4096)).unwrap(), expected);
}

#[test]
fn a_list_of_failures_is_cut_to_the_limit_and_says_so() {
    let mut request = request(300);
    let fault = Fault::new("Code", &"\"".repeat(2000));
    let failure = EntryFailure { target: Target::Device(ThingName::new("s3").unwrap()), fault: fault.clone() };
    for _ in 0..300 {
        request.tally.end(&Outcome::Failed(fault.clone()));
    }
    for limit in [8192, 130_000] {
        let message = completed(&request, vec![failure.clone(); 100], limit);
        assert!(message.len() <= limit, "{} bytes of {limit}", message.len());
        let value: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(value["errorEntriesTruncated"], true);
        assert!(!value["errorEntries"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_rejection_is_cut_to_the_limit_members_first() {
    let fault = FieldFault { name: "entries[1].thingName".into(), message: "ü".repeat(300) };
    let rejection = Rejection::fields(vec![fault; 20]);
    let cut = |max| serde_json::from_slice::<Value>(&rejected(Some("t"), "sync", &rejection, max)).unwrap();
    for max in [300, 1000, 4096, 100_000] {
        assert!(rejected(Some("t"), "sync", &rejection, max).len() <= max);
    }
    assert_eq!(cut(100_000)["fields"].as_array().unwrap().len(), 20);
    assert!((1..20).contains(&cut(4096)["fields"].as_array().unwrap().len()));
    assert_eq!(cut(300)["message"], rejection.message);
    assert_eq!(cut(0)["message"], "");
}

#[test]
fn a_rejection_names_what_is_wrong() {
    let rejection = Rejection::throttled("too much", std::time::Duration::from_millis(10));
    let expected = r#"{"clientToken":"t","operation":"sync","code":"ThrottlingException","message":"too much","retryAfterSeconds":1}"#;
    assert_eq!(String::from_utf8(rejected(Some("t"), "sync", &rejection, 1000)).unwrap(), expected);
}
