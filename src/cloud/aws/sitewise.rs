//! The SiteWise calls that disassociate assets: from their parent asset, and from a project.

use aws_sdk_iotsitewise::{
    Client,
    config::{self, ConfigBag, Intercept, RuntimeComponents},
    error::ProvideErrorMetadata,
    types::AssetErrorDetails,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        endpoint::EndpointPrefix,
        interceptors::{context::BeforeSerializationInterceptorContextMut, dyn_dispatch_hint},
    },
};

use super::sdk::{ResponseClassifier, Sdk};
use crate::{
    config::Endpoints,
    domain::{CallError, CallFault, CallKind, CallToken, EntryError, Service, Target},
};

pub(super) struct SiteWise {
    client: Client,
    /// The client for the operations of SiteWise Monitor. They have an endpoint of their own, which
    /// a VPC endpoint of the other operations does not serve.
    monitor: Client,
    classifier: ResponseClassifier,
}

impl SiteWise {
    pub(super) fn new(sdk: &Sdk, endpoints: &Endpoints) -> Self {
        let client = |service: Service| {
            let endpoint = endpoints.of(service);
            let mut builder = config::Builder::from(&sdk.at(endpoint)).interceptor(sdk.clock_watch());
            if endpoint.is_some() {
                builder = builder.interceptor(AsGiven);
            }
            Client::from_conf(builder.build())
        };
        Self {
            client: client(Service::SiteWise),
            monitor: client(Service::SiteWiseMonitor),
            classifier: sdk.classifier(),
        }
    }

    /// Makes a call of that kind.
    pub(super) async fn call(
        &self,
        kind: CallKind,
        targets: &[Target],
        token: Option<&CallToken>,
    ) -> Result<Vec<EntryError>, CallError> {
        let no_token = || CallError::new(CallFault::NotUnderstood, "NoToken", "a call without the token that it needs");
        let token = token.ok_or_else(no_token)?;
        match kind {
            CallKind::Assets => self.disassociate_asset(targets, token).await,
            CallKind::ProjectAssets => self.disassociate_project_assets(targets, token).await,
            _ => Err(not_for_this_call()),
        }
    }

    /// `DisassociateAssets`, for one child asset. Its response has no body.
    async fn disassociate_asset(&self, targets: &[Target], token: &CallToken) -> Result<Vec<EntryError>, CallError> {
        let [Target::Child(named)] = targets else { return Err(not_for_this_call()) };
        let crate::domain::ChildAsset { asset, hierarchy, child } = &**named;
        let call = self
            .client
            .disassociate_assets()
            .asset_id(asset.as_str())
            .hierarchy_id(hierarchy.as_str())
            .child_asset_id(child.as_str())
            .client_token(token.as_str());
        self.classifier.answer(call.send().await, |error, fault| refine(error, fault, targets)).map(|_| Vec::new())
    }

    /// `BatchDisassociateProjectAssets`, for up to 100 assets of one project.
    async fn disassociate_project_assets(
        &self,
        targets: &[Target],
        token: &CallToken,
    ) -> Result<Vec<EntryError>, CallError> {
        let project = targets.first().and_then(Target::scope).ok_or_else(not_for_this_call)?;
        let assets = targets.iter().map(|target| target.name().to_owned()).collect();
        let call = self
            .monitor
            .batch_disassociate_project_assets()
            .project_id(project)
            .set_asset_ids(Some(assets))
            .client_token(token.as_str());
        let answer = self.classifier.answer(call.send().await, |error, fault| refine(error, fault, targets))?;
        let error = |error: AssetErrorDetails| EntryError {
            name: Some(error.asset_id),
            code: error.code.as_str().to_owned(),
            message: error.message,
        };
        Ok(answer.errors.unwrap_or_default().into_iter().map(error).collect())
    }
}

/// The error for a call that the ledger should never request.
fn not_for_this_call() -> CallError {
    CallError::new(CallFault::NotUnderstood, "NoEntries", "entries that this call is not for")
}

/// Which of the entries an error is about, by the ids that its message names, since the API has no
/// member for it. All entries if the resource that the call is about does not exist; none if the
/// message names no known id.
fn refine<E: ProvideErrorMetadata>(error: &E, fault: CallFault, targets: &[Target]) -> CallFault {
    let CallFault::Invalid(_) = fault else { return fault };
    let message = error.message().unwrap_or_default();
    let named = |target: &Target| message.contains(target.name());
    let mut indexes: Vec<usize> = (0..targets.len()).filter(|n| named(&targets[*n])).collect();
    let is_missing = error.code() == Some("ResourceNotFoundException");
    if is_missing && indexes.is_empty() && targets.iter().filter_map(Target::scope).any(|scope| message.contains(scope))
    {
        indexes = (0..targets.len()).collect();
    }
    CallFault::Invalid(indexes)
}

/// Uses a configured endpoint as it is given. The SDK would put `api.` or `monitor.` before its
/// host name.
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
