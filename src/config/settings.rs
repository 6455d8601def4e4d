//! The settings of a configuration after it was read, and the faults of a configuration that is
//! refused.

use std::{fmt, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    mqtt::Mqtt,
    sections::{Batch, Endpoints, Ipc, LocalAccess, LogFormat, Rate, Retention, Retry},
};
use crate::{
    domain::{FieldFault, Guard, Limits, Service, ThingName},
    protocol::Topics,
};

/// The whole configuration of `offboard run`, after its validation.
#[derive(Clone, Debug)]
pub struct Config {
    /// The thing name of this core device.
    pub core: ThingName,
    /// The AWS region.
    pub region: String,
    /// The data directory, which holds the store.
    pub data_dir: PathBuf,
    /// The broker; `None` where there is none (`mqtt.url` is `none`).
    pub mqtt: Option<Mqtt>,
    /// The first level of every topic.
    pub topic_prefix: String,
    /// How entries are collected into calls.
    pub batch: Batch,
    /// How long to wait after a failed call.
    pub retry: Retry,
    /// The limit on the rate of calls.
    pub rate: Rate,
    /// The time between syncs; `None` for no periodic sync.
    pub sync_interval: Option<Duration>,
    /// The limits.
    pub limits: Limits,
    /// How long finished records are kept.
    pub retention: Retention,
    /// What is never disassociated, or not without `force`.
    pub guard: Guard,
    /// Whether a retained message is published for each device.
    pub publish_devices: bool,
    /// How to disable the broker's client of a disassociated device; `None` if that is off.
    pub local_access: Option<LocalAccess>,
    /// The services whose operations are not accepted, since their switch is not set.
    pub off: Vec<Service>,
    /// The endpoints of the cloud, where they are not those of AWS.
    pub cloud: Endpoints,
    /// The time between two messages with metrics; `None` for no such messages.
    pub metrics_interval: Option<Duration>,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// The transports over Greengrass IPC.
    pub ipc: Ipc,
    /// Whether commands for all core devices are accepted.
    pub accept_broadcast: bool,
    /// The configuration as it was given, with the values of the environment, and without secrets.
    pub shown: Value,
}

impl Config {
    /// The topics of this core device.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Topics::new(&self.topic_prefix, &self.core).with_broadcasts(self.accept_broadcast)
    }

    /// Whether operations that need that service are accepted.
    #[must_use]
    pub fn serves(&self, service: Service) -> bool {
        !self.off.contains(&service)
    }

    /// The names by which the broker may know the agent's own client; the first is the most likely.
    #[must_use]
    pub fn own_names(&self) -> Vec<String> {
        let mqtt = self.mqtt.as_ref();
        let login = mqtt.and_then(|mqtt| mqtt.login.as_ref()).map(|(name, _)| name.clone());
        let client = mqtt.map(|mqtt| mqtt.client_id.clone());
        login.into_iter().chain(client).chain([self.core.to_string()]).collect()
    }

    /// The first of [`Self::own_names`].
    #[must_use]
    pub fn own_name(&self) -> String {
        self.own_names().swap_remove(0)
    }
}

/// Every fault of a configuration, one on each line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<FieldFault>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.0.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}configuration: {} {}", fault.name, fault.message)?;
        }
        Ok(())
    }
}
