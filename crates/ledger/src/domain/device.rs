//! A client device as the registry holds it, and the rule that decides whether a command about it
//! is superseded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AccessView, ClientId, ClientToken, Fault, ThingName, Timestamp, is_default, text_enum};

text_enum! {
    /// The state in messages: the association in the cloud, overlaid by the requests in progress.
    pub enum DeviceState {
        /// The cloud lists it.
        Associated = "ASSOCIATED",
        /// A request to associate it has not ended.
        Associating = "ASSOCIATING",
        /// A request to disassociate it has not ended.
        Disassociating = "DISASSOCIATING",
        /// The cloud no longer lists it.
        Disassociated = "DISASSOCIATED",
    }
}

/// Whether the cloud lists a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registered {
    /// Listed.
    #[serde(rename = "A")]
    Associated,
    /// Not listed, or disassociated by the agent.
    #[serde(rename = "D")]
    Disassociated,
}

/// Who asked for a device, with which token, and when.
pub type RequestedBy = (ClientId, ClientToken, Timestamp);

/// A registry record: the state in the cloud's last list, and the last request. The ledger holds
/// the requests in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What the cloud's list shows.
    #[serde(rename = "r")]
    pub registered: Registered,
    /// The time of the association. It is kept after the agent disassociated the device, to
    /// recognise a list that is older than that.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub association: Option<Timestamp>,
    /// When the agent associated the device itself, as long as that association is the listed one:
    /// such an association supersedes no command (docs/interface.md, "Superseded requests").
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub associated_by_agent_at: Option<Timestamp>,
    /// The last request for this device. This member and `error` are behind pointers, because most
    /// devices of a large registry have neither.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<Box<RequestedBy>>,
    /// The number of calls that carried this device in the last request.
    #[serde(rename = "n", default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// Why the last call failed.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<Fault>>,
    /// When this record last changed.
    #[serde(rename = "t")]
    pub changed_at: Timestamp,
    /// The ledger's count of outcomes at that change. A list that began earlier says nothing about
    /// this device.
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    pub outcome_seq: u64,
}

/// A device as messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// The device's name.
    pub thing: ThingName,
    /// The device's state.
    pub state: DeviceState,
    /// The rest of the record, in which a request in progress replaces the last one.
    pub device: Device,
    /// The state of its client in the broker, if the agent manages that.
    pub access: Option<AccessView>,
}

/// Whether a command is superseded: the device was associated again after the command was issued
/// (docs/interface.md, "Superseded requests").
///
/// `known_association` is the time of the association that the registry held when the command was
/// accepted. `listed` is the time that the cloud lists now, `None` if it does not list the device.
/// `asked_at` is `None` where no clock gives the time at which the command was issued.
#[must_use]
pub fn is_superseded(
    known_association: Option<Timestamp>,
    listed: Option<Timestamp>,
    asked_at: Option<Timestamp>,
    clock_trusted: bool,
) -> bool {
    match (listed, asked_at.filter(|_| clock_trusted)) {
        (None, _) => false,
        (Some(_), _) if known_association == listed => false,
        // Without a trusted clock the comparison of the two associations decides; without a held
        // association there is nothing to compare.
        (Some(_), None) => known_association.is_some(),
        (Some(listed), Some(asked_at)) => listed > asked_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 8: the agent does not carry out a command that is superseded.
    #[test]
    fn superseded_follows_the_rule() {
        let at = |t| Some(Timestamp(t));
        let asked = at(100);
        for (known_association, listed, trusted, expected) in [
            (at(50), at(50), true, false),
            (at(50), at(150), true, true),
            (at(50), at(90), true, false),
            (None, at(150), true, true),
            (None, at(90), true, false),
            (at(50), None, true, false),
            (at(50), at(90), false, true),
            (at(50), at(50), false, false),
            (None, at(150), false, false),
            (at(50), None, false, false),
        ] {
            assert_eq!(
                is_superseded(known_association, listed, asked, trusted),
                expected,
                "{known_association:?} {listed:?} {trusted}"
            );
            let unknown = is_superseded(known_association, listed, None, true);
            assert_eq!(
                unknown,
                is_superseded(known_association, listed, asked, false),
                "{known_association:?} {listed:?}"
            );
        }
    }
}
