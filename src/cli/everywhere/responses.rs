//! What a core device answers to a broadcast.

use serde_json::Value;

use crate::{
    cli::{
        answer::Answer,
        failure::{Failure, read},
    },
    protocol::messages::{ChangeResponse, PlanMessage, PlanResponse, Rejected, RequestMessage},
};

/// The message `accepted` of a command or of its dry run.
pub(super) enum Accepted {
    Change(ChangeResponse),
    Plan(PlanMessage),
}

impl Accepted {
    /// How many of the names are those of the core device.
    pub(super) fn entries(&self) -> u64 {
        match self {
            Self::Change(response) => response.entry_count.unwrap_or_default().into(),
            Self::Plan(plan) => plan.entry_count as u64,
        }
    }

    /// The names that are not those of the core device.
    pub(super) fn unknown(&self) -> &[String] {
        match self {
            Self::Change(response) => &response.unknown,
            Self::Plan(plan) => &plan.unknown,
        }
    }
}

/// What a core device answered to one broadcast: each message as it was sent, and as it was read.
#[derive(Default)]
pub(super) struct Responses {
    pub(super) accepted: Option<(Value, Accepted)>,
    pub(super) rejected: Option<(Value, Rejected<'static>)>,
    pub(super) completed: Option<(Value, RequestMessage)>,
    /// Why an answer cannot be read.
    pub(super) unreadable: Option<Failure>,
}

impl Responses {
    pub(super) fn add(&mut self, answer: Answer, is_dry_run: bool) -> Result<(), Failure> {
        match answer {
            Answer::Accepted(body) if is_dry_run => {
                let PlanResponse { plan } = read("plan", &body)?;
                self.accepted = Some((body, Accepted::Plan(plan)));
            }
            Answer::Accepted(body) => self.accepted = Some((body.clone(), Accepted::Change(read("accepted", &body)?))),
            Answer::Rejected(body) => self.rejected = Some((body.clone(), read("rejected", &body)?)),
            Answer::Completed(body) => self.completed = Some((body.clone(), read("completed", &body)?)),
        }
        Ok(())
    }
}
