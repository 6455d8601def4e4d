//! Wrong responses of the token exchange service, the classic nucleus's and nucleus lite's: the
//! agent reports each, takes none for credentials, accepts commands meanwhile, and carries them out
//! when the service works, without a restart.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::common::*;

const PATH: &str = "/2016-11-01/credentialprovider/";

/// How the service answers.
#[derive(Clone)]
enum Response {
    /// The stand-in's credentials, with this content type and, if any, another end of their life.
    Good(&'static str, Option<&'static str>),
    /// A status line and a body.
    Wrong(&'static str, &'static str),
    /// The connection is closed.
    Closed,
}

struct Service {
    port: u16,
    response: Arc<Mutex<Response>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(cloud: &Cloud, response: Response) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self {
            port: listener.local_addr().unwrap().port(),
            response: Arc::new(Mutex::new(response)),
            asked: Arc::default(),
        };
        let (response, asked) = (Arc::clone(&service.response), Arc::clone(&service.asked));
        let (uri, token) = (cloud.credentials_uri(), cloud.authorization_token());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let now = response.lock().unwrap().clone();
                asked.lock().unwrap().push(head(&stream));
                reply(stream, &now, &uri, &token);
            }
        });
        service
    }

    fn set(&self, response: Response) {
        *self.response.lock().unwrap() = response;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// As the nucleus gives it: by name, and the path ends in a slash.
    fn environment(&self) -> Vec<String> {
        vec!["env".into(), format!("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://localhost:{}{PATH}", self.port)]
    }
}

/// A request up to its empty line.
fn head(stream: &TcpStream) -> String {
    let mut lines = String::new();
    let mut reader = BufReader::new(stream);
    while reader.read_line(&mut lines).is_ok_and(|read| read > 2) {}
    lines
}

fn reply(mut stream: TcpStream, response: &Response, uri: &str, token: &str) {
    let (status, content_type, body) = match response {
        Response::Good(content_type, expiration) => {
            let mut credentials = good(uri, token);
            if let Some(expiration) = expiration {
                credentials["Expiration"] = json!(expiration);
            }
            ("200 OK", *content_type, credentials.to_string())
        }
        Response::Wrong(status, body) => (*status, "text/html", (*body).to_owned()),
        Response::Closed => return,
    };
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
}

/// What the stand-in gives to a client that has the token.
fn good(uri: &str, token: &str) -> Value {
    let (host, path) = uri.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {token}\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

const GOOD: Response = Response::Good("application/json", None);

/// An agent whose service answers so.
async fn running(response: Response) -> (World, Service, Client) {
    let mut world = World::new(10).await;
    let service = Service::start(&world.cloud, response);
    world.wrapper = service.environment();
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is there", |s| s["state"] == "ONLINE").await;
    (world, service, client)
}

/// From a wrong response to a good one.
async fn is_reported_and_passes(response: Response, says: &str) {
    let (mut world, service, client) = running(response).await;
    client.disassociate("t", &names(0..3));
    client.result("t", "accepted").await;
    let status = client.status("it says so", |s| problem_codes(s).contains(&"NO_CREDENTIALS")).await;
    assert_eq!(status["cloud"], "NO_CREDENTIALS");
    let message = status["problems"].to_string();
    assert!(message.contains(says) && message.contains("token exchange service"), "{message}");
    // A nucleus remembers its failure for minutes.
    until("it keeps asking", || service.asked().len() >= 4).await;
    assert!(world.is_running());
    assert_eq!(world.cloud.count(Operation::Disassociate) + world.cloud.count(Operation::List), 0, "nothing was sent");
    service.set(GOOD);
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    client.status("it is over", |s| s["health"] == "OK").await;
    let asked = service.asked();
    let path = format!("GET {PATH} HTTP/1.1");
    let token = format!("authorization: {}", world.cloud.authorization_token());
    assert!(asked.iter().all(|head| head.starts_with(&path) && head.contains(&token)), "{asked:?}");
}

#[tokio::test]
async fn a_body_of_null_as_of_nucleus_lite_is_no_credentials() {
    is_reported_and_passes(Response::Wrong("200 OK", "null"), "invalid JSON").await;
}

#[tokio::test]
async fn half_of_the_credentials_are_none() {
    is_reported_and_passes(Response::Wrong("200 OK", r#"{"AccessKeyId":"A","SecretAccessKey":"#), "invalid JSON").await;
}

#[tokio::test]
async fn a_wrong_token_is_403_of_the_classic_nucleus() {
    is_reported_and_passes(Response::Wrong("403 Forbidden", "value of header doesn't match"), "403").await;
}

/// What the service says beside its status is what a person needs.
#[tokio::test]
async fn the_reason_in_a_refusals_body_is_told_with_the_address_and_the_next_step() {
    let (world, service, client) =
        running(Response::Wrong("403 Forbidden", "TES responded: role alias MyAlias does not exist")).await;
    let status = client.status("it says so", |s| problem_codes(s).contains(&"NO_CREDENTIALS")).await;
    let message = status["problems"].to_string();
    for part in ["HTTP status 403", "role alias MyAlias does not exist", "restart the component"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(message.contains(&format!("http://localhost:{}{PATH}", service.port)), "{message}");
    assert!(
        !message.contains(&world.cloud.authorization_token())
            && !world.log().contains(&world.cloud.authorization_token())
    );
}

/// A server in the service's place gets no further with a redirection.
#[tokio::test]
async fn the_token_follows_no_redirection() {
    let mut world = World::new(10).await;
    let elsewhere = Service::start(&world.cloud, GOOD);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let to = format!("http://127.0.0.1:{}{PATH}", elsewhere.port);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            head(&stream);
            let _ = write!(
                stream,
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    world.wrapper = vec!["env".into(), format!("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://localhost:{port}{PATH}")];
    let client = world.client("bench").await;
    world.start_agent();
    let status = client.status("it says so", |s| problem_codes(s).contains(&"NO_CREDENTIALS")).await;
    assert!(status["problems"].to_string().contains("status 307"), "{status}");
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

/// The token is for this machine alone.
#[tokio::test]
async fn an_address_elsewhere_is_named_and_not_asked() {
    for (address, says) in [
        ("http://192.0.2.1:80/creds", "not on this machine"),
        ("http://192.0.2.1.nip.invalid/creds", "cannot be resolved"),
        ("file:///etc/passwd", "does not begin with http"),
    ] {
        let mut world = World::new(1).await;
        world.wrapper = vec!["env".into(), format!("AWS_CONTAINER_CREDENTIALS_FULL_URI={address}")];
        let client = world.client("bench").await;
        world.start_agent();
        let status = client.status("it says so", |s| problem_codes(s).contains(&"NO_CREDENTIALS")).await;
        let message = status["problems"].to_string();
        assert!(message.contains(says) && message.contains(address), "{message}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_404_of_nucleus_lite() {
    is_reported_and_passes(Response::Wrong("404 Not Found", ""), "404").await;
}

#[tokio::test]
async fn a_token_of_the_wrong_length_is_400_of_nucleus_lite() {
    is_reported_and_passes(Response::Wrong("400 Bad Request", ""), "400").await;
}

#[tokio::test]
async fn a_failure_is_500_with_a_text_and_remembered_for_minutes() {
    is_reported_and_passes(Response::Wrong("500 Internal Server Error", "Failed to get connection"), "500").await;
}

#[tokio::test]
async fn a_service_that_waited_in_vain_is_504() {
    is_reported_and_passes(Response::Wrong("504 Gateway Timeout", ""), "504").await;
}

#[tokio::test]
async fn a_service_that_closes_the_connection_is_asked_again() {
    is_reported_and_passes(Response::Closed, "connection closed").await;
}

#[tokio::test]
async fn good_credentials_may_be_called_text() {
    let (_world, service, client) = running(Response::Good("text/html", None)).await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert_eq!(service.asked().len(), 1, "kept for the calls that follow");
}

/// Whether they have expired is for the cloud to say: the clock of this device may be off by years.
#[tokio::test]
async fn credentials_with_an_end_in_the_past_are_tried_and_not_kept() {
    let (_world, service, client) = running(Response::Good("application/json", Some("2001-01-01T00:00:00Z"))).await;
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert!(service.asked().len() >= 2, "asked for each call");
}

#[tokio::test]
async fn credentials_that_the_cloud_calls_expired_are_asked_for_anew() {
    let (world, service, client) = running(GOOD).await;
    client.status("it is in sync", |s| s["lastSyncAt"].is_string()).await;
    let before = service.asked().len();
    let expired = Action::Status {
        status: 403,
        code: Some("ExpiredTokenException".into()),
        message: "The security token included in the request is expired".into(),
        retry_after: None,
    };
    world.fault(expired, Some(2));
    client.disassociate("t", &names(0..1));
    assert_eq!(client.result("t", "completed").await["status"], "SUCCEEDED");
    assert!(world.log().contains("fault=Credentials code=\"ExpiredTokenException\""));
    assert!(service.asked().len() > before, "those that it had were put away");
}

#[tokio::test]
async fn a_component_without_the_dependency_is_told_of_it() {
    let mut world = World::new(10).await;
    world.wrapper = vec!["env".into(), "AWS_CONTAINER_CREDENTIALS_FULL_URI=".into()];
    let client = world.client("bench").await;
    world.start_agent();
    client.status("it is there", |s| s["state"] == "ONLINE").await;
    client.disassociate("t", &names(0..1));
    client.result("t", "accepted").await;
    let status = client.status("it says so", |s| problem_codes(s).contains(&"NO_CREDENTIALS")).await;
    assert!(status["problems"].to_string().contains("must depend on aws.greengrass.TokenExchangeService"), "{status}");
}
