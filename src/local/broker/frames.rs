//! The framing of the connection to the broker: the client library's codec, extended so that it
//! skips a PUBLISH that is too large to be kept in memory. The broker would deliver such a message
//! again at every connection, so an error would end the service. Skipping the message lets the
//! agent reject and acknowledge it.

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::{
    FixedHeader, Packet, Publish,
    mqttbytes::{Error, PacketType},
};

/// The longest packet that is kept in memory, in either direction, in bytes after the fixed header.
/// It is far above the default of `limits.maxPayloadBytes`, so that a rejection can echo the token
/// of most messages that are too large.
pub(super) const MAX_PACKET: usize = 1 << 20;

/// How many bytes of a skipped payload are kept. The token is mostly at the beginning.
const HEAD: usize = 64 << 10;

/// The most bytes of the fixed header (MQTT 3.1.1, section 2.2).
const MAX_FIXED_HEADER: usize = 5;

/// A frame that the broker sent.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Packet(Packet),
    /// A message whose payload has `size` bytes. `publish` has the first of them.
    Skipped {
        publish: Publish,
        size: usize,
    },
}

/// A PUBLISH whose payload is arriving and is not kept.
#[derive(Debug)]
struct Skipping {
    publish: Publish,
    head: BytesMut,
    size: usize,
    left: usize,
}

/// Splits the stream into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    skipping: Option<Skipping>,
}

impl Frames {
    /// Takes the next frame from `bytes`; `None` if it has not arrived yet.
    ///
    /// # Errors
    /// The bytes are not MQTT 3.1.1, or a packet other than a PUBLISH is too large.
    pub(super) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Error> {
        if self.skipping.is_none() {
            match Packet::read(bytes, MAX_PACKET) {
                Ok(packet) => return Ok(Some(Frame::Packet(packet))),
                Err(Error::InsufficientBytes(missing)) => {
                    bytes.reserve(missing);
                    return Ok(None);
                }
                Err(Error::PayloadSizeLimitExceeded(remaining)) => match begin_skipping(bytes, remaining)? {
                    Some(skipping) => self.skipping = Some(skipping),
                    None => return Ok(None),
                },
                Err(error) => return Err(error),
            }
        }
        Ok(self.skip(bytes))
    }

    /// Drops what has arrived of the skipped payload. Returns the frame when the whole payload has
    /// arrived.
    fn skip(&mut self, bytes: &mut BytesMut) -> Option<Frame> {
        let mut skipping = self.skipping.take()?;
        let arrived = bytes.len().min(skipping.left);
        let kept = arrived.min(HEAD.saturating_sub(skipping.head.len()));
        skipping.head.extend_from_slice(&bytes[..kept]);
        bytes.advance(arrived);
        skipping.left -= arrived;
        if skipping.left > 0 {
            self.skipping = Some(skipping);
            return None;
        }
        let Skipping { publish, head, size, .. } = skipping;
        Some(Frame::Skipped { publish: Publish { payload: head.freeze(), ..publish }, size })
    }
}

/// Takes the headers of a PUBLISH with `remaining` bytes after its fixed header from `bytes`;
/// `None` if they have not arrived yet. Any other packet of that size is a fault of the peer.
fn begin_skipping(bytes: &mut BytesMut, remaining: usize) -> Result<Option<Skipping>, Error> {
    let too_large = Error::PayloadSizeLimitExceeded(remaining);
    // The last byte of the remaining length is the first one without a continuation bit.
    let Some(last) = bytes.iter().take(MAX_FIXED_HEADER).skip(1).position(|byte| byte & 0x80 == 0) else {
        return Err(too_large);
    };
    let header = FixedHeader::new(bytes[0], last + 1, remaining);
    if header.packet_type()? != PacketType::Publish {
        return Err(too_large);
    }
    let topic_at = last + 2;
    let Some(length) = bytes.get(topic_at..topic_at + 2) else { return Ok(None) };
    let qos = (bytes[0] >> 1) & 0b11;
    let variable = 2 + usize::from(u16::from_be_bytes([length[0], length[1]])) + if qos > 0 { 2 } else { 0 };
    if bytes.len() < topic_at + variable {
        bytes.reserve(topic_at + variable - bytes.len());
        return Ok(None);
    }
    let publish = Publish::read(header, bytes.split_to(topic_at + variable).freeze())?;
    // A topic has at most 65,535 bytes, and `remaining` is above a mebibyte.
    let size = remaining - variable;
    Ok(Some(Skipping {
        publish: Publish { payload: Bytes::new(), ..publish },
        head: BytesMut::new(),
        size,
        left: size,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::{PubAck, QoS};

    use super::*;

    fn publish(size: usize, qos: QoS, retain: bool) -> Publish {
        let payload: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut publish = Publish::new("offboard/MyCore/commands/bench/sync", qos, payload);
        publish.pkid = u16::from(qos != QoS::AtMostOnce) * 7;
        publish.retain = retain;
        publish
    }

    fn bytes_of(packets: &[Packet]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX).unwrap();
        }
        bytes.to_vec()
    }

    /// The frames of a stream that arrives in pieces of `piece` bytes, and the most bytes that
    /// waited in memory.
    fn decode(stream: &[u8], piece: usize) -> (Vec<Frame>, usize) {
        let (mut frames, mut bytes, mut found, mut most) = (Frames::default(), BytesMut::new(), Vec::new(), 0);
        for piece in stream.chunks(piece) {
            bytes.extend_from_slice(piece);
            most = most.max(bytes.len());
            while let Some(frame) = frames.decode(&mut bytes).unwrap() {
                found.push(frame);
            }
        }
        (found, most)
    }

    #[test]
    fn a_message_above_the_limit_is_skipped_and_what_follows_arrives() {
        let ack = Packet::PubAck(PubAck::new(3));
        for (qos, retain) in [(QoS::AtMostOnce, false), (QoS::AtLeastOnce, true)] {
            let large = publish(5 << 20, qos, retain);
            let stream = bytes_of(&[ack.clone(), Packet::Publish(large.clone()), ack.clone()]);
            for piece in [1000, 8192, stream.len()] {
                let (found, most) = decode(&stream, piece);
                assert_eq!(found.len(), 3);
                assert_eq!((&found[0], &found[2]), (&Frame::Packet(ack.clone()), &Frame::Packet(ack.clone())));
                let Frame::Skipped { publish: skipped, size } = &found[1] else { panic!("{:?}", found[1]) };
                assert_eq!(*size, large.payload.len());
                assert_eq!(skipped.payload, large.payload.slice(..HEAD));
                let without = |publish: &Publish| Publish { payload: Bytes::new(), ..publish.clone() };
                assert_eq!(without(skipped), without(&large));
                assert!(most <= piece + 100, "{most} bytes waited for pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_limit_is_a_mebibyte_after_the_fixed_header() {
        let headers = 2 + "offboard/MyCore/commands/bench/sync".len() + 2;
        for (size, skipped) in [(MAX_PACKET - headers, false), (MAX_PACKET - headers + 1, true)] {
            let stream = bytes_of(&[Packet::Publish(publish(size, QoS::AtLeastOnce, false))]);
            let (found, _) = decode(&stream, 8192);
            assert_eq!(matches!(found.as_slice(), [Frame::Skipped { .. }]), skipped, "{size}");
        }
    }

    #[test]
    fn any_other_packet_above_the_limit_is_an_error() {
        // The packet is a SUBACK that claims two mebibytes.
        let mut bytes = BytesMut::from(&[0x90, 0x80, 0x80, 0x80, 0x01, 0, 1][..]);
        assert!(matches!(Frames::default().decode(&mut bytes), Err(Error::PayloadSizeLimitExceeded(_))));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_frames(cuts in proptest::collection::vec(1_usize..200_000, 1..20)) {
            let stream = bytes_of(&[
                Packet::Publish(publish(10, QoS::AtLeastOnce, false)),
                Packet::Publish(publish((1 << 20) + 9, QoS::AtLeastOnce, false)),
                Packet::Publish(publish(300, QoS::AtMostOnce, false)),
            ]);
            let whole = decode(&stream, stream.len()).0;
            let (mut frames, mut bytes, mut found, mut at) = (Frames::default(), BytesMut::new(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(stream.len());
                bytes.extend_from_slice(&stream[at..end]);
                while let Some(frame) = frames.decode(&mut bytes).unwrap() {
                    found.push(frame);
                }
                at = end;
                if at == stream.len() {
                    break;
                }
            }
            prop_assert_eq!(found, whole);
        }

        #[test]
        fn no_bytes_panic(stream in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = BytesMut::from(stream.as_slice());
            let mut frames = Frames::default();
            while let Ok(Some(_)) = frames.decode(&mut bytes) {}
        }
    }
}
