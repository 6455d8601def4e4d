//! Local access: what the agent did, and has to do, to the broker's client of a device.
//!
//! A device that is disassociated is disabled in the broker, and enabled when it is associated
//! again, if and only if the agent disabled it. So before it disables a client the agent reads
//! whether somebody else did, and notes durably that it is about to: from then on the client counts
//! as disabled by the agent, whether an answer comes or not.

use serde::{Deserialize, Serialize};

/// How far the agent is with the client of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessStep {
    /// To be disabled; whether it is enabled was not read yet.
    #[serde(rename = "d")]
    Due,
    /// It was enabled, and the agent disables it: the command may have been sent.
    #[serde(rename = "v")]
    Revoking,
    /// The broker confirmed that it is disabled.
    #[serde(rename = "r")]
    Revoked,
    /// It is not the agent's to disable or to enable: somebody else had disabled it before, or it
    /// may command the plugin.
    #[serde(rename = "l")]
    LeftAlone,
    /// The agent disabled it, and enables it again: the command may have been sent.
    #[serde(rename = "e")]
    Restoring,
}

/// Why the broker did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessError {
    /// The broker's words.
    #[serde(rename = "m")]
    pub message: String,
    /// There is no such client.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unknown: bool,
}

impl AccessError {
    /// Longest message that is kept, in characters.
    pub const MAX_CHARS: usize = 200;

    /// An error in the broker's words, cut to what is kept.
    #[must_use]
    pub fn new(message: &str, is_unknown: bool) -> Self {
        let message = if message.is_empty() { "the broker gave no reason" } else { message };
        Self { message: message.chars().take(Self::MAX_CHARS).collect(), is_unknown }
    }
}

/// The client of a device in the broker, as far as the agent manages it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// How far the agent is.
    #[serde(rename = "s")]
    pub step: AccessStep,
    /// Why the last attempt failed.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<AccessError>,
}

/// A command to the plugin about one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessCommand {
    /// Reads whether it is disabled.
    Read,
    /// Disables it, which ends its connection.
    Disable,
    /// Enables it.
    Enable,
}

impl AccessCommand {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Disable, Self::Enable];

    /// The plugin's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "getClient",
            Self::Disable => "disableClient",
            Self::Enable => "enableClient",
        }
    }
}

/// What the plugin answered to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessAnswer {
    /// To a read: it is enabled.
    Enabled,
    /// To a read: it is disabled.
    Disabled,
    /// It may command the plugin: it is never disabled.
    Administrator,
    /// The change is made.
    Done,
    /// The command failed.
    Failed(AccessError),
}

/// What happened to local access that a person should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessEvent {
    /// The broker confirmed that the client is disabled.
    #[serde(rename = "r")]
    Revoked,
    /// The broker confirmed that the client is enabled again.
    #[serde(rename = "e")]
    Restored,
    /// The broker did not do it, in its words.
    #[serde(rename = "f")]
    Failed(String),
}

/// The state that people see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessView {
    /// The agent disabled the client.
    Revoked,
    /// The agent is about to disable or enable it.
    Pending,
    /// The broker did not do it, in its words.
    Failed(String),
}

impl AccessView {
    /// The names in messages.
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
    /// Nothing was tried yet.
    #[must_use]
    pub fn at(step: AccessStep) -> Self {
        Self { step, error: None }
    }

    /// The device was associated, as far as the agent knew, and is disassociated now. Without
    /// `begins` nothing begins to be managed: local access is off, or the device is protected.
    #[must_use]
    pub fn disassociated(access: Option<Self>, begins: bool) -> Option<Self> {
        match access {
            None => begins.then(|| Self::at(AccessStep::Due)),
            // It may be enabled by now.
            Some(Self { step: AccessStep::Restoring, .. }) => Some(Self::at(AccessStep::Revoking)),
            access => access,
        }
    }

    /// The device is associated now.
    #[must_use]
    pub fn associated(access: Option<Self>) -> Option<Self> {
        match access?.step {
            // A client that was not disabled yet, or by somebody else, stays as it is.
            AccessStep::Due | AccessStep::LeftAlone => None,
            AccessStep::Revoking | AccessStep::Revoked | AccessStep::Restoring => Some(Self::at(AccessStep::Restoring)),
        }
    }

    /// What is to be done next.
    #[must_use]
    pub fn command(&self) -> Option<AccessCommand> {
        match self.step {
            AccessStep::Due => Some(AccessCommand::Read),
            AccessStep::Revoking => Some(AccessCommand::Disable),
            AccessStep::Restoring => Some(AccessCommand::Enable),
            AccessStep::Revoked | AccessStep::LeftAlone => None,
        }
    }

    /// Whether the agent disabled the client, or may have.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self.step, AccessStep::Revoking | AccessStep::Revoked | AccessStep::Restoring)
    }

    /// What follows from an answer to `command`, and what happened. An answer to something else
    /// than what is to be done now changes nothing: the device was associated or disassociated
    /// meanwhile.
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
            // Who removes a client, and makes one of the same name, makes an enabled one.
            (AccessCommand::Enable, AccessAnswer::Failed(AccessError { is_unknown: true, .. })) => (None, None),
            (_, AccessAnswer::Failed(error)) => {
                // A new client of that name is not the one that was read.
                let step = if error.is_unknown { AccessStep::Due } else { self.step };
                let is_new = self.error.as_ref() != Some(&error);
                let event = is_new.then(|| AccessEvent::Failed(error.message.clone()));
                (Some(Self { step, error: Some(error) }), event)
            }
            // An answer that does not fit the command says nothing.
            (_, AccessAnswer::Enabled | AccessAnswer::Done) => (Some(self), None),
        }
    }

    /// What people see; `None` where nothing is managed.
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

    /// What happens to the client of one device.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Disassociated,
        Associated,
        /// The agent sends what is to be done; the broker gets it or not.
        Sends(bool),
        /// The answer of the oldest command that the broker got arrives, or is lost.
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
        /// The command that is under way, and the broker's answer to it, if it got it.
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
