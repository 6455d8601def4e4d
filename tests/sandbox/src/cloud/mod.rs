//! A stand-in for the cloud: the client-device operations of AWS IoT Greengrass V2, the operations
//! of AWS IoT SiteWise that disassociate and list assets, and the token exchange service that
//! provides their credentials, over HTTP on 127.0.0.1.
//!
//! It checks signatures and input as AWS does, fails as configured ([`Fault`]), and keeps a log of
//! every call. A test with boto3, the AWS SDK for Python, compares it with AWS's own service model.
//!
//! Where AWS does not document the behaviour (the disassociation of what is not associated, the
//! code of an entry's error, the index of entries in a ValidationException), a switch selects it,
//! so that a client can be tested with each variant.

mod associations;
mod calls;
mod control;
mod credentials;
mod errors;
mod exchange;
mod faults;
mod greengrass;
mod http;
mod model;
mod pages;
mod shared;
mod sigv4;
mod sitewise;
mod state;
mod target;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use tokio::net::TcpListener;

use associations::Group;
pub use calls::{CALLS_KEPT, Call, NAMES_KEPT, Operation};
use exchange::exchange;
use faults::Queued;
pub use faults::{Action, Fault};
use http::{Link, serve};
use model::Service;
use shared::Shared;
use sigv4::Signable;
pub use state::{NotAssociated, NotInProject};

/// The region in generated settings; the stand-in accepts signatures for any region.
pub const REGION: &str = "eu-central-1";

/// The options of a stand-in.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port on 127.0.0.1; 0 for any free port.
    pub port: u16,
    /// The only core device that exists; `None` accepts any name. Calls for other core devices fail
    /// with ResourceNotFoundException.
    pub core: Option<String>,
}

/// A running stand-in. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Cloud {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Cloud {
    /// Starts a stand-in on the current tokio runtime.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options.core));
        let handler = {
            let shared = Arc::clone(&shared);
            move |request| exchange(Arc::clone(&shared), request)
        };
        tokio::spawn(serve(listener, shared.link.subscribe(), handler));
        Ok(Self { shared, address })
    }

    /// Also serves the control API (see the `README.md` of this crate) on a port of its own, which
    /// works while the stand-in is offline. Returns its base URL.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn serve_control(&self, port: u16) -> io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        tokio::spawn(control::run(listener, Arc::clone(&self.shared)));
        Ok(format!("http://{address}"))
    }

    /// The endpoint of the API, `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address of the credentials, for `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub fn credentials_uri(&self) -> String {
        format!("{}{}", self.endpoint(), credentials::PATH)
    }

    /// The token for the credentials, for `AWS_CONTAINER_AUTHORIZATION_TOKEN`: 16 characters, new
    /// at each start.
    pub fn authorization_token(&self) -> String {
        self.shared.credentials.authorization_token.clone()
    }

    /// Associates devices now, as a user of the console does. Associated devices keep their
    /// timestamp.
    pub fn associate(&self, core: &str, things: impl IntoIterator<Item = impl Into<String>>) {
        let now = self.shared.lock().now();
        self.associate_at(core, things, now);
    }

    /// Associates devices with a timestamp, which is kept to the millisecond.
    pub fn associate_at(&self, core: &str, things: impl IntoIterator<Item = impl Into<String>>, at: SystemTime) {
        let things: Vec<String> = things.into_iter().map(Into::into).collect();
        self.shared.change(|state| state.associations.add(&Group::Core(core.to_owned()), &things, at));
    }

    /// Disassociates a device, as a user of the console does: this counts neither as a call nor as
    /// an effective disassociation.
    pub fn dissociate_in_console(&self, core: &str, thing: &str) {
        self.shared.change(|state| state.associations.remove(&Group::Core(core.to_owned()), thing));
    }

    /// The devices that are associated with the core, with their timestamps in seconds since the
    /// epoch.
    pub fn associated(&self, core: &str) -> BTreeMap<String, f64> {
        self.shared.lock().associations.members(&Group::Core(core.to_owned()))
    }

    /// The log of calls, oldest first; it keeps the last [`CALLS_KEPT`].
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.iter().cloned().collect()
    }

    /// The number of calls of an operation in the log, including those in flight.
    pub fn count(&self, operation: Operation) -> usize {
        self.shared.lock().calls.iter().filter(|call| call.operation == operation).count()
    }

    /// How often calls actually disassociated the thing from a core device.
    pub fn effective_disassociations(&self, thing: &str) -> usize {
        self.shared.lock().associations.taken_off(Operation::Disassociate, thing)
    }

    /// Clears the log of calls and the effective disassociations. Calls in flight do not return to
    /// the log.
    pub fn clear_calls(&self) {
        self.shared.change(|state| state.clear_observations());
    }

    /// Waits until the predicate holds. It is evaluated now and after every change (a call arrives,
    /// meets a fault, has its effect, ends; the associations change). Returns whether it held
    /// within the time.
    pub async fn wait_for(&self, mut predicate: impl FnMut(&Self) -> bool, timeout: Duration) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let holds = async {
            while !predicate(self) {
                // Cannot fail, because this handle keeps the sender.
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(timeout, holds).await.is_ok()
    }

    /// Adds a fault at the end of the queue.
    pub fn inject(&self, fault: Fault) {
        self.shared.change(|state| state.faults.inject(Queued { fault, about: None }));
    }

    /// Adds a fault for calls about one resource only: the core device, parent asset or project in
    /// the path.
    pub fn inject_about(&self, resource: &str, fault: Fault) {
        let about = Some(resource.to_owned());
        self.shared.change(|state| state.faults.inject(Queued { fault, about }));
    }

    /// The number of faults that calls can still meet. A fault no longer counts when a call meets
    /// it for the last of its times.
    pub fn faults_left(&self) -> usize {
        self.shared.lock().faults.len()
    }

    /// Clears all faults; hanging calls proceed.
    pub fn clear_faults(&self) {
        self.shared.clear_faults();
    }

    /// Makes lists show the state of this time ago. Changes before this call count as settled and
    /// are shown at once. `None`: lists are current.
    pub fn set_eventually_consistent(&self, lag: Option<Duration>) {
        self.shared.change(|state| state.associations.set_lag(lag));
    }

    /// Sets the effect of disassociating a device that is not associated.
    pub fn set_not_associated(&self, behaviour: NotAssociated) {
        self.shared.change(|state| state.settings.not_associated = behaviour);
    }

    /// Sets the maximum size of a page, at least 1; `None`: the caller's `maxResults`, else 100, in
    /// SiteWise 50.
    pub fn set_page_size(&self, cap: Option<usize>) {
        self.shared.change(|state| state.settings.page_size = cap.map(|cap| cap.max(1)));
    }

    /// Sets the index of the first entry in the `entries.N.thingName` of a ValidationException. AWS
    /// does not document whether it is 0, the default here, or 1.
    pub fn set_first_entry(&self, number: usize) {
        self.shared.change(|state| state.settings.first_entry = number);
    }

    /// Sets the error of the server's clock in seconds: for the `Date` of its responses, the check
    /// of the times in signatures, and the timestamps of associations. To a client it looks as if
    /// its own clock were wrong.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.change(|state| state.settings.clock_offset = seconds);
    }

    /// Disconnects the cloud from the network, or reconnects it. While offline, the stand-in closes
    /// every connection as soon as it is accepted, also for the credentials, and drops open
    /// connections. After this function returned no further call gets through, while calls that had
    /// arrived may still have their effect.
    pub fn offline(&self, offline: bool) {
        self.shared.set_offline(offline);
    }

    /// The bytes of a signed HTTP/1.1 request with valid credentials, for tests that use a socket
    /// themselves. `target` is the path and query, escaped; the path determines the service in the
    /// signature.
    pub fn signed_request(&self, method: &str, target: &str, body: &str) -> Vec<u8> {
        let date = sigv4::amz_date(self.shared.lock().now());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: HeaderMap = [
            (HOST, self.address.to_string()),
            (CONTENT_LENGTH, body.len().to_string()),
            (HeaderName::from_static("x-amz-date"), date.clone()),
            (HeaderName::from_static("x-amz-security-token"), self.shared.credentials.session_token.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::from_str(&value).ok()?)))
        .collect();
        let signable = Signable { method, path, query, headers: &headers, body: body.as_bytes() };
        let scope = [REGION, Service::of_path(path).signing_name()];
        let authorization = sigv4::sign(signable, &self.shared.credentials, &date, scope);
        let mut request = format!("{method} {target} HTTP/1.1\r\nauthorization: {authorization}\r\n").into_bytes();
        for (name, value) in &headers {
            request.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        request.extend([b"\r\n", body.as_bytes()].concat());
        request
    }

    /// Shell commands that make the AWS CLI and SDKs use this stand-in.
    pub fn environment(&self) -> String {
        [
            ("AWS_ENDPOINT_URL_GREENGRASSV2", self.endpoint()),
            ("AWS_ENDPOINT_URL_IOTSITEWISE", self.endpoint()),
            // For botocore and the AWS CLI: `api.127.0.0.1` is not a host name. Other SDKs have no
            // such variable.
            ("AWS_DISABLE_HOST_PREFIX_INJECTION", "true".to_owned()),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", self.credentials_uri()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", self.authorization_token()),
            ("AWS_REGION", REGION.to_owned()),
            // The name that botocore uses; it ignores the other one.
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ]
        .map(|(name, value)| format!("export {name}={value}\n"))
        .concat()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.shared.link.send_replace(Link::Closed);
    }
}
