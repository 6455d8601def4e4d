//! The operations on the assets in a project of SiteWise Monitor.

use super::{
    assets,
    call::{PolicyResource, Traits},
    changes::{ACCEPTED, CHANGE},
    service::Service,
    site_wise::{EXAMPLE, MONITOR, MonitorId},
    spec::{Carried, Given, MakeTarget, Member, Names, Rule, Spec, Subcommand, Targets},
    target::Target,
};

static IDS: Names = Names {
    kind: &MONITOR,
    member: None,
    what: "asset's id",
    column: "assetId",
    lists: &["assetIds"],
    row: None,
    from_file: "Read more assets from a file or, with -, from standard input: one per line, or separated by white \
                space; or a CSV file with a column assetId",
};

const PROJECT: Member =
    Member::required("projectId", Rule::Text(&MONITOR), "The project of SiteWise Monitor.", EXAMPLE).argument(
        "project",
        "PROJECT",
        "The project of SiteWise Monitor",
    );

const ASSETS: Member = Member::required(
    "assetIds",
    Rule::Names(&IDS),
    "The assets that leave the project. One that is named twice counts once.",
    "[\"a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f\"]",
)
.argument("", "ASSET", "Assets in the project");

/// `disassociate-project-assets`
pub static DISASSOCIATE: Carried = Carried {
    spec: Spec {
        name: "disassociate-project-assets",
        short: "project-assets",
        about: "Removes assets from a project of SiteWise Monitor. Needs `siteWise.enabled`.",
        broadcast: false,
        members: &[&[PROJECT, ASSETS], CHANGE],
        accepted: ACCEPTED,
        readme: "`projectId`, `assetIds: []`, and the same optional members; disassociates assets from a project of \
                 SiteWise Monitor",
    },
    call: Traits {
        letter: "P",
        service: Service::SiteWiseMonitor,
        action: "iotsitewise:BatchDisassociateProjectAssets",
        resource: Some(PolicyResource { sid: "OffboardProjects", resource: "project/*", tagged: false }),
        suffix: "_PROJECT_ASSETS",
        max_entries: 100,
        removes: true,
        ..assets::CALL
    },
    targets: Targets::Each(targets),
    subcommand: Some(Subcommand {
        name: "disassociate-project-assets",
        about: "Disassociate assets from a project of SiteWise Monitor",
        examples: None,
        row: "disassociates assets from a project of SiteWise Monitor",
    }),
};

fn targets(given: &Given) -> Option<MakeTarget> {
    let project = given.parsed(&PROJECT, MonitorId::new)?;
    Some(Box::new(move |asset| Ok(Target::project_asset(project.clone(), MonitorId::new(asset)?))))
}
