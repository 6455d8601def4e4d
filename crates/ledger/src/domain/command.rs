//! A client's command after it is parsed.

use std::time::Duration;

use super::{Cancel, Operation, Query, Target, Timestamp};

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
    /// The operation; it has a call kind ([`Operation::call_kind`]).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ThingName;

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
