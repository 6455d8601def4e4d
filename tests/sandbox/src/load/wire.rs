//! The part of MQTT 3.1.1 that a load needs: QoS 1 in both directions, over a socket of its own. A
//! client library would use too much of the machine's processor time, which the measured programs
//! need.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// The QoS bits in the first byte of a PUBLISH.
const QOS_1: u8 = 0x02;

/// Maximum number of bytes that are read from the socket at once.
const CHUNK: usize = 64 * 1024;

/// A connection. Published messages wait in memory until [`Wire::turn`].
pub(super) struct Wire {
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    /// The number of bytes of `incoming` that were handled.
    read: usize,
    messages: VecDeque<Message>,
    next_id: u16,
}

/// A received and acknowledged message.
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

impl Wire {
    pub(super) async fn connect(port: u16, client_id: &str) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let mut wire =
            Self { stream, outgoing: Vec::new(), incoming: Vec::new(), read: 0, messages: VecDeque::new(), next_id: 0 };
        // Protocol level 4, a clean session, no keep-alive, because the connection lasts only for a
        // measurement.
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
        text(&mut body, client_id);
        wire.packet(CONNECT, &body);
        wire.answer(CONNACK).await?;
        Ok(wire)
    }

    pub(super) async fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let mut body = self.id().to_be_bytes().to_vec();
        text(&mut body, filter);
        body.push(1);
        self.packet(SUBSCRIBE, &body);
        self.answer(SUBACK).await
    }

    pub(super) fn publish(&mut self, topic: &str, payload: &[u8]) {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
        text(&mut body, topic);
        body.extend(self.id().to_be_bytes());
        body.extend(payload);
        self.packet(PUBLISH | QOS_1, &body);
    }

    /// Sends the waiting messages, then returns the next received message; acknowledgements are
    /// skipped.
    pub(super) async fn turn(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            self.exchange().await?;
        }
    }

    /// A message that has been received already.
    pub(super) fn waiting(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    /// Sends the waiting messages.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outgoing).await?;
        self.outgoing.clear();
        Ok(())
    }

    /// Drops the received packets: on a connection that only sends, they are acknowledgements.
    pub(super) fn skim(&mut self) -> io::Result<()> {
        loop {
            self.incoming.clear();
            self.incoming.reserve(CHUNK);
            match self.stream.try_read_buf(&mut self.incoming) {
                Ok(0) => return Err(closed()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the waiting messages, then waits for data, reads it, and parses it.
    async fn exchange(&mut self) -> io::Result<Option<u8>> {
        self.flush().await?;
        self.incoming.drain(..self.read);
        self.read = 0;
        self.incoming.reserve(CHUNK);
        // Without TCP_QUICKACK, a broker without TCP_NODELAY delays the next message until an
        // acknowledgement that this end delays. The option has to be set again each time.
        #[cfg(target_os = "linux")]
        self.stream.set_quickack(true)?;
        if self.stream.read_buf(&mut self.incoming).await? == 0 {
            return Err(closed());
        }
        let mut last = None;
        while let Some((kind, start, end)) = self.next_packet()? {
            last = Some(kind & 0xf0);
            if kind & 0xf0 == PUBLISH {
                self.take(kind, start, end)?;
            }
            self.read = end;
        }
        Ok(last)
    }

    async fn answer(&mut self, wanted: u8) -> io::Result<()> {
        while self.exchange().await? != Some(wanted) {}
        Ok(())
    }

    /// The kind of the next packet and the begin and end of its body, if it is complete.
    fn next_packet(&self) -> io::Result<Option<(u8, usize, usize)>> {
        let bytes = &self.incoming[self.read..];
        let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
        let mut length = 0;
        for (n, byte) in rest.iter().take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                let start = self.read + n + 2;
                let end = start + length;
                return Ok((end <= self.incoming.len()).then_some((kind, start, end)));
            }
        }
        if rest.len() < 4 { Ok(None) } else { Err(malformed()) }
    }

    fn take(&mut self, kind: u8, start: usize, end: usize) -> io::Result<()> {
        let body = &self.incoming[start..end];
        let (length, rest) = body.split_first_chunk().ok_or_else(malformed)?;
        let (topic, mut payload) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(malformed)?;
        let mut ack = None;
        if kind & 0x06 != 0 {
            let (id, rest) = payload.split_first_chunk::<2>().ok_or_else(malformed)?;
            (ack, payload) = (Some(*id), rest);
        }
        let topic = String::from_utf8_lossy(topic).into_owned();
        self.messages.push_back(Message { topic, payload: payload.to_vec() });
        if let Some(id) = ack {
            self.packet(PUBACK, &id);
        }
        Ok(())
    }

    fn packet(&mut self, kind: u8, body: &[u8]) {
        self.outgoing.push(kind);
        let mut length = body.len();
        loop {
            let byte = (length & 0x7f) as u8;
            length >>= 7;
            self.outgoing.push(if length > 0 { byte | 0x80 } else { byte });
            if length == 0 {
                break;
            }
        }
        self.outgoing.extend(body);
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    // The topics and names of this program are far shorter.
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(text.as_bytes());
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the broker has closed the connection")
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the broker has sent what is not MQTT")
}
