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

impl<R> Step<R> {
    /// The step of a rule that has ended with `result` if `is_done`.
    #[must_use]
    pub fn when(is_done: bool, result: R) -> Self {
        if is_done { Self::Done(result) } else { Self::Again }
    }
}

/// When a rule's result is sent to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// After what the rule wrote is durable.
    Durable,
    /// At once: for queries, and for deletions whose loss costs only a repetition.
    AtOnce,
}

/// A queued rule, and the receiver of its result.
pub(super) trait Job: Send {
    /// Runs a step in a transaction of its own; `false` to be called again.
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError>;
    fn replies(&self) -> Replies;
    fn finish(self: Box<Self>, result: Result<(), Unavailable>);
}

pub(super) struct Typed<R, F> {
    pub(super) rule: F,
    pub(super) value: Option<R>,
    pub(super) replies: Replies,
    pub(super) reply: oneshot::Sender<Result<R, Unavailable>>,
}

impl<R: Send, F: FnMut(&mut Tx<'_>) -> Result<Step<R>, StoreError> + Send> Job for Typed<R, F> {
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        if let Step::Done(value) = (self.rule)(tx)? {
            self.value = Some(value);
        }
        Ok(self.value.is_some())
    }

    fn replies(&self) -> Replies {
        self.replies
    }

    fn finish(self: Box<Self>, result: Result<(), Unavailable>) {
        let Self { value, reply, .. } = *self;
        let result = match (result, value) {
            (Ok(()), Some(value)) => Ok(value),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(Unavailable("a rule did not end".into())),
        };
        // The receiver may have been dropped; what the rule wrote stays.
        let _ = reply.send(result);
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
