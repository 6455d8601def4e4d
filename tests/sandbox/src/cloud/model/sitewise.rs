//! The service model of AWS IoT SiteWise (API version 2019-12-02): the operations that disassociate
//! assets from their parent or project, and those that list the remaining ones.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{Exception, Operation, Shape, describe_exceptions, describe_operations, describe_range};

pub(super) const SIGNING_NAME: &str = "iotsitewise";

/// The number of assets in a batch.
pub(in crate::cloud) const ASSET_IDS: RangeInclusive<usize> = 1..=100;

/// The length of a client token in characters.
pub(in crate::cloud) const CLIENT_TOKEN: RangeInclusive<usize> = 36..=64;

/// The number of results that a caller may request for a page of a list.
pub(in crate::cloud) const MAX_RESULTS: RangeInclusive<usize> = 1..=250;

/// The number of results of a page if the caller requests none. Only the documentation of the model
/// gives it.
pub(in crate::cloud) const DEFAULT_RESULTS: usize = 50;

/// The length of an id that may be an external one. The model does not anchor the end of an
/// external id; the stand-in matches the whole string.
pub(in crate::cloud) const CUSTOM_ID: RangeInclusive<usize> = 13..=139;

/// The prefix of an external id where either kind of id is allowed.
pub(in crate::cloud) const EXTERNAL: &str = "externalId:";

/// The directions of ListAssociatedAssets; the second is the default.
pub(in crate::cloud) const DIRECTIONS: [&str; 2] = ["PARENT", "CHILD"];

/// The only code in the error of an asset in a project's batch.
const ASSET_ERROR_CODES: [&str; 1] = ["INTERNAL_FAILURE"];

pub(super) const ASSETS: &str = "/assets/";
pub(super) const PROJECTS: &str = "/projects/";

const ASSET_EXCEPTIONS: [&str; 4] =
    ["InvalidRequestException", "ResourceNotFoundException", "InternalFailureException", "ThrottlingException"];

pub(super) const SHAPES: [Shape; 4] = [
    Shape {
        operation: Operation::DisassociateAssets,
        name: "DisassociateAssets",
        method: "POST",
        prefix: ASSETS,
        label: "assetId",
        suffix: "/disassociate",
        host_prefix: Some("api."),
        required: &["assetId", "hierarchyId", "childAssetId"],
        input: &["assetId", "hierarchyId", "childAssetId", "clientToken"],
        output: &[],
        item: &[],
        exceptions: &[
            "InvalidRequestException",
            "ResourceNotFoundException",
            "InternalFailureException",
            "ThrottlingException",
            "ConflictingOperationException",
        ],
    },
    Shape {
        operation: Operation::DisassociateProjectAssets,
        name: "BatchDisassociateProjectAssets",
        method: "POST",
        prefix: PROJECTS,
        label: "projectId",
        suffix: "/assets/disassociate",
        host_prefix: Some("monitor."),
        required: &["projectId", "assetIds"],
        input: &["projectId", "assetIds", "clientToken"],
        output: &["errors"],
        item: &["assetId", "code", "message"],
        exceptions: &ASSET_EXCEPTIONS,
    },
    Shape {
        operation: Operation::ListAssociatedAssets,
        name: "ListAssociatedAssets",
        method: "GET",
        prefix: ASSETS,
        label: "assetId",
        suffix: "/hierarchies",
        host_prefix: Some("api."),
        required: &["assetId"],
        input: &["assetId", "hierarchyId", "traversalDirection", "nextToken", "maxResults"],
        output: &["assetSummaries", "nextToken"],
        item: &[
            "id",
            "externalId",
            "arn",
            "name",
            "assetModelId",
            "creationDate",
            "lastUpdateDate",
            "status",
            "hierarchies",
            "description",
        ],
        exceptions: &ASSET_EXCEPTIONS,
    },
    Shape {
        operation: Operation::ListProjectAssets,
        name: "ListProjectAssets",
        method: "GET",
        prefix: PROJECTS,
        label: "projectId",
        suffix: "/assets",
        host_prefix: Some("monitor."),
        required: &["projectId"],
        input: &["projectId", "nextToken", "maxResults"],
        output: &["assetIds", "nextToken"],
        item: &[],
        // Unlike the other operations it has no ResourceNotFoundException.
        exceptions: &["InvalidRequestException", "InternalFailureException", "ThrottlingException"],
    },
];

const EXCEPTIONS: [Exception; 5] = [
    ("InvalidRequestException", 400, &["message"]),
    ("ResourceNotFoundException", 404, &["message"]),
    ("ConflictingOperationException", 409, &["message", "resourceId", "resourceArn"]),
    ("ThrottlingException", 429, &["message"]),
    ("InternalFailureException", 500, &["message"]),
];

pub(super) fn describe() -> Value {
    json!({
        "apiVersion": "2019-12-02",
        "signingName": SIGNING_NAME,
        "operations": describe_operations(&SHAPES),
        "limits": {
            "assetIds": describe_range(&ASSET_IDS),
            "clientToken": describe_range(&CLIENT_TOKEN),
            "customId": describe_range(&CUSTOM_ID),
            "maxResults": describe_range(&MAX_RESULTS),
        },
        "directions": DIRECTIONS,
        "assetErrorCodes": ASSET_ERROR_CODES,
        "exceptions": describe_exceptions(&EXCEPTIONS),
    })
}
