//! The topics below `{topicPrefix}/{coreThingName}`. The topics that this module makes can be
//! parsed, and no others.

use crate::domain::{ClientId, InvalidName, ThingName};

/// The sender and the operation of a command, as its topic names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The sender, as far as the broker's policy ties this topic level to the client; else why the
    /// level is not the name of a client.
    pub client: Result<ClientId, String>,
    /// The operation's name as it was sent, even if it is unknown; only the beginning of a name
    /// that is longer than any operation's.
    pub operation: String,
    /// Whether the topic is that of all core devices.
    pub is_broadcast: bool,
}

/// The level that stands for all core devices in the place of a core device's name.
pub(crate) const ALL: &str = "all";

/// The most characters of an operation's name that are echoed.
const MAX_OPERATION: usize = 128;

/// The longest topic, in bytes (MQTT 3.1.1, section 1.5.3).
const MAX_TOPIC: usize = u16::MAX as usize;

/// The last level of a result's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultKind {
    /// The command is durable, or the query has a response.
    Accepted,
    /// The command is not accepted.
    Rejected,
    /// The request has its final outcome.
    Completed,
}

impl ResultKind {
    /// The name of the level.
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
    /// The root of broadcast commands, if they are accepted.
    all: Option<String>,
}

impl Topics {
    /// The topics below `prefix`/`core`.
    #[must_use]
    pub fn new(prefix: &str, core: &ThingName) -> Self {
        Self { root: format!("{prefix}/{core}"), all: None }
    }

    /// The topics to which a client broadcasts.
    #[must_use]
    pub(crate) fn of_all(prefix: &str) -> Self {
        Self { root: format!("{prefix}/{ALL}"), all: None }
    }

    /// The same topics of an agent that also accepts broadcast commands, if `accepts` says so.
    #[must_use]
    pub fn with_broadcasts(self, accepts: bool) -> Self {
        // A thing name contains no slash.
        let prefix = self.root.rsplit_once('/').map_or("", |(prefix, _)| prefix);
        let all = accepts.then(|| format!("{prefix}/{ALL}"));
        Self { all, ..self }
    }

    /// The filter that matches every command.
    ///
    /// It has exactly two levels. Where a policy's `*` also matches `/`, the filter `#` would let a
    /// sender put the name of another client first.
    #[must_use]
    pub fn commands(&self) -> String {
        format!("{}/commands/+/+", self.root)
    }

    /// The filter that matches every broadcast command; `None` if the agent accepts none.
    #[must_use]
    pub fn broadcasts(&self) -> Option<String> {
        self.all.as_ref().map(|all| format!("{all}/commands/+/+"))
    }

    /// Parses the topic of a command or, if the agent accepts them, of a broadcast command; `None`
    /// if it is not exactly `commands/{client}/{operation}`.
    #[must_use]
    pub fn parse_command(&self, topic: &str) -> Option<Address> {
        let (level, operation, is_broadcast) = self.levels(topic)?;
        let client = ClientId::new(level).ok().filter(|client| !client.is_local());
        let client = client.ok_or_else(|| {
            let shown: String = level.chars().take(32).collect();
            format!("the topic level {shown:?} is not the name of a client: it {}", InvalidName::CLIENT)
        });
        Some(Address { client, operation: operation.chars().take(MAX_OPERATION).collect(), is_broadcast })
    }

    /// The sender's level and the operation's level of a command's topic, and whether it is a
    /// broadcast.
    fn levels<'t>(&self, topic: &'t str) -> Option<(&'t str, &'t str, bool)> {
        let below = |root: &str| topic.strip_prefix(root)?.strip_prefix("/commands/");
        let (rest, is_broadcast) = match below(&self.root) {
            Some(rest) => (rest, false),
            None => (self.all.as_deref().and_then(below)?, true),
        };
        let (level, operation) = rest.split_once('/').filter(|(_, operation)| !operation.contains('/'))?;
        Some((level, operation, is_broadcast))
    }

    /// The topic for the results of a command that came on `topic`, even if its levels are not
    /// valid names; `None` if no message may be published to such a topic (MQTT 3.1.1, sections
    /// 1.5.3 and 4.7).
    #[must_use]
    pub fn result_of(&self, topic: &str, kind: ResultKind) -> Option<String> {
        let (level, operation, _) = self.levels(topic)?;
        let result = format!("{}/results/{level}/{operation}/{}", self.root, kind.as_str());
        let is_allowed = |c: char| !c.is_control() && !matches!(c, '+' | '#');
        (result.len() <= MAX_TOPIC && result.chars().all(is_allowed)).then_some(result)
    }

    /// The topic of a client's command.
    #[must_use]
    pub fn command(&self, client: &ClientId, operation: &str) -> String {
        format!("{}/commands/{client}/{operation}", self.root)
    }

    /// The filter that matches all results of a client's commands.
    #[must_use]
    pub fn results_of(&self, client: &ClientId) -> String {
        format!("{}/results/{client}/#", self.root)
    }

    /// The filter that matches all results of a client's commands from any core device.
    #[must_use]
    pub(crate) fn results_of_any(&self, client: &ClientId) -> String {
        let prefix = self.root.rsplit_once('/').map_or("", |(prefix, _)| prefix);
        format!("{prefix}/+/results/{client}/#")
    }

    /// The topic of a command's result.
    #[must_use]
    pub fn result(&self, client: &ClientId, operation: &str, kind: ResultKind) -> String {
        format!("{}/results/{client}/{operation}/{}", self.root, kind.as_str())
    }

    /// The topic of the retained status.
    #[must_use]
    pub fn status(&self) -> String {
        format!("{}/status", self.root)
    }

    /// The topic of the metrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        format!("{}/metrics", self.root)
    }

    /// The topic of a device's retained message.
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
        fn what_is_written_parses(client in "[a-zA-Z0-9:_.%@ü-]{1,64}", operation in "[a-z-]{1,40}") {
            let topic = format!("offboard/MyCore/commands/{client}/{operation}");
            let address = topics().parse_command(&topic).unwrap();
            prop_assert_eq!(address.client.is_ok(), !client.starts_with('@'));
            if let Ok(parsed) = &address.client {
                prop_assert_eq!(parsed.name(), client);
                let result = topics().result(parsed, &operation, ResultKind::Accepted);
                prop_assert_eq!(topics().result_of(&topic, ResultKind::Accepted), Some(result));
            }
            prop_assert_eq!(address.operation, operation);
        }

        #[test]
        fn nothing_else_parses_into_another_name(topic in "offboard/MyCore/commands/[a-z/+#@ ]{0,30}") {
            if let Some(Address { client: Ok(client), operation, .. }) = topics().parse_command(&topic) {
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
            "offboard/Other/commands/a/sync",
            "offboard/MyCore2/commands/a/sync",
            "offboard/MyCore/results/a/sync",
        ] {
            assert_eq!(topics().parse_command(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_broadcast_is_answered_below_the_core_devices_own_root_and_parsed_only_where_it_is_accepted() {
        let topic = "offboard/all/commands/bench/disassociate-client-devices";
        assert_eq!((topics().parse_command(topic), topics().broadcasts()), (None, None));
        assert_eq!(topics().with_broadcasts(false).parse_command(topic), None);
        let accepting = topics().with_broadcasts(true);
        let address = accepting.parse_command(topic).unwrap();
        assert!(address.is_broadcast && address.client.unwrap().name() == "bench");
        let result = accepting.result_of(topic, ResultKind::Accepted);
        assert_eq!(result.as_deref(), Some("offboard/MyCore/results/bench/disassociate-client-devices/accepted"));
        assert_eq!(accepting.broadcasts().as_deref(), Some("offboard/all/commands/+/+"));
        assert!(!accepting.parse_command("offboard/MyCore/commands/bench/sync").unwrap().is_broadcast);
        for bad in ["offboard/all/commands/a/b/sync", "offboard/all/results/a/sync", "other/all/commands/a/sync"] {
            assert_eq!(accepting.parse_command(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_level_that_is_no_client_is_answered_below_itself_where_a_topic_may_have_it() {
        let long = "ü".repeat(65);
        for (level, answered) in [("", true), ("@root", true), ("$x", true), (&long, true), ("a\u{1}b", false)] {
            let topic = format!("offboard/MyCore/commands/{level}/sync");
            let address = topics().parse_command(&topic).unwrap();
            assert!(address.client.is_err(), "{level:?}");
            let result = answered.then(|| format!("offboard/MyCore/results/{level}/sync/rejected"));
            assert_eq!(topics().result_of(&topic, ResultKind::Rejected), result, "{level:?}");
        }
        let endless = format!("offboard/MyCore/commands/{}/sync", "x".repeat(65_520));
        assert_eq!(topics().result_of(&endless, ResultKind::Rejected), None);
    }

    #[test]
    fn results_and_commands_are_separate_trees() {
        let client = ClientId::new("bench").unwrap();
        let topic = topics().result(&client, "sync", ResultKind::Completed);
        assert_eq!(topic, "offboard/MyCore/results/bench/sync/completed");
        assert_eq!(topics().parse_command(&topic), None);
    }
}
