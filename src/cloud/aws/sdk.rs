//! What the clients of the AWS services have in common: how they are set up, and what their
//! failures mean. The SDK's retries are off: the agent makes the retries itself, across restarts
//! and for each entry.

use std::{error::Error, sync::Arc, time::Duration};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{SharedCredentialsProvider, error::CredentialsError};
use aws_sdk_greengrassv2::{
    config::{IdentityCache, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use aws_smithy_runtime_api::{
    client::{interceptors::dyn_dispatch_hint, orchestrator::HttpResponse},
    http::Headers,
};
use aws_smithy_types::{config_bag::ConfigBag, retry::RetryConfig, timeout::TimeoutConfig};

use super::{
    classify::{classify, http_date, retry_after},
    credentials::{AccessSource, TokenExchange},
    http::{self, Failed, NotResolved},
    proxies::Proxies,
};
use crate::{
    config::Config,
    domain::{CERTIFICATE_REFUSED, NAME_NOT_RESOLVED, PROXY_FAILED},
    domain::{CallError, CallFault, Service},
    runtime::{
        clock::Clock,
        errors::{chain, find},
    },
};

/// The limit from the name resolution to the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// The limit from sending a request to the head of its response. Behind a black hole nothing else
/// ends the wait.
const READ: Duration = Duration::from_secs(30);
/// The limit on a whole call, which includes loading the credentials.
const ATTEMPT: Duration = Duration::from_secs(75);

/// Receives each difference between the cloud's clock and the local clock, in milliseconds.
pub(crate) type SkewSink = Box<dyn Fn(i64) + Send + Sync>;

/// The settings that all clients share.
pub(super) struct Sdk {
    base: SdkConfig,
    fips: bool,
    watch: ClockWatch,
    credentials: TokenExchange,
    clock: Clock,
    region: Arc<str>,
}

impl Sdk {
    /// The settings for `config`'s region. Makes no call.
    ///
    /// # Errors
    /// The file that `GG_ROOT_CA_PATH` names, or the certificates in it, cannot be used.
    pub(super) fn new(
        config: &Config,
        clock: Clock,
        skew: SkewSink,
        source: Option<AccessSource>,
    ) -> Result<Self, String> {
        let roots = http::root_certificates(std::env::var_os("GG_ROOT_CA_PATH"))?;
        let credentials = TokenExchange::new(http::local(&roots), clock.clone(), source);
        let base = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .http_client(http::outward(&roots, Proxies::from_env()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT)
                    .read_timeout(READ)
                    .operation_attempt_timeout(ATTEMPT)
                    .build(),
            )
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .app_name(AppName::new("offboard").map_err(|error| error.to_string())?)
            .build();
        let fips = wants_fips(std::env::var("AWS_USE_FIPS_ENDPOINT").ok());
        if fips && config.cloud.of(Service::Greengrass).is_none() {
            tracing::warn!(
                "AWS_USE_FIPS_ENDPOINT is set: the cloud's FIPS endpoint is used, but the TLS of this program (rustls with ring) \
                 is not validated for FIPS 140"
            );
        }
        let watch = ClockWatch { clock: clock.clone(), skew: Arc::from(skew) };
        Ok(Self { base, fips, watch, credentials, clock, region: config.region.as_str().into() })
    }

    /// The settings for a service, at its own endpoint or at the configured one.
    pub(super) fn at(&self, endpoint: Option<&str>) -> SdkConfig {
        let builder = self.base.to_builder();
        match endpoint {
            Some(endpoint) => builder.endpoint_url(endpoint).build(),
            None if self.fips => builder.use_fips(true).build(),
            None => builder.build(),
        }
    }

    /// Measures the difference between the clocks at each response.
    pub(super) fn clock_watch(&self) -> ClockWatch {
        self.watch.clone()
    }

    /// The part of the settings that is needed after the clients are made: it classifies responses.
    pub(super) fn classifier(&self) -> ResponseClassifier {
        ResponseClassifier {
            credentials: self.credentials.clone(),
            clock: self.clock.clone(),
            region: Arc::clone(&self.region),
        }
    }
}

/// Classifies responses: says what a failed call means.
#[derive(Clone)]
pub(super) struct ResponseClassifier {
    credentials: TokenExchange,
    clock: Clock,
    region: Arc<str>,
}

impl ResponseClassifier {
    /// The result of a call. `refine` adds what the service's own message says about a failure.
    pub(super) fn answer<O: RequestId, E>(
        &self,
        result: Result<O, SdkError<E, HttpResponse>>,
        refine: impl FnOnce(&E, CallFault) -> CallFault,
    ) -> Result<O, CallError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        genuine(result.map_err(|error| self.error(&error, refine))?)
    }

    fn error<E>(&self, error: &SdkError<E, HttpResponse>, refine: impl FnOnce(&E, CallFault) -> CallFault) -> CallError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let plain = |fault: CallFault, code: &str| CallError::new(fault, code, &chain(error));
        if let Some(cause) = find::<CredentialsError>(error) {
            // The error's own first sentence says only that there are no credentials.
            let text = cause.source().map_or_else(|| chain(cause), chain);
            return CallError::new(CallFault::Credentials, "NoCredentials", &text);
        }
        match error {
            // It is certain that nothing was sent only if the connection was never made.
            SdkError::DispatchFailure(_) if never_connected(error) => self.unreachable(error),
            SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_) => {
                plain(CallFault::NoResponse, "NoAnswer")
            }
            SdkError::ServiceError(answer) => self.service_error(answer.err(), answer.raw(), refine),
            _ => plain(CallFault::NotUnderstood, "NotTheApi"),
        }
    }

    /// A connection that was not made: to which host, through which proxy, and why.
    fn unreachable(&self, error: &(dyn Error + 'static)) -> CallError {
        let failed = |code: &str, text: &str| CallError::new(CallFault::Unreachable, code, text);
        let Some(route) = find::<Failed>(error) else { return failed("Unreachable", &chain(error)) };
        // The client's own first sentence says only that it could not connect.
        let why = find::<hyper_util::client::legacy::Error>(error)
            .and_then(Error::source)
            .map_or_else(|| chain(error), chain);
        if let Some(rustls::Error::InvalidCertificate(_)) = find(error) {
            return failed(CERTIFICATE_REFUSED, &format!("{route}: {why}"));
        }
        if route.proxy.is_some() {
            return failed(PROXY_FAILED, &format!("{route}: {why}"));
        }
        match find::<NotResolved>(error) {
            Some(NotResolved { name, reason }) if name.contains(&*self.region) => {
                failed(NAME_NOT_RESOLVED, &format!("{name}, region {}: {reason}", self.region))
            }
            Some(NotResolved { name, reason }) => failed(NAME_NOT_RESOLVED, &format!("{name}: {reason}")),
            None => failed("Unreachable", &format!("{route}: {why}")),
        }
    }

    fn service_error<E: ProvideErrorMetadata>(
        &self,
        error: &E,
        raw: &HttpResponse,
        refine: impl FnOnce(&E, CallFault) -> CallFault,
    ) -> CallError {
        let status = raw.status().as_u16();
        let fault = refine(error, classify(status, error.code()));
        let message = match error.message() {
            Some(message) => message.to_owned(),
            None => format!("HTTP status {status} without a code of the API"),
        };
        if fault == CallFault::Credentials {
            // By the local clock these credentials may be valid for hours.
            self.credentials.forget();
        }
        CallError {
            retry_after: retry_after(all_values(raw.headers(), "retry-after"), self.clock.now().wall),
            ..CallError::new(fault, error.code().unwrap_or("NotTheApi"), &message)
        }
    }
}

/// A success counts only if the service signed it with a request id. For the SDK, an empty 200 from
/// a captive portal is a success, too, since every member of these responses is optional.
fn genuine<O: RequestId>(output: O) -> Result<O, CallError> {
    match output.request_id() {
        Some(_) => Ok(output),
        None => Err(CallError::new(CallFault::NotAws, "NotTheApi", "a success without a request id")),
    }
}

/// Reads the variable as the SDKs do. The nucleus sets it in FIPS mode.
fn wants_fips(variable: Option<String>) -> bool {
    variable.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

fn all_values<'h>(headers: &'h Headers, name: &str) -> impl Iterator<Item = &'h str> {
    headers.get_all(name)
}

fn never_connected(error: &(dyn Error + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error).is_some_and(|error| error.is_connect())
}

/// Measures the difference between the cloud's clock and the local clock from the `Date` header of
/// each response.
#[derive(Clone)]
pub(super) struct ClockWatch {
    clock: Clock,
    skew: Arc<dyn Fn(i64) + Send + Sync>,
}

impl std::fmt::Debug for ClockWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClockWatch")
    }
}

#[dyn_dispatch_hint]
impl Intercept for ClockWatch {
    fn name(&self) -> &'static str {
        "ClockWatch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), aws_smithy_runtime_api::box_error::BoxError> {
        let headers = context.response().headers();
        // Only the service's own clock counts, not that of a captive portal or of a cache.
        let own = headers.get("x-amzn-requestid").is_some() && headers.get("age").is_none();
        if let (true, Some(date)) = (own, headers.get("date").and_then(http_date)) {
            (self.skew)(date.0 - self.clock.now().wall.0);
        }
        Ok(())
    }
}
