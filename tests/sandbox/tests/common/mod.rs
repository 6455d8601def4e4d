//! An HTTP client over its own socket, so that tests see how a connection ends.

#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use offboard_sandbox::cloud::{Action, Cloud, Fault, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Maximum time of each wait, far longer than any of them takes: reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const DISASSOCIATE: &str = "/greengrass/v2/coreDevices/core/disassociateClientDevices";
pub const ASSOCIATE: &str = "/greengrass/v2/coreDevices/core/associateClientDevices";
pub const LIST: &str = "/greengrass/v2/coreDevices/core/associatedClientDevices";

/// Ids in the form that SiteWise requires.
pub const PARENT: &str = "11111111-2222-4333-8444-000000000001";
pub const HIERARCHY: &str = "11111111-2222-4333-8444-000000000002";
pub const PROJECT: &str = "11111111-2222-4333-8444-000000000003";

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The exception's name.
    pub fn code(&self) -> Option<&str> {
        self.header("x-amzn-errortype")
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap()
    }

    pub fn names(&self) -> Vec<&str> {
        let devices = self.body["associatedClientDevices"].as_array().unwrap();
        devices.iter().map(|device| device["thingName"].as_str().unwrap()).collect()
    }
}

/// A persistent connection.
pub struct Client(TcpStream);

impl Client {
    pub async fn connect(cloud: &Cloud) -> Self {
        let address = cloud.endpoint().replace("http://", "");
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub async fn send(&mut self, request: &[u8]) {
        self.0.write_all(request).await.unwrap();
    }

    /// The response. If the connection ended first, `Err` holds the received bytes.
    pub async fn receive(&mut self) -> Result<Answer, Vec<u8>> {
        let receiving = async {
            let mut received = Vec::new();
            loop {
                if let Some(answer) = parse(&received) {
                    return Ok(answer);
                }
                let mut buffer = [0; 4096];
                match self.0.read(&mut buffer).await {
                    Ok(0) | Err(_) => return Err(received),
                    Ok(length) => received.extend_from_slice(&buffer[..length]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, receiving).await.expect("neither an answer nor an end")
    }

    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer, Vec<u8>> {
        self.send(request).await;
        self.receive().await
    }
}

fn parse(received: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut answer = Answer { status: head.get(9..12)?.parse().ok()?, head: head.to_owned(), body: Value::Null };
    let length: usize = answer.header("content-length")?.parse().ok()?;
    if body.len() < length {
        return None;
    }
    answer.body = serde_json::from_str(body).unwrap_or(Value::Null);
    Some(answer)
}

pub fn batch(things: &[&str]) -> String {
    let entries: Vec<Value> = things.iter().map(|thing| json!({"thingName": thing})).collect();
    json!({"entries": entries}).to_string()
}

pub async fn disassociate(cloud: &Cloud, client: &mut Client, things: &[&str]) -> Result<Answer, Vec<u8>> {
    client.ask(&cloud.signed_request("POST", DISASSOCIATE, &batch(things))).await
}

pub async fn list(cloud: &Cloud, client: &mut Client, query: &str) -> Result<Answer, Vec<u8>> {
    client.ask(&cloud.signed_request("GET", &format!("{LIST}{query}"), "")).await
}

pub async fn cloud_of(things: &[&str]) -> Cloud {
    let cloud = Cloud::start(Options { core: Some("core".to_owned()), ..Options::default() }).await.unwrap();
    cloud.associate("core", things.iter().copied());
    cloud
}

pub fn once(action: Action) -> Fault {
    Fault { operation: None, times: Some(1), action }
}

pub fn names(cloud: &Cloud) -> Vec<String> {
    cloud.associated("core").into_keys().collect()
}

/// The id of one of the assets of [`cloud_with_assets`], which have the numbers 1 to 3.
pub fn asset(number: usize) -> String {
    format!("aaaaaaaa-2222-4333-8444-{number:012}")
}

pub fn token(name: &str) -> String {
    format!("{name:-<36}")
}

/// A stand-in with three assets, which are children of the parent and in the project.
pub async fn cloud_with_assets() -> (Cloud, Client) {
    let cloud = Cloud::start(Options::default()).await.unwrap();
    cloud.add_child_assets(PARENT, HIERARCHY, (1..=3).map(asset));
    cloud.add_project_assets(PROJECT, (1..=3).map(asset));
    let client = Client::connect(&cloud).await;
    (cloud, client)
}

pub fn child_request(cloud: &Cloud, child: &str, token: &str) -> Vec<u8> {
    let body = json!({"hierarchyId": HIERARCHY, "childAssetId": child, "clientToken": token});
    cloud.signed_request("POST", &format!("/assets/{PARENT}/disassociate"), &body.to_string())
}

pub fn project_request(cloud: &Cloud, assets: &[String], token: &str) -> Vec<u8> {
    let body = json!({"assetIds": assets, "clientToken": token});
    cloud.signed_request("POST", &format!("/projects/{PROJECT}/assets/disassociate"), &body.to_string())
}

pub fn children_request(cloud: &Cloud, query: &str) -> Vec<u8> {
    cloud.signed_request("GET", &format!("/assets/{PARENT}/hierarchies{query}"), "")
}

pub fn assets_request(cloud: &Cloud, query: &str) -> Vec<u8> {
    cloud.signed_request("GET", &format!("/projects/{PROJECT}/assets{query}"), "")
}
