//! TLS to the broker: rustls with ring. The PEM files are read at every connection, so that a
//! rotation of certificates needs no restart. The module also explains failed handshakes.

use std::{io, path::Path, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{config::Mqtt, runtime::errors::find};

/// Reads the files and makes a TLS configuration of them, on another thread than the caller's,
/// since a file may be on a network file system that does not respond.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub(crate) async fn client_config(mqtt: &Mqtt) -> Result<Arc<ClientConfig>, String> {
    let mqtt = mqtt.clone();
    let read = tokio::task::spawn_blocking(move || read_client_config(&mqtt));
    read.await.map_err(|error| format!("the certificates were not read: {error}"))?
}

/// Does the same as [`client_config`] on the caller's thread.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub(super) fn read_client_config(mqtt: &Mqtt) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match &mqtt.ca_file {
        Some(path) => {
            for certificate in certificates(path, "mqtt.caFile")? {
                roots.add(certificate).map_err(|error| with_path("mqtt.caFile", path, &error))?;
            }
        }
        None => {
            // rustls rejects some roots of many systems; the other roots are enough.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    // The provider is explicit, since another crate in the build may bring a second one. The
    // default would panic then.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &mqtt.identity {
        Some((cert, key)) => {
            let chain = certificates(cert, "mqtt.certFile")?;
            let private = private_key(key)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| mismatch(cert, key, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, key)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| with_path(key, path, &format!("{error}; it must be in PEM form")))?;
    if found.is_empty() {
        let name = path.display();
        let advice = match Form::of(&bytes) {
            Form::Empty => "is empty".to_owned(),
            Form::Der => {
                format!("is not in PEM form; convert it: openssl x509 -inform DER -in {name} -out {name}.pem")
            }
            Form::Trusted => {
                format!(
                    "holds a certificate in OpenSSL's own form; convert it: openssl x509 -in {name} -out {name}.pem"
                )
            }
            Form::Encrypted | Form::OpenSsh | Form::Labels(_) | Form::Text => {
                "holds no certificate in PEM form (BEGIN CERTIFICATE)".to_owned()
            }
        };
        return Err(format!("{key} {name}: {advice}"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let key = "mqtt.keyFile";
    let bytes = read(path, key)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let name = path.display();
        let advice = match Form::of(&bytes) {
            Form::Encrypted => format!(
                "the key is encrypted, and the agent cannot ask for its passphrase; decrypt it: openssl pkey -in {name} \
                 -out {name}.plain, and chmod 600 {name}.plain"
            ),
            Form::OpenSsh => format!(
                "the key is in OpenSSH's form; convert a copy of it: ssh-keygen -p -N '' -m PKCS8 -f {name}"
            ),
            Form::Empty => "the file is empty".to_owned(),
            Form::Der => format!(
                "the file is not in PEM form; convert it: openssl pkey -inform DER -in {name} -out {name}.pem"
            ),
            Form::Labels(labels) => format!("the file holds {labels} and no private key in PEM form"),
            Form::Trusted | Form::Text => format!("the file holds no private key in PEM form ({error})"),
        };
        format!("{key} {name}: {advice}")
    })
}

/// What a file contains that is not in the expected form.
enum Form {
    Empty,
    /// Binary data that begins as ASN.1 does.
    Der,
    Encrypted,
    OpenSsh,
    Trusted,
    /// PEM blocks with these labels.
    Labels(String),
    Text,
}

impl Form {
    fn of(bytes: &[u8]) -> Self {
        if bytes.trim_ascii().is_empty() {
            return Self::Empty;
        }
        if let [0x30, length, rest @ ..] = bytes
            && (*length >= 0x80 || usize::from(*length) == rest.len())
        {
            return Self::Der;
        }
        let text = String::from_utf8_lossy(bytes);
        // The labels are those of RFC 7468, section 11, and of the older RFC 1421.
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
            return Self::Encrypted;
        }
        if text.contains("BEGIN OPENSSH PRIVATE KEY") {
            return Self::OpenSsh;
        }
        if text.contains("BEGIN TRUSTED CERTIFICATE") {
            return Self::Trusted;
        }
        let label = |line: &str| {
            let label = line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
            let is_label =
                label.len() < 40 && label.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ');
            is_label.then(|| format!("\"{label}\""))
        };
        let labels: Vec<String> = text.lines().filter_map(label).take(3).collect();
        if labels.is_empty() { Self::Text } else { Self::Labels(labels.join(", ")) }
    }
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| {
        let next = match error.kind() {
            io::ErrorKind::NotFound => "put it there, or correct the path",
            io::ErrorKind::PermissionDenied => {
                let user = rustix::process::geteuid().as_raw();
                return with_path(
                    key,
                    path,
                    &format!("{error}; let user {user}, which reads it, do so (chown, chmod)"),
                );
            }
            _ => "check the path",
        };
        with_path(key, path, &format!("{error}; {next}"))
    })
}

fn with_path(key: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{key} {}: {error}", path.display())
}

/// Why a certificate and a key, each valid by itself, do not belong together.
fn mismatch(cert: &Path, key: &Path, error: &Error) -> String {
    let (cert, key) = (cert.display(), key.display());
    let both = format!("mqtt.certFile {cert} with mqtt.keyFile {key}");
    match error {
        Error::InconsistentKeys(_) => format!(
            "{both}: the key is not this certificate's; `openssl x509 -noout -pubkey -in {cert}` and `openssl pkey -pubout -in \
             {key}` must show the same"
        ),
        Error::InvalidCertificate(_) if is_version_1(error) => {
            format!("{both}: {}", version_1("our certificate", "THING"))
        }
        Error::General(text) => {
            format!(
                "{both}: {text}; use a key for RSA of 2048 bits or more, for ECDSA with P-256 or P-384, or for Ed25519"
            )
        }
        _ => format!("{both}: {error}"),
    }
}

fn is_version_1(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(find(&*other.0), Some(webpki::Error::UnsupportedCertVersion))
}

/// OpenSSL makes certificates of version 1 if it is given no extensions.
fn version_1(whose: &str, name: &str) -> String {
    format!(
        "{whose} is an X.509 certificate of version 1, which TLS here does not take; issue one of version 3: printf \
         'subjectAltName=DNS:{name}' > v3.ext, then openssl x509 -req -in NAME.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
         -days 365 -extfile v3.ext -out NAME.pem"
    )
}

/// What a failed handshake means, and what to do.
pub(super) fn explain(mqtt: &Mqtt, error: &Error) -> String {
    let Mqtt { host, port, .. } = mqtt;
    match error {
        Error::InvalidCertificate(cause) => refused_certificate(mqtt, error, cause),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => {
                format!(
                    "the broker ends the handshake ({alert:?}); it must speak TLS 1.2 or 1.3 with ECDHE, and if it wants a \
                     certificate check mqtt.certFile"
                )
            }
            _ if mqtt.identity.is_none() => {
                format!(
                    "the broker ends the handshake ({alert:?}); if it wants a certificate of ours, set mqtt.certFile and mqtt.keyFile"
                )
            }
            _ => format!("{error}; the broker does not take our certificate: check mqtt.certFile and who issued it"),
        },
        Error::InvalidMessage(_) => format!(
            "what answers at {host}:{port} does not speak TLS ({error}); check the port, or use mqtt:// in mqtt.url if this \
             listener is a plain one"
        ),
        _ => format!("{error}; check mqtt.caFile and that the broker's certificate names {host}"),
    }
}

fn refused_certificate(mqtt: &Mqtt, error: &Error, cause: &CertificateError) -> String {
    use CertificateError as Cause;
    let host = &mqtt.host;
    let authority = match &mqtt.ca_file {
        Some(path) => format!("mqtt.caFile {}", path.display()),
        None => "the system's authorities, since mqtt.caFile is not set".to_owned(),
    };
    match cause {
        Cause::Expired | Cause::ExpiredContext { .. } => {
            format!("{error}; renew the broker's certificate, or set this device's clock")
        }
        Cause::NotValidYet | Cause::NotValidYetContext { .. } => {
            format!("{error}; set this device's clock, or wait until the broker's certificate begins")
        }
        Cause::NotValidForName | Cause::NotValidForNameContext { .. } => format!(
            "{error}; the broker's certificate does not name {host}: use a name in mqtt.url that it has, or issue it for {host}; \
             check mqtt.caFile too"
        ),
        Cause::UnknownIssuer | Cause::BadSignature | Cause::UnknownRevocationStatus => format!(
            "{error}; the broker's certificate is not of {authority}: check mqtt.caFile, and that the broker sends its whole \
             chain"
        ),
        _ if is_version_1(error) => {
            format!("{}; check mqtt.caFile", version_1("the broker's certificate", host))
        }
        Cause::Other(other) if matches!(find(&*other.0), Some(webpki::Error::CaUsedAsEndEntity)) => format!(
            "the broker shows the certificate of an authority as its own (basicConstraints CA:TRUE); issue one for {host} that \
             has CA:FALSE, and name the authority's in mqtt.caFile; check mqtt.caFile"
        ),
        _ => format!("{error}; check mqtt.caFile and that the broker's certificate names {host}"),
    }
}
