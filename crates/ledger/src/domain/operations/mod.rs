//! The operations: each in the file of its family, and all of them in one table.
//!
//! The file of a family defines its operations as data: the name, the members of the payload, the
//! targets, the cloud call with its service and limits, the subcommand, the descriptions and the
//! examples. The parser, the schemas, AsyncAPI, the command line, the tables of the documents, the
//! inbox and the maintenance iterate over this table. They contain no code for a single operation.

pub mod assets;
pub mod call;
pub mod changes;
pub mod devices;
pub mod project_assets;
pub mod requests;
pub mod service;
pub mod site_wise;
pub mod spec;
pub mod target;
pub mod text_kind;

use self::{
    call::Traits,
    spec::{Answered, Carried, Spec},
};
use crate::domain::{text_enum, text_records, texts};

/// What the agent does for an operation.
#[derive(Clone, Copy, Debug)]
pub enum Effect {
    /// It makes calls of this kind.
    Calls(CallKind),
    /// It answers at once.
    Answers(&'static Answered),
}

macro_rules! operations {
    (
        calls { $($operation:ident as $kind:ident = $carried:path;)+ }
        answers { $($question:ident = $answered:path;)+ }
    ) => {
        text_enum! {
            /// An operation, by its name in topics.
            pub enum Operation {
                $(#[doc = concat!("[`", stringify!($carried), "`].")] $operation = $carried.spec.name,)+
                $(#[doc = concat!("[`", stringify!($answered), "`].")] $question = $answered.spec.name,)+
            }
        }

        text_records!(Operation);

        impl Operation {
            /// The description of the operation, from the file of its family.
            #[must_use]
            pub fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$operation => &$carried.spec,)+
                    $(Self::$question => &$answered.spec,)+
                }
            }

            /// What the agent does for it.
            #[must_use]
            pub fn effect(self) -> Effect {
                match self {
                    $(Self::$operation => Effect::Calls(CallKind::$kind),)+
                    $(Self::$question => Effect::Answers(&$answered),)+
                }
            }
        }

        /// A kind of cloud call. Each kind has a queue of its own, so that a problem with one kind
        /// does not delay the others. Its text is its letter in records.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CallKind {
            $(#[doc = concat!("The call of [`", stringify!($carried), "`].")] $kind,)+
        }

        texts!(CallKind { $($kind = $carried.call.letter),+ });
        text_records!(CallKind);

        impl CallKind {
            /// All call kinds.
            pub const ALL: [Self; [$(stringify!($kind)),+].len()] = [$(Self::$kind),+];

            /// What the family of its operation says of it.
            #[must_use]
            pub fn carried(self) -> &'static Carried {
                match self { $(Self::$kind => &$carried),+ }
            }

            /// The operation that makes this call.
            #[must_use]
            pub fn operation(self) -> Operation {
                match self { $(Self::$kind => Operation::$operation),+ }
            }
        }
    };
}

operations! {
    calls {
        DisassociateClientDevices as Disassociate = devices::DISASSOCIATE;
        AssociateClientDevices as Associate = devices::ASSOCIATE;
        DisassociateAssets as Assets = assets::DISASSOCIATE;
        DisassociateProjectAssets as ProjectAssets = project_assets::DISASSOCIATE;
        Sync as List = requests::SYNC;
    }
    answers {
        Cancel = requests::CANCEL;
        GetRequest = requests::GET_REQUEST;
        ListRequests = requests::LIST_REQUESTS;
        GetDevice = requests::GET_DEVICE;
        ListDevices = requests::LIST_DEVICES;
    }
}

impl Operation {
    /// The kind of cloud call that carries this operation's entries; `None` for an operation that
    /// the agent answers at once.
    #[must_use]
    pub fn call_kind(self) -> Option<CallKind> {
        match self.effect() {
            Effect::Calls(kind) => Some(kind),
            Effect::Answers(_) => None,
        }
    }

    /// Whether its entries are client devices.
    #[must_use]
    pub fn is_on_devices(self) -> bool {
        self.call_kind().is_some_and(|call_kind| call_kind.traits().devices.is_some())
    }
}

impl CallKind {
    /// The position in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The properties of this kind.
    #[must_use]
    pub fn traits(self) -> Traits {
        self.carried().call
    }

    /// The kind of call that undoes this one. Calls of the two kinds for the same target run one
    /// after the other, never at the same time.
    #[must_use]
    pub fn opposite(self) -> Option<Self> {
        self.traits().opposite.and_then(Self::parse)
    }

    /// Whether the cloud's list of devices can settle an outcome that a call of this kind left
    /// open.
    #[must_use]
    pub fn is_settled_by_list(self) -> bool {
        self.traits().devices.is_some()
    }

    /// Whether calls of this kind disassociate devices. Guards count these entries, and a later
    /// association supersedes them.
    #[must_use]
    pub fn takes_off(self) -> bool {
        let traits = self.traits();
        traits.devices.is_some() && traits.removes
    }

    /// Whether `guard.protected` applies to the targets of this kind.
    #[must_use]
    pub fn is_guarded(self) -> bool {
        self.traits().removes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn operations_parse_as_they_are_written() {
        for operation in Operation::ALL {
            assert_eq!(Operation::parse(operation.as_str()), Some(*operation));
            let json = serde_json::to_string(operation).unwrap();
            assert_eq!(json, format!("{:?}", operation.as_str()), "records have it so");
            assert_eq!(serde_json::from_str::<Operation>(&json).unwrap(), *operation);
        }
        assert_eq!(Operation::parse("Sync"), None);
    }

    /// Every core device would respond to any other one.
    #[test]
    fn two_operations_may_be_broadcast() {
        let broadcast = Operation::ALL.iter().filter(|operation| operation.spec().broadcast);
        let names: Vec<_> = broadcast.map(|operation| operation.as_str()).collect();
        assert_eq!(names, ["disassociate-client-devices", "get-device"]);
    }

    #[test]
    fn call_kinds_are_distinguished() {
        let letters: BTreeSet<&str> = CallKind::ALL.iter().map(|kind| kind.traits().letter).collect();
        let actions: BTreeSet<&str> = CallKind::ALL.iter().map(|kind| kind.traits().action).collect();
        let suffixes: BTreeSet<&str> = CallKind::ALL.iter().map(|kind| kind.traits().suffix).collect();
        assert_eq!([letters.len(), actions.len(), suffixes.len()], [CallKind::ALL.len(); 3]);
        for (n, kind) in CallKind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), n);
            let Traits { devices, scoped, service, opposite, .. } = kind.traits();
            assert!(devices.is_none() || !scoped, "{kind:?}: the list of devices is this core's");
            assert_eq!(scoped, !service.is_of_the_list(), "{kind:?}");
            assert_eq!(kind.opposite().is_some(), opposite.is_some(), "{kind:?}: its opposite is in the table");
            if let Some(opposite) = kind.opposite() {
                assert_eq!(opposite.opposite(), Some(*kind));
            }
            assert_eq!(kind.operation().call_kind(), Some(*kind));
        }
    }
}
