//! The running parts of the agent, by name. Each part runs until the stop. A part that returns or
//! panics before is a defect, and the agent must not continue without it, since it would
//! acknowledge commands that no part carries out.

use std::{collections::HashMap, fmt};

use tokio::task::{Id, JoinError, JoinSet};

use crate::runtime::errors::panic_text;

/// Supervises parts that are stopped together.
#[derive(Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A part that ended without a stop request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    part: &'static str,
    /// The text of its panic; `None` if it returned.
    panic: Option<String>,
}

impl Failure {
    /// The part of that name ended, for an unknown reason.
    pub(crate) fn of(part: &'static str) -> Self {
        Self { part, panic: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.panic.as_deref().unwrap_or("it ended unasked");
        write!(
            f,
            "the {} of the agent failed ({why}); this is a defect, please report it with this log; the agent stops, what it \
             accepted is on disk, and the next start goes on with it",
            self.part
        )
    }
}

impl Supervisor {
    /// Starts a part.
    pub(crate) fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let part = crate::runtime::failpoint::failing(name, part);
        let id = self.tasks.spawn(part).id();
        self.names.insert(id, name);
    }

    /// Waits for the first part that ends; for ever if there are no parts.
    pub(crate) async fn failed(&mut self) -> Failure {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(ended) => return self.failure(ended),
                None => std::future::pending().await,
            }
        }
    }

    fn failure(&mut self, ended: Result<(Id, ()), JoinError>) -> Failure {
        let (id, panic) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), error.try_into_panic().ok().map(|panic| panic_text(&*panic))),
        };
        Failure { part: self.names.remove(&id).unwrap_or("part"), panic }
    }

    /// Waits for the end of all parts after the stop, and logs those that panic meanwhile.
    pub(crate) async fn drain(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let failure = self.failure(ended);
            if failure.panic.is_some() {
                tracing::error!("{failure}");
            }
        }
    }

    /// Aborts all parts.
    pub(crate) fn abort_all(&mut self) {
        self.tasks.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_part_that_ends_is_named() {
        let mut parts = Supervisor::default();
        parts.spawn("inbox", std::future::pending());
        parts.spawn("outbox", async {});
        assert_eq!(parts.failed().await, Failure::of("outbox"));
        parts.spawn("dispatcher", async { panic!("number {}", 7) });
        let failure = parts.failed().await;
        assert_eq!((failure.part, failure.panic.as_deref()), ("dispatcher", Some("number 7")));
        assert!(failure.to_string().contains("the dispatcher of the agent failed (number 7)"), "{failure}");
        parts.abort_all();
        parts.drain().await;
    }

    #[tokio::test]
    async fn without_parts_none_fails() {
        let mut parts = Supervisor::default();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), parts.failed()).await;
        assert!(waited.is_err());
    }
}
