//! The operations, by their names in topics.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CallKind;

macro_rules! operations {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// An operation, by its name in topics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Operation {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl Operation {
            /// All operations.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in topics and messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

operations! {
    DisassociateClientDevices = "disassociate-client-devices",
    AssociateClientDevices = "associate-client-devices",
    DisassociateAssets = "disassociate-assets",
    DisassociateProjectAssets = "disassociate-project-assets",
    Sync = "sync",
    Cancel = "cancel",
    GetRequest = "get-request",
    ListRequests = "list-requests",
    GetDevice = "get-device",
    ListDevices = "list-devices",
}

impl Operation {
    /// The operation with that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.as_str() == text)
    }

    /// The kind of cloud call that carries this operation's entries; `None` for an operation that
    /// the agent answers at once.
    #[must_use]
    pub fn lane(self) -> Option<CallKind> {
        match self {
            Self::DisassociateClientDevices => Some(CallKind::Disassociate),
            Self::AssociateClientDevices => Some(CallKind::Associate),
            Self::DisassociateAssets => Some(CallKind::Assets),
            Self::DisassociateProjectAssets => Some(CallKind::ProjectAssets),
            Self::Sync => Some(CallKind::List),
            Self::Cancel | Self::GetRequest | Self::ListRequests | Self::GetDevice | Self::ListDevices => None,
        }
    }

    /// Whether its entries are client devices.
    #[must_use]
    pub fn is_on_devices(self) -> bool {
        self.lane().is_some_and(|lane| lane.traits().devices.is_some())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_parse_as_they_are_written() {
        for operation in Operation::ALL {
            assert_eq!(Operation::parse(operation.as_str()), Some(*operation));
        }
        assert_eq!(Operation::parse("Sync"), None);
    }
}
