//! Call kinds: the kinds of cloud calls, and everything in which one differs from another. The
//! rules of the ledger, the planner and the dispatcher know a call kind by its [`Traits`] alone.

use serde::{Deserialize, Serialize};

use super::{DeviceState, Registered};

/// A kind of cloud call. Each has its own queue, so that trouble with one holds up no other.
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

/// An AWS service: what is out of reach of one may be within reach of the other.
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
    /// What people see until the outcome is known.
    pub under_way: DeviceState,
    /// What the cloud's list shows once it is done: an outcome that the call left open is settled
    /// by the next list.
    pub goal: Registered,
    /// The kind of call that undoes it: its calls for the same device come before or after, never
    /// meanwhile.
    pub opposite: Option<CallKind>,
}

/// What distinguishes the calls of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Stands for the call kind in keys of the store.
    pub letter: u8,
    /// Whose API.
    pub service: Service,
    /// The action that a policy has to allow.
    pub action: &'static str,
    /// Distinguishes the problems of these calls in `status` from those of others.
    pub suffix: &'static str,
    /// Most entries of one call, the API's limit; 0 where calls carry none.
    pub max_entries: usize,
    /// Set where the entries are devices of the registry.
    pub devices: Option<OnDevices>,
    /// Whether a call is about a resource other than this core device
    /// ([`Target::scope`](super::Target::scope)). A refusal or a conflict is that resource's, then:
    /// others go first, and no list of ours settles an outcome.
    pub scoped: bool,
    /// Whether the service knows a repeated call by a `clientToken`: it is kept with the entries
    /// before they are sent, and stays that of the call's content until its outcome is known.
    pub token: bool,
    /// Whether its calls keep their distance instead of coming in bursts: the service takes one
    /// change of a resource at a time.
    pub paced: bool,
}

impl CallKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Disassociate, Self::Associate, Self::Assets, Self::ProjectAssets, Self::List];

    /// Its place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// All that sets it apart.
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

    /// Whether the cloud's list of devices can settle what its calls left open.
    #[must_use]
    pub fn is_settled_by_list(self) -> bool {
        self.traits().devices.is_some()
    }

    /// Whether it takes devices off: guards count these, and a later association overtakes them.
    #[must_use]
    pub fn takes_off(self) -> bool {
        self.traits().devices.is_some_and(|devices| devices.goal == Registered::Disassociated)
    }

    /// Whether what it takes away may be protected (`guard.protected`).
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
