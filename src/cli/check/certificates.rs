//! The validity of the certificates: the broker's chain, and the files of the configuration.

use std::{cmp::Reverse, time::Duration};

use rumqttc::ConnectionError;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::finding::{Finding, State};
use crate::{
    config::Mqtt,
    domain::Timestamp,
    mqtt::{client, tls},
    runtime::clock::Clock,
};

/// Maximum time from TCP to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Remaining validity below which a certificate causes a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The result for one certificate: its state, its end and a message. Of two valid certificates the
/// one that ends first is shown.
type Found = (State, i64, String);

pub(super) async fn findings(mqtt: &Mqtt) -> Option<Finding> {
    if !mqtt.tls {
        return None;
    }
    let now = Clock::start().now().wall;
    let mut found: Vec<Found> = match chain(mqtt).await {
        Ok(chain) => chain.iter().map(|one| dates("the broker's", one, now)).collect(),
        Err(message) => vec![(State::Error, 0, message)],
    };
    for (key, path) in [
        ("mqtt.caFile", mqtt.ca_file.as_ref()),
        ("mqtt.certFile", mqtt.identity.as_ref().map(|(certificate, _)| certificate)),
    ] {
        let Some(path) = path else { continue };
        // Another finding has reported a file that cannot be read.
        found.extend(
            CertificateDer::pem_file_iter(path).into_iter().flatten().flatten().map(|one| dates(key, &one, now)),
        );
    }
    let count = found.len();
    let (state, _, message) = found.into_iter().min_by_key(|(state, end, _)| (Reverse(*state), *end))?;
    let message = if state == State::Ok { format!("{count} checked; the first to end: {message}") } else { message };
    Some(Finding { what: "certificates", state, message })
}

/// The chain that the broker presents in a separate handshake, which does not disturb any session.
async fn chain(mqtt: &Mqtt) -> Result<Vec<CertificateDer<'static>>, String> {
    let config = tls::client_config(mqtt).await?;
    let address = format!("{}:{}", mqtt.host, mqtt.port);
    let name = ServerName::try_from(mqtt.host.clone()).map_err(|error| format!("{address}: {error}"))?;
    let handshake = async {
        let stream = TcpStream::connect((mqtt.host.as_str(), mqtt.port)).await?;
        TlsConnector::from(config).connect(name, stream).await
    };
    match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            Ok(certificates.iter().map(|one| one.clone().into_owned()).collect())
        }
        Ok(Err(error)) => {
            let error = ConnectionError::Io(error);
            Err(format!("{address}: {}", client::explain(mqtt, &error)))
        }
        Err(_) => Err(format!(
            "{address}: no answer to the handshake within {} s; check the network, and that this port speaks TLS",
            HANDSHAKE.as_secs()
        )),
    }
}

/// The end of a certificate's validity, and whether it is near.
fn dates(whose: &str, certificate: &CertificateDer<'_>, now: Timestamp) -> Found {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return (State::Warning, 0, format!("{whose} certificate cannot be read"));
    };
    let [begin, end] =
        [parsed.validity().not_before, parsed.validity().not_after].map(|at| Timestamp(at.timestamp() * 1000));
    let subject: String = parsed.subject().to_string().chars().filter(|c| !c.is_control()).take(64).collect();
    let (state, when) = if now < begin {
        (State::Error, format!("is not valid before {begin}; check this device's clock"))
    } else if now > end {
        (State::Error, format!("was valid until {end}; renew it, or check this device's clock"))
    } else if end < now.after(SOON) {
        (State::Warning, format!("is valid until {end}; renew it"))
    } else {
        (State::Ok, format!("is valid until {end}"))
    };
    (state, end.0, format!("{whose} {subject} {when}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_warned_of_and_one_that_ended_is_an_error() {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let state = |day: &str| {
            let now = Timestamp::parse(&format!("{day}T00:00:00Z")).unwrap();
            dates("ours", certificate.der(), now)
        };
        for (day, expected) in [
            ("2025-12-31", State::Error),
            ("2026-06-01", State::Ok),
            ("2026-12-15", State::Warning),
            ("2027-01-02", State::Error),
        ] {
            assert_eq!(state(day).0, expected, "{day}: {}", state(day).2);
        }
        assert!(state("2026-12-15").2.ends_with("is valid until 2027-01-01T00:00:00.000Z; renew it"));
    }
}
