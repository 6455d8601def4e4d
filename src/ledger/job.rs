//! A rule in the queue of the committing thread, and the receiver of its result.

use tokio::sync::{oneshot, watch};

use super::{
    health::{StoreHealth, Unavailable},
    pending::{Summary, Tx},
    registry::store::StoreError,
    stats::Counting,
};

/// What one call of a rule with several steps returns.
#[derive(Debug)]
pub enum Step<R> {
    /// The rule is to be called again, in another transaction.
    Again,
    /// The rule has ended.
    Done(R),
}

impl Step<()> {
    /// The step of a rule that has ended if `is_done`.
    #[must_use]
    pub fn done_if(is_done: bool) -> Self {
        if is_done { Self::Done(()) } else { Self::Again }
    }
}

/// When a rule's result is sent to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// After what the rule wrote is durable.
    Durable,
    /// At once: for queries, and for deletions whose loss costs only a repetition.
    AtOnce,
}

/// A queued rule, and the receiver of its result.
pub(super) trait Job: Send {
    /// Runs a step in a transaction of its own; `false` to be called again.
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError>;
    fn reply(&self) -> Reply;
    fn finish(self: Box<Self>, result: Result<(), Unavailable>);
}

pub(super) struct Typed<R, F> {
    pub(super) rule: F,
    pub(super) value: Option<R>,
    pub(super) reply: Reply,
    pub(super) answer: oneshot::Sender<Result<R, Unavailable>>,
}

impl<R: Send, F: FnMut(&mut Tx<'_>) -> Result<Step<R>, StoreError> + Send> Job for Typed<R, F> {
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if let Step::Done(value) = (self.rule)(tx)? {
            self.value = Some(value);
        }
        Ok(self.value.is_some())
    }

    fn reply(&self) -> Reply {
        self.reply
    }

    fn finish(self: Box<Self>, result: Result<(), Unavailable>) {
        let Self { value, answer, .. } = *self;
        let result = match (result, value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(Unavailable("a rule did not end".into())),
        };
        // The receiver may have been dropped; what the rule wrote stays.
        let _ = answer.send(result);
    }
}

/// The channels by which the committing thread notifies other parts of the agent of changes.
pub(super) struct Notifiers {
    pub(super) summary: watch::Sender<Summary>,
    pub(super) health: watch::Sender<StoreHealth>,
    pub(super) work: watch::Sender<()>,
    pub(super) outgoing: watch::Sender<()>,
    pub(super) devices: watch::Sender<()>,
    pub(super) access: watch::Sender<()>,
    pub(super) counting: Counting,
}
