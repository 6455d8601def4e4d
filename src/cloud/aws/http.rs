//! The HTTP clients: the roots and proxies that they use, the limit on bodies, and failures that
//! name where a request was sent.

use std::{error::Error, ffi::OsString, fmt, net::IpAddr};

use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connector_metadata::ConnectorMetadata,
        dns::{DnsFuture, ResolveDns, ResolveDnsError},
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::HttpRequest,
        result::ConnectorError,
        runtime_components::{RuntimeComponents, RuntimeComponentsBuilder},
    },
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use http_body_util::Limited;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::proxies::Proxies;

/// The most bytes of a body. The largest body of the API is a page of 100 devices, or 100 errors:
/// about 100 KiB.
const MAX_BODY: usize = 1 << 20;

/// The system's root certificates, and those of the file at `path` (`GG_ROOT_CA_PATH`).
///
/// # Errors
/// The file, or the certificates in it, cannot be used.
pub(super) fn root_certificates(path: Option<OsString>) -> Result<tls::TlsContext, String> {
    let mut store = tls::TrustStore::default().with_native_roots(true);
    let path = path.filter(|path| !path.is_empty());
    let with_path = |error: &dyn fmt::Display| {
        let path = path.clone().unwrap_or_default();
        format!("GG_ROOT_CA_PATH {}: {error}; name a PEM file with the authority's certificate", path.display())
    };
    if let Some(path) = &path {
        let pem = std::fs::read(path).map_err(|error| with_path(&error))?;
        // The store passes over what is no certificate.
        if !CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
            return Err(with_path(&"there is no certificate in it (BEGIN CERTIFICATE)"));
        }
        store = store.with_pem_certificate(pem);
    }
    tls::TlsContext::builder().with_trust_store(store).build().map_err(|error| with_path(&error))
}

/// The client for the cloud. It uses the proxies of the environment, limits each body, and adds the
/// route to each failure.
pub(super) fn outward(roots: &tls::TlsContext, proxies: Proxies) -> SharedHttpClient {
    let (roots, used) = (roots.clone(), proxies.clone());
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder()
            .proxy_config(used.config())
            .enable_tcp_nodelay(true)
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .tls_context(roots.clone());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.build_with_resolver(Resolver { loopback_only: false })
    });
    SharedHttpClient::new(Client { inner: client, proxies })
}

/// The connector for a service on this machine. It uses no proxy, and fails if the name resolves to
/// another machine.
pub(super) fn local(roots: &tls::TlsContext) -> SharedHttpConnector {
    let connector = Connector::builder()
        .proxy_config(ProxyConfig::disabled())
        .enable_tcp_nodelay(true)
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .tls_context(roots.clone())
        .build_with_resolver(Resolver { loopback_only: true });
    SharedHttpConnector::new(Limiting { inner: SharedHttpConnector::new(connector), proxies: None })
}

/// The system's resolver, with an error type of its own.
#[derive(Clone, Debug)]
struct Resolver {
    loopback_only: bool,
}

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let failed = |reason: String| ResolveDnsError::new(NotResolved { name: name.to_owned(), reason });
            let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| failed(error.to_string()))?;
            let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            match found.iter().find(|address| self.loopback_only && !address.is_loopback()) {
                Some(other) => Err(failed(format!("it resolves to {other}, which is not this machine"))),
                None => Ok(found),
            }
        })
    }
}

/// A host name without an address.
#[derive(Debug)]
pub(super) struct NotResolved {
    pub(super) name: String,
    pub(super) reason: String,
}

impl fmt::Display for NotResolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host name {} cannot be resolved ({})", self.name, self.reason)
    }
}

impl Error for NotResolved {}

/// Where a request was sent that got no response.
#[derive(Debug)]
pub(super) struct Failed {
    /// The host and the port.
    pub(super) to: String,
    /// The proxy, and the variable that names it.
    pub(super) proxy: Option<String>,
    source: BoxError,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            Some(proxy) => write!(f, "{} through the proxy {proxy}", self.to),
            None => f.write_str(&self.to),
        }
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

impl Failed {
    /// The same error, of the same kind, with the route.
    fn wrap(to: String, proxy: Option<String>, error: ConnectorError) -> ConnectorError {
        let (is_timeout, is_user, is_io, other) =
            (error.is_timeout(), error.is_user(), error.is_io(), error.as_other());
        let failed = Box::new(Self { to, proxy, source: error.into_source() });
        match (is_timeout, is_user, is_io) {
            (true, ..) => ConnectorError::timeout(failed),
            (_, true, _) => ConnectorError::user(failed),
            (.., true) => ConnectorError::io(failed),
            _ => ConnectorError::other(failed, other),
        }
    }
}

#[derive(Debug)]
struct Client {
    inner: SharedHttpClient,
    proxies: Proxies,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Limiting { inner, proxies: Some(self.proxies.clone()) })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, config)
    }

    fn validate_final_config(&self, components: &RuntimeComponents, config: &ConfigBag) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

/// Limits each response's body, since the SDK reads a body as a whole, whatever its sender and its
/// length are. Reading a longer body fails, and ends the connection.
#[derive(Debug)]
struct Limiting {
    inner: SharedHttpConnector,
    proxies: Option<Proxies>,
}

impl HttpConnector for Limiting {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().to_owned();
        let proxies = self.proxies.clone();
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let limit = |body| SdkBody::from_body_1_x(Limited::new(body, MAX_BODY));
            match answer.await {
                Ok(answer) => Ok(answer.map(limit)),
                Err(error) => {
                    let proxy = proxies.and_then(|proxies| proxies.of(&uri));
                    Err(Failed::wrap(host_and_port(&uri), proxy, error))
                }
            }
        })
    }
}

/// The host and the port of a URL.
pub(super) fn host_and_port(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match scheme {
        "https" if !has_port => format!("{authority}:443"),
        "http" if !has_port => format!("{authority}:80"),
        _ => authority.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_roots_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        let error = root_certificates(Some(file.path().into())).unwrap_err();
        assert!(error.contains("GG_ROOT_CA_PATH") && error.contains("no certificate in it"), "{error}");
    }

    #[test]
    fn host_and_port_are_named_without_a_password() {
        let named = |url| host_and_port(url);
        assert_eq!(
            named("https://greengrass.eu-west-1.amazonaws.com/greengrass/v2/x"),
            "greengrass.eu-west-1.amazonaws.com:443"
        );
        assert_eq!(named("http://user:secret@[::1]:8080/x"), "[::1]:8080");
        assert_eq!(named("http://[::1]"), "[::1]:80");
    }
}
