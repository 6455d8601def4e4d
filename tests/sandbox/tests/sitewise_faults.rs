//! The faults of the stand-in in the SiteWise operations, as a client sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;

use offboard_sandbox::cloud::{Action, Cloud, Fault, Operation};
use serde_json::{Value, json};

const OPERATIONS: [Operation; 4] = [
    Operation::DisassociateAssets,
    Operation::DisassociateProjectAssets,
    Operation::ListAssociatedAssets,
    Operation::ListProjectAssets,
];

fn request(cloud: &Cloud, operation: Operation) -> Vec<u8> {
    match operation {
        Operation::DisassociateAssets => child_request(cloud, &asset(1), &token("first")),
        Operation::DisassociateProjectAssets => project_request(cloud, &[asset(1)], &token("first")),
        Operation::ListAssociatedAssets => children_request(cloud, ""),
        Operation::ListProjectAssets => assets_request(cloud, ""),
        other => panic!("{other:?} is not of SiteWise"),
    }
}

fn error(status: u16, code: &str) -> Action {
    let (code, message) = (Some(code.to_owned()), "no".to_owned());
    Action::Status { status, code, message, retry_after: None }
}

fn entry_errors() -> Action {
    let things = vec![asset(1)];
    Action::EntryErrors { things, code: "INTERNAL_FAILURE".to_owned(), message: "no".to_owned(), omit_name: false }
}

#[tokio::test]
async fn every_operation_meets_what_is_for_it_or_for_any() {
    let (cloud, mut client) = cloud_with_assets().await;
    for operation in OPERATIONS {
        for fault in [Some(operation), None] {
            cloud.inject(Fault { operation: fault, times: Some(1), action: Action::Deny });
            let answer = client.ask(&request(&cloud, operation)).await.ok().unwrap();
            assert_eq!((answer.status, answer.code()), (403, Some("AccessDeniedException")), "{operation:?}");
        }
        for other in OPERATIONS.into_iter().filter(|other| *other != operation) {
            cloud.inject(Fault { operation: Some(other), times: Some(1), action: Action::Deny });
        }
        let answer = client.ask(&request(&cloud, operation)).await.ok().unwrap();
        assert_eq!(answer.status, 200, "{operation:?}");
        cloud.clear_faults();
        assert_eq!(cloud.count(operation), 3);
    }
    assert_eq!(cloud.effective_asset_disassociations(&asset(1)), 2);
}

#[tokio::test]
async fn a_cut_after_the_effect_counts_once() {
    let (cloud, _) = cloud_with_assets().await;
    for operation in [Operation::DisassociateAssets, Operation::DisassociateProjectAssets] {
        cloud.clear_calls();
        cloud.inject(once(Action::CutBefore));
        cloud.inject(once(Action::CutAfter));
        for _ in 0..2 {
            let mut client = Client::connect(&cloud).await;
            assert_eq!(client.ask(&request(&cloud, operation)).await.err().unwrap(), b"");
        }
        let mut client = Client::connect(&cloud).await;
        assert_eq!(client.ask(&request(&cloud, operation)).await.ok().unwrap().status, 200);
        let seen: Vec<_> = cloud.calls().iter().map(|call| (call.status, call.effect)).collect();
        assert_eq!(seen, [(None, false), (None, true), (Some(200), false)]);
        assert_eq!(cloud.effective_asset_disassociations(&asset(1)), 1);
    }
}

#[tokio::test]
async fn an_error_does_not_answer_for_the_token() {
    let (cloud, mut client) = cloud_with_assets().await;
    for (status, code) in [(500, "InternalFailureException"), (429, "ThrottlingException")] {
        cloud.inject(once(error(status, code)));
        let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
        assert_eq!((answer.status, answer.code(), &answer.body), (status, Some(code), &json!({"message": "no"})));
    }
    let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
    assert_eq!(answer.status, 200);
    let seen: Vec<_> = cloud.calls().into_iter().map(|call| (call.client_token, call.effect)).collect();
    let first = Some(token("first"));
    assert_eq!(seen, [(first.clone(), false), (first.clone(), false), (first, true)]);
}

#[tokio::test]
async fn errors_have_the_members_that_the_model_requires() {
    let (cloud, mut client) = cloud_with_assets().await;
    cloud.inject(once(error(409, "ConflictingOperationException")));
    let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
    let arn = format!("arn:aws:iotsitewise:eu-central-1:123456789012:asset/{PARENT}");
    assert_eq!(answer.body, json!({"message": "no", "resourceId": PARENT, "resourceArn": arn}));
    cloud.inject(once(error(404, "ResourceNotFoundException")));
    let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
    assert_eq!(answer.body, json!({"message": "no"}));
}

#[tokio::test]
async fn a_fault_can_be_about_one_parent_alone() {
    let (cloud, mut client) = cloud_with_assets().await;
    let other = asset(7);
    cloud.add_child_assets(&other, HIERARCHY, [asset(1)]);
    cloud.inject_about(&other, Fault { operation: None, times: None, action: Action::Deny });
    let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
    assert_eq!(answer.status, 200);
    let answer = client.ask(&request(&cloud, Operation::DisassociateProjectAssets)).await.ok().unwrap();
    assert_eq!(answer.status, 200);
    let body = json!({"hierarchyId": HIERARCHY, "childAssetId": asset(1)}).to_string();
    let denied = cloud.signed_request("POST", &format!("/assets/{other}/disassociate"), &body);
    assert_eq!(client.ask(&denied).await.ok().unwrap().status, 403);
    assert!(cloud.child_assets(&other, HIERARCHY).contains(&asset(1)));
}

#[tokio::test]
async fn entries_fail_alone_or_spoil_the_call() {
    let (cloud, mut client) = cloud_with_assets().await;
    cloud.inject(once(entry_errors()));
    // A call with one child is not a batch, so it has no entries that can fail.
    let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
    assert_eq!((answer.status, cloud.faults_left()), (200, 1));

    let failed = json!({"errors": [{"assetId": asset(1), "code": "INTERNAL_FAILURE", "message": "no"}]});
    let both = [asset(1), asset(2)];
    // The first response to the token is repeated, although the fault is over.
    for _ in 0..2 {
        let answer = client.ask(&project_request(&cloud, &both, &token("both"))).await.ok().unwrap();
        assert_eq!((answer.status, &answer.body), (200, &failed));
        assert_eq!(cloud.project_assets(PROJECT), [asset(1), asset(3)].into());
    }
    let answer = client.ask(&project_request(&cloud, &both, &token("again"))).await.ok().unwrap();
    assert_eq!(answer.body, json!({"errors": []}));

    for name_field in [true, false] {
        for operation in [Operation::DisassociateAssets, Operation::DisassociateProjectAssets] {
            cloud.inject(once(Action::RejectEntry { thing: asset(1), name_field }));
            let answer = client.ask(&request(&cloud, operation)).await.ok().unwrap();
            assert_eq!((answer.status, answer.code()), (400, Some("InvalidRequestException")));
            assert_eq!(answer.message().contains(&asset(1)), name_field);
        }
    }
}

#[tokio::test]
async fn an_empty_answer_without_a_request_id_is_not_the_apis() {
    let (cloud, mut client) = cloud_with_assets().await;
    for action in [Action::EmptyOk, Action::PortalPage { status: 200 }] {
        cloud.inject(once(action));
        let answer = client.ask(&request(&cloud, Operation::DisassociateAssets)).await.ok().unwrap();
        assert_eq!((answer.status, answer.header("x-amzn-requestid")), (200, None));
    }
    assert_eq!(cloud.child_assets(PARENT, HIERARCHY).len(), 3);
}

#[tokio::test]
async fn lists_break_off_or_go_round_in_circles() {
    let (cloud, mut client) = cloud_with_assets().await;
    cloud.set_page_size(Some(1));
    let ask = |operation: Operation, query: &str| match operation {
        Operation::ListAssociatedAssets => children_request(&cloud, query),
        _ => assets_request(&cloud, query),
    };
    for operation in [Operation::ListAssociatedAssets, Operation::ListProjectAssets] {
        let first = client.ask(&ask(operation, "")).await.ok().unwrap();
        let token = first.body["nextToken"].as_str().unwrap();
        let query = format!("?nextToken={token}");
        cloud.inject(once(Action::RepeatToken));
        let second = client.ask(&ask(operation, &query)).await.ok().unwrap();
        assert_eq!(second.body["nextToken"], token);
        let third = client.ask(&ask(operation, &query)).await.ok().unwrap();
        assert!(![&Value::Null, &json!(token)].contains(&&third.body["nextToken"]));

        cloud.inject(once(Action::TruncatedList));
        let mut client = Client::connect(&cloud).await;
        let received = client.ask(&ask(operation, "")).await.err().unwrap();
        assert!(received.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_call_hangs_until_the_faults_are_cleared() {
    let (cloud, mut client) = cloud_with_assets().await;
    cloud.inject(once(Action::Hang));
    client.send(&request(&cloud, Operation::DisassociateAssets)).await;
    assert!(cloud.wait_for(|cloud| cloud.faults_left() == 0, PATIENCE).await);
    assert_eq!(cloud.child_assets(PARENT, HIERARCHY).len(), 3);
    cloud.clear_faults();
    assert_eq!(client.receive().await.ok().unwrap().status, 200);
    assert_eq!(cloud.child_assets(PARENT, HIERARCHY).len(), 2);
}
