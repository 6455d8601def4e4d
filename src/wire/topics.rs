//! The topics below `{topicPrefix}/{coreThingName}`: what is written parses, and nothing else does.

use crate::model::{ClientId, ThingName};

/// Where a command came from, by its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The sender, as far as the broker's policy ties the level to it.
    pub client: ClientId,
    /// The operation's name as sent, known or not.
    pub operation: String,
}

/// The last level of a result's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// Stored durably, or a query's answer.
    Accepted,
    /// Not taken.
    Rejected,
    /// The final outcome.
    Completed,
}

impl ResultKind {
    /// The level's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Completed => "completed",
        }
    }
}

/// The topics of one core device.
#[derive(Clone, Debug)]
pub struct Topics {
    root: String,
}

impl Topics {
    /// The topics below `prefix`/`core`.
    #[must_use]
    pub fn new(prefix: &str, core: &ThingName) -> Self {
        Self { root: format!("{prefix}/{core}") }
    }

    /// The filter that takes every command.
    ///
    /// Two levels exactly: where a policy's `*` also crosses `/`, `#` would let a sender put another's name first.
    #[must_use]
    pub fn commands(&self) -> String {
        format!("{}/commands/+/+", self.root)
    }

    /// Parses a command's topic; `None` if it is not exactly `commands/{client}/{operation}`.
    #[must_use]
    pub fn parse_command(&self, topic: &str) -> Option<Address> {
        let rest = topic.strip_prefix(&self.root)?.strip_prefix("/commands/")?;
        let (client, operation) = rest.split_once('/')?;
        if operation.is_empty() || operation.len() > 128 || operation.contains('/') {
            return None;
        }
        let client = ClientId::new(client).ok().filter(|client| !client.is_local())?;
        Some(Address { client, operation: operation.to_owned() })
    }

    /// Where a client's command goes.
    #[must_use]
    pub fn command(&self, client: &ClientId, operation: &str) -> String {
        format!("{}/commands/{client}/{operation}", self.root)
    }

    /// The filter that takes all results of a client's commands.
    #[must_use]
    pub fn results_of(&self, client: &ClientId) -> String {
        format!("{}/results/{client}/#", self.root)
    }

    /// Where a command's results go.
    #[must_use]
    pub fn result(&self, client: &ClientId, operation: &str, kind: ResultKind) -> String {
        format!("{}/results/{client}/{operation}/{}", self.root, kind.as_str())
    }

    /// The retained status.
    #[must_use]
    pub fn status(&self) -> String {
        format!("{}/status", self.root)
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        format!("{}/metrics", self.root)
    }

    /// A device's retained message.
    #[must_use]
    pub fn device(&self, thing: &ThingName) -> String {
        format!("{}/devices/{thing}", self.root)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topics() -> Topics {
        Topics::new("offboard", &ThingName::new("MyCore").unwrap())
    }

    proptest! {
        #[test]
        fn what_is_written_parses(client in "[a-zA-Z0-9:_-]{1,128}", operation in "[a-z-]{1,40}") {
            let topic = format!("offboard/MyCore/commands/{client}/{operation}");
            let address = topics().parse_command(&topic).unwrap();
            prop_assert_eq!(address.client.as_str(), client);
            prop_assert_eq!(address.operation, operation);
        }

        #[test]
        fn nothing_else_parses_into_another_name(topic in "offboard/MyCore/commands/[a-z/+#@ ]{0,30}") {
            if let Some(Address { client, operation }) = topics().parse_command(&topic) {
                prop_assert_eq!(topic, format!("offboard/MyCore/commands/{client}/{operation}"));
                prop_assert!(!operation.contains('/'));
            }
        }
    }

    #[test]
    fn a_deeper_topic_is_no_command() {
        for bad in [
            "offboard/MyCore/commands/victim/sync/commands/bench/sync",
            "offboard/MyCore/commands/victim",
            "offboard/MyCore/commands/victim/",
            "offboard/MyCore/commands//sync",
            "offboard/MyCore/commands/@root/sync",
            "offboard/Other/commands/a/sync",
            "offboard/MyCore2/commands/a/sync",
            "offboard/MyCore/results/a/sync",
        ] {
            assert_eq!(topics().parse_command(bad), None, "{bad}");
        }
    }

    #[test]
    fn results_and_commands_are_separate_trees() {
        let client = ClientId::new("bench").unwrap();
        let topic = topics().result(&client, "sync", ResultKind::Completed);
        assert_eq!(topic, "offboard/MyCore/results/bench/sync/completed");
        assert_eq!(topics().parse_command(&topic), None);
    }
}
