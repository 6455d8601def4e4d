//! What a client may ask for, once it is parsed.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    AssetId, CallKind, ClientId, ClientToken, DeviceState, MonitorId, Reason, Rejection, RejectionCode, RequestStatus,
    ThingName, Timestamp, Via,
};

macro_rules! operations {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// An operation, by the name that stands in its topic.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Operation {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl Operation {
            /// All of them.
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
    /// The operation of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.as_str() == text)
    }

    /// The kind of cloud call that carries this operation's entries; `None` for those that are
    /// answered at once.
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

/// What one entry of a request is about. Open requests that name the same target share one piece of
/// work.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A client device.
    #[serde(rename = "d")]
    Device(ThingName),
    /// An asset as a child of another. Boxed, as the next: most targets are devices, and there may be
    /// a hundred thousand of them in memory.
    #[serde(rename = "c")]
    Child(Box<ChildAsset>),
    /// An asset in a project of SiteWise Monitor.
    #[serde(rename = "p")]
    ProjectAsset(Box<ProjectAsset>),
    /// The registry as a whole, which a `sync` reads anew.
    #[serde(rename = "l")]
    Registry,
}

/// An asset as a child of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildAsset {
    /// The parent.
    pub asset: AssetId,
    /// Of the parent's hierarchies, the one that the child is in.
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

impl Target {
    /// An asset as a child of another.
    #[must_use]
    pub fn child(asset: AssetId, hierarchy: AssetId, child: AssetId) -> Self {
        Self::Child(Box::new(ChildAsset { asset, hierarchy, child }))
    }

    /// An asset in a project of SiteWise Monitor.
    #[must_use]
    pub fn project_asset(project: MonitorId, asset: MonitorId) -> Self {
        Self::ProjectAsset(Box::new(ProjectAsset { project, asset }))
    }

    /// The name that messages and the cloud's answers know it by.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Device(thing) => thing.as_str(),
            Self::Child(it) => it.child.as_str(),
            Self::ProjectAsset(it) => it.asset.as_str(),
            Self::Registry => "",
        }
    }

    /// The member of a message that holds [`Self::name`].
    #[must_use]
    pub fn member(&self) -> Option<&'static str> {
        match self {
            Self::Device(_) => Some("thingName"),
            Self::Child(_) => Some("childAssetId"),
            Self::ProjectAsset(_) => Some("assetId"),
            Self::Registry => None,
        }
    }

    /// The resource that a call for it is about, where that is not this core device. A call is
    /// about one.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        match self {
            Self::Device(_) | Self::Registry => None,
            Self::Child(it) => Some(it.asset.as_str()),
            Self::ProjectAsset(it) => Some(it.project.as_str()),
        }
    }

    /// The names that `guard.protected` is held against.
    #[must_use]
    pub fn guarded_names(&self) -> Vec<&str> {
        match self {
            Self::Device(thing) => vec![thing.as_str()],
            Self::Child(it) => vec![it.asset.as_str(), it.child.as_str()],
            Self::ProjectAsset(it) => vec![it.asset.as_str()],
            Self::Registry => Vec::new(),
        }
    }

    /// Its form in keys: one for each target, in any version of the agent.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Device(thing) => format!("d{thing}"),
            Self::Child(it) => format!("c{} {} {}", it.asset, it.hierarchy, it.child),
            Self::ProjectAsset(it) => format!("p{} {}", it.project, it.asset),
            Self::Registry => "l".to_owned(),
        }
    }

    /// The target with that [`Self::key`].
    #[must_use]
    pub fn from_key(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_at_checked(1)?;
        match kind {
            "d" => ThingName::new(rest).ok().map(Self::Device),
            "c" => {
                let ids = rest.split(' ').map(AssetId::new).collect::<Result<Vec<_>, _>>().ok()?;
                let [asset, hierarchy, child] = <[AssetId; 3]>::try_from(ids).ok()?;
                Some(Self::child(asset, hierarchy, child))
            }
            "p" => {
                let (project, asset) = rest.split_once(' ')?;
                let (project, asset) = (MonitorId::new(project).ok()?, MonitorId::new(asset).ok()?);
                Some(Self::project_asset(project, asset))
            }
            "l" if rest.is_empty() => Some(Self::Registry),
            _ => None,
        }
    }
}

/// A parsed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Something to be carried out, and kept until it is.
    Change(Change),
    /// Withdraw what has not been sent.
    Cancel(Cancel),
    /// A question, answered from the ledger.
    Query(Query),
}

/// A command that becomes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which of the operations that have a lane.
    pub operation: Operation,
    /// Each once, in the order first named; never empty.
    pub targets: Vec<Target>,
    /// Past `guard.maxFraction`.
    pub force: bool,
    /// Answer with a plan and do nothing.
    pub dry_run: bool,
    /// When the person asked, if the message says so.
    pub issued_at: Option<Timestamp>,
    /// Counted from `issued_at`, else from acceptance.
    pub expires_in: Option<Duration>,
    /// Kept with the request, for people.
    pub reason: Option<String>,
}

impl Change {
    /// A text that two commands share if, and only if, they ask for the same: the order of entries
    /// is no content. A hash of it is kept with the request, so that it has to be the same in every
    /// version of the agent.
    #[must_use]
    pub fn content(&self) -> String {
        let mut targets: Vec<String> = self.targets.iter().map(Target::key).collect();
        targets.sort_unstable();
        let Self { operation, targets: _, force, dry_run: _, issued_at, expires_in, reason } = self;
        let (issued_at, expires_in) = (issued_at.map(|at| at.0), expires_in.map(|time| time.as_secs()));
        // A list: the order of an object's members would be the library's.
        serde_json::json!([operation.as_str(), force, issued_at, expires_in, reason, targets]).to_string()
    }
}

/// Whose request a command means, if not the sender's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The name, where the command gives one.
    pub client: Option<ClientId>,
    /// The transport, where the command gives one.
    pub via: Option<Via>,
}

impl Whose {
    /// The sender that is meant, where `asking` asks; `None` if none is named.
    ///
    /// # Errors
    /// A transport is named without a sender, or with one of another transport; or somebody else than
    /// a user of this machine names another transport than the own one.
    pub fn resolve(&self, asking: &ClientId) -> Result<Option<ClientId>, Rejection> {
        let own = asking.via();
        let Some(client) = &self.client else {
            return match self.via {
                None => Ok(None),
                Some(_) => Err(Rejection::invalid(Reason::Other, "targetVia needs targetClient beside it")),
            };
        };
        if self.via.is_some_and(|via| client.is_local() != (via == Via::Socket)) {
            let text = "targetVia is socket if, and only if, targetClient begins with @; correct one of them";
            return Err(Rejection::invalid(Reason::Other, text));
        }
        match self.via {
            Some(via) if asking.is_local() || via == own => Ok(Some(client.over(via))),
            Some(_) => {
                let text = format!(
                    "over {own} a client names requests of its own transport only; leave targetVia away, or ask over the \
                     local socket"
                );
                Err(Rejection::new(RejectionCode::AccessDeniedException, text))
            }
            None if asking.is_local() => Ok(Some(client.clone())),
            None => Ok(Some(client.over(own))),
        }
    }
}

/// Names another request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// Whose request, if not the sender's own.
    pub client: Whose,
    /// The request's token.
    pub token: ClientToken,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// From an earlier answer.
    pub next_token: Option<String>,
    /// 1 to [`Page::MAX_ROWS`].
    pub max_results: Option<usize>,
}

impl Page {
    /// Rows if the question names no number, and at most.
    pub const MAX_ROWS: usize = 100;
}

/// A question about what the ledger holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// One request with its failures.
    Request {
        /// Whose, if not the sender's own.
        client: Whose,
        /// Its token.
        token: ClientToken,
        /// Which of its failures.
        page: Page,
    },
    /// The requests of a client, newest first.
    Requests {
        /// Whose, if not the sender's own.
        client: Whose,
        /// Only those.
        status: Option<RequestStatus>,
        /// Which part.
        page: Page,
    },
    /// One device.
    Device {
        /// Its name.
        thing: ThingName,
        /// With what happened to it.
        history: bool,
    },
    /// The devices by name.
    Devices {
        /// Only those.
        state: Option<DeviceState>,
        /// Which part.
        page: Page,
    },
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

    #[test]
    fn only_a_user_of_this_machine_names_a_sender_of_another_transport() {
        let client = |name: &str| ClientId::new(name).unwrap();
        let (bench, root) = (client("bench"), client("@root"));
        let whose = |name: Option<&str>, via| Whose { client: name.map(client), via };
        let by_cloud = bench.over(Via::IotCore);
        for (asking, name, via, expected) in [
            (&by_cloud, None, None, Ok(None)),
            (&by_cloud, Some("bench"), None, Ok(Some(by_cloud.clone()))),
            (&by_cloud, Some("bench"), Some(Via::IotCore), Ok(Some(by_cloud.clone()))),
            (&by_cloud, Some("bench"), Some(Via::Mqtt), Err(RejectionCode::AccessDeniedException)),
            (&bench, Some("bench"), Some(Via::PubSub), Err(RejectionCode::AccessDeniedException)),
            (&bench, Some("@root"), None, Ok(Some(root.clone()))),
            (&root, Some("bench"), None, Ok(Some(bench.clone()))),
            (&root, Some("bench"), Some(Via::IotCore), Ok(Some(by_cloud.clone()))),
            (&root, Some("bench"), Some(Via::Socket), Err(RejectionCode::ValidationException)),
            (&root, Some("@root"), Some(Via::Mqtt), Err(RejectionCode::ValidationException)),
            (&root, Some("@root"), Some(Via::Socket), Ok(Some(root.clone()))),
            (&root, None, Some(Via::Mqtt), Err(RejectionCode::ValidationException)),
        ] {
            let found = whose(name, via).resolve(asking).map_err(|rejection| rejection.code);
            assert_eq!(found, expected, "{asking:?} {name:?} {via:?}");
        }
    }

    #[test]
    fn a_target_is_found_by_its_key() {
        let asset = |text: &str| AssetId::new(text).unwrap();
        let (parent, hierarchy) = (asset("externalId:press.line:1"), asset("a1b2c3d4-5678-90ab-cdef-1a2b3c4d5e6f"));
        let id = |digit: &str| MonitorId::new(&"12345678-1234-1234-1234-12345678901x".replace('x', digit)).unwrap();
        for target in [
            Target::project_asset(id("a"), id("b")),
            Target::Device(ThingName::new("press-7").unwrap()),
            Target::child(parent, hierarchy, asset("externalId:ab")),
            Target::Registry,
        ] {
            assert_eq!(Target::from_key(&target.key()), Some(target));
        }
        for key in ["", "d", "da b", "c", "cexternalId:ab externalId:ab", "lx", "z"] {
            assert_eq!(Target::from_key(key), None, "{key:?}");
        }
    }

    #[test]
    fn content_is_what_is_asked_for_not_how_it_is_listed() {
        let change = |names: &[&str]| Change {
            operation: Operation::DisassociateClientDevices,
            targets: names.iter().map(|n| Target::Device(ThingName::new(n).unwrap())).collect(),
            force: false,
            dry_run: false,
            issued_at: None,
            expires_in: None,
            reason: None,
        };
        let text = r#"["disassociate-client-devices",false,null,null,null,["da","db"]]"#;
        assert_eq!(change(&["a", "b"]).content(), text, "as every version writes it");
        let whole = Change {
            issued_at: Some(Timestamp(1)),
            expires_in: Some(Duration::from_secs(2)),
            reason: Some("\"why\"".into()),
            ..change(&["a"])
        };
        assert_eq!(whole.content(), r#"["disassociate-client-devices",false,1,2,"\"why\"",["da"]]"#);
        assert_eq!(change(&["a", "b"]).content(), change(&["b", "a"]).content());
        assert_ne!(change(&["a", "b"]).content(), change(&["a"]).content());
        assert_ne!(change(&["a"]).content(), Change { force: true, ..change(&["a"]) }.content());
        assert_eq!(change(&["a"]).content(), Change { dry_run: true, ..change(&["a"]) }.content());
    }
}
