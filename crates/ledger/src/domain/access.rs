//! Local access: what the agent did, and has to do, to a device's client in the broker.
//!
//! The agent disables the client of a device that is disassociated. It enables the client when the
//! device is associated again, if and only if the agent disabled it. Before it disables a client
//! the agent therefore reads whether the client is already disabled, and stores durably that it is
//! about to disable it. From then on the client counts as disabled by the agent, whether a response
//! comes or not.

use serde::{Deserialize, Serialize};

/// The progress of the agent with the client of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessStep {
    /// The client has to be disabled; the agent has not read yet whether it is enabled.
    #[serde(rename = "d")]
    Due,
    /// The client was enabled, and the agent disables it: the command may have been sent.
    #[serde(rename = "v")]
    Revoking,
    /// The broker confirmed that the client is disabled.
    #[serde(rename = "r")]
    Revoked,
    /// The agent neither disables nor enables the client: an administrator had disabled it before,
    /// or the client may send commands to the plugin.
    #[serde(rename = "l")]
    LeftAlone,
    /// The agent disabled the client, and enables it again: the command may have been sent.
    #[serde(rename = "e")]
    Restoring,
}

/// Why the broker rejected a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessError {
    /// The broker's error message.
    #[serde(rename = "m")]
    pub message: String,
    /// Whether the broker has no such client.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unknown: bool,
}

impl AccessError {
    /// Maximum length of a message that is kept, in characters.
    pub const MAX_CHARS: usize = 200;

    /// Creates an error with the broker's message, cut to the maximum length.
    #[must_use]
    pub fn new(message: &str, is_unknown: bool) -> Self {
        let message = if message.is_empty() { "the broker gave no reason" } else { message };
        Self { message: message.chars().take(Self::MAX_CHARS).collect(), is_unknown }
    }
}

/// A device's client in the broker, as far as the agent manages it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// The progress of the agent.
    #[serde(rename = "s")]
    pub step: AccessStep,
    /// Why the last attempt failed.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AccessError>,
}

/// A command to the plugin about one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessCommand {
    /// Reads whether the client is disabled.
    Read,
    /// Disables the client, which ends its connection.
    Disable,
    /// Enables the client.
    Enable,
}

impl AccessCommand {
    /// All commands.
    pub const ALL: [Self; 3] = [Self::Read, Self::Disable, Self::Enable];

    /// The name of the command in the plugin's protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "getClient",
            Self::Disable => "disableClient",
            Self::Enable => "enableClient",
        }
    }
}

/// The plugin's response to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessAnswer {
    /// Response to a read: the client is enabled.
    Enabled,
    /// Response to a read: the client is disabled.
    Disabled,
    /// The client may send commands to the plugin, so the agent never disables it.
    Administrator,
    /// The change was made.
    Done,
    /// The command failed.
    Failed(AccessError),
}

/// A change of local access that the history and the log report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessEvent {
    /// The broker confirmed that the client is disabled.
    #[serde(rename = "r")]
    Revoked,
    /// The broker confirmed that the client is enabled again.
    #[serde(rename = "e")]
    Restored,
    /// The broker rejected the command; the value is its error message.
    #[serde(rename = "f")]
    Failed(String),
}

/// The state of local access in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessView {
    /// The agent disabled the client.
    Revoked,
    /// The agent is about to disable or enable the client.
    Pending,
    /// The broker rejected the command; the value is its error message.
    Failed(String),
}

impl AccessView {
    /// All names in messages.
    pub const NAMES: &[&str] = &["REVOKED", "PENDING", "FAILED"];

    /// The name in messages.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Revoked => Self::NAMES[0],
            Self::Pending => Self::NAMES[1],
            Self::Failed(_) => Self::NAMES[2],
        }
    }
}

impl Access {
    /// The state at a step that was not tried yet.
    #[must_use]
    pub fn at(step: AccessStep) -> Self {
        Self { step, error: None }
    }

    /// The device was associated, as far as the agent knew, and is disassociated now. Without
    /// `begins` the agent does not begin to manage a client: local access is off, or the device is
    /// protected.
    #[must_use]
    pub fn disassociated(access: Option<Self>, begins: bool) -> Option<Self> {
        match access {
            None => begins.then(|| Self::at(AccessStep::Due)),
            // The client may have been enabled again by now.
            Some(Self { step: AccessStep::Restoring, .. }) => Some(Self::at(AccessStep::Revoking)),
            access => access,
        }
    }

    /// The device is associated now.
    #[must_use]
    pub fn associated(access: Option<Self>) -> Option<Self> {
        match access?.step {
            // A client that is not disabled yet, or that an administrator disabled, remains as it
            // is.
            AccessStep::Due | AccessStep::LeftAlone => None,
            AccessStep::Revoking | AccessStep::Revoked | AccessStep::Restoring => Some(Self::at(AccessStep::Restoring)),
        }
    }

    /// The next command, if one is due.
    #[must_use]
    pub fn command(&self) -> Option<AccessCommand> {
        match self.step {
            AccessStep::Due => Some(AccessCommand::Read),
            AccessStep::Revoking => Some(AccessCommand::Disable),
            AccessStep::Restoring => Some(AccessCommand::Enable),
            AccessStep::Revoked | AccessStep::LeftAlone => None,
        }
    }

    /// Whether the agent disabled the client, or may have done so.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self.step, AccessStep::Revoking | AccessStep::Revoked | AccessStep::Restoring)
    }

    /// Applies a response to `command`, and returns the resulting event. A response to a command
    /// that is not due now changes nothing: the device was associated or disassociated meanwhile.
    #[must_use]
    pub fn answered(self, command: AccessCommand, answer: AccessAnswer) -> (Option<Self>, Option<AccessEvent>) {
        if self.command() != Some(command) {
            return (Some(self), None);
        }
        match (command, answer) {
            (AccessCommand::Read, AccessAnswer::Enabled) => (Some(Self::at(AccessStep::Revoking)), None),
            (_, AccessAnswer::Disabled | AccessAnswer::Administrator) => (Some(Self::at(AccessStep::LeftAlone)), None),
            (AccessCommand::Disable, AccessAnswer::Done) => {
                (Some(Self::at(AccessStep::Revoked)), Some(AccessEvent::Revoked))
            }
            (AccessCommand::Enable, AccessAnswer::Done) => (None, Some(AccessEvent::Restored)),
            // A client that is removed and created again under the same name is enabled.
            (AccessCommand::Enable, AccessAnswer::Failed(AccessError { is_unknown: true, .. })) => (None, None),
            (_, AccessAnswer::Failed(error)) => {
                // A new client of that name is not the client that was read.
                let step = if error.is_unknown { AccessStep::Due } else { self.step };
                let is_new = self.error.as_ref() != Some(&error);
                let event = is_new.then(|| AccessEvent::Failed(error.message.clone()));
                (Some(Self { step, error: Some(error) }), event)
            }
            // A response that does not fit the command has no meaning.
            (_, AccessAnswer::Enabled | AccessAnswer::Done) => (Some(self), None),
        }
    }

    /// The state in messages; `None` if the agent does not manage the client.
    #[must_use]
    pub fn view(&self) -> Option<AccessView> {
        match (&self.error, self.step) {
            (Some(error), _) => Some(AccessView::Failed(error.message.clone())),
            (None, AccessStep::Revoked) => Some(AccessView::Revoked),
            (None, AccessStep::LeftAlone) => None,
            (None, AccessStep::Due | AccessStep::Revoking | AccessStep::Restoring) => Some(AccessView::Pending),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The events for the client of one device.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Disassociated,
        Associated,
        /// The agent sends the command that is due; the broker receives it or not.
        Sends(bool),
        /// The response to the oldest command that the broker received arrives, or is lost.
        Answer(bool),
        AdminDisables,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Disassociated),
            Just(Step::Associated),
            any::<bool>().prop_map(Step::Sends),
            any::<bool>().prop_map(Step::Answer),
        ]
    }

    struct Client {
        access: Option<Access>,
        is_associated: bool,
        is_disabled: bool,
        by_admin: bool,
        /// The command in flight, and the broker's response to it, if the broker received it.
        under_way: Option<(AccessCommand, Option<AccessAnswer>)>,
    }

    impl Client {
        fn new() -> Self {
            Self { access: None, is_associated: true, is_disabled: false, by_admin: false, under_way: None }
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Disassociated if self.is_associated => {
                    self.is_associated = false;
                    self.access = Access::disassociated(self.access.take(), true);
                }
                Step::Associated if !self.is_associated => {
                    self.is_associated = true;
                    self.access = Access::associated(self.access.take());
                }
                Step::Sends(arrives) => {
                    let Some(command) = self.access.as_ref().and_then(Access::command) else { return };
                    if self.under_way.is_some() {
                        return;
                    }
                    let answer = arrives.then(|| match command {
                        AccessCommand::Read if self.is_disabled => AccessAnswer::Disabled,
                        AccessCommand::Read => AccessAnswer::Enabled,
                        AccessCommand::Disable => {
                            self.is_disabled = true;
                            AccessAnswer::Done
                        }
                        AccessCommand::Enable => {
                            assert!(!self.by_admin, "only what the agent disabled is enabled");
                            self.is_disabled = false;
                            AccessAnswer::Done
                        }
                    });
                    self.under_way = Some((command, answer));
                }
                Step::Answer(arrives) => {
                    if let (Some((command, Some(answer))), true) = (self.under_way.take(), arrives)
                        && let Some(access) = self.access.take()
                    {
                        self.access = access.answered(command, answer).0;
                    }
                }
                Step::AdminDisables => (self.is_disabled, self.by_admin) = (true, true),
                _ => {}
            }
        }

        fn settle(&mut self) {
            self.step(Step::Answer(true));
            for _ in 0..3 {
                self.step(Step::Sends(true));
                self.step(Step::Answer(true));
            }
        }
    }

    proptest! {
        /// Whatever is lost, and whatever changes meanwhile: in the end a client is disabled if and
        /// only if its device is disassociated, or an administrator disabled it before.
        #[test]
        fn any_order_of_events_ends_as_desired(
            disabled_before in any::<bool>(),
            steps in proptest::collection::vec(step(), 0..40),
        ) {
            let mut client = Client::new();
            if disabled_before {
                client.step(Step::AdminDisables);
            }
            steps.into_iter().for_each(|step| client.step(step));
            client.settle();
            prop_assert_eq!(client.is_disabled, disabled_before || !client.is_associated);
            prop_assert_eq!(client.access.as_ref().and_then(Access::command), None);
        }
    }

    #[test]
    fn an_answer_to_an_earlier_command_changes_nothing() {
        let restoring = Access::at(AccessStep::Restoring);
        let late = restoring.clone().answered(AccessCommand::Disable, AccessAnswer::Done);
        assert_eq!(late, (Some(restoring), None), "the device was associated again meanwhile");
    }

    #[test]
    fn a_client_that_is_not_there_is_read_again_and_needs_no_enabling() {
        let unknown = AccessError::new("Client not found", true);
        let (access, event) =
            Access::at(AccessStep::Due).answered(AccessCommand::Read, AccessAnswer::Failed(unknown.clone()));
        let access = access.unwrap();
        assert_eq!(event, Some(AccessEvent::Failed("Client not found".into())));
        assert_eq!(access.view(), Some(AccessView::Failed("Client not found".into())));
        assert_eq!(access.command(), Some(AccessCommand::Read));
        let (again, event) = access.answered(AccessCommand::Read, AccessAnswer::Failed(unknown.clone()));
        assert_eq!((again.unwrap().step, event), (AccessStep::Due, None), "reported once");
        let vanished =
            Access::at(AccessStep::Revoking).answered(AccessCommand::Disable, AccessAnswer::Failed(unknown.clone())).0;
        assert_eq!(vanished.unwrap().step, AccessStep::Due, "a new one may be an administrator's to disable");
        let restored = Access::at(AccessStep::Restoring).answered(AccessCommand::Enable, AccessAnswer::Failed(unknown));
        assert_eq!(restored, (None, None));
    }

    #[test]
    fn nothing_begins_where_it_is_off_and_what_began_is_restored() {
        assert_eq!(Access::disassociated(None, false), None);
        let ours = Some(Access::at(AccessStep::Revoked));
        assert_eq!(Access::associated(ours), Some(Access::at(AccessStep::Restoring)));
        assert_eq!(Access::associated(Some(Access::at(AccessStep::LeftAlone))), None);
    }
}
