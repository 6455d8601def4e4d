//! One exchange with the stand-in: it logs the call, checks the signature, applies a fault,
//! performs the operation and responds.

use std::sync::Arc;
use std::time::SystemTime;

use hyper::body::Bytes;
use hyper::header::{DATE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::Value;

use super::calls::{CallId, Content, Operation};
use super::credentials;
use super::errors::{ApiError, success};
use super::faults::{Action, Traits};
use super::greengrass;
use super::http::{Body, Cut, Reply, bare, reply, truncated};
use super::model::Service;
use super::shared::Shared;
use super::sigv4::{self, Signable};
use super::sitewise;
use super::state::shifted;
use super::target::Target;

/// The operation that a request asks for.
#[derive(Debug)]
enum Asked {
    Credentials,
    Operation(Target),
}

/// A request with the data to perform it.
#[derive(Debug)]
struct Arrival {
    asked: Asked,
    request: Request<Bytes>,
    content: Content,
}

/// Responds to one request, or cuts its connection.
pub(super) async fn exchange(shared: Arc<Shared>, request: Request<Bytes>) -> Reply {
    let mut reply = match Asked::find(&request) {
        Err(error) => Ok(error.response()),
        Ok(asked) => {
            let content = asked.content(request.body());
            let arrival = Arc::new(Arrival { asked, request, content });
            let call = OpenCall::begin(Arc::clone(&shared), &arrival)?;
            let reply = answer(&shared, arrival, call.id).await;
            call.end(reply)
        }
    };
    if let Ok(response) = &mut reply
        && !response.headers().contains_key(DATE)
    {
        set_date(response, shared.lock().now());
    }
    reply
}

async fn answer(shared: &Arc<Shared>, arrival: Arc<Arrival>, id: CallId) -> Reply {
    if let Some(refusal) = arrival.refusal(shared) {
        return Ok(refusal);
    }
    // Subscribes before the fault is taken, so that a clearing of the faults in between is noticed.
    let mut released = shared.released.subscribe();
    let fault = shared.change(|state| state.faults.take(&arrival.traits()));
    let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match &fault {
        Some(Action::Status { status: number, code, message, retry_after }) => {
            Ok(arrival.error(status(*number), code.as_deref(), message, retry_after.as_deref()))
        }
        Some(Action::Deny) => {
            let message = "User is not authorized to perform this action";
            Ok(arrival.error(StatusCode::FORBIDDEN, Some("AccessDeniedException"), message, None))
        }
        Some(Action::CutBefore) => Err(Cut),
        Some(Action::CutAfter) => {
            arrival.perform(shared, id, None);
            Err(Cut)
        }
        Some(Action::EmptyOk) => Ok(bare(StatusCode::OK)),
        Some(Action::PortalPage { status: number }) => {
            let page = "<!doctype html><title>Sign in</title><p>Sign in to use this network.</p>\n";
            Ok(reply(status(*number), "text/html", page))
        }
        Some(Action::NullCredentials) => Ok(reply(StatusCode::OK, "text/html", "null")),
        Some(Action::Date(seconds)) => {
            let mut response = arrival.perform(shared, id, None);
            set_date(&mut response, shifted(shared.lock().now(), *seconds));
            Ok(response)
        }
        Some(Action::TruncatedList) => truncated(arrival.perform(shared, id, None)).await,
        Some(Action::Hang) => {
            // Fails only when the stand-in is dropped, and this connection with it.
            released.changed().await.map_err(|_| Cut)?;
            Ok(arrival.perform(shared, id, None))
        }
        Some(Action::Delay(delay)) => {
            let (shared, delay) = (Arc::clone(shared), *delay);
            // A separate task, which continues when hyper drops this future with the client's
            // connection.
            let late = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                arrival.perform(&shared, id, None)
            });
            late.await.map_err(|_| Cut)
        }
        Some(Action::EntryErrors { .. } | Action::RejectEntry { .. } | Action::RepeatToken) | None => {
            Ok(arrival.perform(shared, id, fault.as_ref()))
        }
    }
}

impl Asked {
    fn find(request: &Request<Bytes>) -> Result<Self, ApiError> {
        if request.uri().path() == credentials::PATH && request.method() == hyper::Method::GET {
            return Ok(Self::Credentials);
        }
        Target::find(request).map(Self::Operation)
    }

    fn content(&self, body: &[u8]) -> Content {
        let Self::Operation(target) = self else { return Content::default() };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match target.service {
            Service::Greengrass => Content { things: greengrass::names(&body), ..Content::default() },
            Service::SiteWise => sitewise::content(target, &body),
        }
    }
}

impl Arrival {
    fn traits(&self) -> Traits<'_> {
        let (operation, about, continues) = match &self.asked {
            Asked::Credentials => (Operation::Credentials, "", false),
            Asked::Operation(target) => (target.operation, target.about.as_str(), target.next_token().is_some()),
        };
        Traits { operation, about, things: &self.content.things, continues }
    }

    fn core(&self) -> &str {
        match &self.asked {
            Asked::Credentials => "",
            Asked::Operation(target) => target.core(),
        }
    }

    /// The response to a caller without valid credentials.
    fn refusal(&self, shared: &Shared) -> Option<Response<Body>> {
        let Asked::Operation(target) = &self.asked else {
            return shared.credentials.refusal(&self.request);
        };
        let signable = Signable {
            method: self.request.method().as_str(),
            path: self.request.uri().path(),
            query: self.request.uri().query().unwrap_or_default(),
            headers: self.request.headers(),
            body: self.request.body(),
        };
        let now = shared.lock().now();
        let service = target.service.signing_name();
        sigv4::verify(signable, &shared.credentials, service, now).err().map(ApiError::response)
    }

    fn perform(&self, shared: &Shared, id: CallId, fault: Option<&Action>) -> Response<Body> {
        let Asked::Operation(target) = &self.asked else {
            return shared.credentials.response(shared.lock().now());
        };
        let (known, body) = (shared.core.as_deref(), self.request.body());
        let answer = shared.change(|state| match target.service {
            Service::Greengrass => greengrass::perform(state, target, known, body, id, fault).map(Some),
            Service::SiteWise => sitewise::perform(state, target, body, id, fault),
        });
        match answer {
            Ok(body) => success(body.as_ref()),
            Err(error) => error.response(),
        }
    }

    /// An error that a fault requests, in the format of the service that sends it.
    fn error(
        &self,
        status: StatusCode,
        code: Option<&str>,
        message: &str,
        retry_after: Option<&str>,
    ) -> Response<Body> {
        let Asked::Operation(target) = &self.asked else {
            return reply(status, "text/plain", message.to_owned());
        };
        let error = ApiError::new(status, code.unwrap_or_default(), message).retry_after(retry_after).about(target);
        if code.is_some() { error.response() } else { error.without_body() }
    }
}

fn set_date(response: &mut Response<Body>, time: SystemTime) {
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(time)) {
        response.headers_mut().insert(DATE, date);
    }
}

/// A call in the log that has not ended. If it is dropped before its end, the client has
/// disconnected or the link was cut.
struct OpenCall {
    shared: Arc<Shared>,
    id: CallId,
}

impl OpenCall {
    /// Logs a call, unless its connection was opened before the cloud went offline.
    fn begin(shared: Arc<Shared>, arrival: &Arrival) -> Result<Self, Cut> {
        let Traits { operation, about, .. } = arrival.traits();
        let id = shared.change(|state| {
            if state.offline {
                return Err(Cut);
            }
            Ok(state.calls.begin(operation, about, arrival.core(), &arrival.content))
        })?;
        Ok(Self { shared, id })
    }

    fn end(self, reply: Reply) -> Reply {
        self.shared.change(|state| {
            let reply = if state.offline { Err(Cut) } else { reply };
            if let Some(call) = state.calls.get_mut(self.id) {
                call.status = reply.as_ref().ok().map(|response| response.status().as_u16());
                call.ended = Some(SystemTime::now());
            }
            reply
        })
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if let Some(call) = state.calls.get_mut(self.id) {
                call.ended.get_or_insert_with(SystemTime::now);
            }
        });
    }
}
