//! The part of AWS's service models that the stand-in implements: the single place for its paths,
//! limits and errors. The test with boto3 compares these constants with botocore's copy of AWS's
//! own models.

pub(super) mod greengrass;
pub(super) mod sitewise;

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::calls::Operation;

/// A service of AWS that the stand-in implements in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Greengrass,
    SiteWise,
}

impl Service {
    /// The service's name in a signature's scope.
    pub(super) fn signing_name(self) -> &'static str {
        match self {
            Self::Greengrass => greengrass::SIGNING_NAME,
            Self::SiteWise => sitewise::SIGNING_NAME,
        }
    }

    pub(super) fn shapes(self) -> &'static [Shape] {
        match self {
            Self::Greengrass => &greengrass::SHAPES,
            Self::SiteWise => &sitewise::SHAPES,
        }
    }

    /// The service of a path; a path without an operation counts as Greengrass's.
    pub(super) fn of_path(path: &str) -> Self {
        let sitewise = [sitewise::ASSETS, sitewise::PROJECTS].iter().any(|prefix| path.starts_with(prefix));
        if sitewise { Self::SiteWise } else { Self::Greengrass }
    }
}

/// One operation of a service.
#[derive(Debug)]
pub(super) struct Shape {
    pub(in crate::cloud) operation: Operation,
    name: &'static str,
    pub(in crate::cloud) method: &'static str,
    /// The path before the resource.
    pub(in crate::cloud) prefix: &'static str,
    /// The member of the input that is the resource in the path.
    pub(in crate::cloud) label: &'static str,
    /// The path after the resource.
    pub(in crate::cloud) suffix: &'static str,
    /// The prefix that an SDK adds to the host's name; the stand-in ignores it.
    host_prefix: Option<&'static str>,
    required: &'static [&'static str],
    input: &'static [&'static str],
    /// The members of the output, its list first; empty if the operation has no output.
    output: &'static [&'static str],
    /// The members of the list's items; empty if the items are strings.
    item: &'static [&'static str],
    exceptions: &'static [&'static str],
}

/// One exception: its name, its status, the members of its body.
type Exception = (&'static str, u16, &'static [&'static str]);

/// The constants as JSON for a comparison, under botocore's names of the services.
pub(super) fn describe() -> Value {
    json!({"greengrassv2": greengrass::describe(), "iotsitewise": sitewise::describe()})
}

fn describe_operations(shapes: &[Shape]) -> Value {
    let describe = |shape: &Shape| {
        let description = json!({
            "method": shape.method,
            "requestUri": format!("{}{{{}}}{}", shape.prefix, shape.label, shape.suffix),
            "hostPrefix": shape.host_prefix,
            "required": shape.required,
            "input": shape.input,
            "output": shape.output,
            "item": shape.item,
            "exceptions": shape.exceptions,
        });
        (shape.name.to_owned(), description)
    };
    Value::Object(shapes.iter().map(describe).collect())
}

fn describe_exceptions(exceptions: &[Exception]) -> Value {
    let describe =
        |(name, status, members): &Exception| ((*name).to_owned(), json!({"status": status, "members": members}));
    Value::Object(exceptions.iter().map(describe).collect::<Map<_, _>>())
}

fn describe_range(range: &RangeInclusive<usize>) -> Value {
    json!({"min": range.start(), "max": range.end()})
}

/// A UUID that contains the number.
pub(super) fn uuid(number: u128) -> String {
    let hex = format!("{number:032x}");
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("{a}-{b}-{c}-{d}-{e}")
}
