//! The AWS SDK behind the trait [`Cloud`].

mod classify;
mod credentials;
mod greengrass;
mod http;
mod proxies;
mod sdk;
mod sitewise;

pub(crate) use credentials::{AccessSource, TokenExchangeAccess};
pub(crate) use proxies::proxy_faults;

use self::{
    greengrass::Greengrass,
    sdk::{Sdk, SkewSink},
    sitewise::SiteWise,
};
use super::api::{Cloud, ListPage};
use crate::{
    config::Config,
    domain::{CallError, CallKind, CallToken, EntryError, Service, Target},
    runtime::clock::Clock,
};

/// The APIs of AWS, as one core device calls them.
pub struct Aws {
    greengrass: Greengrass,
    site_wise: SiteWise,
}

impl Aws {
    /// Makes the clients for `config`'s core device and region. Their credentials come from the
    /// service that the environment names, or else from the one that `source` finds. Makes no call.
    ///
    /// # Errors
    /// The file that `GG_ROOT_CA_PATH` names, or the certificates in it, cannot be used.
    pub(crate) fn new(
        config: &Config,
        clock: Clock,
        skew: SkewSink,
        source: Option<AccessSource>,
    ) -> Result<Self, String> {
        let sdk = Sdk::new(config, clock, skew, source)?;
        let greengrass = Greengrass::new(&sdk, config.cloud.of(Service::Greengrass), config.core.clone());
        let site_wise = SiteWise::new(&sdk, &config.cloud);
        Ok(Self { greengrass, site_wise })
    }
}

impl Cloud for Aws {
    async fn call(
        &self,
        call_kind: CallKind,
        targets: &[Target],
        token: Option<&CallToken>,
    ) -> Result<Vec<EntryError>, CallError> {
        match call_kind.traits().service {
            Service::Greengrass => self.greengrass.call(call_kind, targets).await,
            Service::SiteWise | Service::SiteWiseMonitor => self.site_wise.call(call_kind, targets, token).await,
        }
    }

    async fn list(&self, next: Option<String>) -> Result<ListPage, CallError> {
        self.greengrass.list(next).await
    }
}
