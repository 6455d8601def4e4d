//! A connection to the broker: the client library's codec and its state machine of MQTT 3.1.1 on a
//! socket that this module opens.
//!
//! The library's own event loop is not used for two reasons. First, it drops the connection at a
//! message above its limit, which the broker then delivers again and again; here [`Frames`] skips
//! the message. Second, it writes each packet by itself; here one write sends all packets that
//! wait.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;
use rumqttc::{
    Connect, ConnectReturnCode, ConnectionError, Incoming, MqttState, Outgoing, Packet, PingReq, Publish, Request,
    StateError, SubscribeReasonCode,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::TlsConnector;

use super::frames::{Frame, Frames, MAX_PACKET};

/// The most publishes without an acknowledgement in the library's table. The agent's own windows
/// are far smaller.
const INFLIGHT: u16 = 100;

/// The limit from DNS to CONNACK, and for each write. A peer that takes longer counts as gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The room for each read from the socket, in bytes.
const READ: usize = 8 << 10;

/// The most bytes of packets that are collected for one write.
const WRITE: usize = 16 << 10;

/// Where to connect, and with which CONNECT packet.
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) connect: Connect,
}

/// An event on the connection.
#[derive(Debug)]
pub(super) enum Event {
    /// The broker accepted the connection; `session` says whether it kept the previous session.
    Connected { session: bool },
    /// The broker delivered a message.
    Message(Publish),
    /// The broker delivered a message of `size` bytes, which was not kept. `publish` has the
    /// beginning of its payload.
    TooLarge { publish: Publish, size: usize },
    /// The oldest queued subscription is on the wire, with this packet id.
    SubscribeOnWire(u16),
    /// The broker responded to the subscription with this packet id.
    Subscribed(u16, Vec<SubscribeReasonCode>),
    /// The oldest queued publish is on the wire, with this packet id.
    OnWire(u16),
    /// The broker acknowledged the publish with this packet id.
    Delivered(u16),
    /// The agent ended the connection.
    Disconnected,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Network {
    stream: Box<dyn Stream>,
    frames: Frames,
    incoming: BytesMut,
    outgoing: BytesMut,
    ping: Interval,
    /// Whether any byte arrived since the last ping.
    is_heard: bool,
}

/// The connection, or its absence.
pub(super) struct Connection {
    state: MqttState,
    requests: flume::Receiver<Request>,
    network: Option<Network>,
    events: VecDeque<Event>,
}

/// What ended the wait of the poll.
enum Woken {
    Read(std::io::Result<usize>),
    Request(Result<Request, flume::RecvError>),
    Ping,
}

impl Connection {
    /// Begins without a connection. `requests` is the other end of the client's channel.
    pub(super) fn new(requests: flume::Receiver<Request>) -> Self {
        Self { state: MqttState::new(INFLIGHT, true), requests, network: None, events: VecDeque::new() }
    }

    /// Connects to `endpoint` if there is no connection; otherwise waits for the next event. Not
    /// cancel-safe.
    ///
    /// # Errors
    /// The connection is not made, or has ended. [`Self::clear`] must be called before the next
    /// poll.
    pub(super) async fn poll(&mut self, endpoint: &Endpoint) -> Result<Event, ConnectionError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let Some(network) = &mut self.network else {
                let connected = timeout(PATIENCE, connect(endpoint)).await;
                let (network, session) = connected.map_err(|_| ConnectionError::NetworkTimeout)??;
                self.network = Some(network);
                return Ok(Event::Connected { session });
            };
            network.incoming.reserve(READ);
            let has_room = self.state.inflight() < INFLIGHT;
            let woken = tokio::select! {
                read = network.stream.read_buf(&mut network.incoming) => Woken::Read(read),
                request = self.requests.recv_async(), if has_room => Woken::Request(request),
                _ = network.ping.tick() => Woken::Ping,
            };
            match woken {
                // This is an error of an established connection, not of connecting.
                Woken::Read(read) => match read.map_err(StateError::Io)? {
                    0 => return Err(StateError::ConnectionAborted.into()),
                    _ => {
                        network.is_heard = true;
                        self.receive()?;
                    }
                },
                Woken::Request(request) => self.send(request.map_err(|_| ConnectionError::RequestsDone)?)?,
                Woken::Ping => {
                    // The response to a ping waits behind a large message, and a broker that still
                    // sends is alive. Otherwise the message would end each connection before it
                    // arrived as a whole, and come again on the next connection.
                    self.state.await_pingresp &= !std::mem::take(&mut network.is_heard);
                    self.handle(Request::PingReq(PingReq))?;
                }
            }
            self.flush().await?;
        }
    }

    /// Discards the connection, everything that waits to be sent on it, and everything that arrived
    /// on it and was not returned.
    pub(super) fn clear(&mut self) {
        self.network = None;
        self.events.clear();
        self.requests.drain();
        self.state.clean();
        self.state.collision = None;
        self.state.events.clear();
    }

    /// Handles what has arrived.
    fn receive(&mut self) -> Result<(), StateError> {
        while let Some(Network { frames, incoming, .. }) = &mut self.network
            && let Some(frame) = frames.decode(incoming).map_err(StateError::Deserialization)?
        {
            match frame {
                Frame::Packet(packet) => {
                    let answer = self.state.handle_incoming_packet(packet)?;
                    self.write(answer)?;
                    self.gather_events();
                }
                Frame::Skipped { publish, size } => self.events.push_back(Event::TooLarge { publish, size }),
            }
        }
        Ok(())
    }

    /// Sends `first` and the requests that wait after it.
    fn send(&mut self, first: Request) -> Result<(), StateError> {
        self.handle(first)?;
        while self.state.inflight() < INFLIGHT
            && self.network.as_ref().is_some_and(|network| network.outgoing.len() < WRITE)
            && let Ok(next) = self.requests.try_recv()
        {
            self.handle(next)?;
        }
        Ok(())
    }

    fn handle(&mut self, request: Request) -> Result<(), StateError> {
        let mut packet = self.state.handle_outgoing_packet(request)?;
        // The next packet id belongs to a message that the broker never acknowledged. The loop
        // takes the id after it; otherwise the library would wait for that acknowledgement and send
        // nothing else meanwhile. An id is free, since the table is not full.
        while let Some(mut publish) = self.state.collision.take() {
            publish.pkid = 0;
            packet = self.state.handle_outgoing_packet(Request::Publish(publish))?;
        }
        self.write(packet)?;
        self.gather_events();
        Ok(())
    }

    fn write(&mut self, packet: Option<Packet>) -> Result<(), StateError> {
        if let (Some(packet), Some(network)) = (packet, &mut self.network) {
            packet.write(&mut network.outgoing, MAX_PACKET).map_err(StateError::Deserialization)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        let Some(Network { stream, outgoing, .. }) = &mut self.network else { return Ok(()) };
        if outgoing.is_empty() {
            return Ok(());
        }
        let written = async {
            stream.write_all_buf(outgoing).await?;
            stream.flush().await
        };
        Ok(timeout(PATIENCE, written).await.map_err(|_| ConnectionError::FlushTimeout)?.map_err(StateError::Io)?)
    }

    fn gather_events(&mut self) {
        use rumqttc::Event::{Incoming as In, Outgoing as Out};
        self.events.extend(self.state.events.drain(..).filter_map(|event| match event {
            In(Incoming::Publish(publish)) => Some(Event::Message(publish)),
            In(Incoming::PubAck(ack)) => Some(Event::Delivered(ack.pkid)),
            In(Incoming::SubAck(ack)) => Some(Event::Subscribed(ack.pkid, ack.return_codes)),
            Out(Outgoing::Subscribe(packet)) => Some(Event::SubscribeOnWire(packet)),
            // QoS 0 has no packet id, and the agent sends no such message.
            Out(Outgoing::Publish(packet)) if packet != 0 => Some(Event::OnWire(packet)),
            Out(Outgoing::Disconnect) => Some(Event::Disconnected),
            _ => None,
        }));
    }
}

async fn connect(endpoint: &Endpoint) -> Result<(Network, bool), ConnectionError> {
    let Endpoint { host, port, tls, connect } = endpoint;
    let tcp = TcpStream::connect((host.as_str(), *port)).await?;
    // Without this option an acknowledgement may wait 40 ms for the next packet.
    tcp.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(tcp),
        Some(config) => {
            let name = ServerName::try_from(host.clone()).map_err(rumqttc::TlsError::from)?;
            let connector = TlsConnector::from(Arc::clone(config));
            Box::new(connector.connect(name, tcp).await.map_err(rumqttc::TlsError::from)?)
        }
    };
    let keep_alive = Duration::from_secs(connect.keep_alive.max(1).into());
    let mut ping = interval_at(Instant::now() + keep_alive, keep_alive);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (incoming, outgoing) = (BytesMut::with_capacity(READ), BytesMut::new());
    let mut network = Network { stream, frames: Frames::default(), incoming, outgoing, ping, is_heard: false };
    let Network { stream, frames, incoming, outgoing, .. } = &mut network;
    let packet = Packet::Connect(connect.clone());
    packet.write(outgoing, MAX_PACKET).map_err(StateError::Deserialization)?;
    stream.write_all_buf(outgoing).await?;
    stream.flush().await?;
    let frame = loop {
        if let Some(frame) = frames.decode(incoming).map_err(StateError::Deserialization)? {
            break frame;
        }
        if stream.read_buf(incoming).await? == 0 {
            return Err(StateError::ConnectionAborted.into());
        }
    };
    match frame {
        Frame::Packet(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => {
            Ok((network, ack.session_present))
        }
        Frame::Packet(Packet::ConnAck(ack)) => Err(ConnectionError::ConnectionRefused(ack.code)),
        Frame::Packet(packet) => Err(ConnectionError::NotConnAck(packet)),
        Frame::Skipped { publish, .. } => Err(ConnectionError::NotConnAck(Packet::Publish(publish))),
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{ConnAck, QoS};
    use tokio::net::TcpListener;

    use super::*;

    /// A retained message of this size would end every connection.
    #[tokio::test]
    async fn a_message_that_takes_longer_than_two_pings_arrives_and_silence_ends_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connect = Connect::new("test");
        connect.keep_alive = 1;
        let endpoint =
            Endpoint { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), tls: None, connect };
        let broker = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = BytesMut::new();
            let ack = Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false));
            ack.write(&mut bytes, usize::MAX).unwrap();
            let large =
                Publish::new("offboard/MyCore/commands/bench/sync", QoS::AtMostOnce, vec![b'x'; 2 * MAX_PACKET]);
            Packet::Publish(large).write(&mut bytes, usize::MAX).unwrap();
            for piece in bytes.chunks(bytes.len() / 30) {
                stream.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            stream
        });
        let (_requests, receiver) = flume::bounded(1);
        let mut connection = Connection::new(receiver);
        assert!(matches!(connection.poll(&endpoint).await, Ok(Event::Connected { session: false })));
        let large = connection.poll(&endpoint).await;
        assert!(matches!(large, Ok(Event::TooLarge { size, .. }) if size == 2 * MAX_PACKET), "{large:?}");
        let ended = connection.poll(&endpoint).await;
        assert!(matches!(ended, Err(ConnectionError::MqttState(StateError::AwaitPingResp))), "{ended:?}");
        drop(broker.await.unwrap());
    }
}
