//! The transports over which commands arrive.

use std::fmt;

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The local MQTT broker.
    Mqtt,
    /// The local socket.
    Socket,
    /// Publish/subscribe among the components of the core device, by Greengrass IPC.
    PubSub,
    /// AWS IoT Core, by Greengrass IPC.
    IotCore,
}

impl Via {
    /// All transports.
    pub const ALL: &[Self] = &[Self::Mqtt, Self::Socket, Self::PubSub, Self::IotCore];

    /// The name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Socket => "socket",
            Self::PubSub => "pubsub",
            Self::IotCore => "iot-core",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
