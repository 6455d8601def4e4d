//! What the clients of the AWS services have in common: how they are set up, and what their answers mean. Retries are off:
//! the agent owns them, over restarts and for days.

use std::{
    error::Error,
    fmt::{Display, Write},
    sync::Arc,
    time::Duration,
};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{SharedCredentialsProvider, error::CredentialsError};
use aws_sdk_greengrassv2::{
    config::{IdentityCache, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::{
    client::{http::SharedHttpClient, interceptors::dyn_dispatch_hint, orchestrator::HttpResponse},
    http::Headers,
};
use aws_smithy_types::config_bag::ConfigBag;

use super::{
    bounded::bounded,
    classify::{classify, http_date, retry_after},
    credentials::TokenExchange,
};
use crate::{
    clock::Clock,
    config::Config,
    model::{CallError, CallFault},
};

/// From name resolution to the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// From sending a request to the head of its answer: behind a black hole nothing else ends the wait.
const READ: Duration = Duration::from_secs(30);
/// The whole of a call, with loading credentials.
const ATTEMPT: Duration = Duration::from_secs(75);

/// Told of each difference between the cloud's clock and ours, in milliseconds.
pub(crate) type SkewSink = Box<dyn Fn(i64) + Send + Sync>;

/// The setting that all clients share.
pub(super) struct Sdk {
    base: SdkConfig,
    fips: bool,
    watch: ClockWatch,
    credentials: TokenExchange,
    clock: Clock,
}

impl Sdk {
    /// For `config`'s region. Makes no call.
    ///
    /// # Errors
    /// The file that `GG_ROOT_CA_PATH` names, or the certificates in it, cannot be used.
    pub(super) fn new(config: &Config, clock: Clock, skew: SkewSink) -> Result<Self, String> {
        let roots = root_certificates(std::env::var_os("GG_ROOT_CA_PATH"))?;
        let direct = http_client(&roots, ProxyConfig::disabled())?;
        let outward = http_client(&roots, ProxyConfig::from_env())?;
        let credentials = TokenExchange::new(direct, clock.clone());
        let base = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .http_client(outward)
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
        if fips && config.cloud.greengrass.is_none() {
            tracing::warn!(
                "AWS_USE_FIPS_ENDPOINT is set: the cloud's FIPS endpoint is used, but the TLS of this program (rustls with ring) \
                 is not validated for FIPS 140"
            );
        }
        let watch = ClockWatch { clock: clock.clone(), skew: Arc::from(skew) };
        Ok(Self { base, fips, watch, credentials, clock })
    }

    /// The setting for a service, at its own endpoint or at the one that was configured.
    pub(super) fn at(&self, endpoint: Option<&str>) -> SdkConfig {
        let builder = self.base.to_builder();
        match endpoint {
            Some(endpoint) => builder.endpoint_url(endpoint).build(),
            None if self.fips => builder.use_fips(true).build(),
            None => builder.build(),
        }
    }

    /// Measures the clocks' difference at each answer.
    pub(super) fn clock_watch(&self) -> ClockWatch {
        self.watch.clone()
    }

    /// What is left of the setting once the clients are made: what answers are judged by.
    pub(super) fn judge(&self) -> Judge {
        Judge { credentials: self.credentials.clone(), clock: self.clock.clone() }
    }
}

/// Tells what a failed call means.
#[derive(Clone)]
pub(super) struct Judge {
    credentials: TokenExchange,
    clock: Clock,
}

impl Judge {
    /// What came of a call; `refine` adds what the service's own words tell of a failure.
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
        let code_of = |fault: &CallFault| match fault {
            CallFault::Unreachable => "Unreachable",
            CallFault::Credentials => "NoCredentials",
            CallFault::Lost => "NoAnswer",
            _ => "NotTheApi",
        };
        let plain = |fault: CallFault| {
            let code = code_of(&fault);
            CallError::new(fault, code, &chain(error))
        };
        if let Some(cause) = find::<CredentialsError>(error) {
            return CallError::new(CallFault::Credentials, "NoCredentials", &chain(cause));
        }
        match error {
            // Only where the connection was never made is it sure that nothing was sent.
            SdkError::DispatchFailure(_) if never_connected(error) => plain(CallFault::Unreachable),
            SdkError::DispatchFailure(failure) if failure.is_other() && chain(error).contains("identity") => {
                plain(CallFault::Credentials)
            }
            SdkError::DispatchFailure(_) => plain(CallFault::Lost),
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => plain(CallFault::Lost),
            SdkError::ServiceError(answer) => self.service_error(answer.err(), answer.raw(), refine),
            _ => plain(CallFault::Misfit),
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
            // The local clock may think them good for hours.
            self.credentials.forget();
        }
        CallError {
            retry_after: retry_after(all_values(raw.headers(), "retry-after"), self.clock.now().wall),
            ..CallError::new(fault, error.code().unwrap_or("NotTheApi"), &message)
        }
    }
}

/// A success counts only if the service signed it with a request id: to the SDK an empty 200, as a captive portal
/// gives it, is a success too, since everything in these answers is optional.
fn genuine<O: RequestId>(output: O) -> Result<O, CallError> {
    match output.request_id() {
        Some(_) => Ok(output),
        None => Err(CallError::new(CallFault::Foreign, "NotTheApi", "a success without a request id")),
    }
}

/// As the SDKs read it; the nucleus sets it in FIPS mode.
fn wants_fips(variable: Option<String>) -> bool {
    variable.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

fn all_values<'h>(headers: &'h Headers, name: &str) -> impl Iterator<Item = &'h str> {
    headers.get_all(name)
}

fn never_connected(error: &(dyn Error + 'static)) -> bool {
    find::<hyper_util::client::legacy::Error>(error).is_some_and(|error| error.is_connect())
}

/// The first cause of that type.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// An error with its causes, each once, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            let _ = write!(text, "{}{said}", if text.is_empty() { "" } else { ": " });
        }
        cause = error.source();
    }
    text
}

/// Measures the difference between the cloud's clock and ours from each answer's `Date`.
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
        // Only the service's own clock counts, not that of a portal or of a cache.
        let own = headers.get("x-amzn-requestid").is_some() && headers.get("age").is_none();
        if let (true, Some(date)) = (own, headers.get("date").and_then(http_date)) {
            (self.skew)(date.0 - self.clock.now().wall.0);
        }
        Ok(())
    }
}

fn root_certificates(path: Option<std::ffi::OsString>) -> Result<tls::TlsContext, String> {
    let mut store = tls::TrustStore::default().with_native_roots(true);
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        let read = std::fs::read(&path);
        let told = |error: &dyn Display| format!("GG_ROOT_CA_PATH {}: {error}", path.display());
        store = store.with_pem_certificate(read.map_err(|error| told(&error))?);
    }
    tls::TlsContext::builder().with_trust_store(store).build().map_err(|error| error.to_string())
}

fn http_client(roots: &tls::TlsContext, proxy: ProxyConfig) -> Result<SharedHttpClient, String> {
    let roots = roots.clone();
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder()
            .proxy_config(proxy.clone())
            .enable_tcp_nodelay(true)
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .tls_context(roots.clone());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.build()
    });
    Ok(bounded(client))
}
