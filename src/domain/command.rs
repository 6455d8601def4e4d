//! A client's command after it is parsed.

use std::time::Duration;

use super::{ClientToken, DeviceState, Operation, RequestStatus, Target, ThingName, Timestamp, Whose};

/// A parsed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A change of associations, kept until it is carried out.
    Change(Change),
    /// Withdraws the entries of a request that have not been sent.
    Cancel(Cancel),
    /// A question that the ledger answers.
    Query(Query),
}

/// A command that becomes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The operation; it has a call kind ([`Operation::lane`]).
    pub operation: Operation,
    /// The targets, each once, in the order in which the command names them first; never empty.
    pub targets: Vec<Target>,
    /// Whether the command may exceed `guard.maxFraction`.
    pub force: bool,
    /// Whether the agent answers with a plan and changes nothing.
    pub dry_run: bool,
    /// When the person issued the command, if the message says so.
    pub issued_at: Option<Timestamp>,
    /// The time until the request expires, counted from `issued_at`, else from the acceptance.
    pub expires_in: Option<Duration>,
    /// A text for people, kept with the request.
    pub reason: Option<String>,
}

impl Change {
    /// A text that is equal for two commands if, and only if, they have the same content; the order
    /// of the entries is not part of the content. The ledger keeps a hash of this text with the
    /// request, so every version of the agent has to produce the same text.
    #[must_use]
    pub fn content(&self) -> String {
        let mut targets: Vec<String> = self.targets.iter().map(Target::key).collect();
        targets.sort_unstable();
        let Self { operation, targets: _, force, dry_run: _, issued_at, expires_in, reason } = self;
        let (issued_at, expires_in) = (issued_at.map(|at| at.0), expires_in.map(|time| time.as_secs()));
        // An array, because the order of an object's members would depend on the library.
        serde_json::json!([operation.as_str(), force, issued_at, expires_in, reason, targets]).to_string()
    }
}

/// Names the request to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The client that owns the request, if it is not the sender.
    pub client: Whose,
    /// The request's token.
    pub token: ClientToken,
}

/// Which part of a list a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The token from an earlier response.
    pub next_token: Option<String>,
    /// The number of rows, 1 to [`Page::MAX_ROWS`].
    pub max_results: Option<usize>,
}

impl Page {
    /// The maximum number of rows, and the number if the query names none.
    pub const MAX_ROWS: usize = 100;
}

/// A query on the content of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// One request with its failures.
    Request {
        /// The client that owns the request, if it is not the sender.
        client: Whose,
        /// The request's token.
        token: ClientToken,
        /// Which part of its failures.
        page: Page,
    },
    /// The requests of a client, newest first.
    Requests {
        /// The client, if it is not the sender.
        client: Whose,
        /// Limits the list to requests of this status.
        status: Option<RequestStatus>,
        /// Which part of the list.
        page: Page,
    },
    /// One device.
    Device {
        /// The device's name.
        thing: ThingName,
        /// Whether to include its history.
        history: bool,
    },
    /// The devices, sorted by name.
    Devices {
        /// Limits the list to devices of this state.
        state: Option<DeviceState>,
        /// Which part of the list.
        page: Page,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

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
