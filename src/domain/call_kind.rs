//! Call kinds: the kinds of cloud calls, and every property in which they differ. The rules of the
//! ledger, the planner and the dispatcher use a call kind through its [`Traits`] alone.

use serde::{Deserialize, Serialize};

use super::{DeviceState, Registered};

/// A kind of cloud call. Each kind has a queue of its own, so that a problem with one kind does not
/// delay the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CallKind {
    /// Greengrass V2 `BatchDisassociateClientDeviceFromCoreDevice`.
    #[serde(rename = "D")]
    Disassociate,
    /// Greengrass V2 `BatchAssociateClientDeviceWithCoreDevice`.
    #[serde(rename = "A")]
    Associate,
    /// SiteWise `DisassociateAssets`.
    #[serde(rename = "C")]
    Assets,
    /// SiteWise Monitor's `BatchDisassociateProjectAssets`.
    #[serde(rename = "P")]
    ProjectAssets,
    /// Greengrass V2 `ListClientDevicesAssociatedWithCoreDevice`, read to its end.
    #[serde(rename = "L")]
    List,
}

/// An AWS service. One service may be reachable while the other is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// AWS IoT Greengrass V2.
    Greengrass,
    /// AWS IoT SiteWise.
    SiteWise,
}

/// What the calls of a kind mean for the device that an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDevices {
    /// The device's state in messages until the outcome is known.
    pub under_way: DeviceState,
    /// What the cloud's list shows after a successful call. The next list settles an outcome that
    /// the call left open.
    pub goal: Registered,
    /// The kind of call that undoes this one. Calls of the two kinds for the same device run one
    /// after the other, never at the same time.
    pub opposite: Option<CallKind>,
}

/// The properties that distinguish the calls of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Identifies the call kind in keys of the store.
    pub letter: u8,
    /// The service whose API the call belongs to.
    pub service: Service,
    /// The IAM action that a policy has to allow.
    pub action: &'static str,
    /// Appended to the codes of problems in `status`, to distinguish the problems of this kind from
    /// those of other kinds.
    pub suffix: &'static str,
    /// The API's limit of entries for one call; 0 where calls carry no entries.
    pub max_entries: usize,
    /// Set where the entries are devices of the registry.
    pub devices: Option<OnDevices>,
    /// Whether a call is about a resource other than this core device
    /// ([`Target::scope`](super::Target::scope)). A refusal or a conflict then concerns that
    /// resource only: entries of other resources are sent first, and no list settles an outcome.
    pub scoped: bool,
    /// Whether the service recognises a repeated call by its `clientToken`. The token is stored
    /// with the entries before they are sent, and it stays with the call's content until the
    /// outcome is known.
    pub token: bool,
    /// Whether calls are spaced evenly instead of sent in bursts: the service accepts one change of
    /// a resource at a time.
    pub paced: bool,
}

impl CallKind {
    /// All call kinds.
    pub const ALL: [Self; 5] = [Self::Disassociate, Self::Associate, Self::Assets, Self::ProjectAssets, Self::List];

    /// The position in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The properties of this kind.
    #[must_use]
    pub const fn traits(self) -> Traits {
        let greengrass = Traits {
            letter: 0,
            service: Service::Greengrass,
            action: "",
            suffix: "",
            max_entries: 100,
            devices: None,
            scoped: false,
            token: false,
            paced: false,
        };
        let site_wise = Traits { service: Service::SiteWise, scoped: true, token: true, paced: true, ..greengrass };
        match self {
            Self::Disassociate => Traits {
                letter: b'D',
                action: "greengrass:BatchDisassociateClientDeviceFromCoreDevice",
                devices: Some(OnDevices {
                    under_way: DeviceState::Disassociating,
                    goal: Registered::Disassociated,
                    opposite: Some(Self::Associate),
                }),
                ..greengrass
            },
            Self::Associate => Traits {
                letter: b'A',
                action: "greengrass:BatchAssociateClientDeviceWithCoreDevice",
                suffix: "_ASSOCIATE",
                devices: Some(OnDevices {
                    under_way: DeviceState::Associating,
                    goal: Registered::Associated,
                    opposite: Some(Self::Disassociate),
                }),
                ..greengrass
            },
            Self::Assets => Traits {
                letter: b'C',
                action: "iotsitewise:DisassociateAssets",
                suffix: "_ASSETS",
                max_entries: 1,
                ..site_wise
            },
            Self::ProjectAssets => Traits {
                letter: b'P',
                action: "iotsitewise:BatchDisassociateProjectAssets",
                suffix: "_PROJECT_ASSETS",
                ..site_wise
            },
            Self::List => Traits {
                letter: b'L',
                action: "greengrass:ListClientDevicesAssociatedWithCoreDevice",
                suffix: "_LIST",
                max_entries: 0,
                ..greengrass
            },
        }
    }

    /// Whether the cloud's list of devices can settle an outcome that a call of this kind left
    /// open.
    #[must_use]
    pub fn is_settled_by_list(self) -> bool {
        self.traits().devices.is_some()
    }

    /// Whether calls of this kind disassociate devices. Guards count these entries, and a later
    /// association supersedes them.
    #[must_use]
    pub fn takes_off(self) -> bool {
        self.traits().devices.is_some_and(|devices| devices.goal == Registered::Disassociated)
    }

    /// Whether `guard.protected` applies to the targets of this kind.
    #[must_use]
    pub fn is_guarded(self) -> bool {
        let Traits { devices, max_entries, .. } = self.traits();
        max_entries > 0 && devices.is_none_or(|devices| devices.goal == Registered::Disassociated)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn call_kinds_are_distinguished() {
        let letters: BTreeSet<u8> = CallKind::ALL.iter().map(|kind| kind.traits().letter).collect();
        let actions: BTreeSet<&str> = CallKind::ALL.iter().map(|kind| kind.traits().action).collect();
        let suffixes: BTreeSet<&str> = CallKind::ALL.iter().map(|kind| kind.traits().suffix).collect();
        assert_eq!([letters.len(), actions.len(), suffixes.len()], [CallKind::ALL.len(); 3]);
        for (n, kind) in CallKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), n);
            let Traits { devices, scoped, service, .. } = kind.traits();
            assert!(devices.is_none() || !scoped, "{kind:?}: the list of devices is this core's");
            assert_eq!(scoped, service == Service::SiteWise, "{kind:?}");
            if let Some(opposite) = devices.and_then(|devices| devices.opposite) {
                assert_eq!(opposite.traits().devices.and_then(|devices| devices.opposite), Some(kind));
            }
        }
    }
}
