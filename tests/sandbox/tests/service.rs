//! The rules of the stand-in, its settings, and its offline state, from a client's side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use std::time::{Duration, SystemTime};

use offboard_sandbox::cloud::{Action, Cloud, Fault, NotAssociated, Operation, Options};
use serde_json::{Value, json};

#[tokio::test]
async fn offline_drops_what_there_is_and_comes_back_on_the_same_port() {
    let cloud = cloud_of(&["a"]).await;
    let mut idle = Client::connect(&cloud).await;
    assert_eq!(list(&cloud, &mut idle, "").await.ok().unwrap().status, 200);
    cloud.inject(once(Action::Hang));
    let mut hanging = Client::connect(&cloud).await;
    hanging.send(&cloud.signed_request("POST", DISASSOCIATE, &batch(&["a"]))).await;
    assert!(cloud.wait_for(|cloud| cloud.faults_left() == 0, PATIENCE).await);

    cloud.offline(true);
    assert_eq!(idle.receive().await.err().unwrap(), b"");
    assert_eq!(hanging.receive().await.err().unwrap(), b"");
    let mut refused = Client::connect(&cloud).await;
    assert_eq!(refused.receive().await.err().unwrap(), b"");
    assert_eq!(cloud.calls().len(), 2);

    cloud.clear_faults();
    cloud.offline(false);
    let mut client = Client::connect(&cloud).await;
    assert_eq!(list(&cloud, &mut client, "").await.ok().unwrap().names(), ["a"]);
}

#[tokio::test]
async fn no_answer_gets_out_once_it_is_offline() {
    let cloud = cloud_of(&["a"]).await;
    // The order of the response and the end of the connection is a race, so the test repeats it.
    for round in 0..32 {
        cloud.clear_calls();
        cloud.inject(once(Action::Hang));
        let mut client = Client::connect(&cloud).await;
        client.send(&cloud.signed_request("GET", LIST, "")).await;
        assert!(cloud.wait_for(|cloud| cloud.faults_left() == 0, PATIENCE).await);
        cloud.clear_faults();
        cloud.offline(true);
        assert_eq!(client.receive().await.err().unwrap(), b"", "round {round}");
        assert_eq!(cloud.calls()[0].status, None, "round {round}");
        cloud.offline(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_gets_in_once_it_is_offline() {
    let cloud = cloud_of(&["a"]).await;
    for round in 0..200 {
        cloud.clear_calls();
        let mut client = Client::connect(&cloud).await;
        client.send(&cloud.signed_request("GET", LIST, "")).await;
        cloud.offline(true);
        let arrived = cloud.calls().len();
        let _ = client.receive().await;
        assert_eq!(cloud.calls().len(), arrived, "round {round}");
        cloud.offline(false);
    }
}

#[tokio::test]
async fn timestamps_are_numbers_of_seconds_to_the_millisecond() {
    let cloud = cloud_of(&[]).await;
    cloud.associate_at("core", ["a"], SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456));
    let mut client = Client::connect(&cloud).await;
    let answer = list(&cloud, &mut client, "").await.ok().unwrap();
    let device = json!({"thingName": "a", "associationTimestamp": 1_700_000_000.123});
    assert_eq!(answer.body, json!({"associatedClientDevices": [device]}));
}

#[tokio::test]
async fn the_port_is_free_again_when_the_stand_in_is_dropped() {
    let cloud = cloud_of(&[]).await;
    let port = cloud.endpoint().rsplit(':').next().unwrap().parse().unwrap();
    let mut client = Client::connect(&cloud).await;
    assert_eq!(list(&cloud, &mut client, "").await.ok().unwrap().status, 200);
    drop(cloud);
    assert_eq!(client.receive().await.err().unwrap(), b"");
    let again = async {
        while Cloud::start(Options { port, ..Options::default() }).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn an_eventually_consistent_list_is_behind() {
    let cloud = cloud_of(&["a", "b"]).await;
    cloud.set_eventually_consistent(Some(Duration::from_secs(3600)));
    let mut client = Client::connect(&cloud).await;
    assert_eq!(disassociate(&cloud, &mut client, &["a"]).await.ok().unwrap().status, 200);
    cloud.associate("core", ["c"]);
    assert_eq!(names(&cloud), ["b", "c"]);
    assert_eq!(list(&cloud, &mut client, "").await.ok().unwrap().names(), ["a", "b"]);
    cloud.set_eventually_consistent(None);
    assert_eq!(list(&cloud, &mut client, "").await.ok().unwrap().names(), ["b", "c"]);
}

#[tokio::test]
async fn a_device_that_is_not_associated_is_a_switch() {
    let cloud = cloud_of(&[]).await;
    let mut client = Client::connect(&cloud).await;
    let answer = disassociate(&cloud, &mut client, &["a"]).await.ok().unwrap();
    assert_eq!(answer.body, json!({"errorEntries": []}));
    cloud.set_not_associated(NotAssociated::EntryError);
    let answer = disassociate(&cloud, &mut client, &["a"]).await.ok().unwrap();
    assert_eq!(answer.body["errorEntries"][0]["code"], "ResourceNotFoundException");
    assert_eq!(answer.body["errorEntries"][0]["thingName"], "a");
    assert_eq!(cloud.effective_disassociations("a"), 0);
}

#[tokio::test]
async fn a_clock_that_is_off_shows_in_the_date_and_refuses_signatures() {
    let cloud = cloud_of(&["a"]).await;
    let mut client = Client::connect(&cloud).await;
    let date = |answer: &Answer| {
        let date = httpdate::parse_http_date(answer.header("date").unwrap()).unwrap();
        date.duration_since(SystemTime::now()).map_or(0, |ahead| ahead.as_secs())
    };
    cloud.inject(once(Action::Date(7200)));
    let answer = list(&cloud, &mut client, "").await.ok().unwrap();
    assert_eq!(answer.status, 200);
    assert!((7100..=7200).contains(&date(&answer)));

    let request = cloud.signed_request("GET", LIST, "");
    cloud.set_clock_offset(3600);
    let answer = client.ask(&request).await.ok().unwrap();
    assert_eq!((answer.status, answer.header("x-amzn-errortype")), (403, Some("InvalidSignatureException")));
    assert!(answer.body["message"].as_str().unwrap().starts_with("Signature expired: "));
    assert!((3500..=3600).contains(&date(&answer)));
    assert_eq!(list(&cloud, &mut client, "").await.ok().unwrap().status, 200);
}

#[tokio::test]
async fn the_input_is_held_to_the_service_model() {
    let cloud = cloud_of(&[]).await;
    let mut client = Client::connect(&cloud).await;
    let too_long = "x".repeat(129);
    let full: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    for (body, reason) in [
        ("{", "CANNOT_PARSE"),
        ("[]", "CANNOT_PARSE"),
        (r#"{"entries": {}}"#, "CANNOT_PARSE"),
        (r#"{"entries": [{"thingName": 1}]}"#, "CANNOT_PARSE"),
        (r#"{"entries": []}"#, "FIELD_VALIDATION_FAILED"),
        (r#"{"entries": [{}]}"#, "FIELD_VALIDATION_FAILED"),
        (batch(&[""]).as_str(), "FIELD_VALIDATION_FAILED"),
        (batch(&["a", &too_long]).as_str(), "FIELD_VALIDATION_FAILED"),
        (batch(&full).as_str(), "FIELD_VALIDATION_FAILED"),
    ] {
        let answer = client.ask(&cloud.signed_request("POST", ASSOCIATE, body)).await.ok().unwrap();
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (400, Some("ValidationException")), "{body}");
        assert_eq!(answer.body["reason"], reason, "{body}");
    }
    assert!(names(&cloud).is_empty());
    for query in ["?maxResults=0", "?maxResults=101", "?maxResults=x", "?nextToken=x"] {
        assert_eq!(list(&cloud, &mut client, query).await.ok().unwrap().status, 400, "{query}");
    }
    for body in ["", "{}", r#"{"entries": null}"#] {
        let answer = client.ask(&cloud.signed_request("POST", DISASSOCIATE, body)).await.ok().unwrap();
        assert_eq!((answer.status, &answer.body), (200, &json!({"errorEntries": []})), "{body}");
    }
    let longest = ["é".repeat(128)];
    let longest: Vec<&str> = longest.iter().map(String::as_str).collect();
    let answer = client.ask(&cloud.signed_request("POST", ASSOCIATE, &batch(&longest))).await.ok().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(names(&cloud), longest);
}

#[tokio::test]
async fn paths_lead_to_their_operation_or_to_none() {
    let cloud = cloud_of(&[]).await;
    let mut client = Client::connect(&cloud).await;
    for (method, path, status, code) in [
        ("GET", "/greengrass/v2/coreDevices/other/associatedClientDevices", 404, "ResourceNotFoundException"),
        ("GET", "/greengrass/v2/coreDevices//associatedClientDevices", 400, "ValidationException"),
        ("GET", "/greengrass/v2/coreDevices/%FF/associatedClientDevices", 400, "ValidationException"),
        ("POST", LIST, 404, "UnknownOperationException"),
        ("GET", "/greengrass/v2/coreDevices/a/b/associatedClientDevices", 404, "UnknownOperationException"),
        ("GET", "/2016-11-01/credentialprovider", 404, "UnknownOperationException"),
    ] {
        let answer = client.ask(&cloud.signed_request(method, path, "")).await.ok().unwrap();
        assert_eq!((answer.status, answer.header("x-amzn-errortype")), (status, Some(code)), "{path}");
    }
}

#[tokio::test]
async fn credentials_require_the_token() {
    let cloud = cloud_of(&[]).await;
    let mut client = Client::connect(&cloud).await;
    let request = |token: &str| {
        format!("GET /2016-11-01/credentialprovider/ HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\n\r\n")
    };
    let token = cloud.authorization_token();
    assert_eq!(token.len(), 16);
    let answer = client.ask(request(&token).as_bytes()).await.ok().unwrap();
    for member in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
        assert!(answer.body[member].is_string(), "{member}");
    }
    assert_eq!(client.ask(request("another").as_bytes()).await.ok().unwrap().status, 403);
    let without = b"GET /2016-11-01/credentialprovider/ HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(client.ask(without).await.ok().unwrap().status, 403);

    cloud.inject(once(Action::NullCredentials));
    let answer = client.ask(request(&token).as_bytes()).await.ok().unwrap();
    assert_eq!((answer.status, answer.body), (200, Value::Null));
    cloud.inject(Fault { operation: None, times: None, action: Action::CutBefore });
    assert_eq!(client.ask(request(&token).as_bytes()).await.ok().unwrap().status, 200);
    assert_eq!(cloud.count(Operation::Credentials), 5);
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused() {
    let cloud = cloud_of(&[]).await;
    let mut client = Client::connect(&cloud).await;
    let body = " ".repeat(1024 * 1024 + 1);
    let answer = client.ask(&cloud.signed_request("POST", DISASSOCIATE, &body)).await;
    assert_eq!(answer.ok().unwrap().status, 413);
    assert!(cloud.calls().is_empty());
}

#[tokio::test]
async fn waiting_for_what_does_not_come_ends() {
    let cloud = cloud_of(&[]).await;
    assert!(!cloud.wait_for(|cloud| cloud.count(Operation::List) > 0, Duration::from_millis(1)).await);
    assert!(cloud.wait_for(|cloud| cloud.calls().is_empty(), Duration::ZERO).await);
}
