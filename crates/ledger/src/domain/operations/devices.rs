//! The operations on client devices: the associations of this core device in Greengrass V2.

use super::{
    call::{OnDevices, Traits},
    changes::CHANGE,
    service::Service,
    spec::{Carried, Given, MakeTarget, Member, Names, Rule, Spec, Subcommand, Targets},
    target::Target,
    text_kind::THING,
};
use crate::domain::{DeviceState, Registered, ThingName};

/// The name of a device, in messages and in lists.
pub const THING_NAME: &str = "thingName";

static ENTRIES: Names = Names {
    kind: &THING,
    member: Some((THING_NAME, "The device's thing name.")),
    what: "{\"thingName\"}",
    column: THING_NAME,
    lists: &["associatedClientDevices", "entries"],
    row: Some("ASSOCIATEDCLIENTDEVICES"),
    from_file: "Read more names from a file or, with -, from standard input: one per line, or separated by white space; \
                or a CSV file with a column thingName; or the JSON output of aws greengrassv2 \
                list-client-devices-associated-with-core-device",
};

const CORE: Member =
    Member::optional("coreDeviceThingName", Rule::Core, "As in the AWS API. Must be this core device.", "\"MyCore\"")
        .note("must be this core device");

const DEVICES: Member = Member::required(
    "entries",
    Rule::Names(&ENTRIES),
    "The client devices. One that is named twice counts once.",
    "[{\"thingName\": \"sensor-7\"}]",
)
.argument("", "THING", "Thing names");

const MEMBERS: &[&[Member]] = &[&[CORE, DEVICES], CHANGE];

const ACCEPTED: &[&[&str]] = &[&["acceptedAt", "clientToken", "entryCount", "unknownCount", "unknown?"], &["plan"]];

/// `disassociate-client-devices`
pub static DISASSOCIATE: Carried = Carried {
    spec: Spec {
        name: "disassociate-client-devices",
        short: "disassociate",
        about: "Disassociates client devices from this core device.",
        broadcast: true,
        members: MEMBERS,
        accepted: ACCEPTED,
        readme: "`entries: [{\"thingName\"}]` as in the API, but without its limit of 100; optional `coreDeviceThingName`, \
                 `force`, `dryRun`, `expiresInSeconds`, `issuedAt`, `reason`",
    },
    call: Traits {
        letter: "D",
        action: "greengrass:BatchDisassociateClientDeviceFromCoreDevice",
        suffix: "",
        removes: true,
        opposite: Some("A"),
        devices: Some(OnDevices { under_way: DeviceState::Disassociating, goal: Registered::Disassociated }),
        ..CALL
    },
    targets: Targets::Each(targets),
    subcommand: Some(Subcommand {
        name: "disassociate",
        about: "Disassociate client devices from this core device.",
        examples: Some(
            "Examples:\n  offboard disassociate sensor-7 sensor-8 --reason \"line 3 was sold\"\n  \
             offboard disassociate --from-file retired.txt --dry-run\n  \
             offboard disassociate sensor-7 --everywhere --mqtt-url mqtts://broker --client-id ops",
        ),
        row: "disassociates client devices",
    }),
};

/// `associate-client-devices`
pub static ASSOCIATE: Carried = Carried {
    spec: Spec {
        name: "associate-client-devices",
        short: "associate",
        about: "Associates client devices with this core device.",
        broadcast: false,
        members: MEMBERS,
        accepted: ACCEPTED,
        readme: "the same members; associates them (again)",
    },
    call: Traits {
        letter: "A",
        action: "greengrass:BatchAssociateClientDeviceWithCoreDevice",
        suffix: "_ASSOCIATE",
        removes: false,
        opposite: Some("D"),
        devices: Some(OnDevices { under_way: DeviceState::Associating, goal: Registered::Associated }),
        ..CALL
    },
    targets: Targets::Each(targets),
    subcommand: Some(Subcommand {
        name: "associate",
        about: "Associate client devices with this core device",
        examples: None,
        row: "associates client devices",
    }),
};

/// What the calls of Greengrass V2 have in common.
pub(super) const CALL: Traits = Traits {
    letter: "",
    service: Service::Greengrass,
    action: "",
    resource: None,
    suffix: "",
    max_entries: 100,
    removes: false,
    opposite: None,
    devices: None,
    scoped: false,
    token: false,
    paced: false,
};

fn targets(_: &Given) -> Option<MakeTarget> {
    Some(Box::new(|name| ThingName::new(name).map(Target::Device)))
}
