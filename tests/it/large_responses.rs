//! HTTP responses without an end: the agent stops reading, and its memory does not grow.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::common::*;

/// Without a limit all of this is read. Buffers of the sockets take some megabytes of it.
const ENDLESS: usize = 256 << 20;
const BUFFERED: usize = 32 << 20;

/// Answers every request like the service itself, with a body of [`ENDLESS`] bytes; counts the
/// connections that were cut and the most that one of them took.
#[derive(Clone, Default)]
struct Flood {
    cut: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

impl Flood {
    fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let flood = Self::default();
        let serving = flood.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let flood = serving.clone();
                thread::spawn(move || flood.answer(stream));
            }
        });
        (flood, port)
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut request = [0; 16_384];
        if stream.read(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let head = "HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\ncontent-type: application/json\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
        let mut sent = 0;
        let mut result = stream.write_all(head.as_bytes());
        while result.is_ok() && sent < ENDLESS {
            result = stream.write_all(&chunk);
            sent += chunk.len();
        }
        self.taken.fetch_max(sent, Ordering::Relaxed);
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    async fn is_cut(&self) {
        until("two answers ended", || self.cut.load(Ordering::Relaxed) >= 2).await;
        let taken = self.taken.load(Ordering::Relaxed);
        assert!(taken < BUFFERED, "{taken} bytes of an answer were taken");
    }
}

#[tokio::test]
async fn an_endless_answer_of_the_cloud_is_cut() {
    let mut world = World::new(1).await;
    let client = world.client("bench").await;
    let (flood, port) = Flood::start();
    world.set("cloud.greengrassEndpoint", json!(format!("http://127.0.0.1:{port}")));
    world.start_agent();
    flood.is_cut().await;
    client.status("the cloud is reported as unreachable", |status| status["cloud"] == "UNREACHABLE").await;
    assert!(world.is_running());
}

#[tokio::test]
async fn an_endless_answer_of_the_token_exchange_is_cut() {
    let mut world = World::new(1).await;
    let client = world.client("bench").await;
    let (flood, port) = Flood::start();
    world.wrapper = vec!["env".into(), format!("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:{port}/")];
    world.start_agent();
    flood.is_cut().await;
    client.status("there are no credentials", |status| status["cloud"] == "NO_CREDENTIALS").await;
    assert!(world.is_running());
}
