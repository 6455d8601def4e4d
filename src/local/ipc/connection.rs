//! One connection to the IPC server: the handshake, frames in both directions, and requests that
//! wait for their response.

use std::{io, time::Duration};

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    environment::Environment,
    frame::{Decoded, Decoder, Frame, Kind},
    operation::{Request, ServiceError, configuration_value, service_error},
};

/// The limit on the handshake, on a response, and on each write. A server that takes longer counts
/// as gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The room for each read from the socket, in bytes.
const READ: usize = 8 << 10;

/// The component whose configuration names the port of the token exchange service.
const TOKEN_EXCHANGE: &str = "aws.greengrass.TokenExchangeService";

/// Why a connection was not made, or has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server accepts neither the token nor the name.
    #[error(
        "the server accepts neither the component's token nor its name; restart the component, which gives it a new token"
    )]
    Refused,
    #[error("the server closed the connection")]
    Closed,
    #[error("the server does not answer within {} s", PATIENCE.as_secs())]
    NoResponse,
    #[error("the server does not speak the protocol of Greengrass IPC ({0})")]
    Protocol(String),
    #[error("the server refuses a request ({0})")]
    Service(ServiceError),
}

impl Failure {
    /// Whether the server ended the connection, as opposed to not responding.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Io(error) => is_end(error),
            _ => false,
        }
    }
}

/// The identity with which to connect.
enum Identity<'i> {
    Token(&'i str),
    /// Valid on nucleus lite only, and from a process in the component's unit.
    Component(&'i str),
}

/// A connection that the server accepted.
pub(super) struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    decoder: Decoder,
    incoming: BytesMut,
    last_stream: i32,
}

impl Connection {
    /// Connects with the token, or else with the component's name, and keeps the token that the
    /// server gives for the name.
    ///
    /// # Errors
    /// The server cannot be reached, or accepts neither.
    pub(super) async fn open(environment: &Environment) -> Result<Self, Failure> {
        let by_token = match environment.token() {
            Some(token) => Self::open_as(environment, Identity::Token(&token)).await,
            None => Err(Failure::Refused),
        };
        match by_token {
            // Nucleus lite closes the connection; the classic nucleus refuses it with a message.
            Err(Failure::Refused | Failure::Closed) => {}
            Err(Failure::Io(error)) if is_end(&error) => {}
            other => return other.map(|(connection, _)| connection),
        }
        match Self::open_as(environment, Identity::Component(&environment.component)).await {
            Ok((connection, token)) => {
                if let Some(token) = token {
                    environment.set_token(token);
                }
                Ok(connection)
            }
            Err(Failure::Closed) => Err(Failure::Refused),
            Err(Failure::Io(error)) if is_end(&error) => Err(Failure::Refused),
            Err(failure) => Err(failure),
        }
    }

    /// Connects, and returns the token that the server gives.
    async fn open_as(environment: &Environment, identity: Identity<'_>) -> Result<(Self, Option<String>), Failure> {
        let opening = async {
            let (read, write) = UnixStream::connect(&environment.socket).await?.into_split();
            let incoming = BytesMut::with_capacity(READ);
            let mut connection = Self { read, write, decoder: Decoder::default(), incoming, last_stream: 0 };
            let identity = match identity {
                Identity::Token(token) => json!({"authToken": token}),
                Identity::Component(name) => json!({"componentName": name}),
            };
            connection.write(&Frame::connect(identity.to_string().into_bytes())).await?;
            let ack = connection.next().await?;
            match ack.kind {
                Kind::ConnectAck if ack.is_accepted() => Ok((connection, ack.header("svcuid").map(str::to_owned))),
                Kind::ConnectAck => Err(Failure::Refused),
                kind => Err(Failure::Protocol(format!("{kind:?} in place of ConnectAck"))),
            }
        };
        timeout(PATIENCE, opening).await.map_err(|_| Failure::NoResponse)?
    }

    /// Returns the next frame. Cancel-safe.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn next(&mut self) -> Result<Frame, Failure> {
        loop {
            match self.decoder.decode(&mut self.incoming).map_err(Failure::Protocol)? {
                Some(Decoded::Frame(frame)) => match frame.kind {
                    Kind::ProtocolError | Kind::InternalError => {
                        let kind = frame.kind;
                        return Err(Failure::Protocol(format!("it reports {kind:?}, {}", service_error(&frame))));
                    }
                    _ => return Ok(frame),
                },
                Some(Decoded::Skipped(bytes)) => {
                    tracing::warn!(bytes, "a message over Greengrass IPC is too large to be read, and is skipped");
                }
                None => {
                    self.incoming.reserve(READ);
                    if self.read.read_buf(&mut self.incoming).await? == 0 {
                        return Err(Failure::Closed);
                    }
                }
            }
        }
    }

    /// Sends a request and returns its stream. Not cancel-safe: the connection cannot be used after
    /// a cancellation.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn send(&mut self, request: Request) -> Result<i32, Failure> {
        self.last_stream = self.last_stream.checked_add(1).ok_or(Failure::Closed)?;
        self.write(&request.on(self.last_stream)).await?;
        Ok(self.last_stream)
    }

    /// Responds to a ping.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn pong(&mut self, ping: Frame) -> Result<(), Failure> {
        self.write(&Frame::pong(ping)).await
    }

    async fn write(&mut self, frame: &Frame) -> Result<(), Failure> {
        let bytes = frame.encode().map_err(Failure::Protocol)?;
        Ok(timeout(PATIENCE, self.write.write_all(&bytes)).await.map_err(|_| Failure::NoResponse)??)
    }

    /// Sends a request and waits for its response, on a connection that has no subscription.
    ///
    /// # Errors
    /// The connection has ended, or the server refuses the request.
    pub(super) async fn call(&mut self, request: Request) -> Result<Frame, Failure> {
        let calling = async {
            let stream = self.send(request).await?;
            loop {
                let frame = self.next().await?;
                match frame.kind {
                    Kind::Ping => self.pong(frame).await?,
                    Kind::Error if frame.stream == stream => return Err(Failure::Service(service_error(&frame))),
                    Kind::Message if frame.stream == stream => return Ok(frame),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, calling).await.map_err(|_| Failure::NoResponse)?
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The port of the token exchange service, and the token that it requires now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenExchangeAccess {
    /// The port of the service.
    pub(crate) port: u16,
    /// The token that the service requires.
    pub(crate) token: String,
}

/// Queries the server for the present port of the token exchange service, and for a new token if
/// the present one is invalid.
///
/// # Errors
/// Why there is no result.
pub(crate) async fn token_exchange_access(environment: &Environment) -> Result<TokenExchangeAccess, String> {
    let failed = |failure: Failure| format!("Greengrass IPC at {}: {failure}", environment.socket.display());
    let mut connection = Connection::open(environment).await.map_err(failed)?;
    // The classic nucleus stores the configured port, where 0 means any, apart from the one in use.
    // Nucleus lite has `port` alone.
    for key in ["activePort", "port"] {
        match connection.call(Request::get_configuration(TOKEN_EXCHANGE, key)).await {
            Ok(response) => {
                let port = configuration_value(&response.payload, key).as_ref().and_then(port);
                if let (Some(port), Some(token)) = (port, environment.token()) {
                    return Ok(TokenExchangeAccess { port, token });
                }
            }
            Err(Failure::Service(error)) if error.code == "ResourceNotFoundError" => {}
            Err(failure) => return Err(failed(failure)),
        }
    }
    Err(format!("the configuration of {TOKEN_EXCHANGE} names no port in use; check that this component is deployed"))
}

/// Parses a port, which is a number or, on nucleus lite, a text.
fn port(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_a_number_or_a_text_and_is_not_zero() {
        assert_eq!([json!(8080), json!("8080")].map(|value| port(&value)), [Some(8080); 2]);
        for none in [json!(0), json!("0"), json!(70000), json!("x"), json!(null), json!([1])] {
            assert_eq!(port(&none), None, "{none}");
        }
    }
}
