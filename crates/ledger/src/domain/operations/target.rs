//! The target of an entry: a device, an asset, or the registry.

use serde::{Deserialize, Serialize};

use super::{
    site_wise::{ASSET, AssetId, ChildAsset, MONITOR, MonitorId, ProjectAsset},
    text_kind::{THING, TextKind},
};
use crate::domain::ThingName;

/// The target of one entry of a request. Open requests that name the same target share one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A client device.
    #[serde(rename = "d")]
    Device(ThingName),
    /// An asset as a child of another asset. This variant and the next are boxed, because most
    /// targets are devices, and up to a hundred thousand of them are in memory.
    #[serde(rename = "c")]
    Child(Box<ChildAsset>),
    /// An asset in a project of SiteWise Monitor.
    #[serde(rename = "p")]
    ProjectAsset(Box<ProjectAsset>),
    /// The whole registry, which a `sync` reads again from the cloud.
    #[serde(rename = "l")]
    Registry,
}

/// A member of a message that names an entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Naming {
    /// The member.
    pub member: &'static str,
    /// What the name is.
    pub kind: &'static TextKind,
}

/// Names a client device.
pub static DEVICE: Naming = Naming { member: "thingName", kind: &THING };
/// Names an asset as a child of another asset.
pub static CHILD: Naming = Naming { member: "childAssetId", kind: &ASSET };
/// Names an asset in a project of SiteWise Monitor.
pub static PROJECT_ASSET: Naming = Naming { member: "assetId", kind: &MONITOR };

impl Target {
    /// Creates the target for an asset as a child of another asset.
    #[must_use]
    pub fn child(asset: AssetId, hierarchy: AssetId, child: AssetId) -> Self {
        Self::Child(Box::new(ChildAsset { asset, hierarchy, child }))
    }

    /// Creates the target for an asset in a project of SiteWise Monitor.
    #[must_use]
    pub fn project_asset(project: MonitorId, asset: MonitorId) -> Self {
        Self::ProjectAsset(Box::new(ProjectAsset { project, asset }))
    }

    /// The target's name in messages and in the cloud's responses.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Device(thing) => thing.as_str(),
            Self::Child(it) => it.child.as_str(),
            Self::ProjectAsset(it) => it.asset.as_str(),
            Self::Registry => "",
        }
    }

    /// The members of messages that hold [`Self::name`], one for each kind of target.
    pub const NAMINGS: &[&Naming] = &[&DEVICE, &CHILD, &PROJECT_ASSET];

    /// How a message names the target; `None` for the registry.
    #[must_use]
    pub fn naming(&self) -> Option<&'static Naming> {
        match self {
            Self::Device(_) => Some(&DEVICE),
            Self::Child(_) => Some(&CHILD),
            Self::ProjectAsset(_) => Some(&PROJECT_ASSET),
            Self::Registry => None,
        }
    }

    /// The member of a message that holds [`Self::name`].
    #[must_use]
    pub fn member(&self) -> Option<&'static str> {
        self.naming().map(|naming| naming.member)
    }

    /// The resource that a call for this target is about, if it is not this core device. Each call
    /// is about one resource.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        match self {
            Self::Device(_) | Self::Registry => None,
            Self::Child(it) => Some(it.asset.as_str()),
            Self::ProjectAsset(it) => Some(it.project.as_str()),
        }
    }

    /// The names that are compared with `guard.protected`.
    #[must_use]
    pub fn guarded_names(&self) -> Vec<&str> {
        match self {
            Self::Device(thing) => vec![thing.as_str()],
            Self::Child(it) => vec![it.asset.as_str(), it.child.as_str()],
            Self::ProjectAsset(it) => vec![it.asset.as_str()],
            Self::Registry => Vec::new(),
        }
    }

    /// The target's form in keys of the store. It is unique, and the same in every version of the
    /// agent.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Device(thing) => format!("d{thing}"),
            Self::Child(it) => format!("c{} {} {}", it.asset, it.hierarchy, it.child),
            Self::ProjectAsset(it) => format!("p{} {}", it.project, it.asset),
            Self::Registry => "l".to_owned(),
        }
    }

    /// The target with that [`Self::key`].
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_at_checked(1)?;
        match kind {
            "d" => ThingName::new(rest).ok().map(Self::Device),
            "c" => {
                let ids = rest.split(' ').map(AssetId::new).collect::<Result<Vec<_>, _>>().ok()?;
                let [asset, hierarchy, child] = <[AssetId; 3]>::try_from(ids).ok()?;
                Some(Self::child(asset, hierarchy, child))
            }
            "p" => {
                let (project, asset) = rest.split_once(' ')?;
                let (project, asset) = (MonitorId::new(project).ok()?, MonitorId::new(asset).ok()?);
                Some(Self::project_asset(project, asset))
            }
            "l" if rest.is_empty() => Some(Self::Registry),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_found_by_its_key() {
        let asset = |text: &str| AssetId::new(text).unwrap();
        let (parent, hierarchy) = (asset("externalId:press.line:1"), asset("a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f"));
        let id = |digit: &str| MonitorId::new(&"12345678-1234-1234-1234-12345678901x".replace('x', digit)).unwrap();
        for target in [
            Target::project_asset(id("a"), id("b")),
            Target::Device(ThingName::new("press-7").unwrap()),
            Target::child(parent, hierarchy, asset("externalId:ab")),
            Target::Registry,
        ] {
            assert_eq!(Target::from_key(&target.key()), Some(target));
        }
        for key in ["", "d", "da b", "c", "cexternalId:ab externalId:ab", "lx", "z"] {
            assert_eq!(Target::from_key(key), None, "{key:?}");
        }
    }
}
