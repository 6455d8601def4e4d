//! The schema of each command's payload, made from its parser, and an example of each.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::{Value, json};

use super::asked;
use crate::{
    domain::{Operation, ThingName},
    protocol::parse_command,
};

/// What each member is for, by its path.
const MEMBERS: &[(&str, &str)] = &[
    (
        "clientToken",
        "Names the request among the sender's own, over all operations. Sent again with the same content it is the same \
         request. Without one the agent makes one and names it in `accepted`.",
    ),
    ("coreDeviceThingName", "As in the AWS API. Must be this core device."),
    ("entries", "The client devices. One that is named twice counts once."),
    ("entries[].thingName", "The device's thing name."),
    ("assetId", "The parent asset, by its id or its external id."),
    ("hierarchyId", "The hierarchy of the parent that the child is in, by its id or its external id."),
    ("childAssetId", "The asset that leaves its parent, by its id or its external id."),
    ("projectId", "The project of SiteWise Monitor."),
    ("assetIds", "The assets that leave the project. One that is named twice counts once."),
    ("force", "Overrides `guard.maxFraction`, but not `guard.protected`."),
    ("dryRun", "Answer with a plan, and do nothing."),
    (
        "issuedAt",
        "When the person asked, as in RFC 3339, where a broker or a bridge may have held the command; else \
                  `acceptedAt` counts.",
    ),
    (
        "expiresInSeconds",
        "What was not sent by then ends as `TimedOut`; counted from `issuedAt`, else from `acceptedAt`.",
    ),
    ("reason", "For people; kept with the request."),
    ("targetClientToken", "The token of the request in question."),
    ("targetClient", "The client that sent the request in question, if it is not the sender."),
    (
        "targetVia",
        "The transport of that request. Only a sender on the local socket may name another transport than its own.",
    ),
    ("nextToken", "Continues a list, from the answer that held its last page."),
    ("maxResults", "Rows of a page; it has fewer where they would not fit into a message."),
    ("status", "Only requests with that status."),
    ("state", "Only devices in that state."),
    ("thingName", "The device's thing name."),
    ("history", "Whether to add the history of the device."),
];

/// What the operation does.
pub(super) fn about(operation: Operation) -> &'static str {
    match operation {
        Operation::DisassociateClientDevices => "Disassociates client devices from this core device.",
        Operation::AssociateClientDevices => "Associates client devices with this core device.",
        Operation::DisassociateAssets => {
            "Disassociates an asset of AWS IoT SiteWise from its parent. Needs `siteWise.enabled`."
        }
        Operation::DisassociateProjectAssets => {
            "Removes assets from a project of SiteWise Monitor. Needs `siteWise.enabled`."
        }
        Operation::Sync => "Reads the cloud's list of client devices now.",
        Operation::Cancel => "Withdraws the entries of a request that were not sent.",
        Operation::GetRequest => "Shows a request with its failed entries.",
        Operation::ListRequests => "Lists the sender's requests, newest first.",
        Operation::GetDevice => "Shows a device.",
        Operation::ListDevices => "Lists the devices by name.",
    }
}

/// A payload with every member that there is. `nextToken` is one that no list takes.
pub(super) fn example(operation: Operation) -> Value {
    const ID: &str = "a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f";
    let own = match operation {
        Operation::DisassociateClientDevices | Operation::AssociateClientDevices => {
            json!({"entries": [{"thingName": "sensor-7"}], "coreDeviceThingName": "MyCore"})
        }
        Operation::DisassociateAssets => {
            json!({"assetId": ID, "hierarchyId": ID, "childAssetId": "externalId:press-7"})
        }
        Operation::DisassociateProjectAssets => json!({"projectId": ID, "assetIds": [ID]}),
        Operation::Sync => json!({"issuedAt": "2026-11-21T09:00:00Z"}),
        Operation::Cancel => {
            json!({"targetClientToken": "retire-7", "targetClient": "bench-tool", "targetVia": "iot-core"})
        }
        Operation::GetRequest => json!({
            "targetClientToken": "retire-7", "targetClient": "bench-tool", "targetVia": "iot-core", "nextToken": "7.0a1b2c3d4e5f", "maxResults": 10
        }),
        Operation::ListRequests => json!({
            "targetClient": "bench-tool", "targetVia": "iot-core", "status": "IN_PROGRESS", "nextToken": "7.0a1b2c3d4e5f", "maxResults": 10
        }),
        Operation::GetDevice => json!({"thingName": "sensor-7", "history": true}),
        Operation::ListDevices => {
            json!({"state": "DISASSOCIATING", "nextToken": "sensor-7.0a1b2c3d4e5f", "maxResults": 10})
        }
    };
    let mut payload = json!({"clientToken": "retire-7"});
    if own.get("entries").or(own.get("childAssetId")).or(own.get("projectId")).is_some() {
        let optional = json!({"force": false, "dryRun": false, "issuedAt": "2026-11-21T09:00:00Z",
            "expiresInSeconds": 604_800, "reason": "line 3 was sold"});
        payload.as_object_mut().unwrap().extend(optional.as_object().unwrap().clone());
    }
    payload.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    payload
}

/// Whether the agent on `MyCore` takes it.
pub(super) fn is_taken(operation: Operation, payload: &Value) -> bool {
    let core = ThingName::new("MyCore").unwrap();
    parse_command(&core, operation.as_str(), payload.to_string().as_bytes(), 100_000).1.is_ok()
}

/// The schema of its payload.
pub(super) fn schema(operation: Operation) -> Value {
    let used = RefCell::default();
    described(operation, &used)
}

fn described(operation: Operation, used: &RefCell<BTreeSet<&'static str>>) -> Value {
    let example = example(operation);
    let asked = asked::listen(|| assert!(is_taken(operation, &example), "{operation}: {example}"));
    let describe = |path: &str| {
        let found = MEMBERS.iter().find(|(known, _)| *known == path);
        let (known, text) = found.unwrap_or_else(|| panic!("{path} of {operation} is described nowhere"));
        used.borrow_mut().insert(*known);
        *text
    };
    let mut schema = asked::object(&asked, "", &describe);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&example), members(&schema["properties"]), "the example of {operation} is not of all members");
    schema["title"] = json!(operation.as_str());
    schema["description"] = json!(about(operation));
    schema["examples"] = json!([example]);
    schema
}

#[test]
fn nothing_is_described_that_no_command_has() {
    let used = RefCell::default();
    for operation in Operation::ALL {
        described(*operation, &used);
    }
    assert_eq!(used.into_inner(), MEMBERS.iter().map(|(path, _)| *path).collect());
}
