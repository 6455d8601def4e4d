//! One message of the event-stream RPC protocol. The frame is that of AWS's event streams, so the
//! SDK's own codec reads and writes it.

use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Buf, Bytes, BytesMut};

/// The longest frame that is kept, in bytes. The classic nucleus transfers payloads of 128 KiB,
/// which are a third longer in base64.
pub(super) const MAX_FRAME: usize = 256 << 10;

/// The longest frame that is skipped. A length above this is invalid, and the connection is out of
/// step.
const MAX_SKIPPED: usize = 64 << 20;

/// The bytes of the total length, the length of the headers, and the checksum of both.
const PRELUDE: usize = 12;

/// The bytes of a frame without headers and payload.
const MIN_FRAME: usize = PRELUDE + 4;

const TYPE: &str = ":message-type";
const FLAGS: &str = ":message-flags";
const STREAM: &str = ":stream-id";

/// The value of `:message-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request, a response, or an event of a subscription.
    Message,
    /// A response that reports an error.
    Error,
    /// A ping, which requires a `PingResponse`.
    Ping,
    PingResponse,
    Connect,
    ConnectAck,
    /// The server does not understand the client, and ends the connection.
    ProtocolError,
    /// The server failed, and ends the connection.
    InternalError,
    /// A type that this version does not know.
    Other(i32),
}

impl Kind {
    const NUMBERED: [Self; 8] = [
        Self::Message,
        Self::Error,
        Self::Ping,
        Self::PingResponse,
        Self::Connect,
        Self::ConnectAck,
        Self::ProtocolError,
        Self::InternalError,
    ];

    fn of(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|n| Self::NUMBERED.get(n).copied()).unwrap_or(Self::Other(number))
    }

    fn number(self) -> i32 {
        match self {
            Self::Other(number) => number,
            known => (0..).zip(Self::NUMBERED).find(|(_, kind)| *kind == known).map_or(-1, |(number, _)| number),
        }
    }
}

/// The flag of a `ConnectAck` by which the server accepts the connection.
const ACCEPTED: i32 = 1;

/// The flag of the last `Message` or `Error` of its stream.
const LAST: i32 = 2;

/// A message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    flags: i32,
    /// The request to which it belongs; 0 is the connection itself.
    pub(super) stream: i32,
    /// The headers that are texts, by name.
    headers: Vec<(String, String)>,
    /// The payload, which is usually JSON.
    pub(super) payload: Bytes,
}

impl Frame {
    /// The frame that requests the connection.
    pub(super) fn connect(payload: Vec<u8>) -> Self {
        let headers = vec![(":version".to_owned(), "0.1.0".to_owned())];
        Self { kind: Kind::Connect, flags: 0, stream: 0, headers, payload: payload.into() }
    }

    /// A request on a stream of its own. `operation` and `model` are full names of the service
    /// model, `aws.greengrass#PublishToTopic` for instance.
    pub(super) fn request(stream: i32, operation: &str, model: &str, payload: Vec<u8>) -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![
            header(":content-type", "application/json"),
            header("operation", operation),
            header("service-model-type", model),
        ];
        Self { kind: Kind::Message, flags: 0, stream, headers, payload: payload.into() }
    }

    /// The response to a ping.
    pub(super) fn pong(ping: Self) -> Self {
        Self { kind: Kind::PingResponse, headers: Vec::new(), ..ping }
    }

    /// The value of a header that is a text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a `ConnectAck` accepts the connection.
    pub(super) fn is_accepted(&self) -> bool {
        self.kind == Kind::ConnectAck && self.flags & ACCEPTED != 0
    }

    /// Whether it is the last frame of its stream.
    pub(super) fn is_last(&self) -> bool {
        self.flags & LAST != 0
    }

    /// Encodes the frame.
    ///
    /// # Errors
    /// A header or the payload is longer than a frame can hold.
    pub(super) fn encode(&self) -> Result<Vec<u8>, String> {
        let number = |name: &'static str, value: i32| Header::new(name, HeaderValue::Int32(value));
        let mut message = Message::new(self.payload.clone())
            .add_header(number(TYPE, self.kind.number()))
            .add_header(number(FLAGS, self.flags))
            .add_header(number(STREAM, self.stream));
        for (name, value) in &self.headers {
            message = message.add_header(Header::new(name.clone(), HeaderValue::String(value.clone().into())));
        }
        let mut bytes = Vec::with_capacity(self.payload.len() + 256);
        write_message_to(&message, &mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let message = read_message_from(bytes).map_err(|error| error.to_string())?;
        let (mut kind, mut flags, mut stream, mut headers) = (None, 0, 0, Vec::new());
        for header in message.headers() {
            match (header.name().as_str(), header.value()) {
                (TYPE, HeaderValue::Int32(number)) => kind = Some(Kind::of(*number)),
                (FLAGS, HeaderValue::Int32(number)) => flags = *number,
                (STREAM, HeaderValue::Int32(number)) => stream = *number,
                (name, HeaderValue::String(text)) => headers.push((name.to_owned(), text.as_str().to_owned())),
                _ => {}
            }
        }
        let kind = kind.ok_or("it has no :message-type")?;
        Ok(Self { kind, flags, stream, headers, payload: message.payload().clone() })
    }
}

/// The result of decoding.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Frame(Frame),
    /// A frame of this many bytes that was not kept.
    Skipped(usize),
}

/// Splits a stream of bytes into frames. It keeps no frame above [`MAX_FRAME`]: one message must
/// neither exhaust the memory nor end the connection, which would lose all subscriptions.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// How many bytes of a frame that is too large are still to come.
    to_skip: usize,
    /// The size of that frame.
    skipping: usize,
}

impl Decoder {
    /// Takes the next frame from `bytes`; `None` if more bytes have to be read first.
    ///
    /// # Errors
    /// The bytes are not a frame, and the connection cannot be used any more.
    pub(super) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Decoded>, String> {
        if self.skipping == 0 {
            let Some(length) = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
                return Ok(None);
            };
            if !(MIN_FRAME..=MAX_SKIPPED).contains(&length) {
                return Err(format!("a frame of {length} bytes"));
            }
            if length <= MAX_FRAME {
                if bytes.len() < length {
                    bytes.reserve(length - bytes.len());
                    return Ok(None);
                }
                let frame = Frame::decode(&bytes[..length])?;
                bytes.advance(length);
                return Ok(Some(Decoded::Frame(frame)));
            }
            (self.skipping, self.to_skip) = (length, length);
        }
        let here = self.to_skip.min(bytes.len());
        bytes.advance(here);
        self.to_skip -= here;
        if self.to_skip > 0 {
            return Ok(None);
        }
        Ok(Some(Decoded::Skipped(std::mem::take(&mut self.skipping))))
    }
}

/// Decodes arbitrary bytes, in one piece and cut at `cut`. Both must give the same frames, and each
/// frame that is encoded again must decode to itself.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8], cut: usize) {
    let take = |pieces: &[&[u8]]| {
        let (mut decoder, mut buffer, mut taken) = (Decoder::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(decoded)) => taken.push(decoded),
                    Ok(None) => break,
                    Err(_) => return taken,
                }
            }
        }
        taken
    };
    let whole = take(&[bytes]);
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    assert_eq!(whole, take(&[first, second]), "cut at {cut}");
    for decoded in whole {
        if let Decoded::Frame(frame) = decoded
            && let Ok(again) = frame.encode()
        {
            assert_eq!(Frame::decode(&again).as_ref(), Ok(&frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The CONNECT of `awscrt` for the token `0123456789abcdef`, as it was recorded.
    fn request() -> Frame {
        let body = br#"{"topic":"a/b","publishMessage":{"binaryMessage":{"message":"e30="}}}"#.to_vec();
        Frame::request(7, "aws.greengrass#PublishToTopic", "aws.greengrass#PublishToTopicRequest", body)
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_also_byte_by_byte() {
        let (mut bytes, mut decoder, mut found) = (BytesMut::new(), Decoder::default(), Vec::new());
        let frames = [Frame::connect(br#"{"authToken":"x"}"#.to_vec()), request(), request()];
        for byte in frames.iter().flat_map(|frame| frame.encode().unwrap()) {
            bytes.extend_from_slice(&[byte]);
            if let Some(decoded) = decoder.decode(&mut bytes).unwrap() {
                found.push(decoded);
            }
        }
        assert_eq!(found, frames.map(Decoded::Frame));
        assert_eq!(request().header("operation"), Some("aws.greengrass#PublishToTopic"));
    }

    /// The bytes follow the specification of `application/vnd.amazon.eventstream` and were counted
    /// by hand, as an independent check of the codec.
    #[test]
    fn the_layout_is_that_of_an_event_stream() {
        let bytes = Frame::connect(b"{}".to_vec()).encode().unwrap();
        let headers = 3 * (1 + 1 + 4) + TYPE.len() + FLAGS.len() + STREAM.len() + (1 + 8 + 1 + 2 + 5);
        assert_eq!(bytes.len(), PRELUDE + headers + 2 + 4);
        assert_eq!(bytes[..4], u32::try_from(bytes.len()).unwrap().to_be_bytes());
        assert_eq!(bytes[4..8], u32::try_from(headers).unwrap().to_be_bytes());
        assert_eq!(bytes[8..12], crc32fast::hash(&bytes[..8]).to_be_bytes());
        assert_eq!(&bytes[12..31], b"\x0d:message-type\x04\0\0\0\x04");
        let end = bytes.len() - 4;
        assert_eq!(bytes[end..], crc32fast::hash(&bytes[..end]).to_be_bytes());
    }

    #[test]
    fn a_frame_that_is_too_large_is_read_past_and_the_next_one_is_taken() {
        let large = Frame::request(1, "a", "b", vec![b'x'; MAX_FRAME]).encode().unwrap();
        let (mut bytes, mut decoder) = (BytesMut::new(), Decoder::default());
        for piece in large.chunks(1000) {
            assert!(bytes.len() <= 1000, "nothing of it is kept");
            assert_eq!(decoder.decode(&mut bytes), Ok(None));
            bytes.extend_from_slice(piece);
        }
        bytes.extend_from_slice(&request().encode().unwrap());
        assert_eq!(decoder.decode(&mut bytes), Ok(Some(Decoded::Skipped(large.len()))));
        assert_eq!(decoder.decode(&mut bytes), Ok(Some(Decoded::Frame(request()))));
        assert!(bytes.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let good = request().encode().unwrap();
        let mut bad = good.clone();
        bad[20] ^= 1;
        for bytes in [&bad[..], &[0; 16], &[0xff; 16], &[0, 0, 0, 15, 0, 0, 0, 0]] {
            assert!(Decoder::default().decode(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
        assert_eq!(Decoder::default().decode(&mut BytesMut::from(&good[..good.len() - 1])), Ok(None));
    }

    #[test]
    fn every_type_has_its_number() {
        for (number, kind) in (0..).zip(Kind::NUMBERED) {
            assert_eq!((Kind::of(number), kind.number()), (kind, number));
        }
        assert_eq!(Kind::of(-1), Kind::Other(-1));
        assert_eq!(Kind::Other(99).number(), 99);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
            fuzz(&bytes, cut);
        }

        #[test]
        fn a_damaged_frame_is_an_error_or_incomplete(at in 0..100_usize, to: u8) {
            let good = request().encode().unwrap();
            let mut bad = good.clone();
            bad[at] = to;
            let decoded = Decoder::default().decode(&mut BytesMut::from(&bad[..]));
            prop_assert!(bad == good || !matches!(decoded, Ok(Some(Decoded::Frame(_)))));
        }
    }
}
