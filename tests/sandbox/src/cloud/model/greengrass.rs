//! The service model of AWS IoT Greengrass V2 (API version 2020-11-30): the operations on client
//! devices.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::{Exception, Operation, Shape, describe_exceptions, describe_operations, describe_range};

/// The signing name is that of version 1 of the API, too.
pub(super) const SIGNING_NAME: &str = "greengrass";

/// The number of entries in a batch.
pub(in crate::cloud) const ENTRIES: RangeInclusive<usize> = 1..=100;

/// The length of a thing's name in characters, for client devices and core devices. The model has
/// no pattern for it.
pub(in crate::cloud) const THING_NAME: RangeInclusive<usize> = 1..=128;

/// The number of results that a caller may request for a page of the list.
pub(in crate::cloud) const MAX_RESULTS: RangeInclusive<usize> = 1..=100;

const PATH_PREFIX: &str = "/greengrass/v2/coreDevices/";
const CORE: &str = "coreDeviceThingName";

/// The value of `reason` in a ValidationException.
#[derive(Debug, Clone, Copy)]
pub(in crate::cloud) enum Reason {
    CannotParse,
    FieldValidationFailed,
    Other,
}

impl Reason {
    const ALL: [Self; 3] = [Self::CannotParse, Self::FieldValidationFailed, Self::Other];

    pub(in crate::cloud) fn name(self) -> &'static str {
        match self {
            Self::CannotParse => "CANNOT_PARSE",
            Self::FieldValidationFailed => "FIELD_VALIDATION_FAILED",
            Self::Other => "OTHER",
        }
    }
}

pub(super) const SHAPES: [Shape; 3] = [
    Shape {
        operation: Operation::Disassociate,
        name: "BatchDisassociateClientDeviceFromCoreDevice",
        method: "POST",
        prefix: PATH_PREFIX,
        label: CORE,
        suffix: "/disassociateClientDevices",
        host_prefix: None,
        required: &[CORE],
        input: &[CORE, "entries"],
        output: &["errorEntries"],
        item: &["thingName", "code", "message"],
        exceptions: &ALL_EXCEPTIONS,
    },
    Shape {
        operation: Operation::Associate,
        name: "BatchAssociateClientDeviceWithCoreDevice",
        method: "POST",
        prefix: PATH_PREFIX,
        label: CORE,
        suffix: "/associateClientDevices",
        host_prefix: None,
        required: &[CORE],
        input: &[CORE, "entries"],
        output: &["errorEntries"],
        item: &["thingName", "code", "message"],
        exceptions: &ALL_EXCEPTIONS,
    },
    Shape {
        operation: Operation::List,
        name: "ListClientDevicesAssociatedWithCoreDevice",
        method: "GET",
        prefix: PATH_PREFIX,
        label: CORE,
        suffix: "/associatedClientDevices",
        host_prefix: None,
        required: &[CORE],
        input: &[CORE, "maxResults", "nextToken"],
        output: &["associatedClientDevices", "nextToken"],
        item: &["thingName", "associationTimestamp"],
        exceptions: &ALL_EXCEPTIONS,
    },
];

const EXCEPTIONS: [Exception; 5] = [
    ("ValidationException", 400, &["message", "reason", "fields"]),
    ("AccessDeniedException", 403, &["message"]),
    ("ResourceNotFoundException", 404, &["message", "resourceId", "resourceType"]),
    ("ThrottlingException", 429, &["message", "quotaCode", "serviceCode"]),
    ("InternalServerException", 500, &["message"]),
];

/// Every operation declares every exception.
const ALL_EXCEPTIONS: [&str; 5] = [EXCEPTIONS[0].0, EXCEPTIONS[1].0, EXCEPTIONS[2].0, EXCEPTIONS[3].0, EXCEPTIONS[4].0];

pub(super) fn describe() -> Value {
    json!({
        "apiVersion": "2020-11-30",
        "signingName": SIGNING_NAME,
        "operations": describe_operations(&SHAPES),
        "limits": {
            "entries": describe_range(&ENTRIES),
            "thingName": describe_range(&THING_NAME),
            "maxResults": describe_range(&MAX_RESULTS),
        },
        "exceptions": describe_exceptions(&EXCEPTIONS),
        "retryAfterHeader": {"ThrottlingException": "Retry-After", "InternalServerException": "Retry-After"},
        "reasons": Reason::ALL.map(Reason::name),
    })
}
