//! SiteWise's calls that take assets apart: from their parent, and out of a project.

use aws_sdk_iotsitewise::{
    Client,
    config::{self, ConfigBag, Intercept, RuntimeComponents},
    error::ProvideErrorMetadata,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        endpoint::EndpointPrefix,
        interceptors::{context::BeforeSerializationInterceptorContextMut, dyn_dispatch_hint},
    },
};

use super::sdk::{Judge, Sdk, genuine};
use crate::{
    config::Endpoints,
    model::{CallError, CallFault, CallToken, EntryError, Target},
};

pub(super) struct SiteWise {
    client: Client,
    judge: Judge,
}

impl SiteWise {
    pub(super) fn new(sdk: &Sdk, endpoints: &Endpoints) -> Self {
        let client = |endpoint: Option<&str>| {
            let mut builder = config::Builder::from(&sdk.at(endpoint)).interceptor(sdk.clock_watch());
            if endpoint.is_some() {
                builder = builder.interceptor(AsGiven);
            }
            Client::from_conf(builder.build())
        };
        Self { client: client(endpoints.site_wise.as_deref()), judge: sdk.judge() }
    }

    /// `DisassociateAssets`, for one child. Its answer has no body.
    pub(super) async fn disassociate_asset(
        &self,
        targets: &[Target],
        token: &CallToken,
    ) -> Result<Vec<EntryError>, CallError> {
        let [Target::Child { asset, hierarchy, child }] = targets else { return Err(misfit()) };
        let call = self
            .client
            .disassociate_assets()
            .asset_id(asset.as_str())
            .hierarchy_id(hierarchy.as_str())
            .child_asset_id(child.as_str())
            .client_token(token.as_str());
        let answer =
            call.send().await.map_err(|error| self.judge.error(&error, |e, fault| refine(e, fault, targets)))?;
        genuine(answer).map(|_| Vec::new())
    }
}

/// A call that the ledger should never ask for.
fn misfit() -> CallError {
    CallError::new(CallFault::Misfit, "NoEntries", "entries that this call is not for")
}

/// Which of the entries an error is about, by the ids that its message names: the API has no member for it. All of them
/// where it names the resource that the call is about, none where it names nothing that we know.
fn refine<E: ProvideErrorMetadata>(error: &E, fault: CallFault, targets: &[Target]) -> CallFault {
    let CallFault::Invalid(_) = fault else { return fault };
    let message = error.message().unwrap_or_default();
    let named = |target: &Target| message.contains(target.name());
    let mut indexes: Vec<usize> = (0..targets.len()).filter(|n| named(&targets[*n])).collect();
    if indexes.is_empty() && targets.iter().filter_map(Target::scope).any(|scope| message.contains(scope)) {
        indexes = (0..targets.len()).collect();
    }
    CallFault::Invalid(indexes)
}

/// Uses a configured endpoint as it is given: the SDK would put `api.` or `monitor.` before its host name.
#[derive(Debug)]
struct AsGiven;

#[dyn_dispatch_hint]
impl Intercept for AsGiven {
    fn name(&self) -> &'static str {
        "AsGiven"
    }

    fn modify_before_serialization(
        &self,
        _: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        state.interceptor_state().unset::<EndpointPrefix>();
        Ok(())
    }
}
