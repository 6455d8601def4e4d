//! What the families of AWS IoT SiteWise share: the names of its resources.

use serde::{Deserialize, Serialize};

use super::text_kind::{Form, TextKind};
use crate::domain::{InvalidName, names::name};

/// Maximum length of an asset's external id, in characters without the prefix `externalId:`.
pub const MAX_EXTERNAL: usize = 128;

/// The prefix of an external id.
pub(crate) const EXTERNAL_ID: &str = "externalId:";

const NOT_AN_ASSET: InvalidName = InvalidName(
    "must be a UUID in lower case, not of zeros alone, or externalId: and 2 to 128 characters of a-z A-Z 0-9 _ - . :",
);
const NOT_A_UUID: InvalidName = InvalidName("must be a UUID in lower case, not of zeros alone");

name!(
    /// An asset of AWS IoT SiteWise, or a hierarchy of one, by its id or by its external id.
    AssetId,
    is_asset,
    NOT_AN_ASSET
);
name!(
    /// A project of SiteWise Monitor, or an asset in a project, which has no external id there.
    MonitorId,
    is_uuid,
    NOT_A_UUID
);

/// SiteWise's `ID`.
fn is_uuid(text: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 36
        && text.bytes().enumerate().all(|(n, b)| if hyphens.contains(&n) { b == b'-' } else { is_digit(b) })
        && text.bytes().any(|b| b != b'0' && b != b'-')
}

/// SiteWise's `CustomID`, matched to its end:
/// `externalId:[a-zA-Z0-9_][a-zA-Z_\-0-9.:]*[a-zA-Z0-9_]+`, or an `ID`.
pub(crate) fn is_asset(text: &str) -> bool {
    let Some(id) = text.strip_prefix(EXTERNAL_ID) else { return is_uuid(text) };
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let is_end = |b: Option<u8>| b.is_some_and(is_word);
    (2..=MAX_EXTERNAL).contains(&id.len())
        && id.bytes().all(|b| is_word(b) || matches!(b, b'-' | b'.' | b':'))
        && is_end(id.bytes().next())
        && is_end(id.bytes().next_back())
}

macro_rules! uuid {
    () => {
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    };
}

const NO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// An [`AssetId`].
pub static ASSET: TextKind = TextKind {
    check: |text| AssetId::new(text).map(|_| ()).map_err(|error| error.to_string()),
    form: Form::Pattern {
        // Its first and its last character are of another kind than those between.
        pattern: concat!("^(", uuid!(), "|externalId:[a-zA-Z0-9_][a-zA-Z0-9_.:-]{0,126}[a-zA-Z0-9_])$"),
        length: None,
        not: Some(NO_UUID),
    },
};

/// A [`MonitorId`].
pub static MONITOR: TextKind = TextKind {
    check: |text| MonitorId::new(text).map(|_| ()).map_err(|error| error.to_string()),
    form: Form::Pattern { pattern: concat!("^", uuid!(), "$"), length: None, not: Some(NO_UUID) },
};

/// An id for examples, as JSON text.
pub(super) const EXAMPLE: &str = "\"a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f\"";

/// An asset as a child of another asset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildAsset {
    /// The parent.
    pub asset: AssetId,
    /// The hierarchy of the parent that contains the child.
    pub hierarchy: AssetId,
    /// The child.
    pub child: AssetId,
}

/// An asset in a project of SiteWise Monitor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProjectAsset {
    /// The project.
    pub project: MonitorId,
    /// The asset.
    pub asset: MonitorId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_is_named_as_in_sitewise() {
        let uuid = "a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f";
        for good in [uuid, "externalId:ab", "externalId:Press_7.left:x-9", &format!("externalId:{}", "x".repeat(128))] {
            assert!(AssetId::new(good).is_ok(), "{good}");
            assert_eq!(MonitorId::new(good).is_ok(), good == uuid, "{good}");
        }
        for bad in [
            "",
            &uuid.to_uppercase(),
            &uuid[1..],
            &uuid.replace('-', "0"),
            "00000000-0000-0000-0000-000000000000",
            "externalId:",
            "externalId:a",
            "externalId:-ab",
            "externalId:ab.",
            "externalId:a b",
            "externalid:ab",
            &format!("{uuid}x"),
            &format!("externalId:{}", "x".repeat(129)),
        ] {
            assert_eq!(AssetId::new(bad), Err(NOT_AN_ASSET), "{bad}");
            assert_eq!(MonitorId::new(bad), Err(NOT_A_UUID), "{bad}");
        }
    }
}
