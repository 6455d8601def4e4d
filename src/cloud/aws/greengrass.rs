//! The Greengrass V2 calls on the client devices of one core device.

use aws_sdk_greengrassv2::{
    Client, config,
    error::ProvideErrorMetadata,
    types::{
        AssociateClientDeviceWithCoreDeviceEntry, AssociateClientDeviceWithCoreDeviceErrorEntry,
        AssociatedClientDevice, DisassociateClientDeviceFromCoreDeviceEntry,
        DisassociateClientDeviceFromCoreDeviceErrorEntry, ValidationExceptionReason,
    },
};

use super::{
    classify::entry_index,
    sdk::{ResponseClassifier, Sdk},
};
use crate::cloud::api::ListPage;
use crate::domain::{CallError, CallFault, CallKind, EntryError, Target, ThingName, Timestamp};

pub(super) struct Greengrass {
    client: Client,
    classifier: ResponseClassifier,
    core: ThingName,
}

impl Greengrass {
    pub(super) fn new(sdk: &Sdk, endpoint: Option<&str>, core: ThingName) -> Self {
        let config = config::Builder::from(&sdk.at(endpoint)).interceptor(sdk.clock_watch()).build();
        Self { client: Client::from_conf(config), classifier: sdk.classifier(), core }
    }

    /// Makes a call of that kind.
    pub(super) async fn call(&self, kind: CallKind, targets: &[Target]) -> Result<Vec<EntryError>, CallError> {
        match kind {
            CallKind::Disassociate => self.disassociate(targets).await,
            CallKind::Associate => self.associate(targets).await,
            _ => Err(CallError::new(
                CallFault::NotUnderstood,
                "NoEntries",
                "no call of this service carries entries of this kind",
            )),
        }
    }

    async fn disassociate(&self, targets: &[Target]) -> Result<Vec<EntryError>, CallError> {
        let entry = |target: &Target| {
            DisassociateClientDeviceFromCoreDeviceEntry::builder().thing_name(target.name()).build().ok()
        };
        let call = self
            .client
            .batch_disassociate_client_device_from_core_device()
            .core_device_thing_name(self.core.as_str())
            .set_entries(Some(named(targets.iter().map(entry))?));
        let output = self.classifier.answer(call.send().await, |error, fault| error.refine(fault, &self.core))?;
        let error = |error: DisassociateClientDeviceFromCoreDeviceErrorEntry| {
            entry_error(error.thing_name, error.code, error.message)
        };
        Ok(output.error_entries.unwrap_or_default().into_iter().map(error).collect())
    }

    async fn associate(&self, targets: &[Target]) -> Result<Vec<EntryError>, CallError> {
        let entry = |target: &Target| {
            AssociateClientDeviceWithCoreDeviceEntry::builder().thing_name(target.name()).build().ok()
        };
        let call = self
            .client
            .batch_associate_client_device_with_core_device()
            .core_device_thing_name(self.core.as_str())
            .set_entries(Some(named(targets.iter().map(entry))?));
        let output = self.classifier.answer(call.send().await, |error, fault| error.refine(fault, &self.core))?;
        let error = |error: AssociateClientDeviceWithCoreDeviceErrorEntry| {
            entry_error(error.thing_name, error.code, error.message)
        };
        Ok(output.error_entries.unwrap_or_default().into_iter().map(error).collect())
    }

    pub(super) async fn list(&self, next: Option<String>) -> Result<ListPage, CallError> {
        let call = self
            .client
            .list_client_devices_associated_with_core_device()
            .core_device_thing_name(self.core.as_str())
            .max_results(100)
            .set_next_token(next);
        let output = self.classifier.answer(call.send().await, |error, fault| error.refine(fault, &self.core))?;
        let listed = output.associated_client_devices.unwrap_or_default();
        Ok(ListPage {
            devices: listed.into_iter().filter_map(device).collect(),
            next: output.next_token.filter(|token| !token.is_empty()),
        })
    }
}

/// The entries of a call. None of them may be missing, since the API answers a call without entries
/// with a success.
fn named<E>(entries: impl Iterator<Item = Option<E>>) -> Result<Vec<E>, CallError> {
    let all = entries.collect::<Option<Vec<E>>>();
    all.ok_or_else(|| CallError::new(CallFault::NotUnderstood, "NoEntries", "an entry without a name"))
}

fn entry_error(name: Option<String>, code: Option<String>, message: Option<String>) -> EntryError {
    EntryError { name, code: code.unwrap_or_default(), message: message.unwrap_or_default() }
}

fn device(listed: AssociatedClientDevice) -> Option<(ThingName, Option<Timestamp>)> {
    let name = listed.thing_name?;
    let at = listed.association_timestamp.and_then(|at| at.to_millis().ok()).map(Timestamp);
    match ThingName::new(&name) {
        Ok(thing) => Some((thing, at)),
        Err(error) => {
            tracing::warn!(thing = name, "a listed device is skipped: its name {error}");
            None
        }
    }
}

/// What a refusal says in addition to its code.
trait Refusal {
    fn refine(&self, fault: CallFault, core: &ThingName) -> CallFault;
}

/// Whether a call's `resourceId` is the core device: its name or its ARN. Where the response has
/// none, nothing else is named either.
fn names_core(resource: &str, core: &ThingName) -> bool {
    let name = resource.rsplit(['/', ':']).next().unwrap_or(resource);
    name.is_empty() || name == core.as_str() || resource == core.as_str()
}

macro_rules! refusal {
    ($error:path) => {
        impl Refusal for $error {
            fn refine(&self, fault: CallFault, core: &ThingName) -> CallFault {
                use ValidationExceptionReason as Reason;
                match self {
                    Self::ValidationException(error) => {
                        let fields: Vec<&str> = error.fields().iter().map(|field| field.name()).collect();
                        match error.reason() {
                            Some(Reason::UnknownOperation | Reason::CannotParse) => CallFault::NotUnderstood,
                            _ if fields.contains(&"coreDeviceThingName") => CallFault::UnknownCoreDevice,
                            _ => CallFault::Invalid(fields.into_iter().filter_map(entry_index).collect()),
                        }
                    }
                    Self::ResourceNotFoundException(error) if !names_core(error.resource_id(), core) => fault,
                    error if error.code() == Some("ResourceNotFoundException") => CallFault::UnknownCoreDevice,
                    _ => fault,
                }
            }
        }
    };
}

refusal!(aws_sdk_greengrassv2::operation::batch_disassociate_client_device_from_core_device::BatchDisassociateClientDeviceFromCoreDeviceError);
refusal!(aws_sdk_greengrassv2::operation::batch_associate_client_device_with_core_device::BatchAssociateClientDeviceWithCoreDeviceError);
refusal!(aws_sdk_greengrassv2::operation::list_client_devices_associated_with_core_device::ListClientDevicesAssociatedWithCoreDeviceError);
