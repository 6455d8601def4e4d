//! A rule in the queue of the committing thread, and the receiver of its result.

use tokio::sync::{oneshot, watch};

use super::{
    health::{StoreHealth, Unavailable},
    pending::{Summary, Tx},
    registry::store::StoreError,
    stats::Counting,
};

/// A queued rule, and the receiver of its result.
pub(super) trait Job: Send {
    /// Runs a step in a transaction of its own; `false` to be called again.
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError>;
    /// Whether the answer may come before what was written is durable.
    fn is_unsynced(&self) -> bool;
    fn finish(self: Box<Self>, result: Result<(), Unavailable>);
}

pub(super) struct Typed<R, F> {
    pub(super) rule: F,
    pub(super) value: Option<R>,
    pub(super) unsynced: bool,
    pub(super) reply: oneshot::Sender<Result<R, Unavailable>>,
}

impl<R: Send, F: FnMut(&mut Tx<'_>) -> Result<Option<R>, StoreError> + Send> Job for Typed<R, F> {
    fn step(&mut self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        self.value = (self.rule)(tx)?;
        Ok(self.value.is_some())
    }

    fn is_unsynced(&self) -> bool {
        self.unsynced
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
