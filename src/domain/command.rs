//! What a client may ask for, once it is parsed.

use std::time::Duration;

use super::{ClientToken, DeviceState, Operation, RequestStatus, Target, ThingName, Timestamp, Whose};

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
