//! The rules of the SiteWise operations and their settings, from a client's side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::time::Duration;

use offboard_sandbox::cloud::{Cloud, NotInProject, Operation, Options};
use serde_json::{Value, json};

#[tokio::test]
async fn a_child_leaves_its_parent() {
    let (cloud, mut client) = cloud_with_assets().await;
    let answer = client.ask(&child_request(&cloud, &asset(1), &token("first"))).await.ok().unwrap();
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("0")));
    assert!(answer.header("x-amzn-requestid").is_some());
    assert_eq!(cloud.child_assets(PARENT, HIERARCHY), [asset(2), asset(3)].into());
    assert_eq!(cloud.project_assets(PROJECT).len(), 3);
    assert_eq!(cloud.effective_asset_disassociations(&asset(1)), 1);
    assert_eq!(cloud.effective_disassociations(&asset(1)), 0);

    let call = cloud.calls().remove(0);
    assert_eq!((call.operation, call.status, call.effect), (Operation::DisassociateAssets, Some(200), true));
    assert_eq!((call.about.as_str(), call.core.as_str()), (PARENT, ""));
    assert_eq!((call.things, call.hierarchy.as_deref()), (vec![asset(1)], Some(HIERARCHY)));
    assert_eq!(call.client_token, Some(token("first")));
}

#[tokio::test]
async fn assets_leave_their_project() {
    let (cloud, mut client) = cloud_with_assets().await;
    let answer = client.ask(&project_request(&cloud, &[asset(1), asset(2)], &token("first"))).await.ok().unwrap();
    assert_eq!((answer.status, answer.body), (200, json!({"errors": []})));
    assert_eq!(cloud.project_assets(PROJECT), [asset(3)].into());
    assert_eq!(cloud.child_assets(PARENT, HIERARCHY).len(), 3);
    assert_eq!(cloud.effective_asset_disassociations(&asset(2)), 1);
    let call = cloud.calls().remove(0);
    assert_eq!((call.operation, call.about.as_str()), (Operation::DisassociateProjectAssets, PROJECT));
    assert_eq!((call.things, call.hierarchy), (vec![asset(1), asset(2)], None));
}

#[tokio::test]
async fn an_asset_that_is_not_in_the_project_is_a_switch() {
    let (cloud, mut client) = cloud_with_assets().await;
    let answer = client.ask(&project_request(&cloud, &[asset(4)], &token("first"))).await.ok().unwrap();
    assert_eq!((answer.status, answer.body), (200, json!({"errors": []})));
    cloud.set_not_in_project(NotInProject::NotFound);
    let answer = client.ask(&project_request(&cloud, &[asset(1), asset(4)], &token("second"))).await.ok().unwrap();
    assert_eq!((answer.status, answer.code()), (404, Some("ResourceNotFoundException")));
    assert!(answer.message().contains(&asset(4)) && !answer.message().contains(&asset(1)));
    assert_eq!(cloud.project_assets(PROJECT).len(), 3);
    assert!(cloud.calls().iter().all(|call| !call.effect));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (cloud, mut client) = cloud_with_assets().await;
    let unknown = asset(9);
    let child = |hierarchy: &str, child: &str| json!({"hierarchyId": hierarchy, "childAssetId": child}).to_string();
    let batch = json!({"assetIds": [asset(1)]}).to_string();
    for (method, path, body, status, named) in [
        ("POST", format!("/assets/{unknown}/disassociate"), child(HIERARCHY, &asset(1)), 404, &unknown),
        ("POST", format!("/assets/{PARENT}/disassociate"), child(HIERARCHY, &unknown), 404, &unknown),
        ("POST", format!("/assets/{PARENT}/disassociate"), child(&unknown, &asset(1)), 404, &asset(1)),
        ("POST", format!("/projects/{unknown}/assets/disassociate"), batch, 404, &unknown),
        ("GET", format!("/assets/{unknown}/hierarchies"), String::new(), 404, &unknown),
        // AWS declares no ResourceNotFoundException for this operation.
        ("GET", format!("/projects/{unknown}/assets"), String::new(), 400, &unknown),
    ] {
        let answer = client.ask(&cloud.signed_request(method, &path, &body)).await.ok().unwrap();
        let code = if status == 404 { "ResourceNotFoundException" } else { "InvalidRequestException" };
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{method} {path}");
        assert!(answer.message().contains(named), "{}", answer.message());
    }
    assert_eq!(cloud.child_assets(PARENT, HIERARCHY).len(), 3);

    // A parent without children still exists, and so does an asset that was disassociated from its
    // parent.
    for number in 1..=3 {
        let request = child_request(&cloud, &asset(number), &token(&number.to_string()));
        assert_eq!(client.ask(&request).await.ok().unwrap().status, 200);
    }
    for id in [PARENT, &asset(1)] {
        let request = cloud.signed_request("GET", &format!("/assets/{id}/hierarchies"), "");
        assert_eq!(client.ask(&request).await.ok().unwrap().body, json!({"assetSummaries": []}));
    }
}

#[tokio::test]
async fn a_client_token_counts_once() {
    let (cloud, mut client) = cloud_with_assets().await;
    for effect in [true, false] {
        let answer = client.ask(&child_request(&cloud, &asset(1), &token("first"))).await.ok().unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(cloud.calls().last().unwrap().effect, effect);
        // The asset is associated again, and the repeated call does not disassociate it.
        cloud.add_child_assets(PARENT, HIERARCHY, [asset(1)]);
    }
    assert_eq!(cloud.effective_asset_disassociations(&asset(1)), 1);
    assert!(cloud.child_assets(PARENT, HIERARCHY).contains(&asset(1)));

    let answer = client.ask(&child_request(&cloud, &asset(2), &token("first"))).await.ok().unwrap();
    assert_eq!((answer.status, answer.code()), (400, Some("InvalidRequestException")));
    // Each operation has a separate set of tokens.
    let answer = client.ask(&project_request(&cloud, &[asset(2)], &token("first"))).await.ok().unwrap();
    assert_eq!(answer.status, 200);
    let answer = client.ask(&project_request(&cloud, &[asset(3)], &token("first"))).await.ok().unwrap();
    assert_eq!((answer.status, answer.code()), (400, Some("InvalidRequestException")));
    assert_eq!(cloud.project_assets(PROJECT), [asset(1), asset(3)].into());
}

#[tokio::test]
async fn a_refused_call_leaves_its_client_token_free() {
    let (cloud, mut client) = cloud_with_assets().await;
    let answer = client.ask(&child_request(&cloud, &asset(4), &token("first"))).await.ok().unwrap();
    assert_eq!(answer.status, 404);
    let answer = client.ask(&child_request(&cloud, &asset(1), &token("first"))).await.ok().unwrap();
    assert_eq!(answer.status, 200);
    let tokens: Vec<_> = cloud.calls().into_iter().map(|call| call.client_token).collect();
    assert_eq!(tokens, [Some(token("first")), Some(token("first"))]);
    assert_eq!(cloud.effective_asset_disassociations(&asset(1)), 1);
}

#[tokio::test]
async fn the_input_is_held_to_the_service_model() {
    let (cloud, mut client) = cloud_with_assets().await;
    let (child, project) =
        (format!("/assets/{PARENT}/disassociate"), format!("/projects/{PROJECT}/assets/disassociate"));
    let good = json!({"hierarchyId": HIERARCHY, "childAssetId": asset(1)});
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body.to_string()
    };
    let batch = |ids: Value| json!({"assetIds": ids}).to_string();
    let many: Vec<String> = (0..101).map(asset).collect();
    for (path, body) in [
        (&child, "{".to_owned()),
        (&child, "[]".to_owned()),
        (&child, String::new()),
        (&child, with("hierarchyId", Value::Null)),
        (&child, with("childAssetId", json!(1))),
        (&child, with("childAssetId", json!(asset(1).to_uppercase()))),
        (&child, with("clientToken", json!("x".repeat(35)))),
        (&child, with("clientToken", json!("x".repeat(65)))),
        (&child, with("clientToken", json!(" ".repeat(36)))),
        (&project, "{}".to_owned()),
        (&project, batch(json!({}))),
        (&project, batch(json!([]))),
        (&project, batch(json!([1]))),
        (&project, batch(json!(["externalId:asset"]))),
        (&project, batch(json!(many))),
        (&"/assets/x/disassociate".to_owned(), good.to_string()),
        (&"/assets/%FF/disassociate".to_owned(), good.to_string()),
        (&"/assets//disassociate".to_owned(), good.to_string()),
        (&"/projects/externalId%3Aproject/assets/disassociate".to_owned(), batch(json!([asset(1)]))),
    ] {
        let answer = client.ask(&cloud.signed_request("POST", path, &body)).await.ok().unwrap();
        assert_eq!((answer.status, answer.code()), (400, Some("InvalidRequestException")), "{path} {body}");
        assert_eq!(answer.body.as_object().unwrap().len(), 1, "nothing but a message");
    }
    for query in
        ["?maxResults=0", "?maxResults=251", "?nextToken=00", "?traversalDirection=child", "?hierarchyId=hierarchy"]
    {
        let answer = client.ask(&children_request(&cloud, query)).await.ok().unwrap();
        assert_eq!((answer.status, answer.code()), (400, Some("InvalidRequestException")), "{query}");
    }
    assert!(cloud.calls().iter().all(|call| !call.effect));
    let good = with("clientToken", json!("x".repeat(64)));
    assert_eq!(client.ask(&cloud.signed_request("POST", &child, &good)).await.ok().unwrap().status, 200);
}

#[tokio::test]
async fn lists_show_who_is_there_page_by_page() {
    let (cloud, mut client) = cloud_with_assets().await;
    let ids = |answer: &Answer| -> Vec<String> {
        let summaries = answer.body["assetSummaries"].as_array().unwrap();
        summaries.iter().map(|summary| summary["id"].as_str().unwrap().to_owned()).collect()
    };
    let other = asset(8);
    cloud.add_child_assets(PARENT, &other, [asset(4)]);
    let answer = client.ask(&children_request(&cloud, "?maxResults=3")).await.ok().unwrap();
    assert_eq!(ids(&answer), [asset(1), asset(2), asset(3)]);
    let token = answer.body["nextToken"].as_str().unwrap();
    let answer = client.ask(&children_request(&cloud, &format!("?nextToken={token}"))).await.ok().unwrap();
    assert_eq!((ids(&answer), &answer.body["nextToken"]), (vec![asset(4)], &Value::Null));
    let other_list = format!("?nextToken={token}&hierarchyId={HIERARCHY}");
    assert_eq!(client.ask(&children_request(&cloud, &other_list)).await.ok().unwrap().status, 400);

    let answer = client.ask(&children_request(&cloud, &format!("?hierarchyId={other}"))).await.ok().unwrap();
    assert_eq!(ids(&answer), [asset(4)]);
    let path = format!("/assets/{}/hierarchies?traversalDirection=PARENT", asset(1));
    let answer = client.ask(&cloud.signed_request("GET", &path, "")).await.ok().unwrap();
    assert_eq!(ids(&answer), [PARENT]);
    assert_eq!(answer.body["assetSummaries"][0]["hierarchies"][1]["id"], other);

    cloud.add_project_assets(PROJECT, (4..=60).map(asset));
    let answer = client.ask(&assets_request(&cloud, "")).await.ok().unwrap();
    assert_eq!(answer.body["assetIds"].as_array().unwrap().len(), 50);
    let token = answer.body["nextToken"].as_str().unwrap();
    let answer = client.ask(&assets_request(&cloud, &format!("?nextToken={token}"))).await.ok().unwrap();
    assert_eq!(answer.body["assetIds"].as_array().unwrap().len(), 10);
    let calls = cloud.calls();
    assert_eq!(calls[3].hierarchy.as_ref(), Some(&other));
    assert!(calls.iter().all(|call| call.things.is_empty()));
}

#[tokio::test]
async fn lists_can_be_behind() {
    let (cloud, mut client) = cloud_with_assets().await;
    cloud.set_eventually_consistent(Some(Duration::from_secs(3600)));
    let requests =
        [child_request(&cloud, &asset(1), &token("first")), project_request(&cloud, &[asset(1)], &token("first"))];
    for request in requests {
        assert_eq!(client.ask(&request).await.ok().unwrap().status, 200);
    }
    for (lag, left) in [(Some(Duration::from_secs(3600)), 3), (None, 2)] {
        if lag.is_none() {
            cloud.set_eventually_consistent(None);
        }
        let answer = client.ask(&children_request(&cloud, "")).await.ok().unwrap();
        assert_eq!(answer.body["assetSummaries"].as_array().unwrap().len(), left);
        let answer = client.ask(&assets_request(&cloud, "")).await.ok().unwrap();
        assert_eq!(answer.body["assetIds"].as_array().unwrap().len(), left);
    }
}

#[tokio::test]
async fn an_external_id_is_an_id_of_its_own() {
    let cloud = Cloud::start(Options::default()).await.unwrap();
    let mut client = Client::connect(&cloud).await;
    let [parent, hierarchy, child] = ["externalId:plant.1", "externalId:lines", "externalId:line:1"];
    cloud.add_child_assets(parent, hierarchy, [child]);
    let list = cloud.signed_request("GET", "/assets/externalId%3Aplant.1/hierarchies", "");
    let answer = client.ask(&list).await.ok().unwrap();
    assert_eq!(answer.body["assetSummaries"][0]["externalId"], "line:1");
    let body = json!({"hierarchyId": hierarchy, "childAssetId": child}).to_string();
    let request = cloud.signed_request("POST", "/assets/externalId%3Aplant.1/disassociate", &body);
    assert_eq!(client.ask(&request).await.ok().unwrap().status, 200);
    assert_eq!(cloud.calls()[1].about, parent);
    assert!(cloud.child_assets(parent, hierarchy).is_empty());
}

#[tokio::test]
async fn each_service_wants_its_own_signature() {
    let (cloud, mut client) = cloud_with_assets().await;
    let list = cloud.signed_request("GET", LIST, "");
    for (request, right, wrong) in
        [(children_request(&cloud, ""), "iotsitewise", "greengrass"), (list, "greengrass", "iotsitewise")]
    {
        let swapped = String::from_utf8(request).unwrap().replace(&format!("/{right}/aws4"), &format!("/{wrong}/aws4"));
        let answer = client.ask(swapped.as_bytes()).await.ok().unwrap();
        assert_eq!((answer.status, answer.code()), (403, Some("InvalidSignatureException")));
        assert!(answer.message().contains(&format!("'{right}'")), "{}", answer.message());
    }
}
