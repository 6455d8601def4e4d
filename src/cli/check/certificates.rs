//! The dates of the certificates: the broker's chain, and our own files.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Finding, State};
use crate::{clock::Clock, config::Mqtt, transport};

/// From TCP to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Days before its end from which a certificate is warned of.
const SOON: i64 = 30;

pub(super) async fn findings(mqtt: &Mqtt) -> Option<Finding> {
    if !mqtt.tls {
        return None;
    }
    let mut worst = Finding { what: "certificates", state: State::Ok, message: String::new() };
    let mut note = |(state, text): (State, String)| {
        let is_worse =
            matches!((worst.state, state), (State::Ok, State::Warning | State::Error) | (State::Warning, State::Error));
        if is_worse {
            worst.message.clear();
            worst.state = state;
        }
        if worst.state == state {
            worst.message.push_str(if worst.message.is_empty() { "" } else { "; " });
            worst.message.push_str(&text);
        }
    };
    let now = Clock::start().now().wall.0 / 1000;
    match chain(mqtt).await {
        Ok(chain) => chain.iter().for_each(|one| note(dates("the broker's", one, now))),
        Err(message) => note((State::Error, message)),
    }
    for (key, path) in [
        ("mqtt.caFile", mqtt.ca_file.as_ref()),
        ("mqtt.certFile", mqtt.identity.as_ref().map(|(certificate, _)| certificate)),
    ] {
        let Some(path) = path else { continue };
        // What cannot be read was told above.
        for one in CertificateDer::pem_file_iter(path).into_iter().flatten().flatten() {
            note(dates(key, &one, now));
        }
    }
    Some(worst)
}

/// What the broker shows in a handshake of its own, which disturbs nobody's session.
async fn chain(mqtt: &Mqtt) -> Result<Vec<CertificateDer<'static>>, String> {
    let config = transport::client_config(mqtt)?;
    let address = format!("{}:{}", mqtt.host, mqtt.port);
    let name = ServerName::try_from(mqtt.host.clone()).map_err(|error| format!("{address}: {error}"))?;
    let handshake = async {
        let stream = TcpStream::connect((mqtt.host.as_str(), mqtt.port)).await?;
        TlsConnector::from(config).connect(name, stream).await
    };
    let told = |error: &dyn std::fmt::Display| {
        format!("{address}: {error}; check mqtt.caFile, and that the broker's certificate names {}", mqtt.host)
    };
    match timeout(HANDSHAKE, handshake).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
            Ok(certificates.iter().map(|one| one.clone().into_owned()).collect())
        }
        Ok(Err(error)) => Err(told(&error)),
        Err(_) => Err(told(&"no answer to the handshake")),
    }
}

/// Until when a certificate is valid, and whether that is soon.
fn dates(whose: &str, certificate: &CertificateDer<'_>, now: i64) -> (State, String) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return (State::Warning, format!("{whose} certificate cannot be read"));
    };
    let (begin, end) = (parsed.validity().not_before, parsed.validity().not_after);
    let subject: String = parsed.subject().to_string().chars().filter(|c| !c.is_control()).take(64).collect();
    let named = format!("{whose} {subject}");
    if now < begin.timestamp() {
        return (State::Error, format!("{named} is not valid before {begin}; check this device's clock"));
    }
    if now > end.timestamp() {
        return (State::Error, format!("{named} was valid until {end}; renew it, or check this device's clock"));
    }
    let left = (end.timestamp() - now) / 86_400;
    if left < SOON {
        return (State::Warning, format!("{named} is valid for {left} more days; renew it"));
    }
    (State::Ok, format!("{named} is valid until {end}"))
}
