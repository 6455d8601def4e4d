//! TLS to the broker: rustls with ring, from PEM files that are read at every connection, so that a rotation needs no
//! restart.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::config::Mqtt;

/// Reads the files and makes a configuration of them.
///
/// # Errors
/// Which file, and what is wrong with it.
pub(crate) fn client_config(mqtt: &Mqtt) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match &mqtt.ca_file {
        Some(path) => {
            for certificate in certificates(path, "mqtt.caFile")? {
                roots.add(certificate).map_err(|error| told("mqtt.caFile", path, &error))?;
            }
        }
        None => {
            // Some of a system's roots are often not to rustls' taste; the rest will do.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    // Explicit, since another crate in the build may bring a second provider, and the default is then a panic.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &mqtt.identity {
        Some((cert, key)) => {
            let chain = certificates(cert, "mqtt.certFile")?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| told("mqtt.keyFile", key, &error))?;
            let both = |error: rustls::Error| {
                format!("mqtt.certFile {} with mqtt.keyFile {}: {error}", cert.display(), key.display())
            };
            builder.with_client_auth_cert(chain, private).map_err(both)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| told(key, path, &error))?;
    if found.is_empty() {
        return Err(format!("{key} {}: holds no certificate in PEM form", path.display()));
    }
    Ok(found)
}

fn told(key: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{key} {}: {error}", path.display())
}
