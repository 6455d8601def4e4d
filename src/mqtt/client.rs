//! The parts that every client of the broker shares: the agent's own client and the client of a
//! command.

use std::{error::Error, io, sync::Arc};

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, MqttOptions, QoS, StateError,
    SubscribeReasonCode, TlsConfiguration, TlsError, Transport,
};
use rustls::ClientConfig;

use super::tls;
use crate::{
    config,
    runtime::errors::{cut, find},
};

/// The library's limit on a packet in either direction, with topic and header. MQTT 3.1.1 has no
/// means to announce a limit to the broker.
const MAX_PACKET: usize = 1 << 20;

/// The most packets that wait in a command's client, which makes one request at a time.
const CHANNEL: usize = 16;

/// The options of a connection: broker, client identifier and login. [`secure`] adds TLS.
pub(crate) fn options(mqtt: &config::Mqtt) -> MqttOptions {
    let mut options = MqttOptions::new(&mqtt.client_id, &mqtt.host, mqtt.port);
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET).set_keep_alive(mqtt.keep_alive);
    if let Some((username, password)) = &mqtt.login {
        options.set_credentials(username, password);
    }
    options
}

/// Reads the PEM files for the next connection, if it uses TLS, on the caller's thread.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub(crate) fn secure(mqtt: &config::Mqtt, options: &mut MqttOptions) -> Result<(), String> {
    if mqtt.tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls::read_client_config(mqtt)?)));
    }
    Ok(())
}

/// Reads the PEM files for the next connection, on another thread than the caller's; `None` if
/// there is no TLS.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub(crate) async fn tls_config(mqtt: &config::Mqtt) -> Result<Option<Arc<ClientConfig>>, String> {
    if mqtt.tls { tls::client_config(mqtt).await.map(Some) } else { Ok(None) }
}

/// An error in one line, cut to a length that can be shown, and without links to a library's
/// manual.
pub(crate) fn in_words(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let words = text.split_whitespace().filter(|word| !word.contains("https://docs.rs/"));
    let text = words.collect::<Vec<_>>().join(" ");
    cut(text.trim_end_matches(':').to_owned())
}

/// What a failed connection means, and what to do.
pub(crate) fn explain(mqtt: &config::Mqtt, error: &ConnectionError) -> String {
    let text = in_words(error);
    let config::Mqtt { host, port, .. } = mqtt;
    if let Some(error) = find::<rustls::Error>(error) {
        return tls::explain(mqtt, error);
    }
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => {
            let check = if mqtt.identity.is_some() {
                "that mqtt.clientId is the thing name of our certificate, that the certificate is active, and that a device \
                 group lets it connect"
            } else {
                "mqtt.username and mqtt.password, and that the broker lets mqtt.clientId connect"
            };
            format!("the broker refuses us ({text}); check {check}")
        }
        ConnectionError::ConnectionRefused(ConnectReturnCode::BadClientId) => {
            format!("the broker refuses us ({text}); check that it lets mqtt.clientId ({}) connect", mqtt.client_id)
        }
        ConnectionError::Io(error) | ConnectionError::Tls(TlsError::Io(error)) => {
            format!("{text}; {}", what_to_check(mqtt, error))
        }
        ConnectionError::Tls(_) => format!("{text}; check mqtt.caFile and that the certificate names {host}"),
        ConnectionError::MqttState(state)
            if matches!(state, StateError::ConnectionAborted) || find::<io::Error>(state).is_some() =>
        {
            format!("{text}; the broker at {host}:{port} ended the connection: its log says why")
        }
        ConnectionError::NetworkTimeout => {
            format!("{text}; {host}:{port} does not answer: check the network, and that an MQTT broker listens there")
        }
        ConnectionError::NotConnAck(_) | ConnectionError::MqttState(StateError::Deserialization(_)) => {
            format!("{text}; check that an MQTT broker listens at {host}:{port}, and the port in mqtt.url")
        }
        _ => text,
    }
}

/// What to check after a connection was not made.
fn what_to_check(mqtt: &config::Mqtt, error: &io::Error) -> String {
    let config::Mqtt { host, port, tls, .. } = mqtt;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nobody listens at {host}:{port}: check that the broker runs, and the port in mqtt.url")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            format!("{host}:{port} is not reached: check the network, and that the broker runs")
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            let mode = if *tls {
                "speaks TLS (else mqtt:// in mqtt.url) and accepts our certificate (mqtt.certFile)"
            } else {
                "speaks MQTT without TLS (else mqtts:// in mqtt.url)"
            };
            format!("check that the broker runs, and that it {mode} at {host}:{port}")
        }
        // The system's resolver has no error kind of its own: an error that is neither of the
        // network nor of the kernel is the resolver's.
        _ if error.raw_os_error().is_none() => {
            format!("check the host name {host} in mqtt.url, and this device's DNS")
        }
        _ => format!("check that the broker runs at {host}:{port}"),
    }
}

/// A connection that a command uses for a short time. The command polls it.
pub(crate) struct Brief {
    pub(crate) client: AsyncClient,
    event_loop: EventLoop,
}

impl Brief {
    pub(crate) fn new(options: MqttOptions) -> Self {
        let (client, event_loop) = AsyncClient::new(options, CHANNEL);
        Self { client, event_loop }
    }

    /// The next event on the connection.
    ///
    /// The connection is not made, or has ended.
    pub(crate) async fn poll(&mut self) -> Result<Event, ConnectionError> {
        self.event_loop.poll().await
    }

    /// Subscribes at QoS 1; `false` if the broker denies it.
    ///
    /// # Errors
    /// As [`Self::poll`].
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<bool, ConnectionError> {
        self.client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|_| ConnectionError::RequestsDone)?;
        loop {
            if let Event::Incoming(Incoming::SubAck(ack)) = self.poll().await? {
                return Ok(!ack.return_codes.contains(&SubscribeReasonCode::Failure));
            }
        }
    }
}
