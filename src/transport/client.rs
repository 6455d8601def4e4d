//! What every client of the broker is made of: the agent's own, and a command's.

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, QoS, SubscribeReasonCode, TlsConfiguration,
    Transport,
};

use super::tls;
use crate::config;

/// The library's limit on a packet in either direction, with topic and header. MQTT 3.1.1 cannot announce one to the broker.
const MAX_PACKET: usize = 1 << 20;

/// Packets that wait in a command's client: it asks one thing at a time.
const CHANNEL: usize = 16;

/// Who connects where. TLS is added by [`secure`].
pub(crate) fn options(mqtt: &config::Mqtt) -> MqttOptions {
    let mut options = MqttOptions::new(&mqtt.client_id, &mqtt.host, mqtt.port);
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET).set_keep_alive(mqtt.keep_alive);
    if let Some((username, password)) = &mqtt.login {
        options.set_credentials(username, password);
    }
    options
}

/// Reads the PEM files for the next connection, if there is TLS.
///
/// # Errors
/// Which file, and what is wrong with it.
pub(crate) fn secure(mqtt: &config::Mqtt, options: &mut MqttOptions) -> Result<(), String> {
    if mqtt.tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls::client_config(mqtt)?)));
    }
    Ok(())
}

/// A connection for the time of a command: whoever asks polls it.
pub(crate) struct Brief {
    pub(crate) client: AsyncClient,
    event_loop: EventLoop,
}

impl Brief {
    pub(crate) fn new(options: MqttOptions) -> Self {
        let (client, event_loop) = AsyncClient::new(options, CHANNEL);
        Self { client, event_loop }
    }

    /// The next thing that happens.
    ///
    /// # Errors
    /// The connection is not made, or has ended.
    pub(crate) async fn poll(&mut self) -> Result<Event, ConnectionError> {
        self.event_loop.poll().await
    }

    /// Subscribes at QoS 1; `false` if that is denied.
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
