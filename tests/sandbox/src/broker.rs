//! An MQTT 3.1.1 broker in this process: rumqttd, on a free port of 127.0.0.1.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

/// How often another port is tried, where somebody took the one that was free a moment ago.
const ATTEMPTS: usize = 5;

/// Far longer than a listener takes to open.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running broker, for any number of clients and without any access control.
///
/// What it does not do, so that nobody tests that with it:
/// - keep anything beyond this process: sessions and retained messages are in memory only;
/// - stop: rumqttd has no way to, so it runs until the process ends, also when this handle is dropped;
/// - set DUP on what it delivers again;
/// - send at once: it leaves Nagle's algorithm on, and so a round trip can take 40 ms;
/// - MQTT 5: a publish with properties would break its connections of version 3.1.1.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker in threads of its own, and returns when it takes connections.
    ///
    /// # Errors
    /// When no port or no thread is to be had.
    pub fn start() -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            // rumqttd cannot take a listener or port 0, so that the port is free for a moment before it is taken.
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            if listens(address)? {
                return Ok(Self { address });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "the broker found no port"))
    }

    /// Where it is, `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Runs a broker there; `false` if the port has gone to somebody else.
fn listens(address: SocketAddr) -> io::Result<bool> {
    let running = thread::Builder::new().name("broker".to_owned()).spawn(move || {
        // Blocks for as long as the listener does, and returns Ok also when it could not open.
        let _ = rumqttd::Broker::new(config(address)).start();
    })?;
    let end = Instant::now() + PATIENCE;
    while !running.is_finished() && Instant::now() < end {
        if TcpStream::connect(address).is_ok() {
            return Ok(!running.is_finished());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(false)
}

fn config(address: SocketAddr) -> Config {
    let connections = ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 1 << 20,
        // Packets that it reads from a connection at once.
        max_inflight_count: 1000,
        auth: None,
        external_auth: None,
        // Otherwise who publishes to a topic that nobody ever subscribed to is thrown out.
        dynamic_filters: true,
    };
    let settings =
        ServerSettings { name: "v4".to_owned(), listen: address, tls: None, next_connection_delay_ms: 1, connections };
    let router = RouterConfig {
        max_connections: 1000,
        // What a subscription of QoS 0 gets at once, which is also the most retained messages that a new one gets. With
        // QoS 1 that is 100 and cannot be set.
        max_outgoing_packet_count: 10_000,
        // The oldest messages are dropped with the oldest segment, whoever still waits for them.
        max_segment_size: 100 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    // Version 3.1.1 only, see the type.
    Config { router, v4: Some(HashMap::from([("v4".to_owned(), settings)])), ..Config::default() }
}
