//! The AWS SDK behind the trait [`Cloud`]. Retries are off: the agent owns them, over restarts and for days.

use std::{
    error::Error,
    fmt::{Display, Write},
    time::Duration,
};

use aws_config::{AppName, BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_greengrassv2::{
    Client,
    config::{IdentityCache, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
    types::{
        AssociateClientDeviceWithCoreDeviceEntry, AssociateClientDeviceWithCoreDeviceErrorEntry,
        AssociatedClientDevice, DisassociateClientDeviceFromCoreDeviceEntry,
        DisassociateClientDeviceFromCoreDeviceErrorEntry,
    },
};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::{
    client::{http::SharedHttpClient, interceptors::dyn_dispatch_hint, orchestrator::HttpResponse},
    http::Headers,
};
use aws_smithy_types::config_bag::ConfigBag;

use super::{
    Cloud, ListPage,
    bounded::bounded,
    classify::{ErrorAnswer, classify, entry_index, http_date, retry_after},
    credentials::TokenExchange,
};
use crate::{
    clock::Clock,
    config::Config,
    model::{CallError, CallFault, CallToken, EntryError, Lane, Target, ThingName, Timestamp},
};

/// From name resolution to the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// From sending a request to the head of its answer: behind a black hole nothing else ends the wait.
const READ: Duration = Duration::from_secs(30);
/// The whole of a call, with loading credentials.
const ATTEMPT: Duration = Duration::from_secs(75);

/// The Greengrass V2 API of one core device.
pub struct Aws {
    client: Client,
    credentials: TokenExchange,
    core: ThingName,
    clock: Clock,
}

/// Told of each difference between the cloud's clock and ours, in milliseconds.
pub(crate) type SkewSink = Box<dyn Fn(i64) + Send + Sync>;

impl Aws {
    /// A client for `config`'s core device and region. Makes no call.
    ///
    /// # Errors
    /// The file that `GG_ROOT_CA_PATH` names, or the certificates in it, cannot be used.
    pub fn new(config: &Config, clock: Clock, skew: SkewSink) -> Result<Self, String> {
        let roots = root_certificates(std::env::var_os("GG_ROOT_CA_PATH"))?;
        let direct = http_client(&roots, ProxyConfig::disabled())?;
        let outward = http_client(&roots, ProxyConfig::from_env())?;
        let credentials = TokenExchange::new(direct, clock.clone());
        let mut sdk = aws_sdk_greengrassv2::Config::builder()
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
            .credentials_provider(credentials.clone())
            .interceptor(ClockWatch { clock: clock.clone(), skew })
            .app_name(AppName::new("offboard").map_err(|error| error.to_string())?);
        match &config.cloud.greengrass {
            Some(endpoint) => sdk = sdk.endpoint_url(endpoint),
            None if wants_fips(std::env::var("AWS_USE_FIPS_ENDPOINT").ok()) => {
                tracing::warn!(
                    "AWS_USE_FIPS_ENDPOINT is set: the cloud's FIPS endpoint is used, but the TLS of this program (rustls with ring) \
                     is not validated for FIPS 140"
                );
                sdk = sdk.use_fips(true);
            }
            None => {}
        }
        Ok(Self { client: Client::from_conf(sdk.build()), credentials, core: config.core.clone(), clock })
    }

    fn error<E>(&self, error: &SdkError<E, HttpResponse>) -> CallError
    where
        E: ProvideErrorMetadata + Error + Refusal + 'static,
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
            SdkError::ServiceError(answer) => self.service_error(answer.err(), answer.raw()),
            _ => plain(CallFault::Misfit),
        }
    }

    fn service_error<E: ProvideErrorMetadata + Refusal>(&self, error: &E, raw: &HttpResponse) -> CallError {
        let status = raw.status().as_u16();
        let refusal = error.refusal();
        let mut fault = classify(&ErrorAnswer {
            status,
            code: error.code(),
            about_core: refusal.resource.as_deref().is_none_or(|resource| resource == self.core.as_str()),
            misfit: refusal.misfit,
        });
        if let CallFault::Invalid(named) = &mut fault {
            if refusal.fields.iter().any(|name| name == "coreDeviceThingName") {
                fault = CallFault::NoCore;
            } else {
                named.extend(refusal.fields.iter().filter_map(|name| entry_index(name)));
            }
        }
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

    async fn disassociate(&self, targets: &[Target]) -> Result<Vec<EntryError>, CallError> {
        let entry = |target: &Target| {
            DisassociateClientDeviceFromCoreDeviceEntry::builder().thing_name(target.name()).build().ok()
        };
        let call = self
            .client
            .batch_disassociate_client_device_from_core_device()
            .core_device_thing_name(self.core.as_str())
            .set_entries(Some(named(targets.iter().map(entry))?));
        let output = Self::genuine(call.send().await.map_err(|error| self.error(&error))?)?;
        let error = |error: DisassociateClientDeviceFromCoreDeviceErrorEntry| {
            entry_error(error.thing_name, error.code, error.message)
        };
        Ok(output.error_entries.unwrap_or_default().into_iter().map(error).collect())
    }

    async fn associate(&self, targets: &[Target]) -> Result<Vec<EntryError>, CallError> {
        let entry = |target: &Target| {
            AssociateClientDeviceWithCoreDeviceEntry::builder().thing_name(target.name()).build().ok()
        };
        let call = self
            .client
            .batch_associate_client_device_with_core_device()
            .core_device_thing_name(self.core.as_str())
            .set_entries(Some(named(targets.iter().map(entry))?));
        let output = Self::genuine(call.send().await.map_err(|error| self.error(&error))?)?;
        let error = |error: AssociateClientDeviceWithCoreDeviceErrorEntry| {
            entry_error(error.thing_name, error.code, error.message)
        };
        Ok(output.error_entries.unwrap_or_default().into_iter().map(error).collect())
    }

    /// A success counts only if the service signed it with a request id: to the SDK an empty 200, as a captive portal
    /// gives it, is a success too, since everything in these answers is optional.
    fn genuine<O: RequestId>(output: O) -> Result<O, CallError> {
        match output.request_id() {
            Some(_) => Ok(output),
            None => Err(CallError::new(CallFault::Foreign, "NotTheApi", "a success without a request id")),
        }
    }
}

impl Cloud for Aws {
    async fn call(&self, lane: Lane, targets: &[Target], _: Option<&CallToken>) -> Result<Vec<EntryError>, CallError> {
        match lane {
            Lane::Disassociate => self.disassociate(targets).await,
            Lane::Associate => self.associate(targets).await,
            Lane::List => Err(CallError::new(CallFault::Misfit, "NoEntries", "a list is read page by page")),
        }
    }

    async fn list(&self, next: Option<String>) -> Result<ListPage, CallError> {
        let call = self
            .client
            .list_client_devices_associated_with_core_device()
            .core_device_thing_name(self.core.as_str())
            .max_results(100)
            .set_next_token(next);
        let output = Self::genuine(call.send().await.map_err(|error| self.error(&error))?)?;
        let listed = output.associated_client_devices.unwrap_or_default();
        Ok(ListPage {
            devices: listed.into_iter().filter_map(device).collect(),
            next: output.next_token.filter(|token| !token.is_empty()),
        })
    }
}

/// The entries of a call, of which none may be missing: the API takes a call without entries for a success.
fn named<E>(entries: impl Iterator<Item = Option<E>>) -> Result<Vec<E>, CallError> {
    let all = entries.collect::<Option<Vec<E>>>();
    all.ok_or_else(|| CallError::new(CallFault::Misfit, "NoEntries", "an entry without a name"))
}

fn entry_error(name: Option<String>, code: Option<String>, message: Option<String>) -> EntryError {
    EntryError { name, code: code.unwrap_or_default(), message: message.unwrap_or_default() }
}

fn device(listed: AssociatedClientDevice) -> Option<(ThingName, Option<Timestamp>)> {
    let name = listed.thing_name?;
    let at = listed.association_timestamp.and_then(|at| at.to_millis().ok()).map(Timestamp);
    match ThingName::new(&name) {
        Ok(thing) => Some((thing, at)),
        Err(error) => {
            tracing::warn!(thing = name, "a listed device is passed over: its name {error}");
            None
        }
    }
}

/// As the SDKs read it; the nucleus sets it in FIPS mode.
fn wants_fips(variable: Option<String>) -> bool {
    variable.is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// What a refusal says beside its code.
#[derive(Default)]
struct Said {
    fields: Vec<String>,
    resource: Option<String>,
    misfit: bool,
}

trait Refusal {
    fn refusal(&self) -> Said;
}

macro_rules! refusal {
    ($error:path) => {
        impl Refusal for $error {
            fn refusal(&self) -> Said {
                use aws_sdk_greengrassv2::types::ValidationExceptionReason as Reason;
                match self {
                    Self::ValidationException(error) => Said {
                        fields: error.fields().iter().map(|field| field.name().to_owned()).collect(),
                        misfit: matches!(error.reason(), Some(Reason::UnknownOperation | Reason::CannotParse)),
                        resource: None,
                    },
                    Self::ResourceNotFoundException(error) => {
                        Said { resource: Some(error.resource_id().to_owned()), ..Said::default() }
                    }
                    _ => Said::default(),
                }
            }
        }
    };
}

refusal!(aws_sdk_greengrassv2::operation::batch_disassociate_client_device_from_core_device::BatchDisassociateClientDeviceFromCoreDeviceError);
refusal!(aws_sdk_greengrassv2::operation::batch_associate_client_device_with_core_device::BatchAssociateClientDeviceWithCoreDeviceError);
refusal!(aws_sdk_greengrassv2::operation::list_client_devices_associated_with_core_device::ListClientDevicesAssociatedWithCoreDeviceError);

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
struct ClockWatch {
    clock: Clock,
    skew: SkewSink,
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
