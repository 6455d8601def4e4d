//! The frames of the event-stream RPC protocol, implemented from its description and without the
//! agent's codec, so that an error in one of them shows in the tests.

use std::io::{self, Read};

/// The total length, the length of the headers, and the checksum of both.
const PRELUDE: usize = 12;

/// The values of headers that the protocol uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(i32),
    Text(String),
}

/// The message types that the server handles.
pub(super) mod kind {
    pub(in crate::ipc) const MESSAGE: i32 = 0;
    pub(in crate::ipc) const ERROR: i32 = 1;
    pub(in crate::ipc) const PING: i32 = 2;
    pub(in crate::ipc) const PING_RESPONSE: i32 = 3;
    pub(in crate::ipc) const CONNECT: i32 = 4;
    pub(in crate::ipc) const CONNECT_ACK: i32 = 5;
}

/// Flag of a `CONNECT_ACK`: the connection is accepted.
pub(super) const ACCEPTED: i32 = 1;
/// Flag of the last message of a stream.
pub(super) const TERMINATE: i32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) headers: Vec<(String, Value)>,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn new(kind: i32, flags: i32, stream: i32, texts: &[(&str, &str)], payload: Vec<u8>) -> Self {
        let numbers = [(":message-type", kind), (":message-flags", flags), (":stream-id", stream)];
        let numbers = numbers.into_iter().map(|(name, number)| (name.to_owned(), Value::Number(number)));
        let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned())));
        Self { headers: numbers.chain(texts).collect(), payload }
    }

    fn header(&self, name: &str) -> Option<&Value> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn number(&self, name: &str) -> i32 {
        match self.header(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.header(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            headers.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            headers.extend_from_slice(name.as_bytes());
            match value {
                Value::Number(number) => {
                    headers.push(4);
                    headers.extend_from_slice(&number.to_be_bytes());
                }
                Value::Text(text) => {
                    headers.push(7);
                    headers.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
                    headers.extend_from_slice(text.as_bytes());
                }
            }
        }
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = length(PRELUDE + headers.len() + self.payload.len() + 4).to_vec();
        bytes.extend_from_slice(&length(headers.len()));
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend_from_slice(&headers);
        bytes.extend_from_slice(&self.payload);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    /// Reads a frame whose part after the prelude has at most `max` bytes; also returns the length
    /// of the frame.
    pub(super) fn read(from: &mut impl Read, max: usize) -> io::Result<(Self, usize)> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut prelude = [0; PRELUDE];
        from.read_exact(&mut prelude)?;
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
        if crc32fast::hash(&prelude[..8]) != word(&prelude[8..]) {
            return Err(invalid("checksum of a prelude"));
        }
        let (total, headers) = (word(&prelude) as usize, word(&prelude[4..]) as usize);
        let rest = total.checked_sub(PRELUDE).ok_or_else(|| invalid("length"))?;
        if rest > max {
            return Err(invalid("a frame is too large"));
        }
        let mut bytes = vec![0; rest];
        from.read_exact(&mut bytes)?;
        let end = rest.checked_sub(4).filter(|end| headers <= *end).ok_or_else(|| invalid("length of the headers"))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&prelude);
        sum.update(&bytes[..end]);
        if sum.finalize() != word(&bytes[end..]) {
            return Err(invalid("checksum of a message"));
        }
        let headers_ = Self::headers(&bytes[..headers]).ok_or_else(|| invalid("headers"))?;
        Ok((Self { headers: headers_, payload: bytes[headers..end].to_vec() }, total))
    }

    fn headers(mut bytes: &[u8]) -> Option<Vec<(String, Value)>> {
        let take = |bytes: &mut &[u8], count: usize| {
            let (taken, rest) = bytes.split_at_checked(count)?;
            *bytes = rest;
            Some(taken.to_vec())
        };
        let mut headers = Vec::new();
        while !bytes.is_empty() {
            let length = usize::from(take(&mut bytes, 1)?[0]);
            let name = String::from_utf8(take(&mut bytes, length)?).ok()?;
            let value = match take(&mut bytes, 1)?[0] {
                4 => Value::Number(i32::from_be_bytes(take(&mut bytes, 4)?.try_into().ok()?)),
                7 => {
                    let length = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
                    Value::Text(String::from_utf8(take(&mut bytes, length.into())?).ok()?)
                }
                _ => return None,
            };
            headers.push((name, value));
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let frame = Frame::new(kind::MESSAGE, 0, 7, &[("operation", "x")], b"{}".to_vec());
        let bytes = frame.encode();
        assert_eq!(Frame::read(&mut bytes.as_slice(), 1000).unwrap(), (frame, bytes.len()));
        assert!(Frame::read(&mut bytes.as_slice(), 10).is_err());
        let mut bad = bytes.clone();
        bad[30] ^= 1;
        assert!(Frame::read(&mut bad.as_slice(), 1000).is_err());
    }
}
