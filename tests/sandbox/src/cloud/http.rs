//! HTTP/1.1 on a local socket, with simulated network failures: connections that are cut, bodies
//! that end early, an unreachable server.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Maximum size of a request's body in bytes. A full batch of 100 names of 128 characters is below
/// 64 KiB.
const BODY_LIMIT: usize = 1024 * 1024;

/// Maximum number of open connections; more connections wait in the listener's backlog.
const CONNECTIONS: usize = 1024;

/// Pause after a failed `accept`, which fails again at once while the process is out of
/// descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) type Body = BoxBody<Bytes, Cut>;

/// A response, or a cut connection.
pub(super) type Reply = Result<Response<Body>, Cut>;

/// The reason for a connection to end without a response. Any error of a service makes hyper drop
/// the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection cut on purpose")
    }
}

impl Error for Cut {}

/// The state of the network link to the server. Each change drops the open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// Connections are closed as soon as they are accepted.
    Down,
    /// The server has stopped.
    Closed,
}

/// Serves until the link is closed.
pub(super) async fn serve<H, F>(listener: TcpListener, link: watch::Receiver<Link>, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let mut own = link.clone();
            if *own.borrow_and_update() == Link::Up {
                tokio::spawn(connection(stream, own, handler.clone(), permit));
            }
        }
    };
    let mut closing = link.clone();
    tokio::select! {
        () = accept => {}
        _ = closing.wait_for(|link| *link == Link::Closed) => {}
    }
}

async fn connection<H, F>(stream: TcpStream, mut link: watch::Receiver<Link>, handler: H, permit: OwnedSemaphorePermit)
where
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Reply>,
{
    let answer = |request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => handler(Request::from_parts(head, body.to_bytes())).await,
            Err(cause) if cause.is::<http_body_util::LengthLimitError>() => Ok(too_large()),
            Err(_) => Err(Cut),
        }
    };
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    tokio::select! {
        // The log of calls shows whether the client or a fault ended the connection.
        _ = serving => {}
        _ = link.changed() => {}
    }
    drop(permit);
}

fn too_large() -> Response<Body> {
    reply(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "send a body of at most 1 MiB\n")
}

/// A response with a body.
pub(super) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response with a status alone.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = reply(status, "", Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// The response, with the connection cut in the middle of the body.
pub(super) async fn truncated(response: Response<Body>) -> Reply {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, Truncated { length: body.len(), body, step: Step::Half }.boxed()))
}

/// A body that announces its whole length, sends one half, and fails.
struct Truncated {
    length: usize,
    body: Bytes,
    step: Step,
}

enum Step {
    Half,
    Flush,
    Fail,
}

impl hyper::body::Body for Truncated {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.step {
            Step::Half => {
                self.step = Step::Flush;
                Poll::Ready(Some(Ok(Frame::data(self.body.slice(..self.length / 2)))))
            }
            // An error makes hyper drop the connection with all buffered data; being pending once
            // makes hyper flush first.
            Step::Flush => {
                self.step = Step::Fail;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Step::Fail => Poll::Ready(Some(Err(Cut))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length as u64)
    }
}
