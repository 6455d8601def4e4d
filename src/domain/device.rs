//! A client device as the registry knows it, and the rule of when a command about it came too late.

use serde::{Deserialize, Serialize};

use super::{AccessView, ClientId, ClientToken, Fault, ThingName, Timestamp};

/// The state that people see: what the cloud says, overlaid by what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// The cloud lists it.
    Associated,
    /// A request to associate it has not ended.
    Associating,
    /// A request to take it off has not ended.
    Disassociating,
    /// The cloud no longer lists it.
    Disassociated,
}

impl DeviceState {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Associated, Self::Associating, Self::Disassociating, Self::Disassociated];

    /// The name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Associated => "ASSOCIATED",
            Self::Associating => "ASSOCIATING",
            Self::Disassociating => "DISASSOCIATING",
            Self::Disassociated => "DISASSOCIATED",
        }
    }
}

/// What the cloud says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registered {
    /// Listed.
    #[serde(rename = "A")]
    Associated,
    /// Not listed, or taken off by us.
    #[serde(rename = "D")]
    Disassociated,
}

/// A registry record: what the cloud last said, and what was last asked. What is under way is the
/// ledger's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The cloud's word.
    pub registered: Registered,
    /// The association's time; kept after we ended it, to recognise a list that lags behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association: Option<Timestamp>,
    /// When we associated it ourselves, as long as that association is the one that is listed: such
    /// a one overtakes nobody (contract, "Superseded").
    #[serde(rename = "ours", default, skip_serializing_if = "Option::is_none")]
    pub associated_by_agent_at: Option<Timestamp>,
    /// Who last asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<(ClientId, ClientToken, Timestamp)>,
    /// Calls that carried it, in the last request.
    #[serde(default)]
    pub attempts: u32,
    /// Why the last one failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
    /// When this record last changed.
    pub changed_at: Timestamp,
    /// The ledger's count of outcomes when it did: a list begun before says nothing about it.
    #[serde(rename = "mark", default)]
    pub outcome_seq: u64,
}

/// A device as messages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its name.
    pub thing: ThingName,
    /// Its state.
    pub state: DeviceState,
    /// The rest of the record, with what is under way in place of what was.
    pub device: Device,
    /// Its client in the broker, where the agent manages it.
    pub access: Option<AccessView>,
}

/// Whether a command is overtaken: the device was associated anew after it was asked for (contract,
/// "Superseded").
///
/// `known_association` is the association's time that the registry had when the command was
/// accepted, `listed` the one that the cloud lists now, `None` if it doesn't list the device. `asked_at` is `None`
/// where no clock tells when the command was asked for.
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
        // Without a clock to trust, a difference alone tells; without one held there is no
        // difference.
        (Some(_), None) => known_association.is_some(),
        (Some(listed), Some(asked_at)) => listed > asked_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 8: a command that the contract's rule calls superseded is not carried out.
    #[test]
    fn superseded_follows_the_contract() {
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
