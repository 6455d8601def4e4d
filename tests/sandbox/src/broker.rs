//! An MQTT 3.1.1 broker in this process: rumqttd, on a free port of 127.0.0.1.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rumqttd::{Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Maximum number of ports that are tried: another process may take a port that was just free.
const ATTEMPTS: usize = 5;

/// Maximum time to wait for the listener, far longer than it takes to open.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running broker, for any number of clients and without access control.
///
/// It cannot be used to test the following:
/// - persistence: sessions and retained messages are in memory only;
/// - a stop of the broker: rumqttd has no way to stop, so it runs until the process ends, even if
///   this handle is dropped;
/// - DUP: the broker does not set it on a repeated delivery;
/// - latency: the broker leaves Nagle's algorithm on, so a round trip can take 40 ms;
/// - MQTT 5: a publish with properties would break its connections of version 3.1.1.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
}

impl Broker {
    /// Starts a broker in threads of its own, and returns when it accepts connections.
    ///
    /// # Errors
    /// No port or no thread is available.
    pub fn start() -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            // rumqttd accepts neither a listener nor port 0, so the port is free for a moment
            // before rumqttd binds it.
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            if listens(address)? {
                return Ok(Self { address });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "the broker found no port"))
    }

    /// The broker's URL, `mqtt://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// The broker's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Runs a broker at the address; `false` if another process has taken the port.
fn listens(address: SocketAddr) -> io::Result<bool> {
    let running = thread::Builder::new().name("broker".to_owned()).spawn(move || {
        // Blocks while the listener runs, and returns Ok even if the listener could not open.
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
        // Maximum number of packets that it reads from a connection at once.
        max_inflight_count: 1000,
        auth: None,
        external_auth: None,
        // Without this option the broker disconnects a client that publishes to a topic without any
        // earlier subscription.
        dynamic_filters: true,
    };
    let settings =
        ServerSettings { name: "v4".to_owned(), listen: address, tls: None, next_connection_delay_ms: 1, connections };
    let router = RouterConfig {
        max_connections: 1000,
        // Maximum number of messages that a subscription of QoS 0 gets at once, which also limits
        // the retained messages of a new one. With QoS 1 the maximum is 100 and cannot be set.
        max_outgoing_packet_count: 10_000,
        // The broker drops the oldest messages with the oldest segment, even if a client has not
        // received them.
        max_segment_size: 100 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    // Version 3.1.1 only; see [`Broker`].
    Config { router, v4: Some(HashMap::from([("v4".to_owned(), settings)])), ..Config::default() }
}
