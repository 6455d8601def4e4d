//! What a configuration says once it is read, and what is wrong with one that is refused.

use std::{fmt, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{
    mqtt::Mqtt,
    sections::{Batch, Endpoints, Ipc, LocalAccess, LogFormat, Rate, Retention, Retry},
};
use crate::domain::{FieldFault, Guard, Limits, Service, ThingName};

/// Everything that `offboard run` is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// This core device.
    pub core: ThingName,
    /// The AWS region.
    pub region: String,
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// The broker; `None` where there is none (`mqtt.url` is `none`).
    pub mqtt: Option<Mqtt>,
    /// First level of every topic.
    pub topic_prefix: String,
    /// How entries are gathered into calls.
    pub batch: Batch,
    /// How long to wait after a failed call.
    pub retry: Retry,
    /// How many calls.
    pub rate: Rate,
    /// Time between syncs; `None` for no periodic sync.
    pub sync_interval: Option<Duration>,
    /// What is too much.
    pub limits: Limits,
    /// How long what is finished is kept.
    pub retention: Retention,
    /// What is never, or not lightly, disassociated.
    pub guard: Guard,
    /// A retained message for each device.
    pub publish_devices: bool,
    /// Disable the broker's client of a disassociated device; `None` where that is off.
    pub local_access: Option<LocalAccess>,
    /// Accept the SiteWise operations.
    pub site_wise: bool,
    /// Where the cloud is, if not where AWS says.
    pub cloud: Endpoints,
    /// Time between two messages with metrics; none where unset.
    pub metrics_interval: Option<Duration>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Greengrass IPC.
    pub ipc: Ipc,
    /// The configuration as it was given, with what the environment added, and without secrets.
    pub shown: Value,
}

impl Config {
    /// Whether operations are accepted that need that service.
    #[must_use]
    pub fn serves(&self, service: Service) -> bool {
        match service {
            Service::Greengrass => true,
            Service::SiteWise => self.site_wise,
        }
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

/// Every fault of a configuration, one a line.
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
