//! The faults of the stand-in as a client sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::time::Duration;

use offboard_sandbox::cloud::{Action, Fault, Operation};
use serde_json::{Value, json};

#[tokio::test]
async fn a_cut_before_has_no_effect_and_a_cut_after_has() {
    let cloud = cloud_of(&["a", "b"]).await;
    let mut client = Client::connect(&cloud).await;
    assert_eq!(list(&cloud, &mut client, "").await.ok().unwrap().status, 200);

    // The connection is persistent, so the cut ends a connection that has worked before.
    cloud.inject(once(Action::CutBefore));
    assert_eq!(disassociate(&cloud, &mut client, &["a"]).await.err().unwrap(), b"");
    assert_eq!(names(&cloud), ["a", "b"]);

    cloud.inject(once(Action::CutAfter));
    let mut client = Client::connect(&cloud).await;
    assert_eq!(disassociate(&cloud, &mut client, &["a"]).await.err().unwrap(), b"");
    assert_eq!(names(&cloud), ["b"]);

    let mut client = Client::connect(&cloud).await;
    assert_eq!(disassociate(&cloud, &mut client, &["a"]).await.ok().unwrap().status, 200);
    let calls = cloud.calls();
    let seen: Vec<_> = calls.iter().skip(1).map(|call| (call.status, call.effect)).collect();
    assert_eq!(seen, [(None, false), (None, true), (Some(200), false)]);
    assert_eq!(calls[1].things, ["a"]);
    assert_eq!(cloud.effective_disassociations("a"), 1);
}

#[tokio::test]
async fn a_call_hangs_until_the_faults_are_cleared() {
    let cloud = cloud_of(&["a"]).await;
    cloud.inject(once(Action::Hang));
    let mut client = Client::connect(&cloud).await;
    client.send(&cloud.signed_request("POST", DISASSOCIATE, &batch(&["a"]))).await;
    assert!(cloud.wait_for(|cloud| cloud.faults_left() == 0, PATIENCE).await);
    assert_eq!((cloud.count(Operation::Disassociate), cloud.calls()[0].ended), (1, None));
    assert_eq!(names(&cloud), ["a"]);
    cloud.clear_faults();
    let answer = client.receive().await;
    assert_eq!(answer.ok().unwrap().status, 200);
    assert!(names(&cloud).is_empty());
}

#[tokio::test]
async fn a_hanging_call_ends_with_its_connection() {
    let cloud = cloud_of(&["a"]).await;
    cloud.inject(once(Action::Hang));
    let mut client = Client::connect(&cloud).await;
    client.send(&cloud.signed_request("POST", DISASSOCIATE, &batch(&["a"]))).await;
    assert!(cloud.wait_for(|cloud| cloud.faults_left() == 0, PATIENCE).await);
    drop(client);
    assert!(cloud.wait_for(|cloud| cloud.calls()[0].ended.is_some(), PATIENCE).await);
    assert_eq!(cloud.calls()[0].status, None);
    assert_eq!(names(&cloud), ["a"]);
}

#[tokio::test]
async fn a_delayed_call_has_its_effect_though_the_client_is_gone() {
    let cloud = cloud_of(&["a"]).await;
    cloud.inject(once(Action::Delay(Duration::from_millis(300))));
    let mut client = Client::connect(&cloud).await;
    client.send(&cloud.signed_request("POST", DISASSOCIATE, &batch(&["a"]))).await;
    assert!(cloud.wait_for(|cloud| cloud.faults_left() == 0, PATIENCE).await);
    drop(client);
    assert!(cloud.wait_for(|cloud| cloud.calls()[0].effect, PATIENCE).await);
    assert!(names(&cloud).is_empty());
    assert_eq!(cloud.calls()[0].status, None);
}

#[tokio::test]
async fn answers_that_are_not_the_apis_have_no_request_id_and_no_effect() {
    let cloud = cloud_of(&["a"]).await;
    let mut client = Client::connect(&cloud).await;
    let bare = Action::Status { status: 503, code: None, message: String::new(), retry_after: Some("9".to_owned()) };
    for (action, status) in [(Action::EmptyOk, 200), (Action::PortalPage { status: 200 }, 200), (bare, 503)] {
        cloud.inject(once(action));
        let answer = disassociate(&cloud, &mut client, &["a"]).await.ok().unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-amzn-requestid"), None);
        assert_eq!(answer.header("x-amzn-errortype"), None);
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        assert!(answer.header("date").is_some());
        assert_eq!(answer.body, Value::Null);
    }
    assert_eq!(names(&cloud), ["a"]);
    let answer = disassociate(&cloud, &mut client, &["a"]).await.ok().unwrap();
    assert!(answer.header("x-amzn-requestid").is_some());
    assert_eq!(answer.body, json!({"errorEntries": []}));
}

#[tokio::test]
async fn a_truncated_page_ends_within_its_body() {
    let cloud = cloud_of(&["a", "b"]).await;
    cloud.inject(once(Action::TruncatedList));
    let mut client = Client::connect(&cloud).await;
    let received = list(&cloud, &mut client, "").await.err().unwrap();
    let received = String::from_utf8(received).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").expect("the head is there");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.starts_with(r#"{"associatedClientDevices""#), "{body}");
}

#[tokio::test]
async fn a_repeated_token_is_the_one_that_was_sent() {
    let cloud = cloud_of(&["a", "b", "c"]).await;
    cloud.set_page_size(Some(1));
    cloud.inject(once(Action::RepeatToken));
    let mut client = Client::connect(&cloud).await;
    let first = list(&cloud, &mut client, "").await.ok().unwrap();
    let token = first.body["nextToken"].as_str().unwrap();
    let query = format!("?nextToken={token}");
    let second = list(&cloud, &mut client, &query).await.ok().unwrap();
    assert_eq!(second.body["nextToken"], token);
    let third = list(&cloud, &mut client, &query).await.ok().unwrap();
    assert_eq!(third.names(), ["b"]);
    assert_ne!(third.body["nextToken"], token);
}

#[tokio::test]
async fn entries_fail_alone_or_spoil_the_call() {
    let cloud = cloud_of(&["a", "b", "c"]).await;
    let mut client = Client::connect(&cloud).await;
    cloud.inject(once(Action::EntryErrors {
        things: vec!["b".to_owned()],
        code: "Odd".to_owned(),
        message: "no".to_owned(),
        omit_name: true,
    }));
    let answer = disassociate(&cloud, &mut client, &["a", "b"]).await.ok().unwrap();
    assert_eq!(answer.body, json!({"errorEntries": [{"code": "Odd", "message": "no"}]}));
    assert_eq!(names(&cloud), ["b", "c"]);

    cloud.inject(Fault {
        operation: None,
        times: None,
        action: Action::RejectEntry { thing: "c".to_owned(), name_field: true },
    });
    for first in [0, 1] {
        cloud.set_first_entry(first);
        let answer = disassociate(&cloud, &mut client, &["b", "c"]).await.ok().unwrap();
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("ValidationException")));
        assert_eq!(answer.body["reason"], "FIELD_VALIDATION_FAILED");
        assert_eq!(answer.body["fields"][0]["name"], format!("entries.{}.thingName", first + 1));
    }
    assert_eq!(names(&cloud), ["b", "c"]);
    assert_eq!(disassociate(&cloud, &mut client, &["b"]).await.ok().unwrap().status, 200);
    assert_eq!(names(&cloud), ["c"]);
}
