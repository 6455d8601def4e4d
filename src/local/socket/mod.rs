//! The local socket, `agent.sock` in the data directory: an interface for people on the core
//! device, who need neither the broker nor a certificate. Requests and responses are JSON, one
//! object on each line: `{"operation": …, "payload": {…}}` in, `{"result": …, "payload": {…}}` out,
//! with the payloads that are used on the broker. The client is the user at the other end, as the
//! kernel identifies it.

mod lines;
mod places;
mod responses;
mod results;
mod server;

pub(crate) use responses::{Asked, Hold, Responses};
pub(crate) use results::SocketResults;
pub(crate) use server::Socket;
