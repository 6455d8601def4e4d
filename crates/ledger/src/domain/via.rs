//! The transports over which commands arrive.

use super::text_enum;

text_enum! {
    /// A transport.
    #[derive(PartialOrd, Ord)]
    pub enum Via {
        /// The local MQTT broker.
        Mqtt = "mqtt",
        /// The local socket.
        Socket = "socket",
        /// Publish/subscribe among the components of the core device, by Greengrass IPC.
        PubSub = "pubsub",
        /// AWS IoT Core, by Greengrass IPC.
        IotCore = "iot-core",
    }
}
