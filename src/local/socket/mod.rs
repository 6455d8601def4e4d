//! The local socket, `agent.sock` in the data directory: a way in for people on the core, who need
//! neither broker nor certificate. JSON either way, one object a line: `{"operation": …, "payload":
//! {…}}` in, `{"result": …, "payload": {…}}` out, with the payloads that cross the broker. Who asks
//! is the user at the other end, by the kernel's word.

mod answers;
mod lines;
mod places;
mod results;
mod server;

pub(crate) use answers::{Answers, Asked, Hold};
pub(crate) use results::SocketResults;
pub(crate) use server::Socket;
