//! The service model of AWS IoT Greengrass V2 (API version 2020-11-30), as far as the stand-in goes: the one place for its
//! paths, limits and errors. The test with boto3 holds these constants against botocore's copy of AWS's own model.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::calls::Operation;

/// The service's name in a signature's scope. The API of version 1 has the same.
pub(super) const SIGNING_NAME: &str = "greengrass";

/// How many entries a batch has.
pub(super) const ENTRIES: RangeInclusive<usize> = 1..=100;

/// How many characters the name of a thing has, client device or core. The model has no pattern for it.
pub(super) const THING_NAME: RangeInclusive<usize> = 1..=128;

/// How many results a page of the list is asked to have.
pub(super) const MAX_RESULTS: RangeInclusive<usize> = 1..=100;

/// What each path begins with; the core device's name and [`Shape::suffix`] follow.
pub(super) const PATH_PREFIX: &str = "/greengrass/v2/coreDevices/";

/// Why a ValidationException: the value of its `reason`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reason {
    CannotParse,
    FieldValidationFailed,
    Other,
}

impl Reason {
    pub(super) const ALL: [Self; 3] = [Self::CannotParse, Self::FieldValidationFailed, Self::Other];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CannotParse => "CANNOT_PARSE",
            Self::FieldValidationFailed => "FIELD_VALIDATION_FAILED",
            Self::Other => "OTHER",
        }
    }
}

/// One operation of the service.
pub(super) struct Shape {
    pub(super) operation: Operation,
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    /// What follows the core device's name in the path.
    pub(super) suffix: &'static str,
    input: &'static [&'static str],
    output: &'static [&'static str],
    /// The members of the output's list.
    item: &'static [&'static str],
}

pub(super) const SHAPES: [Shape; 3] = [
    Shape {
        operation: Operation::Disassociate,
        name: "BatchDisassociateClientDeviceFromCoreDevice",
        method: "POST",
        suffix: "/disassociateClientDevices",
        input: &["coreDeviceThingName", "entries"],
        output: &["errorEntries"],
        item: &["thingName", "code", "message"],
    },
    Shape {
        operation: Operation::Associate,
        name: "BatchAssociateClientDeviceWithCoreDevice",
        method: "POST",
        suffix: "/associateClientDevices",
        input: &["coreDeviceThingName", "entries"],
        output: &["errorEntries"],
        item: &["thingName", "code", "message"],
    },
    Shape {
        operation: Operation::List,
        name: "ListClientDevicesAssociatedWithCoreDevice",
        method: "GET",
        suffix: "/associatedClientDevices",
        input: &["coreDeviceThingName", "maxResults", "nextToken"],
        output: &["associatedClientDevices", "nextToken"],
        item: &["thingName", "associationTimestamp"],
    },
];

/// The exceptions that every one of the operations declares: name, status, members of the body.
const EXCEPTIONS: [(&str, u16, &[&str]); 5] = [
    ("ValidationException", 400, &["message", "reason", "fields"]),
    ("AccessDeniedException", 403, &["message"]),
    ("ResourceNotFoundException", 404, &["message", "resourceId", "resourceType"]),
    ("ThrottlingException", 429, &["message", "quotaCode", "serviceCode"]),
    ("InternalServerException", 500, &["message"]),
];

/// The constants of this file for a reader that compares them.
pub(super) fn describe() -> Value {
    let range = |range: &RangeInclusive<usize>| json!({"min": range.start(), "max": range.end()});
    let operations: Map<String, Value> = SHAPES
        .iter()
        .map(|shape| {
            let description = json!({
                "method": shape.method,
                "requestUri": format!("{PATH_PREFIX}{{coreDeviceThingName}}{}", shape.suffix),
                "responseCode": 200,
                "required": ["coreDeviceThingName"],
                "input": shape.input,
                "output": shape.output,
                "item": shape.item,
            });
            (shape.name.to_owned(), description)
        })
        .collect();
    let exceptions: Map<String, Value> = EXCEPTIONS
        .iter()
        .map(|(name, status, members)| ((*name).to_owned(), json!({"status": status, "members": members})))
        .collect();
    json!({
        "apiVersion": "2020-11-30",
        "signingName": SIGNING_NAME,
        "operations": operations,
        "limits": {
            "entries": range(&ENTRIES),
            "thingName": range(&THING_NAME),
            "maxResults": range(&MAX_RESULTS),
        },
        "exceptions": exceptions,
        "retryAfterHeader": {"ThrottlingException": "Retry-After", "InternalServerException": "Retry-After"},
        "reasons": Reason::ALL.map(Reason::name),
    })
}
