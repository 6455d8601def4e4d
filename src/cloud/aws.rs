//! The AWS SDK behind the trait [`Cloud`].

use super::{
    Cloud, ListPage,
    greengrass::Greengrass,
    sdk::{Sdk, SkewSink},
};
use crate::{
    clock::Clock,
    config::Config,
    model::{CallError, CallFault, CallToken, EntryError, Lane, Target},
};

/// The APIs, as one core device calls them.
pub struct Aws {
    greengrass: Greengrass,
}

impl Aws {
    /// Clients for `config`'s core device and region. Makes no call.
    ///
    /// # Errors
    /// The file that `GG_ROOT_CA_PATH` names, or the certificates in it, cannot be used.
    pub fn new(config: &Config, clock: Clock, skew: SkewSink) -> Result<Self, String> {
        let sdk = Sdk::new(config, clock, skew)?;
        let greengrass = Greengrass::new(&sdk, config.cloud.greengrass.as_deref(), config.core.clone());
        Ok(Self { greengrass })
    }
}

impl Cloud for Aws {
    async fn call(&self, lane: Lane, targets: &[Target], _: Option<&CallToken>) -> Result<Vec<EntryError>, CallError> {
        match lane {
            Lane::Disassociate => self.greengrass.disassociate(targets).await,
            Lane::Associate => self.greengrass.associate(targets).await,
            Lane::List => Err(CallError::new(CallFault::Misfit, "NoEntries", "a list is read page by page")),
        }
    }

    async fn list(&self, next: Option<String>) -> Result<ListPage, CallError> {
        self.greengrass.list(next).await
    }
}
