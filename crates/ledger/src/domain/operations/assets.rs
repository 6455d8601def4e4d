//! The operations on the child assets of AWS IoT SiteWise.

use super::{
    call::{PolicyResource, Traits},
    changes::{ACCEPTED, CHANGE},
    devices,
    service::Service,
    site_wise::{ASSET, AssetId, EXAMPLE},
    spec::{Carried, Given, Member, Rule, Spec, Subcommand, Targets},
    target::Target,
};

const PARENT: Member =
    Member::required("assetId", Rule::Text(&ASSET), "The parent asset, by its id or its external id.", EXAMPLE)
        .note("the parent")
        .argument("asset", "ASSET", "The parent asset, by id or externalId:");

const HIERARCHY: Member = Member::required(
    "hierarchyId",
    Rule::Text(&ASSET),
    "The hierarchy of the parent that the child is in, by its id or its external id.",
    EXAMPLE,
)
.argument("hierarchy", "HIERARCHY", "The hierarchy of the parent that contains the child");

const CHILD: Member = Member::required(
    "childAssetId",
    Rule::Text(&ASSET),
    "The asset that leaves its parent, by its id or its external id.",
    "\"externalId:press-7\"",
)
.argument("child", "ASSET", "The child asset");

/// `disassociate-assets`
pub static DISASSOCIATE: Carried = Carried {
    spec: Spec {
        name: "disassociate-assets",
        short: "assets",
        about: "Disassociates an asset of AWS IoT SiteWise from its parent. Needs `siteWise.enabled`.",
        broadcast: false,
        members: &[&[PARENT, HIERARCHY, CHILD], CHANGE],
        accepted: ACCEPTED,
        readme: "`assetId` (the parent), `hierarchyId`, `childAssetId`, and the optional members from `force` on; \
                 disassociates an asset of AWS IoT SiteWise from its parent",
    },
    call: Traits {
        letter: "C",
        action: "iotsitewise:DisassociateAssets",
        resource: Some(PolicyResource { sid: "OffboardAssets", resource: "asset/*", tagged: true }),
        suffix: "_ASSETS",
        max_entries: 1,
        removes: true,
        ..CALL
    },
    targets: Targets::One(target),
    subcommand: Some(Subcommand {
        name: "disassociate-assets",
        about: "Disassociate an asset of AWS IoT SiteWise from its parent",
        examples: None,
        row: "disassociates an asset from its parent",
    }),
};

/// What the calls of SiteWise have in common.
pub(super) const CALL: Traits =
    Traits { service: Service::SiteWise, scoped: true, token: true, paced: true, ..devices::CALL };

fn target(given: &Given) -> Option<Target> {
    let id = |member| given.parsed(member, AssetId::new);
    Some(Target::child(id(&PARENT)?, id(&HIERARCHY)?, id(&CHILD)?))
}
