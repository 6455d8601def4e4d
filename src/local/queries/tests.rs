//! Queries of a ledger in memory.

use serde_json::Value;

use super::*;
use crate::{domain::ThingName, protocol, testing::parts::Rig};

/// The answer to a query as it arrives: the message, or the code of the rejection.
async fn ask(
    rig: &Rig,
    client: &ClientId,
    operation: Operation,
    payload: &str,
    max_bytes: usize,
) -> Result<Value, String> {
    let core = ThingName::new("MyCore").unwrap();
    let (_, command) = protocol::parse_command(&core, operation.as_str(), payload.as_bytes(), 1000);
    let crate::domain::Command::Query(query) = command.unwrap().1 else { panic!("{operation} is no query") };
    let client = client.clone();
    let answer =
        rig.ledger.run_unsynced(move |tx| answer(tx, &client, operation, &query, None, None, max_bytes)).await.unwrap();
    answer
        .map(|message| serde_json::from_slice(&message).unwrap())
        .map_err(|rejection| rejection.code.as_str().to_owned())
}

fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

/// A page is as long as the message may be, and the pages together have each row once.
#[tokio::test(start_paused = true)]
async fn pages_fit_into_a_message_and_have_each_row_once() {
    let rig = Rig::new("");
    let names: Vec<String> = (0..200).map(|n| format!("device-{n:03}")).collect();
    rig.disassociate("bench", "t1", &names.iter().map(|name| &**name).collect::<Vec<_>>()).await;
    let (mut found, mut next, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let payload = next.as_ref().map_or("{}".into(), |token| format!(r#"{{"nextToken":"{token}"}}"#));
        let page = ask(&rig, &client("bench"), Operation::ListDevices, &payload, 2000).await.unwrap();
        assert!(page.to_string().len() <= 2000 + 200, "a page has {} bytes", page.to_string().len());
        let devices = page["devices"].as_array().unwrap();
        found.extend(devices.iter().map(|device| device["thingName"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["nextToken"].as_str() {
            Some(token) => next = Some(token.to_owned()),
            None => break,
        }
    }
    assert_eq!(found, names);
    assert!(pages > 5, "{pages} pages");
}

#[tokio::test(start_paused = true)]
async fn a_client_sees_its_own_requests_and_a_local_user_sees_all() {
    let rig = Rig::new("");
    rig.disassociate("bench", "t1", &["a"]).await;
    rig.disassociate("other", "t2", &["b"]).await;
    let tokens = async |client: &ClientId| -> Vec<String> {
        let page = ask(&rig, client, Operation::ListRequests, "{}", 10_000).await.unwrap();
        let requests = page["requests"].as_array().unwrap().clone();
        let mut tokens: Vec<_> =
            requests.iter().map(|request| request["clientToken"].as_str().unwrap().to_owned()).collect();
        tokens.sort();
        tokens
    };
    assert_eq!(tokens(&client("bench")).await, ["t1"]);
    assert_eq!(tokens(&client("other")).await, ["t2"]);
    assert_eq!(tokens(&client("@root")).await, ["t1", "t2"]);
    let of_other = r#"{"targetClient":"other"}"#;
    let denied = ask(&rig, &client("bench"), Operation::ListRequests, of_other, 10_000).await.unwrap_err();
    assert_eq!(denied, "AccessDeniedException");
}

/// A token of one query continues no other.
#[tokio::test(start_paused = true)]
async fn a_page_token_belongs_to_its_query() {
    let rig = Rig::new("");
    rig.disassociate("bench", "t1", &["a", "b", "c"]).await;
    let page = ask(&rig, &client("bench"), Operation::ListDevices, r#"{"maxResults":1}"#, 10_000).await.unwrap();
    let token = page["nextToken"].as_str().unwrap();
    let payload = format!(r#"{{"nextToken":"{token}"}}"#);
    assert!(ask(&rig, &client("bench"), Operation::ListDevices, &payload, 10_000).await.is_ok());
    let refused = ask(&rig, &client("bench"), Operation::ListRequests, &payload, 10_000).await.unwrap_err();
    assert_eq!(refused, "ValidationException");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found() {
    let rig = Rig::new("");
    for (operation, payload) in
        [(Operation::GetDevice, r#"{"thingName":"a"}"#), (Operation::GetRequest, r#"{"targetClientToken":"t1"}"#)]
    {
        let missing = ask(&rig, &client("bench"), operation, payload, 10_000).await.unwrap_err();
        assert_eq!(missing, "ResourceNotFoundException");
    }
}
