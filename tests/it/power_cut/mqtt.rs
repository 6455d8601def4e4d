//! What crossed the socket to the broker: commands that came in, and what acknowledged them.

use std::collections::HashMap;

use super::trace::Call;

/// A message or an acknowledgement, at the place in the trace from which on it may have been seen.
pub struct Mark {
    pub at: usize,
    pub what: What,
}

pub enum What {
    /// A command arrived.
    Command { topic: String, payload: Vec<u8> },
    /// The agent acknowledged the delivery of the command with this number, counted from 0.
    Acknowledged(usize),
    /// The agent published.
    Published { topic: String, payload: Vec<u8> },
}

#[derive(Default)]
struct Connection {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Commands by packet id that were not acknowledged.
    open: HashMap<u16, usize>,
}

/// All marks, in the order of the trace.
pub fn marks(calls: &[Call]) -> Vec<Mark> {
    let mut connections: HashMap<String, Connection> = HashMap::new();
    let mut marks = Vec::new();
    let mut commands = 0;
    for call in calls {
        let out = match call.name.as_str() {
            "write" | "writev" | "sendto" | "sendmsg" => true,
            "read" | "readv" | "recvfrom" | "recvmsg" => false,
            _ => continue,
        };
        let Some((_, rest)) = call.text.split_once("<TCP:[") else { continue };
        let Some((ends, _)) = rest.split_once(']') else { continue };
        let bytes = call.data();
        // A CONNECT comes first: everything else is a conversation with the cloud.
        let connect = out && bytes.first() == Some(&0x10) && bytes.windows(4).take(8).any(|four| four == b"MQTT");
        if connect {
            connections.insert(ends.to_owned(), Connection::default());
        }
        let Some(connection) = connections.get_mut(ends) else { continue };
        let buffer = if out { &mut connection.outgoing } else { &mut connection.incoming };
        buffer.extend(bytes);
        while let Some((head, body)) = packet(if out { &mut connection.outgoing } else { &mut connection.incoming }) {
            let what = match (head >> 4, out) {
                (3, true) => {
                    let (topic, payload, _) = publish(head, &body);
                    What::Published { topic, payload }
                }
                (3, false) => {
                    let (topic, payload, id) = publish(head, &body);
                    connection.open.insert(id, commands);
                    commands += 1;
                    What::Command { topic, payload }
                }
                (4, true) => {
                    let id = u16::from_be_bytes([body[0], body[1]]);
                    What::Acknowledged(connection.open.remove(&id).expect("a PUBACK for what was not delivered"))
                }
                _ => continue,
            };
            // What goes out may be seen as soon as it is sent; what came in was there when the call
            // returned.
            marks.push(Mark { at: if out { call.begin } else { call.end }, what });
        }
    }
    marks
}

/// Takes the first whole packet.
fn packet(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut at) = (0_usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if bytes.len() < at + length {
        return None;
    }
    let rest = bytes.split_off(at + length);
    let whole = std::mem::replace(bytes, rest);
    Some((whole[0], whole[at..].to_vec()))
}

/// Topic, payload and packet id (0 at QoS 0).
fn publish(head: u8, body: &[u8]) -> (String, Vec<u8>, u16) {
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
    let rest = &body[2 + length..];
    if head & 0b110 == 0 {
        return (topic, rest.to_vec(), 0);
    }
    (topic, rest[2..].to_vec(), u16::from_be_bytes([rest[0], rest[1]]))
}
